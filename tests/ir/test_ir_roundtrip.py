"""Every model of the ONNX backend suite is read exactly and written exactly."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from onnxla import ir
from onnxla.ir.fingerprint import fingerprint
from onnxla.ir.onnx_pb2 import ModelProto

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


@pytest.fixture(scope="module")
def suite() -> dict[str, bytes]:
    models = {str(path): path.read_bytes() for path in DATA.rglob("*.onnx")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the cases overflows on purpose
        cases = load_model_tests(kind="node")
    models |= {case.name: case.model.SerializeToString() for case in cases}
    assert len(models) > 2000
    return models


def test_written_models_are_the_models_that_were_read(suite):
    different = [
        name
        for name, data in suite.items()
        if ModelProto.FromString(ir.write(ir.read(data))) != ModelProto.FromString(data)
    ]
    assert different == []


def test_all_models_are_valid(suite):
    problems = {name: ir.check(ir.read(data)) for name, data in suite.items()}
    assert {name: found for name, found in problems.items() if found} == {}


def long_lists() -> onnx.ModelProto:
    """A node of nobody's domain, with longer lists than most, and a large tensor after texts."""
    attributes = {
        "ints": [*range(-5000, 5000), 2**63 - 1, -(2**63)],
        "floats": [float(np.float32(n) / 3) for n in range(5000)] + [-0.0, float("inf")],
        "texts": ["LEAF", "BRANCH_LEQ", "", "x" * 31, "x" * 32, "x" * 200] * 1000,
        "weights": numpy_helper.from_array(np.arange(10_000)),
    }
    node = onnx.helper.make_node("Op", ["x"], ["y"], domain="d", **attributes)
    graph = onnx.helper.make_graph([node], "g", [onnx.ValueInfoProto(name="x")], [])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("d", 1)])


def test_long_lists():
    proto = long_lists()
    data = proto.SerializeToString()
    model = ir.read(data)
    attributes = model.graph.nodes[0].attributes
    for wire in proto.graph.node[0].attribute[:3]:
        value = onnx.helper.get_attribute_value(wire)
        expected = tuple(v.decode() if isinstance(v, bytes) else v for v in value)
        found = attributes[wire.name]
        assert found == expected
        assert [*found] == [*expected]
        assert repr(found) == repr(expected)
        assert hash(found) == hash(expected)
        assert (found[3], found[-1], found[1:3]) == (expected[3], expected[-1], expected[1:3])
    np.testing.assert_array_equal(attributes["weights"].numpy(), np.arange(10_000))
    assert ir.write(model) == data
    as_tuples = {k: v if isinstance(v, ir.Tensor) else tuple(v) for k, v in attributes.items()}
    node = replace(model.graph.nodes[0], attributes=as_tuples, wire=None)
    other = replace(model, graph=replace(model.graph, nodes=(node,)))
    assert fingerprint(other) == fingerprint(model)
    new = replace(other, graph=replace(other.graph, nodes=(replace(node, attributes=attributes),)))
    assert ir.write(new) == ir.write(other)


def test_tensors_decode_as_onnx_decodes_them(suite):
    compared = 0
    for name, data in suite.items():
        ours = _tensors(ir.read(data).graph)
        others = _their_tensors(onnx.load_from_string(data).graph)
        for mine, theirs in zip(ours, others, strict=True):
            expected = numpy_helper.to_array(theirs)
            array = mine.numpy()
            assert array.dtype == mine.dtype == expected.dtype, (name, mine)
            assert array.shape == mine.shape == expected.shape, (name, mine)
            if array.dtype == ir.STRING:
                assert array.tolist() == expected.tolist(), (name, mine)
            else:
                np.testing.assert_array_equal(_bits(array), _bits(expected), str((name, mine)))
            compared += 1
    assert compared > 800


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _tensors(graph: ir.Graph):
    yield from (tensor for tensor in graph.initializers if isinstance(tensor, ir.Tensor))
    for node in graph.nodes:
        for value in node.attributes.values():
            for entry in value if isinstance(value, tuple) else (value,):
                if isinstance(entry, ir.Tensor):
                    yield entry
                elif isinstance(entry, ir.Graph):
                    yield from _tensors(entry)


def _their_tensors(graph: onnx.GraphProto):
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in ([attribute.g] if attribute.HasField("g") else []) + [*attribute.graphs]:
                yield from _their_tensors(inner)
