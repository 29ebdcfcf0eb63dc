"""What a schema says of an operator's version: its operands, their types, and its results."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper

from onnxla.ops import lookup

# Domains of ONNX Runtime's schemas; it writes one of its operators in ONNX's.
MICROSOFT_DOMAINS = ("", "com.microsoft")


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

    Those of `com.microsoft` come from ONNX Runtime, which must then be installed. An operator that
    nobody has a schema of, but that is registered in onnxla, has the inputs of its function, all of
    one floating type, which is that of its outputs, too.

    Raises:
        KeyError: There is none.
    """
    key = domain, name, version
    found = onnx_schemas().get(key) or (
        microsoft_schemas().get(key) if domain in MICROSOFT_DOMAINS else None
    )
    if found is None:
        return schema_of_function(name, version, domain)
    last = found.inputs[-1] if found.inputs else None
    return Schema(
        domain,
        name,
        version,
        {formal.name: said(formal, "type_str", "typeStr") for formal in found.inputs},
        {formal.name: said(formal, "type_str", "typeStr") for formal in found.outputs},
        {c.type_param_str: tuple(c.allowed_type_strs) for c in found.type_constraints},
        frozenset(found.attributes),
        variadic=last is not None and last.option.name == "Variadic",
        homogeneous=last is None or said(last, "is_homogeneous", "isHomogeneous"),
    )


def schema_of_function(name: str, version: int, domain: str) -> Schema:
    """What the signature of a registered function says of an operator."""
    operator = lookup(domain, name, version)
    if operator is None or version not in operator.since:
        raise KeyError(f"no schema of {domain or 'ai.onnx'}.{name} at version {version}")
    return Schema(
        domain,
        name,
        version,
        dict.fromkeys(operator.inputs, "T"),
        {"output": "T"},
        {"T": ("tensor(float)", "tensor(double)", "tensor(float16)", "tensor(bfloat16)")},
        frozenset(operator.attributes),
        variadic=operator.variadic,
        homogeneous=True,
    )


def said(formal: Any, *names: str) -> Any:
    """An attribute of an operand, which the two packages spell differently."""
    return next(getattr(formal, name) for name in names if hasattr(formal, name))


@functools.cache
def onnx_schemas() -> dict[tuple[str, str, int], Any]:
    """The schemas of the `onnx` package, by domain, name and version."""
    every = onnx.defs.get_all_schemas_with_history()
    return {(s.domain, s.name, s.since_version): s for s in every}


@functools.cache
def microsoft_schemas() -> dict[tuple[str, str, int], Any]:
    """The schemas that ONNX Runtime knows, by domain, name and version."""
    from onnxruntime.capi import _pybind_state

    every = _pybind_state.get_all_operator_schema()  # pyright: ignore[reportAttributeAccessIssue]
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
