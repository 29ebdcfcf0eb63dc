"""Comparison with another runtime, node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np

from onnxla import ir
from onnxla.inputs import random_inputs
from onnxla.interpret.program import Program
from onnxla.ir.rewrite import expose_intermediates
from onnxla.module import Module, load
from onnxla.tables import Report, Table

# Runs a model given as bytes on inputs by name; returns the outputs in graph order.
Runtime: TypeAlias = Callable[[bytes, Mapping[str, Any]], list[Any]]


@dataclass(frozen=True)
class Difference:
    """How one value differs between two runtimes.

    Attributes:
        node: The node that makes the value.
        name: The value's name.
        absolute: Largest absolute difference.
        scale: Largest absolute value on the other side.
        reason: A difference in dtype or shape, or why the values cannot be compared; else empty.
        ok: Whether the difference is within the tolerance.
    """

    node: ir.Node
    name: str
    absolute: float
    scale: float
    reason: str
    ok: bool


@dataclass(frozen=True)
class Comparison:
    """The values of all nodes in two runtimes, in the order of the graph."""

    against: str
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """Whether every value agrees."""
        return self.first is None

    @property
    def first(self) -> Difference | None:
        """The first value that differs, if any."""
        return next((d for d in self.differences if not d.ok), None)

    @property
    def report(self) -> Report:
        """A verdict and, where something differs, a table of the values that do."""
        wrong = [d for d in self.differences if not d.ok]
        if not wrong:
            worst = max((d.absolute / (d.scale or 1.0) for d in self.differences), default=0.0)
            return Report(
                [
                    f"all {len(self.differences)} values agree with {self.against}; the largest "
                    f"difference is {worst:.1e} of a value's scale"
                ]
            )
        rows = [
            (d.name, str(d.node), d.reason or f"{d.absolute:.3g}", f"{d.scale:.3g}")
            for d in wrong[:20]
        ]
        return Report(
            [
                f"{len(wrong)} of {len(self.differences)} values differ from {self.against}; the "
                f"first is '{wrong[0].name}', made by {wrong[0].node}",
                Table("values that differ", ("value", "node", "difference", "scale"), rows),
            ]
        )

    def __str__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def onnxruntime(model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
    """Runs a model in ONNX Runtime on the CPU, without its graph optimizations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(inputs)))


def reference(model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
    """Runs a model in the reference evaluator of the `onnx` package."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(onnx.load_from_string(model)).run(None, dict(inputs)))


RUNTIMES: dict[str, Runtime] = {"onnxruntime": onnxruntime, "reference": reference}


def compare(
    source: Any,
    inputs: Mapping[str, Any] | None = None,
    against: str | Runtime = "onnxruntime",
    *,
    rtol: float = 1e-3,
    atol: float = 1e-4,
) -> Comparison:
    """Compares every value of the main graph with another runtime's.

    Args:
        source: A `Module`, or whatever `load` takes.
        inputs: Inputs by name; random ones if not given.
        against: `"onnxruntime"`, `"reference"` (both need the extra `compare`), or a function of
            the model's bytes and the inputs that returns the outputs.
        rtol: Tolerated difference relative to each element.
        atol: Tolerated difference relative to the largest absolute value of the tensor.

    Raises:
        ValueError: `against` is no known runtime.
        OnnxlaError: The model cannot be read, or cannot run in onnxla.
    """
    if isinstance(against, str):
        if against not in RUNTIMES:
            raise ValueError(f"no runtime '{against}'; there are {', '.join(RUNTIMES)}")
        label, run = against, RUNTIMES[against]
    else:
        label, run = getattr(against, "__name__", str(against)), against
    module = source if isinstance(source, Module) else load(source)
    given = random_inputs(module.program.inputs) if inputs is None else module.check_inputs(inputs)
    feeds = {name: np.asarray(value) for name, value in given.items()}
    model = expose_intermediates(module.to_ir())
    makers = {name: node for node in model.graph.nodes for name in node.outputs}
    names = [value.name for value in model.graph.outputs]
    program = Program(model, module.program.fixed)
    ours = dict(zip(names, program.call(module.params, feeds), strict=True))
    fixed = {name: np.asarray(value) for name, value in module.program.fixed.items()}
    theirs = dict(zip(names, run(ir.write(model), {**feeds, **fixed}), strict=True))
    return Comparison(
        label,
        tuple(
            difference(makers[name], name, ours[name], theirs[name], rtol, atol)
            for name in makers
            if name in ours
        ),
    )


def difference(
    node: ir.Node, name: str, ours: Any, theirs: Any, rtol: float, atol: float
) -> Difference:
    """How a value differs, element by element; sequences as a whole."""
    a, b = (jax.tree.leaves(value) for value in (ours, theirs))
    if len(a) != len(b):
        return Difference(node, name, np.inf, 0, f"{len(a)} tensors, not {len(b)}", False)
    absolute = scale = 0.0
    for x, y in zip(map(np.asarray, a), map(np.asarray, b), strict=True):
        if x.dtype != y.dtype or x.shape != y.shape:
            reason = f"{x.dtype}{list(x.shape)}, not {y.dtype}{list(y.shape)}"
            return Difference(node, name, np.inf, 0, reason, False)
        if x.dtype == object or x.size == 0:
            if not np.array_equal(x, y):
                return Difference(node, name, np.inf, 0, "other texts", False)
            continue
        wide = np.complex128 if np.iscomplexobj(x) else np.float64
        x, y = x.astype(wide), y.astype(wide)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore"):  # of infinities
            gap = np.where(same, 0.0, np.abs(x - y))
        finite = np.abs(y[np.isfinite(y)])
        top = float(finite.max()) if finite.size else 0.0
        absolute, scale = (
            max(absolute, float(np.nan_to_num(gap, nan=np.inf).max())),
            max(scale, top),
        )
        if not np.all(
            gap <= rtol * np.abs(np.where(np.isfinite(y), y, 0)) + atol * max(top, 1e-30)
        ):
            return Difference(node, name, absolute, scale, "", False)
    return Difference(node, name, absolute, scale, "", True)
