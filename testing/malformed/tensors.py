"""Tensors whose element type, shape and data do not agree."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxla.testing.malformed.parts import new_tensor, pick
from onnxla.testing.malformed.registry import breaks


@breaks("a tensor without an element type")
def no_element_type(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor without an element type."""
    new_tensor(draw, model).data_type = 0


@breaks("a tensor of an unknown element type")
def unknown_element_type(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor with an element type that does not exist."""
    new_tensor(draw, model).data_type = pick(draw, [77, -1, 2**31 - 1])


@breaks("a tensor of another element type than its data")
def other_element_type(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor with another element type than its data has."""
    new_tensor(draw, model).data_type = pick(draw, [2, 8, 10, 11, 15, 21, 22, 25])


@breaks("a tensor with a negative dimension")
def negative_dimension(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor with a negative dimension."""
    new_tensor(draw, model).dims[0] = pick(draw, [-1, -2, -(2**63)])


@breaks("a tensor with a huge dimension")
def huge_dimension(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor whose dimensions are too large for any memory."""
    new_tensor(draw, model).dims[:] = pick(
        draw, [[2**31], [2**40], [2**62], [2**63 - 1], [2**32, 2**32], [2**62, 4], [2**62, 0, 8]]
    )


@breaks("a tensor of far too many dimensions")
def too_many_dimensions(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor with a hundred dimensions or more."""
    tensor = new_tensor(draw, model)
    tensor.dims[:] = [2, 2, *[1] * pick(draw, [100, 1000])]
    tensor.raw_data += b"1"  # it has too much data, for rank alone breaks no rule


@breaks("a tensor with too little or too much data")
def wrong_size(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor with too few or too many bytes."""
    tensor = new_tensor(draw, model)
    tensor.raw_data = tensor.raw_data[: pick(draw, [0, 1, 15])] or bytes(pick(draw, [17, 64]))


@breaks("a tensor without data")
def no_data(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor without data."""
    new_tensor(draw, model).ClearField("raw_data")


@breaks("a tensor with raw and typed data")
def raw_and_typed_data(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor with its data in two fields."""
    new_tensor(draw, model).float_data.extend([1.0, 2.0, 3.0, 4.0])


@breaks("a tensor with data in the wrong field")
def wrong_data_field(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor with its data in the field of another type."""
    tensor = new_tensor(draw, model)
    tensor.ClearField("raw_data")
    name = pick(draw, ["int32_data", "int64_data", "double_data", "uint64_data", "string_data"])
    getattr(tensor, name).extend([b"a"] * 4 if name == "string_data" else [1] * 4)


@breaks("a tensor with too little or too much typed data")
def wrong_typed_size(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor with too few or too many entries."""
    tensor = new_tensor(draw, model)
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0] * pick(draw, [3, 5, 1]))


@breaks("strings in raw data")
def raw_strings(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor of strings with raw data."""
    new_tensor(draw, model).data_type = TensorProto.STRING


@breaks("a tensor in segments")
def segmented_tensor(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor that is a segment of another."""
    tensor = new_tensor(draw, model)
    tensor.segment.begin, tensor.segment.end = 0, 1
    tensor.ClearField("raw_data")


@breaks("external data that cannot be there")
def impossible_external_data(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a tensor whose external data is missing, forbidden or misplaced."""
    tensor = new_tensor(draw, model)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    location = pick(
        draw,
        [
            None,
            "",
            "missing.bin",
            "/etc/hostname",
            "../x.bin",
            "a/../../x.bin",
            "C:\\x.bin",
            "..\\x.bin",
            "x\0.bin",
            "*/_ORT_MEM_ADDR_/*",
            "/dev/zero",
            ".",
        ],
    )
    entries = {"location": location} if location is not None else {}
    if location in ("missing.bin", None):
        number = pick(draw, [None, "-1", "a", "", str(2**63), "9" * 100, "1e3"])
        entries |= {pick(draw, ["offset", "length"]): number} if number is not None else {}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


@breaks("a sparse tensor that is none")
def wrong_sparse_tensor(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a sparse initializer whose indices, values or shape do not fit."""
    values = np.array([1.0, 2.0], np.float32)
    indices: np.ndarray = np.array([1, 3])
    dims = [6]
    wrong = pick(draw, ["high", "negative", "order", "twice", "dims", "rank", "int32", "count"])
    if wrong == "high":
        indices = np.array([1, pick(draw, [6, 2**62])])
    elif wrong == "negative":
        indices = np.array([-1, 1])
    elif wrong == "order":
        indices = np.array([3, 1])
    elif wrong == "twice":
        indices = np.array([3, 3])
    elif wrong == "dims":
        dims = pick(draw, [[], [-1], [2**40, 2**40]])
    elif wrong == "rank":
        values = values.reshape(1, 2)
    elif wrong == "int32":
        indices = indices.astype(np.int32)
    else:
        indices = np.array([1, 2, 3])
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(values, "sparse"), numpy_helper.from_array(indices, "i"), dims
        )
    )
