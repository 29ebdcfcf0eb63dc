"""Text, token by token: decoders with a cache, which is held at a fixed shape."""

from onnxla.generate.decoder import Decoder

__all__ = ["Decoder"]
