"""How products of integers apply a weight, and where the floating-point numbers around them are.

A low-rank path reads the numbers that the product's other factor stands for, and what it computes
is added to the numbers that the product stands for. Where a QuantizeLinear, or its like, made the
factor, the path reads what that read; where a DequantizeLinear, or a Cast and a Mul by both scales,
alone reads the product, the update is added after it. Where neighbours are quantized, too, the path
gets a DequantizeLinear of its own, and the sum a QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import ml_dtypes
import numpy as np

from onnxla import ir
from onnxla.edit.applications import Application, Refusal
from onnxla.edit.quantization import MICROSOFT, is_dequantizing
from onnxla.edit.scopes import Surrounding
from onnxla.edit.views import DTYPES, Shape, View, find_view
from onnxla.ir.traverse import is_standard
from onnxla.parameters.sources import Producer, Source, is_constant

# What multiplies by weights of a few bits, packed into bytes in a shape of their own.
PACKED = ((MICROSOFT, "MatMulNBits"), (MICROSOFT, "MatMulBnb4"))
# By domain and operator: the positions of both factors, of which one may be the weight.
FACTORS = {
    ("", "MatMulInteger"): (0, 1),
    ("", "ConvInteger"): (0, 1),
    ("", "QLinearMatMul"): (0, 3),
    ("", "QLinearConv"): (0, 3),
    (MICROSOFT, "QLinearConv"): (0, 3),
    (MICROSOFT, "QGemm"): (0, 3),
    (MICROSOFT, "MatMulIntegerToFloat"): (0, 1),
    (MICROSOFT, "DynamicQuantizeMatMul"): (0, 1),
    **{packed: (0, 1) for packed in PACKED},
}

Sources: TypeAlias = Mapping[ir.Node, Sequence[Source]]


@dataclass(frozen=True)
class IntegerProduct:
    """A node that multiplies integers, one factor of which is a weight.

    Attributes:
        sources: Where the operands of each node come from.
        scope: The graph that it stands in.
    """

    node: ir.Node
    index: int
    sources: Sources
    scope: Surrounding

    @property
    def operands(self) -> Sequence[Source]:
        """Where the node's operands come from."""
        return self.sources[self.node]

    @property
    def x_index(self) -> int:
        """Position of the other factor."""
        first, second = FACTORS[self.node.domain, self.node.op_type]
        return first + second - self.index

    @property
    def x(self) -> str:
        """Name of the other factor."""
        return self.node.inputs[self.x_index]

    def given(self, index: int) -> str:
        """Name of an input; empty if it is not given."""
        return self.node.inputs[index] if index < len(self.node.inputs) else ""

    def grid(self, index: int) -> tuple[str, ...]:
        """Scale and, if it is given, zero point at a position and the next one."""
        return tuple(filter(None, (self.given(index), self.given(index + 1))))

    def application(self) -> Application:
        """How the node applies the weight. Raises: Refusal if no path can be put beside it."""
        view, convolves = find_view(self.operands[self.index]), "Conv" in self.node.op_type
        if view is None:
            raise Refusal(f"{self.node} sees the weight in a shape that is computed")
        if is_constant(self.operands[self.x_index]):
            raise Refusal(f"both factors of {self.node} are constant")
        if convolves and self.index == FACTORS[self.node.domain, self.node.op_type][0]:
            raise Refusal(f"{self.node} convolves it, beside which no low-rank path can be put")
        if self.node.attributes.get("channels_last"):
            raise Refusal(f"{self.node} has the channels last; adapt the model that it was made of")
        if (self.node.domain, self.node.op_type) in PACKED and self.index == 1:
            return self.of_packed(Application(self.node, view, "right", self.x))
        if not convolves and len(view.shape) < 2:
            raise Refusal(f"{self.node} multiplies by a vector, which has no factors")
        left = self.index == 0
        form: Literal["left", "right", "convolution"] = "left" if left else "right"
        group = cast(int, self.node.attributes.get("group", 1))
        view = replace(view, quantized=True)
        found = Application(
            self.node,
            view,
            "convolution" if convolves else form,
            self.x,
            transposed=left and not convolves,
            group=group,
        )
        match self.node.op_type:
            case "MatMulInteger" | "ConvInteger":
                return self.scaled_later(found)
            case "QLinearMatMul" | "QLinearConv":
                return self.requantized(self.dequantized(found, self.x_index + 1), 6)
            case "QGemm":
                return self.of_gemm(found)
        if left:
            raise Refusal(f"{self.node} has it on the left, beside which no path can be put")
        if self.node.op_type == "MatMulIntegerToFloat":
            return self.dequantized(found, 2, 4)
        return replace(found, view=replace(found.view, dtype=self.dtype_at(2)))

    def dtype_at(self, index: int) -> np.dtype:
        """The dtype of the scale at a position."""
        view = find_view(self.operands[index]) if index < len(self.operands) else None
        if view is None or view.dtype.name not in DTYPES:
            raise Refusal(f"the scales of {self.node} are computed")
        return view.dtype

    def of_packed(self, found: Application) -> Application:
        """That of a weight whose matrix is packed into bytes."""
        if self.node.op_type == "MatMulBnb4" and not self.node.attributes.get("transB", 1):
            raise Refusal(f"{self.node} has transB=0, which its runtimes do not agree on")
        shape = cast(Shape, (self.node.attributes["K"], self.node.attributes["N"]))
        view = View(found.view.tensor, shape, self.dtype_at(2), (), quantized=True)
        return replace(found, view=view)

    def of_gemm(self, found: Application) -> Application:
        """That of a QGemm."""
        attributes = self.node.attributes
        transposes = [bool(attributes.get(name, 0)) for name in ("transA", "transB")]
        if self.index == 0:
            transposes.reverse()
        found = replace(
            self.dequantized(found, self.x_index + 1),
            transposed=transposes[1] ^ (self.index == 0),
            transpose_x=transposes[0],
            factor=float(cast(float, attributes.get("alpha", 1.0))),
        )
        return self.requantized(found, 7) if self.given(7) else found

    def dequantized(
        self, found: Application, scale: int, zero_point: int | None = None
    ) -> Application:
        """The application with the floating-point numbers that the other factor stands for.

        Args:
            found: The application.
            scale: Position of that factor's scale.
            zero_point: Position of its zero point, by default the next one.
        """
        after = scale + 1 if zero_point is None else zero_point
        grid = tuple(filter(None, (self.given(scale), self.given(after))))
        maker = self.scope.maker(self.x)
        if maker is not None and is_quantizing(maker) and maker.outputs[0] == self.x:
            before = (
                maker.outputs[1:3]
                if is_standard(maker, "DynamicQuantizeLinear")
                else tuple(filter(None, maker.inputs[1:3]))
            )
            if before == grid:
                found = replace(found, x=maker.inputs[0])
                dtype = np.dtype(np.float32)
                if not is_standard(maker, "DynamicQuantizeLinear"):
                    dtype = self.dtype_at(scale)
                return replace(found, view=replace(found.view, dtype=dtype))
        self.require_one_scale(scale)
        dtype = self.dtype_at(scale)
        return replace(found, view=replace(found.view, dtype=dtype), x_grid=grid)

    def require_one_scale(self, index: int) -> None:
        """Raises Refusal unless the scale at a position is one number."""
        view = find_view(self.operands[index])
        if view is None or np.prod(view.shape, dtype=int) != 1:
            raise Refusal(f"{self.node} has several scales, or computes them, of what it reads")

    def requantized(self, found: Application, scale: int) -> Application:
        """The application with where its result becomes floating point, if it does."""
        if self.dtype_at(scale) != found.view.dtype:
            raise Refusal(f"{self.node} reads one floating-point type and makes another")
        reader = self.scope.only_reader(self.node.outputs[0])
        after = reader is not None and is_dequantizing(reader) and not self.cuts_off(scale + 1)
        if reader and after and tuple(filter(None, reader.inputs[1:3])) == self.grid(scale):
            return replace(found, scaled=reader)
        if self.node.op_type == "QGemm":
            raise Refusal(
                f"{self.node} quantizes its result, which other than one node dequantizes"
            )
        self.require_one_scale(scale)
        self.require_one_scale(self.x_index + 1)
        if self.index == 0:
            self.require_one_scale(1)
        if "Conv" in self.node.op_type:
            self.require_one_zero_point(self.index + 2)
        return replace(found, requantized=True)

    def cuts_off(self, index: int) -> bool:
        """Whether a zero point is a limit, so that quantizing does what a Relu would.

        True, too, if it is no constant.
        """
        tensor = self.operands[index]
        if not isinstance(tensor, ir.Tensor):
            return True
        limits = ml_dtypes.iinfo(tensor.dtype)
        return bool(np.isin(tensor.numpy(), (limits.min, limits.max)).any())

    def require_one_zero_point(self, index: int) -> None:
        """Raises Refusal unless all kernels have the same zero point."""
        tensor = self.operands[index]
        if not isinstance(tensor, ir.Tensor) or np.unique(tensor.numpy()).size != 1:
            raise Refusal(f"{self.node} has kernels with different zero points")

    def scaled_later(self, found: Application) -> Application:
        """That of a product in int32, which a Cast, and a Mul by both scales, make floating."""
        maker = self.scope.maker(self.x)
        if maker is None or not is_quantizing(maker) or maker.outputs[0] != self.x:
            raise Refusal(f"{self.node} reads integers that no quantizing node makes just before")
        dynamic = is_standard(maker, "DynamicQuantizeLinear")
        scale, zero_point = (*(maker.outputs[1:3] if dynamic else maker.inputs[1:3]), "")[:2]
        if self.given(2 + self.x_index) != zero_point:
            raise Refusal(f"{self.node} subtracts another zero point than {maker} adds")
        last, dtype = self.scaling(scale)
        if dynamic and dtype != np.float32:
            raise Refusal(f"{last} makes {dtype} of what was float32")
        return replace(found, x=maker.inputs[0], view=replace(found.view, dtype=dtype), scaled=last)

    def scaling(self, x_scale: str) -> tuple[ir.Node, np.dtype]:
        """The Mul after which the product is multiplied by both scales, and its dtype."""
        cast_ = self.scope.only_reader(self.node.outputs[0])
        dtype = None
        if cast_ is not None and is_standard(cast_, "Cast"):
            dtype = ir.dtype_of(cast(int, cast_.attributes["to"]))
        by_x = by_weight = False
        last = cast_
        while last is not None and dtype is not None and dtype.name in DTYPES:
            value = last.outputs[0]
            last = self.scope.only_reader(value)
            if last is None or not is_standard(last, "Mul"):
                break
            for name, source in self.factors(last, value):
                by_x |= name == x_scale
                by_weight |= name != x_scale and is_constant(source)
            if by_x and by_weight:
                return last, dtype
        raise Refusal(f"the product of {self.node} is not scaled by a Cast and a Mul of its own")

    def factors(self, node: ir.Node, value: str) -> list[tuple[str, Source]]:
        """What a Mul multiplies a value by: a factor, or those that another Mul multiplies."""
        index = 1 - node.inputs.index(value)
        source = self.sources[node][index]
        if isinstance(source, Producer) and is_standard(source.node, "Mul"):
            return list(zip(source.node.inputs, source.operands, strict=False))
        return [(node.inputs[index], source)]


def multiplies_integers(node: ir.Node, index: int) -> bool:
    """Whether a node's operand is a factor of a product of integers, or of packed weights."""
    return index in FACTORS.get((node.domain, node.op_type), ())


def is_quantizing(node: ir.Node) -> bool:
    """Whether a node is a QuantizeLinear, of either domain, or a DynamicQuantizeLinear."""
    return is_standard(node, "DynamicQuantizeLinear") or (
        node.op_type == "QuantizeLinear" and node.domain in ("", MICROSOFT)
    )


def dequantized_rows(
    node: ir.Node, view: View, sources: Sources, scope: Surrounding
) -> Application:
    """How a Gather looks up rows of integers, of which a DequantizeLinear makes numbers.

    Raises:
        Refusal: Something else, or nothing, does.
    """
    reader = scope.only_reader(node.outputs[0])
    if reader is None or not is_dequantizing(reader):
        raise Refusal(f"{node} looks up integers that no DequantizeLinear alone reads")
    scale = find_view(sources[reader][1])
    if scale is None or scale.dtype.name not in DTYPES:
        raise Refusal(f"the scales of {reader} are computed")
    view = replace(view, dtype=scale.dtype, quantized=True)
    return Application(node, view, "rows", node.inputs[1], scaled=reader)
