"""Tensors: every element type in every way of storing it, and sizes that do not fit."""

import time

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxla import ir
from onnxla.ir import files
from onnxla.ir.dtypes import dtype_of
from onnxla.ir.splice import LARGE

NUMBERS = [number for number in TensorProto.DataType.values() if number]


def model_of(*tensors: TensorProto, sparse: tuple = ()) -> bytes:
    graph = onnx.GraphProto(name="g", initializer=tensors, sparse_initializer=sparse)
    model = onnx.ModelProto(ir_version=10, graph=graph)
    model.opset_import.add(domain="", version=20)
    return model.SerializeToString()


def decode(tensor: TensorProto) -> np.ndarray:
    return ir.read(model_of(tensor)).graph.initializers[0].numpy()


def sample(number: int, shape: tuple[int, ...]) -> np.ndarray:
    dtype = dtype_of(number)
    rng = np.random.default_rng(number)
    if dtype == ir.STRING:
        strings = np.empty(shape, object)
        strings.flat = [f"é{index}" for index in range(strings.size)]
        return strings
    if dtype.kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    if number == TensorProto.FLOAT8E8M0:  # which has powers of two only
        return (2.0 ** rng.integers(-2, 2, shape)).astype(dtype)
    low, high = (0, 2) if number in (TensorProto.BOOL, TensorProto.UINT2) else (-2, 2)
    if number in (2, 4, 12, 13, 21):
        low, high = 0, 16
    return rng.integers(low, high, shape).astype(dtype)


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (3,), (2, 5), (5, 1, 7)])
@pytest.mark.parametrize("number", NUMBERS)
def test_all_element_types_in_both_fields(number, shape):
    array = sample(number, shape)
    stored = numpy_helper.from_array(array, "t")
    np.testing.assert_array_equal(decode(stored), array)
    if number != TensorProto.STRING:
        typed = helper.make_tensor("t", number, shape, array.ravel().tolist())
        found = decode(typed)
        assert (found.dtype, found.shape) == (array.dtype, shape)
        np.testing.assert_array_equal(found, array)
    written = ir.read(ir.write(_with_tensor(ir.Tensor.of("t", array))))
    again = written.graph.initializers[0].numpy()
    assert (again.dtype, again.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(again, array)


PARTS = (
    (),
    *((part,) for part in (slice(5, 9), slice(2, None), slice(0))),
    *((slice(None), columns) for columns in (slice(1, 2), slice(1, None), slice(3, 3))),
    (slice(7, 2000), slice(None), slice(2, 4)),
    (slice(None), slice(1), slice(3, None)),
)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("where", ["memory", "file", "external"])
def test_parts_and_the_first_entries(number, where, tmp_path):
    array = sample(number, (3000, 3, 5))
    tensor, path = numpy_helper.from_array(array, "t"), tmp_path / "model.onnx"
    if where == "external" and number != TensorProto.STRING:
        (tmp_path / "data").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="data")
    path.write_bytes(model_of(tensor))
    source = path.read_bytes() if where == "memory" else path
    (read,) = ir.read(source, folder=tmp_path).graph.initializers
    for count in (0, 1, 7, 3000, 4000):
        found = read.first(count)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array[:count])
    for part in PARTS:
        found = read.part(part)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array[part])


def test_the_first_entries_are_all_that_is_read(tmp_path, monkeypatch):
    path, read = tmp_path / "model.onnx", []
    path.write_bytes(model_of(numpy_helper.from_array(np.zeros((1000, 64), np.float32), "t")))
    (tensor,) = ir.read(path).graph.initializers
    original = files.OpenFile.read
    monkeypatch.setattr(
        files.OpenFile, "read", lambda *args: read.append(args[2]) or original(*args)
    )
    assert tensor.first(10).shape == (10, 64)
    assert read == [10 * 64 * 4]


def test_a_scalar_is_a_part(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(numpy_helper.from_array(np.float32(3), "t")))
    (tensor,) = ir.read(path).graph.initializers
    assert tensor.part(()) == 3


def test_a_part_in_long_runs_is_all_that_is_read(tmp_path, monkeypatch):
    path, read = tmp_path / "model.onnx", []
    array = np.arange(3 * 4 * 8192, dtype=np.float32).reshape(3, 4, 8192)
    path.write_bytes(model_of(numpy_helper.from_array(array, "t")))
    (tensor,) = ir.read(path).graph.initializers
    original = files.OpenFile.read
    monkeypatch.setattr(
        files.OpenFile, "read", lambda *args: read.append(args[2]) or original(*args)
    )
    part = (slice(1, 3), slice(None), slice(4096, None))
    np.testing.assert_array_equal(tensor.part(part), array[part])
    assert sum(read) == array[part].nbytes


def _with_tensor(tensor: ir.Tensor) -> ir.Model:
    return ir.Model(ir.Graph((), initializers=(tensor,)), {"": 20})


def test_written_bits_are_those_of_onnx():
    for dtype in (ml_dtypes.int4, ml_dtypes.uint2, ml_dtypes.float6_e2m3fn, ml_dtypes.bfloat16):
        array = np.array([-1, 0, 1, 1, -1], np.int8).astype(dtype)
        data = onnx.load_from_string(ir.write(_with_tensor(ir.Tensor.of("t", array))))
        theirs = numpy_helper.from_array(array, "t")
        assert data.graph.initializer[0] == theirs


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data_type": 1, "dims": [3], "raw_data": b"1234"}, "4 bytes of raw data.*needs 12"),
        ({"data_type": 22, "dims": [3], "raw_data": b"1"}, "1 bytes of raw data.*needs 2"),
        ({"data_type": 1, "dims": [3], "float_data": [1]}, "1 entries in float_data.*needs 3"),
        ({"data_type": 1, "dims": [1], "int64_data": [1]}, "0 entries in float_data.*needs 1"),
        ({"data_type": 14, "dims": [2], "float_data": [1] * 3}, "3 entries in float_data.*needs 4"),
        ({"data_type": 21, "dims": [3], "int32_data": [1]}, "1 entries in int32_data.*needs 2"),
        ({"data_type": 8, "dims": [2], "string_data": [b"a"]}, "1 entries in string_data"),
        ({"data_type": 8, "dims": [1], "raw_data": b"a"}, "strings must be in string_data"),
        ({"data_type": 1, "dims": [-1], "raw_data": b"1234"}, r"negative dimension: \[-1\]"),
        ({"data_type": 1, "dims": [2**62], "raw_data": b""}, r"dimensions \[4611686018427387904\]"),
        ({"data_type": 1, "dims": [2**40, 2**40]}, "multiply to more than memory"),
        ({"data_type": 1, "dims": [0, 2**62, 2**62]}, "multiply to more than memory"),
        ({"data_type": 2, "dims": [2**40]}, "0 entries in int32_data.*needs 1099511627776"),
        ({"data_type": 1, "dims": [1] * 100, "raw_data": b"1234"}, "100 dimensions; at most 64"),
        ({"data_type": 0, "dims": [1]}, "no element type"),
        ({"data_type": 99, "dims": [1]}, "element type 99"),
        ({"data_type": -5, "dims": [1]}, "element type -5"),
        ({"data_type": 1, "segment": TensorProto.Segment(begin=0, end=1)}, "segment"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_when_reading(fields, reason):
    with pytest.raises(ir.ModelError, match=f"initializer 'w': .*{reason}"):
        ir.read(model_of(TensorProto(name="w", **fields)))


def test_empty_tensor_without_data():
    assert decode(TensorProto(name="w", data_type=1, dims=[0, 4])).shape == (0, 4)


def test_booleans_other_than_0_and_1():
    array = decode(TensorProto(data_type=9, dims=[3], raw_data=b"\0\1\2"))
    assert array.view(np.uint8).tolist() == [0, 1, 1]


def test_text_that_is_not_utf8_survives():
    data = model_of(TensorProto(name="s", data_type=8, dims=[1], string_data=[b"\xff"]))
    array = ir.read(data).graph.initializers[0].numpy()
    written = ir.write(_with_tensor(ir.Tensor.of("s", array)))
    assert onnx.load_from_string(written).graph.initializer[0].string_data == [b"\xff"]


# Sparse tensors


def sparse(values, indices, dims) -> bytes:
    tensor = onnx.SparseTensorProto(dims=dims)
    tensor.values.CopyFrom(numpy_helper.from_array(np.array(values), "s"))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.array(indices)))
    return model_of(sparse=(tensor,))


@pytest.mark.parametrize("indices", [[1, 5], [[0, 1], [1, 2]]])
def test_sparse_tensor(indices):
    data = sparse(np.array([7.0, 8.0]), indices, [2, 3])
    tensor = ir.read(data).graph.initializers[0]
    assert tensor.name == "s"
    assert tensor.numpy().tolist() == [[0, 7, 0], [0, 0, 8]]
    assert onnx.load_from_string(ir.write(ir.read(data))) == onnx.load_from_string(data)


def test_empty_sparse_tensor():
    tensor = ir.read(sparse(np.zeros(0), np.zeros((0, 2), np.int64), [0, 3])).graph.initializers[0]
    assert tensor.numpy().shape == (0, 3)


@pytest.mark.parametrize(
    ("values", "indices", "dims", "reason"),
    [
        ([1.0, 2.0], [1], [4], r"indices have shape \[1\] for 2 values"),
        ([1.0, 2.0], [[1], [2]], [4, 4], r"indices have shape \[2, 1\].*2 dimensions"),
        ([[1.0]], [1], [4], r"values have shape \[1, 1\]"),
        ([1.0], np.array([1], np.int32), [4], "indices are int32"),
        ([1.0], [1], [-4], "negative dimension"),
        ([1.0], [1], [2**62], "more than memory"),
        ([1.0], [0], [], "no dimensions"),
    ],
)
def test_sparse_shapes_are_checked_when_reading(values, indices, dims, reason):
    with pytest.raises(ir.ModelError, match=f"sparse tensor 's': .*{reason}"):
        ir.read(sparse(values, indices, dims))


@pytest.mark.parametrize(
    ("indices", "dims", "reason"),
    [
        ([1, 4], [4], "index outside"),
        ([-1, 1], [4], "index outside"),
        ([[0, 3], [1, 0]], [2, 3], "index outside"),
        ([2, 1], [4], "not in order"),
        ([1, 1], [4], "not in order"),
        ([1, 2], [2**40], "larger than 2147483648 bytes when dense"),
    ],
)
def test_sparse_indices_are_checked_before_use(indices, dims, reason):
    tensor = ir.read(sparse([1.0, 2.0], indices, dims)).graph.initializers[0]
    with pytest.raises(ir.ModelError, match=f"'s'.*{reason}"):
        tensor.numpy()


# Data that stays in the file


def big_model() -> bytes:
    """Large data wherever it can be: initializer, attribute, subgraph, function, sparse tensor."""
    large = numpy_helper.from_array(np.arange(LARGE, dtype=np.float32), "large")
    small = numpy_helper.from_array(np.arange(3, dtype=np.float32), "small")
    constant = helper.make_node("Constant", [], ["c"], value=large)
    body = helper.make_graph([constant], "body", [], [onnx.ValueInfoProto(name="c")], [large])
    branch = helper.make_node("If", ["b"], ["d"], then_branch=body, else_branch=body)
    model = onnx.load_from_string(model_of(small, large))
    model.graph.node.extend([constant, branch])
    function = helper.make_function("f", "F", [], ["c"], [constant], [helper.make_opsetid("", 20)])
    model.functions.append(function)
    model.graph.sparse_initializer.add(dims=[2 * LARGE]).values.CopyFrom(large)
    indices = numpy_helper.from_array(np.arange(LARGE, dtype=np.int64))
    model.graph.sparse_initializer[0].indices.CopyFrom(indices)
    return model.SerializeToString()


def test_large_data_stays_in_the_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(big_model())
    model = ir.read(path)
    assert len(model.wire.SerializeToString()) < LARGE
    array = model.graph.initializers[1].numpy()
    np.testing.assert_array_equal(array, np.arange(LARGE))
    assert ir.write(model) == ir.write(ir.read(big_model()))
    assert onnx.load_from_string(ir.write(model)) == onnx.load_from_string(big_model())


def test_data_in_places_that_are_not_read_is_kept():
    model = onnx.load_from_string(big_model())
    model.training_info.add().algorithm.CopyFrom(model.graph)
    data = model.SerializeToString()
    assert onnx.load_from_string(ir.write(ir.read(data))) == model


def test_unknown_groups_do_not_hide_data():
    model = onnx.load_from_string(big_model())
    group = b"\x9b\x06\x08\1\x4a\3abc\x9c\x06"  # field 99 as a group
    model.graph.initializer[1].MergeFromString(group)
    model.graph.node[0].MergeFromString(group)
    model.MergeFromString(group)
    read = ir.read(model)
    assert len(read.wire.SerializeToString()) < LARGE
    assert onnx.load_from_string(ir.write(read)) == model


def test_data_too_deep_to_be_written_is_an_error():
    graph = ir.Graph((), initializers=(ir.Tensor.of("w", np.zeros(LARGE)),))
    for _ in range(40):
        graph = ir.Graph((ir.Node("If", (), ("y",), {"then_branch": graph}),))
    with pytest.raises(ir.ModelError, match="nested too deeply to be written"):
        ir.write(ir.Model(graph, {}))


def test_the_same_field_twice_means_the_last():
    # As protobuf has it: the message is merged, the last raw_data wins.
    first = model_of(TensorProto(name="w", data_type=1, dims=[LARGE], raw_data=bytes(4 * LARGE)))
    graph = onnx.load_from_string(first).graph
    graph.initializer[0].raw_data = b"\1" * (4 * LARGE)
    tensor = graph.initializer[0].SerializeToString()
    again = onnx.TensorProto(raw_data=b"\2" * (4 * LARGE)).SerializeToString()
    model = onnx.ModelProto(ir_version=10, graph=onnx.GraphProto())
    body = b"\x2a" + _varint(len(tensor + again)) + tensor + again
    data = model.SerializeToString() + b"\x3a" + _varint(len(body)) + body
    expected = onnx.load_from_string(data)
    assert len(expected.graph.initializer) == 1
    assert onnx.load_from_string(ir.write(ir.read(data))) == expected


def _varint(value: int) -> bytes:
    encoded = b""
    while value >= 128:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def test_a_large_file_loads_at_once(tmp_path):
    path = tmp_path / "model.onnx"
    size = 500_000_000
    tensor = TensorProto(name="w", data_type=2, dims=[size]).SerializeToString()
    tensor += b"\x4a" + _varint(size)
    head = b"\x2a" + _varint(len(tensor) + size) + tensor
    with path.open("wb") as file:
        file.write(b"\x08\x0a\x3a" + _varint(len(head) + size) + head)
        file.truncate(file.tell() + size)  # a hole: it takes no space
    start = time.perf_counter()
    model = ir.read(path)
    assert time.perf_counter() - start < 0.5
    assert model.graph.initializers[0].numpy()[-3:].tolist() == [0, 0, 0]
