"""onnxla runs ONNX models as JAX: compiled, differentiable, trainable, saved back as ONNX."""

from onnxla import losses
from onnxla.check import check
from onnxla.checkpoints import CheckpointError
from onnxla.compare import compare
from onnxla.evaluate import evaluate
from onnxla.fit import fit
from onnxla.ir.errors import ModelError, OnnxlaError, StaticOperandError, UnsupportedError
from onnxla.loop import FitResult, NonFiniteLossError, TrainingInterrupted
from onnxla.module import Module, load
from onnxla.ops.table import op

__all__ = [
    "CheckpointError",
    "FitResult",
    "ModelError",
    "Module",
    "NonFiniteLossError",
    "OnnxlaError",
    "StaticOperandError",
    "TrainingInterrupted",
    "UnsupportedError",
    "check",
    "compare",
    "evaluate",
    "fit",
    "load",
    "losses",
    "op",
]
