"""Where constant tensors are used: the operands that they feed, each by its node and position."""

from __future__ import annotations

from dataclasses import dataclass

from onnxla.ir.model import Node, Tensor


@dataclass(frozen=True)
class Use:
    """A use of a constant tensor that is, or should be, one of a tensor of its own.

    Attributes:
        tensor: What it is in the file.
        places: Where it enters: nodes, calls of functions among them, and positions there.
        name: A name for a tensor of its own.
    """

    tensor: Tensor
    places: tuple[tuple[Node, int], ...]
    name: str
