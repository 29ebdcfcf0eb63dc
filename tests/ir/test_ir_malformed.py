"""No bytes crash, hang or exhaust the process: a file is read, or it is a ModelError."""

import gzip
import io
import random
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxla import ir
from onnxla.ir import splice

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
MODEL = (DATA / "simple" / "test_single_relu_model" / "model.onnx").read_bytes()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("data.pkl", "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"hello world\n", "a text file that begins with 'hello world"),
        (b'{"a": "\xc3\xa9"}', "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (_zip(), "a zip archive"),
        (gzip.compress(MODEL), "compressed with gzip"),
        (b"\n<!DOCTYPE html><html>", "an HTML page"),
        (b"\x18\0\0\0ORTM" + bytes(100), "ONNX Runtime's"),
        (numpy_helper.from_array(np.zeros(3)).SerializeToString(), "a single tensor"),
        (numpy_helper.from_array(np.zeros(3), "w").SerializeToString(), "a single tensor"),
        (onnx.ModelProto(ir_version=9).SerializeToString(), "has no graph"),
        (MODEL[:-10], "cut off, damaged"),
        (b"\xff" * 100, "cut off, damaged"),  # a varint without an end
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut off, damaged"),
        (b"\x3a\xff\xff\xff\xff\x0f" + bytes(10), "cut off, damaged"),
        (b"\x0b" * 1000, "cut off, damaged"),  # groups within groups
    ],
    # Not by the data, some of which have the time in them.
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_says_what_a_file_is_that_is_no_model(tmp_path, data, reason):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(ir.ModelError, match=f"not an ONNX model: .*{reason}"):
            ir.read(source)


@pytest.mark.parametrize("field", [b"\0\0", b"\x08\1"])
def test_millions_of_tiny_fields_take_no_time(tmp_path, field):
    path = tmp_path / "model.onnx"
    path.write_bytes(field * 20_000_000)
    start = time.process_time()
    with pytest.raises(ir.ModelError, match="not an ONNX model"):
        ir.read(path)
    assert time.process_time() - start < 10


def test_a_large_file_of_another_kind_is_not_copied(tmp_path):
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(5 << 30)  # a hole: it takes no space
    with pytest.raises(ir.ModelError, match="larger than 2 GiB"):
        ir.read(path)


def _nested(depth: int) -> bytes:
    """A model with `depth` subgraphs within each other, written by hand: onnx cannot."""
    graph = b""
    for _ in range(depth):
        attribute = b"\x0a\x01g\xa0\x01\x05" + _field(6, graph)
        graph = _field(1, b"\x12\x01y\x22\x02If" + _field(5, attribute))
    return b"\x08\x0a" + _field(7, graph) + b"\x42\x02\x10\x14"


def _field(number: int, data: bytes) -> bytes:
    length = len(data)
    head = bytes([number << 3 | 2])
    while length >= 128:
        head += bytes([length & 127 | 128])
        length >>= 7
    return head + bytes([length]) + data


def test_nesting():
    assert ir.read(_nested(20))
    for depth in (40, 5000):
        with pytest.raises(ir.ModelError, match="nested too deeply"):
            ir.read(_nested(depth))


def test_names_that_are_not_text():
    data = MODEL.replace(b"Relu", b"Re\xffu")
    assert data != MODEL
    with pytest.raises(ir.ModelError, match=r"not UTF-8: 'Re\\xffu'"):
        ir.read(data)


def test_location_that_is_not_text():
    tensor = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    model = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    with pytest.raises(ir.ModelError, match=r"initializer 'w': .*not UTF-8"):
        ir.read(model.replace(b"w.bin", b"w\xffbin"))


def test_attribute_without_a_value():
    node = onnx.NodeProto(op_type="Constant", output=["y"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR)
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    with pytest.raises(
        ir.ModelError, match="node Constant 'y': attribute 'value': it has no value"
    ):
        ir.read(model)


def test_unknown_element_type_of_a_value():
    x = helper.make_tensor_value_info("x", 77, [2])
    with pytest.raises(ir.ModelError, match="value 'x': element type 77"):
        ir.read(helper.make_model(helper.make_graph([], "g", [x], [])))


def test_a_model_that_cannot_be_serialized():
    class Model:
        def SerializeToString(self) -> bytes:
            raise ValueError("too large")

    with pytest.raises(ir.ModelError, match="cannot be serialized: too large"):
        ir.read(Model())


def test_other_sources_are_type_errors():
    for source in (5, None, io.StringIO("text")):
        with pytest.raises(TypeError, match="a model is read from a path"):
            ir.read(source)


def _use(data: bytes) -> None:
    """Everything that is done with an untrusted file."""
    try:
        model = ir.read(data)
        ir.check(model)
        for tensor in model.graph.initializers:
            tensor.numpy()
        written = ir.write(model)
    except ir.ModelError:
        return
    parse = type(model.wire).FromString
    assert parse(written) == parse(data)


def _seeds() -> list[bytes]:
    """Small models with subgraphs, functions, sparse and external tensors, and every type."""
    paths = sorted(DATA.rglob("model.onnx"), key=lambda path: (path.stat().st_size, str(path)))
    large = numpy_helper.from_array(np.arange(40, dtype=np.int64), "w")
    external = TensorProto(name="e", data_type=1, dims=[2], data_location=1)
    external.external_data.add(key="location", value="w.bin")
    external.external_data.add(key="offset", value="16")
    body = helper.make_graph([helper.make_node("Relu", ["w"], ["b"])], "body", [], [], [large])
    nodes = [
        helper.make_node("If", ["w"], ["y"], then_branch=body, else_branch=body),
        helper.make_node("F", ["y"], ["z"], domain="f", ints=[1, 2], texts=["a", "b"]),
    ]
    function = helper.make_function(
        "f", "F", ["a"], ["c"], [helper.make_node("Relu", ["a"], ["c"])],
        [helper.make_opsetid("", 20)],
    )  # fmt: skip
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("z", 1, ["N", 2])])
    graph.initializer.extend([large, numpy_helper.from_array(np.array(["a", "b"]), "s")])
    sparse = graph.sparse_initializer.add(dims=[100])
    sparse.values.CopyFrom(large)
    sparse.values.name = "sparse"
    sparse.indices.CopyFrom(large)
    model = helper.make_model(graph, functions=[function])
    with_external = onnx.ModelProto()
    with_external.CopyFrom(model)
    with_external.graph.initializer.append(external)
    seeds = [model.SerializeToString(), with_external.SerializeToString()]
    return seeds + [path.read_bytes() for path in paths[::20]]


def _mutated(data: bytes, rng: random.Random) -> bytes:
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(mutated))
        match rng.randrange(5):
            case 0:
                mutated[place] ^= 1 << rng.randrange(8)
            case 1:
                mutated[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del mutated[place : place + rng.randrange(1, 5)]
            case 3:
                mutated[place:place] = rng.randbytes(rng.randrange(1, 12))
            case _:
                mutated = mutated[: place + 1]
        if not mutated:
            break
    return bytes(mutated)


@pytest.mark.parametrize("large", [splice.LARGE, 16])
def test_mutated_models(large, monkeypatch):
    # A small limit makes the scanner that cuts out tensor data see all of these small models.
    monkeypatch.setattr(splice, "LARGE", large)
    rng = random.Random(20)
    seeds = _seeds()
    for data in seeds:
        _use(data)
    for _ in range(1000):
        _use(_mutated(rng.choice(seeds), rng))
