"""Reading and writing: sources, attributes and types, and that only what changes is changed."""

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxla import ir
from onnxla.ir import writer
from onnxla.ir.splice import LARGE


def rich_model() -> onnx.ModelProto:
    """A model with something in every corner that onnxla does not look at."""
    weight = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "w")
    weight.doc_string = "weights"
    weight.metadata_props.add(key="k", value="v")
    typed = helper.make_tensor("t", TensorProto.FLOAT, [2], [1.0, 2.0])
    node = helper.make_node(
        "Op", ["x", "", "w"], ["", "y"], "n", "doc", "my.domain",
        i=1, f=0.5, s="text", b=b"\xff", ints=[1, 2], floats=[0.5, -0.0], strings=["a", b"\xff"],
        t=weight, tp=helper.make_tensor_type_proto(1, ["N", None, 3]),
    )  # fmt: skip
    node.attribute.add(name="nan", type=onnx.AttributeProto.FLOAT, f=float("nan"))
    node.attribute.add(name="none", type=onnx.AttributeProto.INTS)
    node.metadata_props.add(key="k", value="v")
    node.device_configurations.add(configuration_id="c", pipeline_stage=1)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3], "doc", ["DATA_BATCH", ""])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [x], [y], [weight, typed], "doc")
    graph.quantization_annotation.add(tensor_name="w")
    model = helper.make_model(
        graph,
        producer_name="me",
        opset_imports=[helper.make_opsetid("ai.onnx", 20), helper.make_opsetid("my.domain", 3)],
    )
    model.metadata_props.add(key="author", value="me")
    model.MergeFromString(b"\xfa\x3f\x05other")  # an unknown field
    model.graph.node[0].MergeFromString(b"\xfa\x3f\x05other")
    return model


def test_sources(tmp_path):
    data = rich_model().SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), io.BytesIO(data), rich_model()):
        assert ir.write(ir.read(source)) == ir.write(ir.read(data))
    with path.open("rb") as file:
        assert ir.read(file).producer == "me"
    with pytest.raises(FileNotFoundError):
        ir.read(tmp_path / "none.onnx")


def test_decoded_values():
    model = ir.read(rich_model())
    (node,) = model.graph.nodes
    tensor, kinds = node.attributes["t"], node.attributes["tp"]
    assert model.opsets == {"": 20, "my.domain": 3}
    assert model.metadata == {"author": "me"}
    assert (node.inputs, node.outputs) == (("x", "", "w"), ("", "y"))
    assert str(node) == "my.domain.Op 'n' -> y"
    assert kinds == ir.TensorType(np.dtype(np.float32), ("N", None, 3))
    assert tensor.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    plain = {k: v for k, v in node.attributes.items() if k not in ("t", "tp", "nan")}
    assert plain == {
        "i": 1, "f": 0.5, "s": "text", "b": b"\xff", "ints": (1, 2), "floats": (0.5, -0.0),
        "strings": ("a", b"\xff"), "none": (),
    }  # fmt: skip
    assert model.graph.inputs[0].type == ir.TensorType(np.dtype(np.float32), ("N", 3))
    assert model.graph.outputs[0].type == ir.TensorType(np.dtype(np.float32), None)


def test_unchanged():
    assert onnx.load_from_string(ir.write(ir.read(rich_model()))) == rich_model()


def changed(model: ir.Model, **fields) -> ir.Model:
    return replace(model, graph=replace(model.graph, **fields))


@pytest.mark.parametrize("size", [6, LARGE])
def test_new_data_changes_only_the_data(size):
    expected = rich_model()
    tensor = expected.graph.initializer[0]
    array = np.arange(size, dtype=np.float32) + 1
    tensor.raw_data = array.tobytes()
    tensor.dims[:] = [size]
    model = ir.read(rich_model())
    weight, typed = model.graph.initializers
    written = ir.write(changed(model, initializers=(weight.with_data(array), typed)))
    assert onnx.load_from_string(written) == expected
    assert ir.read(written).graph.initializers[0].numpy().tolist() == array.tolist()


def test_typed_data_is_replaced_by_raw_data():
    model = ir.read(rich_model())
    weight, typed = model.graph.initializers
    new = typed.with_data(np.array([5, 6], np.float32))
    tensor = onnx.load_from_string(
        ir.write(changed(model, initializers=(weight, new)))
    ).graph.initializer[1]
    assert not tensor.float_data
    assert tensor.name == "t"
    assert numpy_helper.to_array(tensor).tolist() == [5, 6]


def test_a_data_type_that_does_not_fit_is_an_error():
    tensor = replace(ir.Tensor.of("w", np.zeros(3)), shape=(4,))
    with pytest.raises(ir.ModelError, match=r"'w' is float64 of shape \[4\], but its data"):
        ir.write(ir.Model(ir.Graph((), initializers=(tensor,)), {}))


def test_changed_attributes():
    expected = rich_model()
    attributes = {attribute.name: attribute for attribute in expected.graph.node[0].attribute}
    attributes["f"].f = -0.0
    attributes["s"].s = b"new"
    attributes["ints"].ints[:] = [7]
    attributes["none"].ints[:] = [1]
    attributes["i"].CopyFrom(helper.make_attribute("i", [1.5]))
    attributes["tp"].tp.CopyFrom(helper.make_tensor_type_proto(7, [2]))
    attributes["t"].t.name = "renamed"
    expected.graph.node[0].attribute.remove(attributes["floats"])
    expected.graph.node[0].attribute.append(helper.make_attribute("new", ["a", "b"]))
    expected.graph.node[0].input[:] = ["x"]
    expected.graph.node[0].domain = ""

    model = ir.read(rich_model())
    (node,) = model.graph.nodes
    new = dict(node.attributes)
    new |= {"f": -0.0, "s": "new", "ints": (7,), "none": (1,), "i": (1.5,), "new": ("a", "b")}
    new |= {"tp": ir.TensorType(np.dtype(np.int64), (2,)), "t": replace(new["t"], name="renamed")}
    del new["floats"]
    node = replace(node, attributes=new, inputs=("x",), domain="")
    assert onnx.load_from_string(ir.write(changed(model, nodes=(node,)))) == expected


def test_changed_model():
    expected = rich_model()
    expected.opset_import[0].CopyFrom(helper.make_opsetid("", 21))
    expected.metadata_props[0].value = "you"
    expected.metadata_props.add(key="k", value="v")
    expected.graph.name = "h"
    expected.graph.input[0].name = "z"
    del expected.graph.output[:]
    expected.producer_name = "you"
    expected.ir_version = 11
    model = changed(
        ir.read(rich_model()), name="h", outputs=(),
        inputs=(replace(ir.read(rich_model()).graph.inputs[0], name="z"),),
    )  # fmt: skip
    model = replace(
        model, opsets={"": 21, "my.domain": 3}, metadata={"author": "you", "k": "v"},
        producer="you", ir_version=11,
    )  # fmt: skip
    assert onnx.load_from_string(ir.write(model)) == expected


def test_changed_types():
    kinds = [
        ir.TensorType(np.dtype(np.float32), ("N", None, 3)),
        ir.TensorType(np.dtype(np.int64), ()),
        ir.TensorType(np.dtype(np.float16), (2,), sparse=True),
        ir.SequenceType(ir.OptionalType(ir.TensorType(np.dtype(np.bool_)))),
        ir.MapType(ir.STRING, ir.SequenceType(ir.TensorType(np.dtype(np.float64), (1,)))),
        None,
    ]
    (old, *_) = ir.read(rich_model()).graph.inputs
    for inputs in (
        [replace(old, type=kind) for kind in kinds],
        [ir.ValueInfo("v", k) for k in kinds],
    ):
        written = ir.write(ir.Model(ir.Graph((), tuple(inputs)), {}))
        assert [value.type for value in ir.read(written).graph.inputs] == kinds


def test_a_model_made_from_nothing_is_valid():
    weight = ir.Tensor.of("w", np.ones((2, 2), np.float32))
    kind = ir.TensorType(np.dtype(np.float32), (2, 2))
    branch = ir.Graph(
        (ir.Node("Add", ("x", "w"), ("a",)),), outputs=(ir.ValueInfo("a", kind),), name="b"
    )
    graph = ir.Graph(
        (
            ir.Node("Constant", (), ("c",), {"value": ir.Tensor.of("", np.array(True))}),
            ir.Node("If", ("c",), ("y",), {"then_branch": branch, "else_branch": branch}),
        ),
        (ir.ValueInfo("x", kind),),
        (ir.ValueInfo("y", kind),),
        (weight,),
    )
    model = ir.Model(graph, {"": 20})
    ir.verify(model)
    onnx.checker.check_model(onnx.load_from_string(ir.write(model)), full_check=True)


def test_tensors_of_one_file_in_a_model_of_another():
    array = np.arange(LARGE, dtype=np.float32)
    models = [
        ir.read(ir.write(ir.Model(ir.Graph((), initializers=(ir.Tensor.of(n, array + i),)), {})))
        for i, n in enumerate("ab")
    ]
    tensors = tuple(model.graph.initializers[0] for model in models)
    written = ir.write(changed(models[0], initializers=tensors))
    again = ir.read(written).graph.initializers
    assert [tensor.name for tensor in again] == ["a", "b"]
    np.testing.assert_array_equal(again[0].numpy(), array)
    np.testing.assert_array_equal(again[1].numpy(), array + 1)


def test_values_that_onnx_cannot_express():
    for value in ({}, (1, "a"), None, 1j):
        node = ir.Node("Op", (), ("y",), {"k": value})
        with pytest.raises(ir.ModelError, match="attribute"):
            ir.write(ir.Model(ir.Graph((node,)), {}))
    with pytest.raises(ir.ModelError, match="cannot be written"):
        ir.write(ir.Model(ir.Graph((ir.Node("Op", (), ("y",), {"k": 2**64}),)), {}))


def test_old_files_without_attribute_types():
    model = rich_model()
    model.ir_version = 1
    del model.opset_import[:]
    for attribute in model.graph.node[0].attribute:
        attribute.ClearField("type")
    read = ir.read(model)
    assert read.opsets == {"": 1}
    assert read.graph.nodes[0].attributes["ints"] == (1, 2)
    assert read.graph.nodes[0].attributes["f"] == 0.5
    assert onnx.load_from_string(ir.write(read)) == model


def test_functions_and_references():
    node = helper.make_node("LeakyRelu", ["a"], ["b"])
    node.attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    function = helper.make_function(
        "f", "F", ["a"], ["b"], [node], [helper.make_opsetid("", 20)], ["size"],
        [helper.make_attribute("slope", 0.5)],
    )  # fmt: skip
    model = rich_model()
    model.functions.append(function)
    read = ir.read(model)
    (found,) = read.functions
    assert found.nodes[0].attributes == {"alpha": ir.AttributeReference("slope")}
    assert (found.attributes, found.defaults) == (("size",), {"slope": 0.5})
    assert onnx.load_from_string(ir.write(read)) == model

    fixed = replace(found.nodes[0], attributes={"alpha": 0.25})
    written = ir.write(replace(read, functions=(replace(found, nodes=(fixed,)),)))
    attribute = onnx.load_from_string(written).functions[0].node[0].attribute[0]
    assert attribute == helper.make_attribute("alpha", 0.25)


# Saving


def test_saving_over_the_file_that_was_read(tmp_path):
    path = tmp_path / "model.onnx"
    array = np.arange(LARGE, dtype=np.float32)
    ir.save(ir.Model(ir.Graph((), initializers=(ir.Tensor.of("w", array),)), {}), path)
    path.chmod(0o640)
    model = ir.read(path)
    for _ in range(2):
        ir.save(model, path)
        np.testing.assert_array_equal(ir.read(path).graph.initializers[0].numpy(), array)
        np.testing.assert_array_equal(model.graph.initializers[0].numpy(), array)
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(rich_model().SerializeToString())

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        ir.save(ir.read(path), path)
    assert path.read_bytes() == rich_model().SerializeToString()
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_link_is_replaced_not_followed(tmp_path):
    target = tmp_path / "blob"
    target.write_bytes(rich_model().SerializeToString())
    (tmp_path / "model.onnx").symlink_to(target)
    ir.save(ir.Model(ir.Graph(()), {}), tmp_path / "model.onnx")
    assert target.read_bytes() == rich_model().SerializeToString()


def test_too_large_for_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "MAX_MESSAGE", 1000)
    array = np.zeros(LARGE, np.float32)
    model = ir.Model(ir.Graph((), initializers=(ir.Tensor.of("w", array),)), {})
    with pytest.raises(ir.ModelError, match=r"2 GiB.*external_data=True"):
        ir.save(model, tmp_path / "model.onnx", external_data=False)
    assert not os.listdir(tmp_path)
    for external_data in (None, True):
        ir.save(model, tmp_path / "model.onnx", external_data=external_data)
        (data,) = tmp_path.glob("model.onnx*.data")
        assert data.stat().st_size > array.nbytes
        assert Path(tmp_path / "model.onnx").stat().st_size < 1000
