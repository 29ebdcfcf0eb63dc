"""Text, token by token: decoders with a cache, which is held at a fixed shape."""

from onnxla.generate.decoder import Decoder
from onnxla.generate.whole_sequences import without_past

__all__ = ["Decoder", "without_past"]
