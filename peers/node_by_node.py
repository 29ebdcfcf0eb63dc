"""Comparison with another runtime, node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.inputs import suitable_inputs
from onnxla.interpret.program import Program
from onnxla.ir.names import quoted
from onnxla.ir.rewrite import expose_intermediates
from onnxla.module import Module, load
from onnxla.peers.difference import NEARLY_ZERO, Tolerance, difference
from onnxla.peers.runtimes import named
from onnxla.tables import Report, Table


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
                f"first is {quoted(wrong[0].name)}, made by {wrong[0].node}",
                Table("values that differ", ("value", "node", "difference", "scale"), rows),
            ]
        )

    def record(self) -> dict[str, Any]:
        """All values in types that JSON has."""
        differences = [
            {
                "value": d.name,
                "node": str(d.node),
                "absolute": float(d.absolute),
                "scale": float(d.scale),
                "reason": d.reason,
                "ok": d.ok,
            }
            for d in self.differences
        ]
        first = self.first.name if self.first else None
        return {"against": self.against, "ok": self.ok, "first": first, "values": differences}

    def __str__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def compare(
    source: Any,
    inputs: Mapping[str, Any] | None = None,
    against: str | Callable[[bytes, Mapping[str, Any]], list[Any]] = "onnxruntime",
    *,
    rtol: float = 1e-3,
    atol: float = 1e-4,
) -> Comparison:
    """Compares every value of the main graph with another runtime's.

    For example:

        print(onnxla.compare("model.onnx", {"x": x}))

    Args:
        source: A `Module`, compared without `astype`, or whatever `load` takes.
        inputs: Inputs by name; random ones if not given.
        against: `"onnxruntime"`, `"reference"` (both need the extra `compare`), or a function of
            the model's bytes and the inputs that returns the outputs.
        rtol: Tolerated difference relative to each element.
        atol: Tolerated difference relative to the largest absolute value of the tensor.

    Raises:
        ValueError: `against` is no known runtime.
        OnnxlaError: The model cannot be read, or cannot run in onnxla.
    """
    run = named(against).run if isinstance(against, str) else against
    label = against if isinstance(against, str) else getattr(against, "__name__", str(against))
    module = source.astype(None) if isinstance(source, Module) else load(source)
    given = suitable_inputs(module.program) if inputs is None else module.check_inputs(inputs)
    feeds = {name: np.asarray(value) for name, value in given.items()}
    model = expose_intermediates(module.to_ir())
    makers = {name: node for node in model.graph.nodes for name in node.outputs}
    names = [value.name for value in model.graph.outputs]
    program = Program(model, module.program.fixed, limits=module.program.limits)
    ours = dict(zip(names, program.call(module.params, feeds), strict=True))
    fixed = {name: np.asarray(value) for name, value in module.program.fixed.items()}
    theirs = dict(zip(names, run(ir.write(model), {**feeds, **fixed}), strict=True))
    tolerance = Tolerance(relative=rtol, scaled=atol, absolute=atol * NEARLY_ZERO)
    found = {
        name: difference(ours[name], theirs[name], tolerance) for name in makers if name in ours
    }
    return Comparison(
        label,
        tuple(
            Difference(makers[name], name, d.absolute, d.scale, d.reason, d.ok)
            for name, d in found.items()
        ),
    )
