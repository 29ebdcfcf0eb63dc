"""Evaluation of a node by the reference evaluator, while a graph is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from onnxla.testing.random_graphs.values import Runs
from onnxla.testing.types import dtype_of, type_string


def evaluated(model: onnx.ModelProto, feeds: Sequence[dict[str, Any]]) -> list[Runs] | None:
    """Runs of each output; None if the reference evaluator fails, or contradicts the model."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            evaluator = ReferenceEvaluator(model)
            results = [evaluator.run(None, dict(feed)) for feed in feeds]
    except Exception:  # of whatever kind: it has many
        return None
    for value, runs in zip(model.graph.output, zip(*results, strict=True), strict=True):
        if any(contradicts(value, run) for run in runs):
            return None
    first, second, third = results
    return [
        (np.asarray(a), np.asarray(b), np.asarray(c))
        for a, b, c in zip(first, second, third, strict=True)
    ]


def contradicts(value: onnx.ValueInfoProto, run: Any) -> bool:
    """Whether a result is not of the dtype and shape that a model declares."""
    if not isinstance(run, np.ndarray | np.generic):
        return True
    kind = value.type.tensor_type
    if run.dtype != dtype_of(type_string(value.type)):
        return True
    if not kind.HasField("shape"):
        return False
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    return len(sizes) != run.ndim or any(
        size not in (None, n) for size, n in zip(sizes, run.shape, strict=True)
    )
