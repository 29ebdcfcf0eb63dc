"""onnxla runs ONNX models as JAX: compiled, differentiable, trainable, saved back as ONNX."""

from onnxla.check import check
from onnxla.compare import compare
from onnxla.ir.errors import ModelError, OnnxlaError, StaticOperandError, UnsupportedError
from onnxla.module import Module, load
from onnxla.ops.table import op

__all__ = [
    "ModelError",
    "Module",
    "OnnxlaError",
    "StaticOperandError",
    "UnsupportedError",
    "check",
    "compare",
    "load",
    "op",
]
