"""onnxla runs ONNX models as JAX: compiled, differentiable, trainable, saved back as ONNX."""

from typing import TYPE_CHECKING, Any

from onnxla.notebook import fold_errors
from onnxla.public import MODULES, PUBLIC, find

if TYPE_CHECKING:  # what `PUBLIC` says, in the words of type checkers
    from onnxla import loggers as loggers
    from onnxla import losses as losses
    from onnxla.auditing.audit import audit as audit
    from onnxla.auditing.remarks import Audit as Audit
    from onnxla.exported import Exported as Exported
    from onnxla.exported import load_exported as load_exported
    from onnxla.findings import Findings as Findings
    from onnxla.findings import check as check
    from onnxla.ir.errors import ModelError as ModelError
    from onnxla.ir.errors import OnnxlaError as OnnxlaError
    from onnxla.ir.errors import StaticOperandError as StaticOperandError
    from onnxla.ir.errors import UnsupportedError as UnsupportedError
    from onnxla.module import Module as Module
    from onnxla.module import load as load
    from onnxla.ops.limits import Limits as Limits
    from onnxla.ops.table import op as op
    from onnxla.peers.node_by_node import compare as compare
    from onnxla.train.checkpoints import CheckpointError as CheckpointError
    from onnxla.train.evaluation import evaluate as evaluate
    from onnxla.train.fitting import fit as fit
    from onnxla.train.loop import FitResult as FitResult
    from onnxla.train.loop import NonFiniteLossError as NonFiniteLossError
    from onnxla.train.loop import TrainingInterrupted as TrainingInterrupted
    from onnxla.train.lr_find import lr_find as lr_find
    from onnxla.train.plateau import Plateau as Plateau
    from onnxla.train.prediction import predict as predict

__all__ = [
    "Audit",
    "CheckpointError",
    "Exported",
    "Findings",
    "FitResult",
    "Limits",
    "ModelError",
    "Module",
    "NonFiniteLossError",
    "OnnxlaError",
    "Plateau",
    "StaticOperandError",
    "TrainingInterrupted",
    "UnsupportedError",
    "audit",
    "check",
    "compare",
    "evaluate",
    "fit",
    "load",
    "load_exported",
    "loggers",
    "losses",
    "lr_find",
    "op",
    "predict",
]


def __getattr__(name: str) -> Any:
    found = find(name)
    globals()[name] = found  # so that it is looked for once
    return found


def __dir__() -> list[str]:
    return sorted({*PUBLIC, *MODULES, "public"})


fold_errors()
