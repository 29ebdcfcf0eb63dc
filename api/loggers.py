"""Loggers for `fit(callbacks=...)`, as users import them; `onnxla.train.loggers` has their code."""

from onnxla.train.loggers import CSV as CSV
from onnxla.train.loggers import JSONL as JSONL
from onnxla.train.loggers import TensorBoard as TensorBoard
from onnxla.train.loggers import WandB as WandB
