"""Text, token by token: decoders with a cache, which is held at a fixed shape."""

from onnxla.generate.decoder import Decoder
from onnxla.generate.without_past import without_past

__all__ = ["Decoder", "without_past"]
