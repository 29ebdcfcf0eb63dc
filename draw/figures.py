"""Numbers on the nodes of a drawing: parameters, operations, bytes, or whatever was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np

from onnxla.draw.labels import rounded
from onnxla.draw.members import Cluster, Leaf
from onnxla.draw.roles import Roles
from onnxla.draw.types import ArrayKind, Traced
from onnxla.interpret.calls import Call
from onnxla.ir.names import listed, nearest, no_such, quoted
from onnxla.ops.values import is_known

KINDS = ("parameters", "flops", "bytes", "sharding")
FEW = 3  # operands of an operator of one step
WRONG = 0.1  # error of a value, of its scale, that has the whole colour
DECADES = 6  # powers of ten below the largest error that have a colour


@dataclass(frozen=True)
class Figures:
    """Numbers on nodes.

    Attributes:
        caption: What they are.
        numbers: By node.
        adds: Whether a cluster's is the sum of those inside, or else the largest.
        texts: What is written instead of a number.
        full: The number that has the whole colour; by default the sum of all, or the largest.
        shared: Of what a node's number is made, by name; several nodes may have the same.
    """

    caption: str
    numbers: Mapping[Leaf, float]
    adds: bool = True
    texts: Mapping[Leaf, str] | None = None
    full: float | None = None
    shared: Mapping[Leaf, Mapping[str, int]] | None = None

    def of(self, member: Leaf | Cluster) -> float | None:
        """The number of a node or a cluster, if it has one."""
        leaves = (member,) if isinstance(member, Leaf) else member.leaves
        found = [self.numbers[leaf] for leaf in leaves if leaf in self.numbers]
        if not found or not self.adds:
            return largest(found) if found else None
        return math.fsum(found) if self.shared is None else self.once(leaves)

    def once(self, leaves: Iterable[Leaf]) -> float:
        """The sum of what nodes have, each once."""
        parts = {k: n for leaf in leaves for k, n in (self.shared or {}).get(leaf, {}).items()}
        return float(sum(parts.values()))

    @cached_property
    def most(self) -> float:
        """The number that has the whole colour."""
        if self.full is not None:
            return self.full
        if self.shared is not None:
            return self.once(self.shared)
        return (
            math.fsum(self.numbers.values())
            if self.adds
            else max((n for n in self.numbers.values() if not math.isnan(n)), default=0.0)
        )

    def text(self, member: Leaf | Cluster) -> str:
        """What is written of a node or a cluster."""
        if isinstance(member, Leaf) and self.texts and member in self.texts:
            return self.texts[member]
        number = self.of(member)
        return "" if number is None else rounded(number)

    def heat(self, member: Leaf | Cluster) -> float | None:
        """From 0 to 1, how large the number is beside the one that has the whole colour."""
        number, most = self.of(member), self.most
        if number is not None and math.isnan(number):
            return 1.0
        if number is None or not most > 0:
            return None if number is None else 0.0
        if self.adds:
            return math.cbrt(min(max(number / most, 0.0), 1.0))  # so that 1% is to be seen
        if not number > 0:
            return 0.0
        share = min(number / most, 1.0) if math.isfinite(most) else float(math.isinf(number))
        return max(1 + math.log10(share) / DECADES, 0.0) if share else 0.0


def figures(overlay: Any, leaves: Sequence[Leaf], roles: Roles, params: Any) -> Figures:
    """The numbers that an overlay asks for.

    Raises:
        TypeError: The overlay is of no kind that is known.
        ValueError: It is an unknown word, or names nothing in the model.
    """
    if hasattr(overlay, "differences") and hasattr(overlay, "against"):
        errors = {d.name: d.absolute / (d.scale or 1.0) for d in overlay.differences}
        found = named(f"error beside {overlay.against}, relative", errors, leaves, roles)
        return replace(found, full=WRONG)  # so that rounding has next to none
    if isinstance(overlay, Mapping):
        return named("", overlay, leaves, roles)
    if not isinstance(overlay, str):
        raise TypeError(
            f"overlay is one of {listed(KINDS)}, a dict of numbers by name, or what"
            f" onnxla.compare returns; got {overlay!r:.100}"
        )
    if overlay not in KINDS:
        raise ValueError(no_such("overlay", overlay, KINDS))
    if overlay == "sharding":
        return sharding(leaves, roles, params)
    if overlay == "parameters":
        parts = {leaf: elements(leaf, roles) for leaf in leaves}
        sums = {leaf: float(sum(found.values())) for leaf, found in parts.items() if found}
        return Figures("elements of parameters", sums, shared=parts)
    counts: dict[str, tuple[str, Callable[[Leaf], float]]] = {
        "flops": ("operations in products", lambda leaf: roles.traced.flops.get(leaf.node, 0.0)),
        "bytes": ("bytes read and written", lambda leaf: traffic(leaf, roles.traced)),
    }
    caption, count = counts[overlay]
    return Figures(caption, {leaf: n for leaf in leaves if (n := count(leaf))})


def elements(leaf: Leaf, roles: Roles) -> dict[str, int]:
    """The numbers of elements of a node's parameters."""
    tensors = roles.program.parameters.params
    return {name: math.prod(tensors[name].shape) for name in roles.parameters(leaf)}


def traffic(leaf: Leaf, traced: Traced) -> float:
    """The bytes of what a node reads and makes; none where that is known and computed once."""
    results = traced.results.get(leaf.node, ())
    if all(kind is None or kind.known for kind in results):
        return 0.0
    return float(sum(map(bytes_of, (*traced.operands.get(leaf.node, ()), *results))))


def bytes_of(kind: ArrayKind | None) -> int:
    """The bytes of an array of numbers."""
    if kind is None or kind.dtype == "object":
        return 0
    return math.prod(kind.shape) * np.dtype(kind.dtype).itemsize


def named(
    caption: str, numbers: Mapping[str, Any], leaves: Sequence[Leaf], roles: Roles
) -> Figures:
    """Numbers by the names of nodes, values or parameters; the largest, where a node has several.

    Raises:
        ValueError: No name is one of the model's.
    """
    makers: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        for name in {leaf.node.name, *leaf.node.outputs, *roles.parameters(leaf)} - {""}:
            makers.setdefault(name, []).append(leaf)
    found: dict[Leaf, float] = {}
    for name, value in numbers.items():
        for leaf in makers.get(name, ()):
            found[leaf] = largest([found.get(leaf, -math.inf), size_of(name, value)])
    if not numbers:
        raise ValueError("the overlay has no numbers")
    if not found:
        first = next(iter(numbers))
        raise ValueError(
            f"the overlay names no node, value or parameter, such as {first!r:.100};"
            f" {nearest(first, makers)}"
        )
    if not caption:
        left = [name for name in numbers if name not in makers]
        caption = "overlay" + f", not in the model: {listed(left)}" * bool(left)
    return Figures(caption, found, adds=False)


def largest(numbers: Sequence[float]) -> float:
    """The largest number; NaN where one is that, which is what somebody looks for."""
    return math.nan if any(map(math.isnan, numbers)) else max(numbers)


def size_of(name: str, value: Any) -> float:
    """A number; of an array, its norm. Raises: TypeError if it is neither."""
    try:
        if value is None:
            raise TypeError
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"the overlay has numbers or arrays of them, got {value!r:.100} for {quoted(name)}"
        ) from error
    return float(array) if array.ndim == 0 else float(np.linalg.norm(array))


def sharding(leaves: Iterable[Leaf], roles: Roles, params: Mapping[str, Any]) -> Figures:
    """In how many parts each node's parameters are split over devices, and along which axes."""
    numbers: dict[Leaf, float] = {}
    texts: dict[Leaf, str] = {}
    for leaf in leaves:
        for name in roles.parameters(leaf):
            where = getattr(params[name], "sharding", None)
            spec = getattr(where, "spec", None)
            split = [axis for axis in spec or () if axis is not None]
            whole, part = (
                params[name].shape,
                getattr(where, "shard_shape", tuple)(params[name].shape),
            )
            count = math.prod(whole) // max(math.prod(part), 1) if split else 1
            if count > numbers.get(leaf, 0):
                axes = ", ".join("None" if axis is None else str(axis) for axis in spec or ())
                numbers[leaf] = float(count)
                texts[leaf] = f"split ({axes})" if split else "on each device"
    return Figures("parts of parameters on devices", numbers, adds=False, texts=texts)


def products(call: Call) -> float:
    """The operations of the products in a call, a multiplication and an addition each."""
    operator = call.operator
    multiplies = operator.product or operator.linear or "weight" in operator.roles.values()
    further = operator.domain or len(operator.inputs) > FEW  # which may have products inside
    if not (multiplies or further) or all(map(is_known, call.operands)):
        return 0.0  # what is known is computed once
    traced = {i: x for i, x in enumerate(call.operands) if not is_known(x)}
    if any(isinstance(x, list | dict) for x in traced.values()):
        return 0.0

    def function(traced: Mapping[int, Any]) -> Any:
        operands = [traced.get(i, x) for i, x in enumerate(call.operands)]
        return call.operator.function(*operands, **call.keywords)

    return float(operations(jax.make_jaxpr(function)(traced).jaxpr))


def operations(jaxpr: Any) -> float:
    """The operations of the products in a program of JAX; of a loop, as often as it runs."""
    total = 0.0
    for equation in jaxpr.eqns:
        kind, inputs = equation.primitive.name, equation.invars
        made = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
        if kind == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            total += 2.0 * made * math.prod(inputs[0].aval.shape[axis] for axis in contracted)
        elif kind == "conv_general_dilated":
            kernel = inputs[1].aval.shape
            features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            total += 2.0 * made * math.prod(kernel) / max(features, 1)
        inner = [operations(each) for each in programs_in(equation.params)]
        if kind == "cond":
            total += max(inner, default=0.0)
        else:
            total += sum(inner) * (equation.params["length"] if kind == "scan" else 1)
    return total


def programs_in(params: Mapping[str, Any]) -> list[Any]:
    """The programs that are parameters of an operation of JAX."""
    values = [
        v for value in params.values() for v in (value if isinstance(value, tuple) else (value,))
    ]
    closed = [getattr(value, "jaxpr", value) for value in values]
    return [value for value in closed if hasattr(value, "eqns")]
