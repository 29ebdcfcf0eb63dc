"""Operators' Python signatures are their ONNX schemas, for every version that they claim."""

from __future__ import annotations

import inspect
import math
from typing import Any

import onnx
import pytest
from onnx.defs import OpSchema
from onnxruntime.capi import _pybind_state as onnxruntime_state

from onnxla.interpret.binding import IGNORED_ATTRIBUTES
from onnxla.ops import Operator, rows

SCHEMAS = {
    (schema.domain, schema.name, schema.since_version): schema
    for schema in onnx.defs.get_all_schemas_with_history()
}
ROWS = [
    pytest.param(version, operator, id=f"{operator.domain or 'ai.onnx'}.{operator.name}-{version}")
    for version, operator in rows()
    if operator.domain in ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")
    # ONNX Runtime's optimizer writes this one as ONNX's, which it is not.
    and operator.name != "SimplifiedLayerNormalization"
]


@pytest.mark.parametrize(("version", "operator"), ROWS)
def test_signature_is_schema(version: int, operator: Operator) -> None:
    schema = SCHEMAS[operator.domain, operator.name, version]
    inputs = [formal.name for formal in schema.inputs]
    # A later version may have added optional inputs; their names are the schema's.
    assert list(operator.inputs[: len(inputs)]) == inputs
    variadic = bool(inputs) and schema.inputs[-1].option == OpSchema.FormalParameterOption.Variadic
    assert operator.variadic == variadic
    single = OpSchema.FormalParameterOption.Single
    assert operator.required <= sum(formal.option == single for formal in schema.inputs)
    attributes = set(schema.attributes) - IGNORED_ATTRIBUTES
    assert attributes <= set(operator.attributes)


def test_no_attribute_that_no_version_has() -> None:
    for version, operator in [parameter.values for parameter in ROWS]:
        known = set()
        for since in operator.since:
            known |= set(SCHEMAS[operator.domain, operator.name, since].attributes)
        assert set(operator.attributes) <= known, (operator.name, version)


def assert_is_stated(default: Any, attribute: onnx.AttributeProto) -> None:
    stated = onnx.helper.get_attribute_value(attribute)
    if isinstance(stated, list):
        stated = [item.decode() if isinstance(item, bytes) else item for item in stated]
    stated = stated.decode() if isinstance(stated, bytes) else stated
    if isinstance(stated, float):
        assert math.isclose(default, stated, rel_tol=1e-6), attribute.name
    else:
        assert (list(default) if isinstance(default, tuple) else default) == stated, attribute.name


@pytest.mark.parametrize(("version", "operator"), ROWS)
def test_attribute_defaults_are_schema_defaults(version: int, operator: Operator) -> None:
    schema = SCHEMAS[operator.domain, operator.name, version]
    for name, attribute in schema.attributes.items():
        default = operator.attributes.get(name)
        if name not in IGNORED_ATTRIBUTES and attribute.default_value.type:
            assert_is_stated(default, attribute.default_value)


def test_every_schema_version_is_implemented() -> None:
    """From the first opset to the newest: 659 schemas in onnx 1.23.2."""
    listed = {(operator.domain, operator.name, version) for version, operator in rows()}
    missing = sorted(SCHEMAS.keys() - listed)
    assert not missing


MICROSOFT = {
    schema.name: schema
    for schema in onnxruntime_state.get_all_operator_schema()
    if schema.domain == "com.microsoft"
}


@pytest.mark.parametrize(
    "operator",
    [
        pytest.param(operator, id=operator.name)
        for _, operator in rows()
        if operator.domain == "com.microsoft" and operator.name in MICROSOFT
    ],
)
def test_signature_is_onnx_runtimes(operator: Operator) -> None:
    schema = MICROSOFT[operator.name]
    assert list(operator.inputs) == [formal.name for formal in schema.inputs]
    assert set(operator.attributes) == set(schema.attributes)
    for name, attribute in schema.attributes.items():
        default = operator.attributes[name]
        assert attribute.required == (default is inspect.Parameter.empty), name
        if attribute._default_value:
            assert_is_stated(default, onnx.AttributeProto.FromString(attribute._default_value))
