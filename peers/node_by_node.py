"""Comparison with another runtime, node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import jax.numpy as jnp
import numpy as np

from onnxla import ir
from onnxla.inputs import suitable_inputs
from onnxla.interpret.program import Program
from onnxla.ir.names import quoted
from onnxla.ir.rewrite import expose_intermediates
from onnxla.ir.traverse import is_standard, names_made
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


def values_of(module: Module, inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Some values of a module's graph by name, computed as the module computes."""
    part = module.cut(outputs=names)
    found = part.run({name: value for name, value in inputs.items() if name in part.input_names})
    return {name: np.asarray(value) for name, value in found.items()}


def of_modules(module: Module, other: Module, inputs: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """What makes each value that two modules have by name; the values of one, and of the other.

    Floating-point values of the other are of the dtypes that the first has.
    """
    nodes = [node for node in module.program.model.graph.nodes if not is_standard(node, "Constant")]
    makers = {name: node for node in nodes for name in names_made([node])}
    shared = {*names_made(other.program.model.graph.nodes)}
    names = [name for name in makers if name in shared]
    if not names:
        raise ValueError("the modules have no value in common, by name")
    ours, theirs = values_of(module, inputs, names), values_of(other, inputs, names)
    for name, value in theirs.items():
        if all(jnp.issubdtype(each.dtype, jnp.floating) for each in (value, ours[name])):
            theirs[name] = value.astype(ours[name].dtype)
    return makers, ours, theirs


def of_runtime(
    module: Module, run: Callable[[bytes, Mapping[str, Any]], list[Any]], inputs: Mapping[str, Any]
) -> tuple[Any, Any, Any]:
    """What makes each value of a module's graph; the values here, and in another runtime.

    The graph is the one that is saved: adapters are merged, and trained integers are integers.

    Raises:
        ValueError: The module is `batched`.
    """
    if module.program.batched:
        raise ValueError(
            "the module is mapped over a batch, which another runtime does not do with its graph;"
            " compare it as it was before batched(), or with free_batch() in its place"
        )
    model = expose_intermediates(module.to_ir())
    makers = {name: node for node in model.graph.nodes for name in node.outputs}
    names = [value.name for value in model.graph.outputs]
    limits = module.program.limits
    program = Program(model, module.program.fixed, limits=limits)
    params = load(model, limits=limits).params
    ours = dict(zip(names, program.call(params, inputs), strict=True))
    fixed = {name: np.asarray(value) for name, value in module.program.fixed.items()}
    outputs = run(ir.write(model), {**inputs, **fixed})
    if not isinstance(outputs, list | tuple) or len(outputs) != len(names):
        got = len(outputs) if isinstance(outputs, list | tuple) else type(outputs).__name__
        raise ValueError(f"a runtime returns a list of the graph's {len(names)} values, got {got}")
    theirs = dict(zip(names, outputs, strict=True))
    return makers, ours, theirs


def compare(
    source: Any,
    inputs: Mapping[str, Any] | None = None,
    against: str | Module | Callable[[bytes, Mapping[str, Any]], list[Any]] = "onnxruntime",
    *,
    rtol: float = 1e-3,
    atol: float = 1e-4,
) -> Comparison:
    """Compares every value of the main graph with another runtime's, or another module's.

    For example:

        print(onnxla.compare("model.onnx", {"x": x}))
        print(onnxla.compare(module, {"x": x}, module.autocast()))

    Args:
        source: A `Module`, or whatever `load` takes. Beside a runtime it is without `astype`.
        inputs: Inputs by name; random ones if not given.
        against: `"onnxruntime"`, `"reference"` (both need the extra `compare`), or a function of
            the model's bytes and the inputs that returns the outputs. Or another `Module`, as one
            before training or in another precision: values that both have by name are compared.
        rtol: Tolerated difference relative to each element.
        atol: Tolerated difference relative to the largest absolute value of the tensor.

    Raises:
        ValueError: `against` is no known runtime, or a module without a value of such a name. Or
            the module is `batched`, and `against` is none.
        OnnxlaError: The model cannot be read, or cannot run in onnxla.
    """
    if not (isinstance(against, str | Module) or callable(against)):
        raise TypeError(
            "against is the name of a runtime, a module, or a function of a model's bytes and "
            f"inputs; got {type(against).__name__}"
        )
    if not (inputs is None or isinstance(inputs, Mapping)):
        raise TypeError(
            f"inputs is a dict of arrays by name, got {type(inputs).__name__}; another module or "
            "runtime is given as `against`"
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (isinstance(value, Real) and value >= 0):
            raise ValueError(f"{name} is a number of at least 0, got {value!r:.100}")
    module = source if isinstance(source, Module) else load(source)
    if not isinstance(against, Module):
        module = module.astype(None)
    given = suitable_inputs(module.program) if inputs is None else module.check_inputs(inputs)
    feeds = {name: np.asarray(value) for name, value in given.items()}
    if isinstance(against, Module):
        label = "the other module"
        makers, ours, theirs = of_modules(module, against, feeds)
    else:
        label = against if isinstance(against, str) else getattr(against, "__name__", str(against))
        run = named(against).run if isinstance(against, str) else against
        makers, ours, theirs = of_runtime(module, run, feeds)
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
