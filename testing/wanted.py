"""Which of all valid cases are wanted: options for runtimes that have limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import onnx

from onnxla.testing.case import Case

# An opset version, or the first and the last of several.
Opset = int | tuple[int, int] | None


@dataclass(frozen=True)
class Wanted:
    """The options of `cases`, each of which has what is most general as its default.

    A strategy is steered to what is wanted, and what it draws otherwise is not used.

    Attributes:
        opset: An opset version, so that the schema is the newest one not above it; or the first and
            last of a range, so that it is one that holds somewhere in it. By default any. A model
            imports the version in which its schema came.
        dtypes: Dtypes of the operands, where the schema allows one of them.
        specials: Whether NaN, infinities and the extremes of integers occur among the inputs.
        empty: Whether operands, and outputs as far as ONNX infers them, may have no elements.
        scalars: Whether operands may have no axes.
        operands: Whether these are inputs of the model (`fed`), initializers (`stored`, where they
            are tensors), or either.
    """

    opset: Opset = None
    dtypes: tuple[np.dtype[Any], ...] | None = None
    specials: bool = False
    empty: bool = True
    scalars: bool = True
    operands: Literal["any", "fed", "stored"] = "any"

    def __post_init__(self) -> None:
        if self.operands not in (known := ("any", "fed", "stored")):
            raise ValueError(f"operands must be one of {', '.join(known)}, got {self.operands!r}")
        if isinstance(self.opset, tuple) and self.opset[0] > self.opset[1]:
            raise ValueError(f"opset must be a range such as (13, 21), got {self.opset}")
        last = self.opset[1] if isinstance(self.opset, tuple) else self.opset
        if last is not None and last > (newest := onnx.defs.onnx_opset_version()):
            raise ValueError(f"opset must be at most {newest}, onnx's newest, got {self.opset}")

    def __str__(self) -> str:
        """What differs from the defaults."""
        named = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]
        return ", ".join(f"{name}={value}" for name, value, default in named if value != default)

    def versions(self, every: Sequence[int]) -> list[int]:
        """The schema versions, of all in ascending order, that hold in the opsets wanted."""
        if self.opset is None:
            return list(every)
        first, last = self.opset if isinstance(self.opset, tuple) else (self.opset, self.opset)
        return [v for v in every if v <= first][-1:] + [v for v in every if first < v <= last]

    @property
    def rejects(self) -> bool:
        """Whether there are cases of the right version that are not wanted."""
        return not (self.empty and self.scalars)

    def allows(self, case: Case) -> bool:
        """Whether the arrays of a case are as wanted."""
        shapes = [array.shape for array in arrays_of(case.operands)]
        if not self.empty:
            kinds = [value.type.tensor_type for value in case.proto.graph.output]
            known = [d for kind in kinds for d in kind.shape.dim if d.HasField("dim_value")]
            if any(0 in shape for shape in shapes) or any(d.dim_value == 0 for d in known):
                return False
        return self.scalars or () not in shapes


def dtypes_of(dtypes: Iterable[Any] | None) -> tuple[np.dtype[Any], ...] | None:
    """Dtypes by whatever numpy takes for one."""
    return None if dtypes is None else tuple(map(np.dtype, dtypes))


def arrays_of(values: Iterable[Any]) -> Iterable[np.ndarray]:
    """The arrays among values, and in lists of them."""
    for value in values:
        if isinstance(value, list):
            yield from arrays_of(value)
        elif isinstance(value, np.ndarray | np.generic):
            yield np.asarray(value)
