"""Which weights of a model a low-rank update can be put beside, and how nodes use them.

A weight may reach its operator through others that only rearrange or convert it. What the operator
sees is a *view* of the weight; an update of the view is undone step by step to update the weight.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import numpy as np

from onnxla import ir
from onnxla.ir.traverse import all_nodes, is_standard
from onnxla.ops.table import Operator, lookup
from onnxla.parameters.learned import ELEMENTWISE_ROLES
from onnxla.parameters.roles import analyze, named_constants
from onnxla.parameters.sources import Producer, Source

# In which adapters can be, with their names in safetensors.
DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

Shape: TypeAlias = tuple[int, ...]
ViewStep: TypeAlias = tuple[Literal["transpose", "reshape"], Shape]


@dataclass(frozen=True)
class View:
    """A constant tensor as an operator sees it.

    Attributes:
        steps: How its elements were rearranged, in order: `transpose` with the permutation, or
            `reshape` with the shape before.
        quantized: Whether its numbers are those of a quantized tensor.
    """

    tensor: ir.Tensor
    shape: Shape
    dtype: np.dtype
    steps: tuple[ViewStep, ...]
    quantized: bool


@dataclass(frozen=True)
class Application:
    """A node that computes x @ M (`right`), M' @ x (`left`), rows x of M, or a convolution of x.

    Or anything else that is `linear` in a weight, of which then M is what `matrix` makes.
    M [..., K, N] is the view of a weight, with the last two axes swapped if `transposed`.

    Attributes:
        x: Name of the operand that the weight is applied to; of `linear`, of the weight itself.
        transpose_x: Whether the node swaps the axes of x first.
        factor: What the node multiplies the product by.
        group: The convolution's number of groups.
        matrix: How the operand's elements are rearranged to M.
        left_out: Inputs of the node that are added to what is linear in the weight.
    """

    node: ir.Node
    view: View
    form: Literal["right", "left", "rows", "convolution", "linear"]
    x: str
    transposed: bool = False
    transpose_x: bool = False
    factor: float = 1.0
    group: int = 1
    matrix: tuple[ViewStep, ...] = ()
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class AdaptableWeight:
    """A weight that a low-rank update can be put beside.

    The update is shared by all nodes that use the weight. It is made of two factors, A and B: of a
    matrix M [..., K, N] it is A [..., K, R] @ B [..., R, N]; of a convolution's kernels
    [M, C / group, ...] it is, group by group, B [M, R, 1, ...] times A [group * R, C / group, ...].

    Attributes:
        name: The weight's name among the constant tensors of the model.
        applications: All nodes that use it; the first decides what M is.
    """

    name: str
    applications: tuple[Application, ...]

    @property
    def view(self) -> View:
        """The weight as its first user sees it."""
        return self.applications[0].view

    @property
    def shape(self) -> Shape:
        """Shape of M, or of the kernels."""
        shape = self.view.shape
        return swapped(shape) if self.applications[0].transposed else shape

    def factor_shapes(self, rank: int) -> tuple[Shape, Shape]:
        """Shapes of A and B."""
        shape, first = self.shape, self.applications[0]
        if first.form == "convolution":
            ones = (1,) * (len(shape) - 2)
            return (first.group * rank, *shape[1:]), (shape[0], rank, *ones)
        *batch, rows, columns = shape
        return (*batch, rows, rank), (*batch, rank, columns)

    def rank(self, shape: Shape) -> int:
        """The rank of an update whose factor A has a shape."""
        first = self.applications[0]
        return shape[0] // first.group if first.form == "convolution" else shape[-1]

    def saves(self, rank: int) -> bool:
        """Whether the factors are smaller than the weight."""
        return sum(map(math.prod, self.factor_shapes(rank))) < math.prod(self.shape)

    def update(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """What is added to the weight: the product of the factors, in the weight's own shape."""
        first = self.applications[0]
        if first.form == "convolution":
            a, b = (x.reshape(first.group, x.shape[0] // first.group, -1) for x in (a, b))
            update: np.ndarray = (b @ a).reshape(self.shape)
        else:
            update = a @ b
            update = np.swapaxes(update, -1, -2) if first.transposed else update
        for kind, how in undone(first.view.steps):
            update = update.transpose(how) if kind == "transpose" else update.reshape(how)
        return update


def undone(steps: Sequence[ViewStep]) -> list[ViewStep]:
    """What brings elements back to where they were before some steps."""
    return [
        (kind, tuple(map(int, np.argsort(how))) if kind == "transpose" else how)
        for kind, how in reversed(steps)
    ]


def find_adaptable(model: ir.Model) -> dict[str, AdaptableWeight | str]:
    """For each constant tensor that is used: how to adapt it, or why it cannot be adapted."""
    analysis = analyze(model)
    functions = {function.key for function in model.functions}
    opsets = dict(all_nodes(model))
    outside = {node for node, _ in all_nodes(replace(model, functions=()))}
    found: dict[ir.Tensor, list[Application | str]] = {}
    for node, operands in analysis.operands.items():
        calls = (node.domain, node.op_type, node.overload) in functions
        version = opsets[node].get(node.domain, 1)
        operator = None if calls else lookup(node.domain, node.op_type, version)
        for index, source in enumerate(operands):
            tensor = origin(source)
            if tensor is None or (index == 0 and is_viewing(operator)):
                continue
            application: Application | str
            application = f"{node} is, or is in, a model-local function; inline it first"
            if node in outside and not calls:
                application = find_application(node, operator, index, operands)
            found.setdefault(tensor, []).append(application)
    names = {tensor: name for name, tensor in named_constants(model).items()}
    return {name: adaptable(name, found[t]) for t, name in names.items() if t in found}


def adaptable(name: str, found: Sequence[Application | str]) -> AdaptableWeight | str:
    """A weight of which all applications can share an update, or why they cannot."""
    for application in found:
        if isinstance(application, str):
            return application
    same = cast("Sequence[Application]", found)
    kinds = {(a.form == "convolution", a.group, a.view.steps, a.view.dtype) for a in same}
    if len(kinds) > 1:
        return f"it is used in different ways by {' and by '.join(str(a.node) for a in same[:2])}"
    return AdaptableWeight(name, tuple(same))


def find_application(
    node: ir.Node, operator: Operator | None, index: int, operands: Sequence[Source]
) -> Application | str:
    """How a node applies the weight that its operand `index` shows, or why no update fits it."""
    attributes = node.attributes
    view = find_view(operands[index])
    if view is None:
        return f"{node} sees the weight in a shape that is computed"
    if is_standard(node, "MatMul", "Gemm") and origin(operands[1 - min(index, 1)]) is not None:
        return f"both factors of {node} are constant"
    if node.domain == "" and view.dtype.name not in DTYPES:
        return f"{node} computes in {view.dtype}"
    transposes = [bool(attributes.get(name, 0)) for name in ("transA", "transB")]
    match node.domain, node.op_type, index:
        case "", "MatMul", 0 | 1 if len(view.shape) >= 2:
            form: Literal["left", "right"] = "right" if index else "left"
            found = Application(node, view, form, node.inputs[1 - index], index == 0)
        case "", "Gemm", 0 | 1:
            found = Application(
                node,
                view,
                "right" if index else "left",
                node.inputs[1 - index],
                transposed=transposes[index] ^ (index == 0),
                transpose_x=transposes[1 - index],
                factor=float(cast(float, attributes.get("alpha", 1.0))),
            )
        case "", "Gather", 0 if len(view.shape) == 2 and attributes.get("axis", 0) in (0, -2):
            found = Application(node, view, "rows", node.inputs[1])
        case "", "Conv", 1:
            group = cast(int, attributes.get("group", 1))
            return Application(node, view, "convolution", node.inputs[0], group=group)
        case "com.microsoft", "MatMulNBits", 1:
            scales = find_view(operands[2])
            if scales is None:
                return f"the scales of {node} are computed"
            shape = cast(Shape, (attributes["K"], attributes["N"]))
            view = View(view.tensor, shape, scales.dtype, (), quantized=True)
            return Application(node, view, "right", node.inputs[0])
        case _:
            linear = find_linear(node, operator, index, view)
            if linear is None:
                return f"{node} uses it, beside which no low-rank path can be put"
            found = linear
    # A final transpose is the same as M transposed, which weights that are tied differ in.
    view, steps, transposed = found.view, found.view.steps, found.transposed
    while steps and steps[-1] == ("transpose", swapped(range(len(view.shape)))):
        steps, transposed = steps[:-1], not transposed
    shape = swapped(view.shape) if transposed != found.transposed else view.shape
    return replace(found, view=replace(view, shape=shape, steps=steps), transposed=transposed)


def find_linear(
    node: ir.Node, operator: Operator | None, index: int, view: View
) -> Application | None:
    """How a node applies a weight in which it is linear, as a matrix of [the rest, channels]."""
    if operator is None or not operator.linear or len(list(filter(None, node.outputs))) != 1:
        return None
    operand, order = operator.input_name(index), (*range(len(view.shape)),)
    axis = operator.channel_axis(operand, node.attributes)
    if axis is None or not -len(order) <= axis < len(order) or len(order) < 2:
        return None
    left_out = {n for n, role in operator.roles.items() if role in ("bias", *ELEMENTWISE_ROLES)}
    twice = node.inputs.count(node.inputs[index]) > 1
    if operator.roles.get(operand) != "weight" or twice or left_out & operator.present:
        return None
    if view.dtype.name not in DTYPES:
        return None
    perm = (*(i for i in order if i != order[axis]), order[axis])
    moved = tuple(view.shape[i] for i in perm)
    shape = (math.prod(moved[:-1]), moved[-1])
    steps: tuple[ViewStep, ViewStep] = (("transpose", perm), ("reshape", moved))
    matrix = tuple(itertools.compress(steps, (perm != order, shape != moved)))
    names = zip(map(operator.input_name, range(len(node.inputs))), node.inputs, strict=True)
    return Application(
        node,
        replace(view, shape=shape, steps=(*view.steps, *matrix)),
        "linear",
        node.inputs[index],
        matrix=matrix,
        left_out=frozenset(given for name, given in names if name in left_out),
    )


def swapped(axes: Sequence[int]) -> Shape:
    """A shape or permutation with the last two entries swapped."""
    *others, a, b = axes
    return (*others, b, a)


def is_viewing(operator: Operator | None) -> bool:
    """Whether an operator shows its first operand, rearranged or converted as a whole."""
    return operator is not None and (
        operator.converts or operator.moves in ("reshaped", "permuted")
    )


def origin(source: Source) -> ir.Tensor | None:
    """The constant tensor that a value is a view of, if any."""
    while isinstance(source, Producer) and is_viewing(source.operator):
        source = source.operands[0]
    return source if isinstance(source, ir.Tensor) else None


def find_view(source: Source) -> View | None:
    """What a value shows of a constant tensor; None if the shape or the dtype is computed, too."""
    if isinstance(source, ir.Tensor):
        quantized = not ir.is_float(source.dtype)
        return View(source, source.shape, source.dtype, (), quantized)
    if not isinstance(source, Producer) or not is_viewing(source.operator):
        return None
    view = find_view(source.operands[0])
    if view is None or source.operator is None:
        return None
    if source.operator.converts:
        dtype, roles = converted_dtype(source), source.operator.roles.values()
        quantized = view.quantized or "quantization_scale" in roles
        return None if dtype is None else replace(view, dtype=dtype, quantized=quantized)
    if source.operator.moves == "permuted":
        if not is_standard(source.node, "Transpose"):
            return None  # how it permutes only its function knows
        axes = (*range(len(view.shape)),)[::-1]
        perm = cast(Shape, source.node.attributes.get("perm") or axes)
        shape = tuple(view.shape[axis] for axis in perm)
        return replace(view, shape=shape, steps=(*view.steps, ("transpose", perm)))
    return reshaped(view, source, source.operator)


def converted_dtype(producer: Producer) -> np.dtype | None:
    """The dtype that a converting node states, or that of its second operand."""
    attributes, (_, *others) = producer.node.attributes, producer.operands
    stated = attributes.get("to") or attributes.get("output_dtype")
    if isinstance(stated, int):
        return ir.dtype_of(stated)
    other = find_view(others[0]) if others else None
    return None if other is None else other.dtype


def reshaped(view: View, producer: Producer, operator: Operator) -> View | None:
    """The view with the shape that a reshaping node gives it, if constants decide it."""
    others = producer.operands[1:]
    if not all(operand is None or isinstance(operand, ir.Tensor) for operand in others):
        return None
    known = [o.numpy() if isinstance(o, ir.Tensor) else None for o in others]
    # Without the data: one element, as often as the shape needs.
    shaped = np.broadcast_to(np.int8(0), view.shape)
    shape = operator.function(shaped, *known, **producer.node.attributes).shape
    if shape == view.shape:
        return view
    return replace(view, shape=shape, steps=(*view.steps, ("reshape", view.shape)))
