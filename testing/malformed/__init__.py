"""Broken `.onnx` files, to test what a runtime makes of them: an error, and not a crash.

A small valid model is changed in one way, sometimes two. Each way has a name. Those that begin
with "bytes:" damage the file as a disk or a network might, and it may happen to stay valid; the
others break a rule of the ONNX specification.
"""

# Each of these modules registers its ways when it is imported.
from onnxla.testing.malformed import (
    attributes,
    file_bytes,
    functions,
    names,
    operators,
    tensors,
    value_types,
)
from onnxla.testing.malformed.registry import EDITS, ways
from onnxla.testing.malformed.strategy import Malformed, malformed_models

__all__ = [
    "EDITS",
    "Malformed",
    "attributes",
    "file_bytes",
    "functions",
    "malformed_models",
    "names",
    "operators",
    "tensors",
    "value_types",
    "ways",
]
