"""Which weights of a model a low-rank update can be put beside, and how nodes use them.

A weight may reach its operator through others that only rearrange or convert it. What the operator
sees is a *view* of the weight; an update of the view is undone step by step to update the weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import numpy as np

from onnxla import ir
from onnxla.ir.traverse import all_nodes
from onnxla.ops.table import lookup
from onnxla.parameters.roles import analyze, named_constants
from onnxla.parameters.walk import Producer, Source

MICROSOFT = "com.microsoft"
RESHAPING = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten"})
VIEWING = RESHAPING | {"Identity", "Transpose", "Cast", "QuantizeLinear", "DequantizeLinear"}

# In which adapters can be, with their names in safetensors.
DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

Shape: TypeAlias = tuple[int, ...]
Step: TypeAlias = tuple[Literal["transpose", "reshape"], Shape]


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
    steps: tuple[Step, ...]
    quantized: bool


@dataclass(frozen=True)
class Use:
    """A node that computes x @ M (`right`), M' @ x (`left`), rows x of M, or a convolution of x.

    M [..., K, N] is the view of a weight, with the last two axes swapped if `transposed`.

    Attributes:
        x: Name of the operand that the weight is applied to.
        transpose_x: Whether the node swaps the axes of x first.
        factor: What the node multiplies the product by.
        group: The convolution's number of groups.
    """

    node: ir.Node
    view: View
    form: Literal["right", "left", "rows", "convolution"]
    x: str
    transposed: bool = False
    transpose_x: bool = False
    factor: float = 1.0
    group: int = 1


@dataclass(frozen=True)
class Target:
    """A weight that a low-rank update can be put beside.

    The update is shared by all nodes that use the weight. It is made of two factors, A and B: of a
    matrix M [..., K, N] it is A [..., K, R] @ B [..., R, N]; of a convolution's kernels
    [M, C / group, ...] it is, group by group, B [M, R, 1, ...] times A [group * R, C / group, ...].

    Attributes:
        name: The weight's name among the constant tensors of the model.
        uses: All nodes that use it; the first decides what M is.
    """

    name: str
    uses: tuple[Use, ...]

    @property
    def view(self) -> View:
        """The weight as its first user sees it."""
        return self.uses[0].view

    @property
    def shape(self) -> Shape:
        """Shape of M, or of the kernels."""
        shape = self.view.shape
        return swapped(shape) if self.uses[0].transposed else shape

    def factor_shapes(self, rank: int) -> tuple[Shape, Shape]:
        """Shapes of A and B."""
        shape, use = self.shape, self.uses[0]
        if use.form == "convolution":
            ones = (1,) * (len(shape) - 2)
            return (use.group * rank, *shape[1:]), (shape[0], rank, *ones)
        *batch, rows, columns = shape
        return (*batch, rows, rank), (*batch, rank, columns)

    def rank(self, shape: Shape) -> int:
        """The rank of an update whose factor A has a shape."""
        use = self.uses[0]
        return shape[0] // use.group if use.form == "convolution" else shape[-1]

    def saves(self, rank: int) -> bool:
        """Whether the factors are smaller than the weight."""
        return sum(map(math.prod, self.factor_shapes(rank))) < math.prod(self.shape)

    def update(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """What is added to the weight: the product of the factors, in the weight's own shape."""
        use = self.uses[0]
        if use.form == "convolution":
            a, b = (x.reshape(use.group, x.shape[0] // use.group, -1) for x in (a, b))
            update: np.ndarray = (b @ a).reshape(self.shape)
        else:
            update = a @ b
            update = np.swapaxes(update, -1, -2) if use.transposed else update
        for kind, how in reversed(use.view.steps):
            update = (
                update.transpose(np.argsort(how)) if kind == "transpose" else update.reshape(how)
            )
        return update


def find_targets(model: ir.Model) -> dict[str, Target | str]:
    """For each constant tensor that is used: how to adapt it, or why it cannot be adapted."""
    analysis = analyze(model)
    functions = {(f.domain, f.name, f.overload) for f in model.functions}
    outside = {node for node, _ in all_nodes(replace(model, functions=()))}
    uses: dict[ir.Tensor, list[Use | str]] = {}
    for node, operands in analysis.operands.items():
        for index, source in enumerate(operands):
            tensor = origin(source)
            if tensor is None or (index == 0 and node.op_type in VIEWING):
                continue
            use: Use | str = f"{node} is, or is in, a model-local function; inline it first"
            if node in outside and (node.domain, node.op_type, node.overload) not in functions:
                use = find_use(node, index, operands, model.opsets)
            uses.setdefault(tensor, []).append(use)
    names = {tensor: name for name, tensor in named_constants(model).items()}
    return {name: target(name, uses[t]) for t, name in names.items() if t in uses}


def target(name: str, uses: Sequence[Use | str]) -> Target | str:
    """A target, if all uses of a weight can share an update."""
    for use in uses:
        if isinstance(use, str):
            return use
    same = cast("Sequence[Use]", uses)
    kinds = {(u.form == "convolution", u.group, u.view.steps, u.view.dtype) for u in same}
    if len(kinds) > 1:
        return f"it is used in different ways by {' and by '.join(str(u.node) for u in same[:2])}"
    return Target(name, tuple(same))


def find_use(
    node: ir.Node, index: int, operands: Sequence[Source], opsets: Mapping[str, int]
) -> Use | str:
    """How a node uses the weight that its operand `index` is a view of, or why that is no use."""
    attributes = node.attributes
    view = find_view(operands[index], opsets)
    if view is None:
        return f"{node} sees the weight in a shape that is computed"
    if node.op_type in ("MatMul", "Gemm") and origin(operands[1 - min(index, 1)]) is not None:
        return f"both factors of {node} are constant"
    if node.domain == "" and view.dtype.name not in DTYPES:
        return f"{node} computes in {view.dtype}"
    transposes = [bool(attributes.get(name, 0)) for name in ("transA", "transB")]
    match node.domain, node.op_type, index:
        case "", "MatMul", 0 | 1 if len(view.shape) >= 2:
            use = Use(node, view, ("left", "right")[index], node.inputs[1 - index], index == 0)
        case "", "Gemm", 0 | 1:
            use = Use(
                node,
                view,
                ("left", "right")[index],
                node.inputs[1 - index],
                transposed=transposes[index] ^ (index == 0),
                transpose_x=transposes[1 - index],
                factor=float(cast(float, attributes.get("alpha", 1.0))),
            )
        case "", "Gather", 0 if len(view.shape) == 2 and attributes.get("axis", 0) in (0, -2):
            use = Use(node, view, "rows", node.inputs[1])
        case "", "Conv", 1:
            group = cast(int, attributes.get("group", 1))
            return Use(node, view, "convolution", node.inputs[0], group=group)
        case "com.microsoft", "MatMulNBits", 1:
            scales = find_view(operands[2], opsets)
            if scales is None:
                return f"the scales of {node} are computed"
            shape = cast(Shape, (attributes["K"], attributes["N"]))
            view = View(view.tensor, shape, scales.dtype, (), quantized=True)
            return Use(node, view, "right", node.inputs[0])
        case _:
            return f"{node} uses it, beside which no low-rank path can be put"
    # A final transpose is the same as M transposed, which weights that are tied differ in.
    steps, transposed = view.steps, use.transposed
    while steps and steps[-1] == ("transpose", swapped(range(len(view.shape)))):
        steps, transposed = steps[:-1], not transposed
    shape = swapped(view.shape) if transposed != use.transposed else view.shape
    return replace(use, view=replace(view, shape=shape, steps=steps), transposed=transposed)


def swapped(axes: Sequence[int]) -> Shape:
    """A shape or permutation with the last two entries swapped."""
    *others, a, b = axes
    return (*others, b, a)


def origin(source: Source) -> ir.Tensor | None:
    """The constant tensor that a value is a view of, if any."""
    while isinstance(source, Producer) and source.node.op_type in VIEWING:
        source = source.operands[0]
    return source if isinstance(source, ir.Tensor) else None


def find_view(source: Source, opsets: Mapping[str, int]) -> View | None:
    """What a value shows of a constant tensor; None if the shape is computed, too."""
    if isinstance(source, ir.Tensor):
        quantized = not ir.is_float(source.dtype)
        return View(source, source.shape, source.dtype, (), quantized)
    if not isinstance(source, Producer):
        return None
    node, operands = source.node, source.operands
    view = find_view(operands[0], opsets) if node.op_type in VIEWING else None
    if view is None:
        return None
    match node.op_type:
        case "Identity":
            return view
        case "Cast":
            return replace(view, dtype=ir.dtype_of(cast(int, node.attributes["to"])))
        case "QuantizeLinear" | "DequantizeLinear":
            scale = find_view(operands[1], opsets)
            if scale is None:
                return None
            stated = cast(int, node.attributes.get("output_dtype", 0))
            dtype = ir.dtype_of(stated) if stated else scale.dtype
            return replace(view, dtype=dtype, quantized=True)
        case "Transpose":
            perm = cast(Shape, node.attributes.get("perm") or (*range(len(view.shape)),)[::-1])
            shape = tuple(view.shape[axis] for axis in perm)
            return replace(view, shape=shape, steps=(*view.steps, ("transpose", perm)))
    if not all(operand is None or isinstance(operand, ir.Tensor) for operand in operands[1:]):
        return None
    operator = lookup(node.domain, node.op_type, opsets.get(node.domain, 1))
    assert operator is not None
    others = [o.numpy() if isinstance(o, ir.Tensor) else None for o in operands[1:]]
    # Without the data: one element, as often as the shape needs.
    shaped = np.broadcast_to(np.int8(0), view.shape)
    shape = operator.function(shaped, *others, **node.attributes).shape
    return replace(view, shape=shape, steps=(*view.steps, ("reshape", view.shape)))
