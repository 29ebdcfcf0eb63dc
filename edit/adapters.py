"""What an adapter is in a model: its factors, and what names them and its nodes.

Its factors are initializers in the role `adapter`; nodes and initializers say in their metadata
which weight they adapt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onnxla import ir
from onnxla.edit.applications import AdaptableWeight
from onnxla.ir.names import quoted
from onnxla.parameters.roles import ROLE

ADAPTS = "onnxla.adapts"  # metadata of nodes and tensors: the name of the weight they adapt
BASE = ".lora_base"  # after the name of a result: what it is without the update
REPLACES = "onnxla.replaces"  # metadata of a node that does not read that: its name
PART = "onnxla.part"  # metadata of tensors: A, B or scale


@dataclass(frozen=True)
class Adapter:
    """What is added to a weight: `scale` times the product of the factors `a` and `b`."""

    a: ir.Tensor
    b: ir.Tensor
    scale: ir.Tensor | None = None  # 1

    @property
    def tensors(self) -> list[ir.Tensor]:
        """The tensors of the adapter."""
        return [self.a, self.b, *([self.scale] if self.scale else [])]


def find_adapters(model: ir.Model) -> dict[str, Adapter]:
    """The adapters of a model, by the name of the weight. Raises: ModelError if one is cut up."""
    parts: dict[str, dict[str, ir.Tensor]] = {}
    for tensor in model.graph.initializers:
        if isinstance(tensor, ir.Tensor) and ADAPTS in tensor.metadata:
            name = tensor.metadata[ADAPTS]
            parts.setdefault(name, {})[tensor.metadata.get(PART, "")] = tensor
    for name, found in parts.items():
        if not {"A", "B"} <= found.keys() <= {"A", "B", "scale"}:
            raise ir.ModelError(
                f"the adapter of {quoted(name)} consists of {sorted(found)}, not A and B"
            )
    return {n: Adapter(found["A"], found["B"], found.get("scale")) for n, found in parts.items()}


def initial(weight: AdaptableWeight, rank: int, alpha: float, rng: np.random.Generator) -> Adapter:
    """An adapter whose product is zero: one factor is normal with variance 1 / fan-in, one is zero.

    The paper has the factor normal that is applied first. In an embedding it is the second one, so
    that rows which are never looked up in training stay as they are.
    """
    shapes = dict(zip("AB", weight.factor_shapes(rank), strict=True))
    form = weight.applications[0].form
    drawn = "B" if form == "rows" else "A"
    fan_in = math.prod(shapes["A"][1:]) if form == "convolution" else shapes[drawn][-2]
    factors = {part: np.zeros(shape) for part, shape in shapes.items()}
    factors[drawn] = rng.normal(0, fan_in**-0.5, shapes[drawn])
    dtype = weight.view.dtype
    return make_adapter(weight, *(factors[part].astype(dtype) for part in "AB"), scale=alpha / rank)


def make_adapter(weight: AdaptableWeight, *factors: np.ndarray, scale: float) -> Adapter:
    """An adapter of a weight with the factors A and B, its tensors named after it."""

    def tensor(part: str, data: np.ndarray, role: str) -> ir.Tensor:
        metadata = {ROLE: role, ADAPTS: weight.name, PART: part}
        return ir.Tensor.of(f"{weight.name}.lora_{part}", data, metadata)

    a, b = (tensor(*part, "adapter") for part in zip("AB", factors, strict=True))
    scaling = tensor("scale", np.asarray(scale).astype(weight.view.dtype), "constant")
    return Adapter(a, b, None if scale == 1 else scaling)
