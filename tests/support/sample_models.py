"""Models of one node: what a sample of an operator looks like at a schema version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

import onnxla
from onnxla.ops import Operator, rows
from onnxla.testing import Case
from onnxla.testing.use import case_of
from support.samples import Sample

ROWS: dict[tuple[str, str], list[tuple[int, Operator]]] = {}
for _version, _operator in rows():
    ROWS.setdefault((_operator.domain, _operator.name), []).append((_version, _operator))


def case_at(sample: Sample, version: int, arrays: Sequence[Any]) -> Case:
    """A sample with other inputs, as a model of one node, of which no output has to be known."""
    return case_of(replace(sample, inputs=arrays), version, declared=False)


def build(sample: Sample, version: int, arrays: Sequence[Any]) -> bytes:
    """The model of `case_at`."""
    return case_at(sample, version, arrays).model


def in_double_precision(
    sample: Sample, version: int
) -> tuple[Callable[..., Any], tuple[np.ndarray, ...]]:
    """The outputs as a function of the inputs that `sample.grad` lists, and these inputs."""
    arrays = [
        x.astype(np.float64) if x is not None and x.dtype == np.float32 else x
        for x in sample.inputs
    ]
    module = onnxla.load(build(sample, version, arrays))

    def function(*traced: jax.Array) -> Any:
        values = dict(zip(sample.grad, traced, strict=True))
        inputs = [values.get(i, x) for i, x in enumerate(arrays)]
        return module.apply(module.params, *(x for x in inputs if x is not None))

    return function, tuple(arrays[i] for i in sample.grad)
