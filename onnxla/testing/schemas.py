"""What a schema says of an operator's version: its operands, their types, and its results."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper


@dataclass(frozen=True)
class Schema:
    """An operator at one schema version.

    Attributes:
        inputs: Type variables (or type strings) of the inputs by name, in order.
        outputs: Those of the outputs.
        types: Type strings that each type variable may stand for.
        attributes: Names of the attributes.
        variadic: Whether the last input repeats.
        homogeneous: Whether it repeats with one type.
    """

    domain: str
    name: str
    version: int
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    types: Mapping[str, Sequence[str]]
    attributes: frozenset[str]
    variadic: bool
    homogeneous: bool

    def allowed(self, operand: str) -> Sequence[str]:
        """Type strings that an input or output may have."""
        variable = self.inputs.get(operand) or self.outputs[operand]
        return self.types.get(variable, (variable,))


@functools.cache
def schema(name: str, version: int, domain: str = "") -> Schema:
    """The schema of an operator that has the version `version`, from the package that defines it.

    Those of `com.microsoft` come from ONNX Runtime, which must then be installed.

    Raises:
        KeyError: There is none.
    """
    found = _schemas().get((domain, name, version)) or _microsoft()[domain, name, version]
    last = found.inputs[-1] if found.inputs else None
    return Schema(
        domain,
        name,
        version,
        {formal.name: _said(formal, "type_str", "typeStr") for formal in found.inputs},
        {formal.name: _said(formal, "type_str", "typeStr") for formal in found.outputs},
        {c.type_param_str: tuple(c.allowed_type_strs) for c in found.type_constraints},
        frozenset(found.attributes),
        variadic=last is not None and last.option.name == "Variadic",
        homogeneous=last is None or _said(last, "is_homogeneous", "isHomogeneous"),
    )


def _said(formal: Any, *names: str) -> Any:
    """An attribute of an operand, which the two packages spell differently."""
    return next(getattr(formal, name) for name in names if hasattr(formal, name))


@functools.cache
def _schemas() -> dict[tuple[str, str, int], Any]:
    every = onnx.defs.get_all_schemas_with_history()
    return {(s.domain, s.name, s.since_version): s for s in every}


@functools.cache
def _microsoft() -> dict[tuple[str, str, int], Any]:
    from onnxruntime.capi import _pybind_state

    every = _pybind_state.get_all_operator_schema()
    found = {(s.domain, s.name, s.since_version): s for s in every}
    # ONNX Runtime's optimizer writes this one in ONNX's domain; other tools write it in its own.
    name = "SimplifiedLayerNormalization"
    found["com.microsoft", name, 1] = found["", name, 1]
    return found


def opset_ids(name: str, version: int, domain: str) -> list[onnx.OperatorSetIdProto]:
    """The opset imports of a model with one node; ONNX's own is there for subgraphs."""
    if domain == "":
        return [helper.make_opsetid("", version)]
    return [helper.make_opsetid(domain, version), helper.make_opsetid("", 21)]
