"""Broken `.onnx` files, to test what a runtime makes of them: an error, and not a crash.

A small valid model is changed in one way, sometimes two. Each way has a name. Those that begin
with "bytes:" damage the file as a disk or a network might, and it may happen to stay valid; the
others break a rule of the ONNX specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from onnxla.testing.random_graphs import OPSET, graphs

OPERATORS = ("Add", "Mul", "Sub", "Conv", "If", "Loop")
BYTES = "bytes: "
HUGE = (2**31, 2**40, 2**62, 2**63 - 1)


@dataclass(frozen=True)
class Malformed:
    """A broken file.

    Attributes:
        data: Its bytes.
        how: What is wrong with it.
    """

    data: bytes
    how: str


class _NotHere(Exception):
    """A model has nothing that an edit could break."""


# Breaks a model in place; an edit of bytes returns others.
Edit = Callable[[st.DrawFn, ModelProto], None]
BytesEdit = Callable[[st.DrawFn, bytes], bytes]
E = TypeVar("E", Edit, BytesEdit)
T = TypeVar("T")

EDITS: dict[str, Edit] = {}
BYTES_EDITS: dict[str, BytesEdit] = {}


def malformed_models(how: str | None = None) -> st.SearchStrategy[Malformed]:
    """Broken files, each of a small valid model; `how` says what is wrong.

    Args:
        how: One of `ways()`: break files in this way alone.

    Raises:
        ValueError: There is no such way.
    """
    if how is not None and how not in ways():
        raise ValueError(f"no way to break a file is called {how!r}")
    return _malformed(how)


def ways() -> list[str]:
    """The ways in which files are broken."""
    return [*EDITS, *BYTES_EDITS]


@st.composite
def _malformed(draw: st.DrawFn, how: str | None) -> Malformed:
    model = draw(graphs(3, OPERATORS)).proto
    names = [how or draw(st.sampled_from(ways()))]
    if how is None and draw(st.integers(0, 5)) == 5:
        names.append(draw(st.sampled_from(ways())))
    done = []
    for name in names:
        if edit := EDITS.get(name):
            broken = ModelProto()
            broken.CopyFrom(model)
            try:
                edit(draw, broken)
            except _NotHere:
                continue
            model = broken
            done.append(name)
    if not done and not any(name in BYTES_EDITS for name in names):
        _unmade_input(draw, model)
        done.append("a node reads a value that nothing makes")
    data = model.SerializeToString()
    for name in names:
        if bytes_edit := BYTES_EDITS.get(name):
            data = bytes_edit(draw, data)
            done.append(name)
    return Malformed(data, ", and ".join(done))


def breaks(how: str) -> Callable[[Edit], Edit]:
    """Registers an edit of a model."""

    def decorate(edit: Edit) -> Edit:
        EDITS[how] = edit
        return edit

    return decorate


def damages(how: str) -> Callable[[BytesEdit], BytesEdit]:
    """Registers an edit of a file's bytes."""

    def decorate(edit: BytesEdit) -> BytesEdit:
        BYTES_EDITS[BYTES + how] = edit
        return edit

    return decorate


# What edits look for.


def _one(draw: st.DrawFn, options: Sequence[T]) -> T:
    if not options:
        raise _NotHere
    return draw(st.sampled_from(options))


def _graphs_of(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and its subgraphs."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == attribute.GRAPH:
                yield from _graphs_of(attribute.g)


def _node(draw: st.DrawFn, model: ModelProto) -> NodeProto:
    """Some node, perhaps in a subgraph."""
    return _one(draw, [node for graph in _graphs_of(model.graph) for node in graph.node])


def _main_node(draw: st.DrawFn, model: ModelProto) -> NodeProto:
    return _one(draw, list(model.graph.node))


def _attribute(draw: st.DrawFn, model: ModelProto) -> AttributeProto:
    """An attribute of some node, or of a new one."""
    nodes = [node for graph in _graphs_of(model.graph) for node in graph.node]
    found = [attribute for node in nodes for attribute in node.attribute]
    return _one(draw, found or [_add(model, "Elu", [_array(model)], alpha=0.5).attribute[0]])


def _array(model: ModelProto) -> str:
    """The name of a new initializer, float32 of shape [2, 2]."""
    name = f"w_{len(model.graph.initializer)}"
    array = np.arange(4, dtype=np.float32).reshape(2, 2)
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def _tensor(draw: st.DrawFn, model: ModelProto) -> TensorProto:
    """A new tensor with raw data, float32 of shape [2, 2]: an initializer, or an attribute."""
    _array(model)
    if draw(st.booleans()):
        tensor = model.graph.initializer.pop()
        return _add(model, "Constant", [], value=tensor).attribute[0].t
    return model.graph.initializer[-1]


def _add(model: ModelProto, op_type: str, inputs: Sequence[str], **attributes: Any) -> NodeProto:
    """A new last node, whose output is one of the graph's: float32 with two axes."""
    name = f"z_{len(model.graph.node)}"
    model.graph.node.append(helper.make_node(op_type, inputs, [name], **attributes))
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["m", "n"]))
    return model.graph.node[-1]


def _float_input(model: ModelProto, dims: Sequence[Any] = (2, 2)) -> onnx.ValueInfoProto:
    """A new input, float32 of a shape."""
    name = f"x_{len(model.graph.input)}"
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    return model.graph.input[-1]


# Names.


@breaks("a node reads a value that nothing makes")
def _unmade_input(draw: st.DrawFn, model: ModelProto) -> None:
    _node(draw, model).input.append("nothing")


@breaks("an output that nothing makes")
def _unmade_output(draw: st.DrawFn, model: ModelProto) -> None:
    graph = _one(draw, list(_graphs_of(model.graph)))
    _one(draw, list(graph.output)).name = "nothing"


@breaks("a node reads its own output")
def _own_output(draw: st.DrawFn, model: ModelProto) -> None:
    node = _node(draw, model)
    node.input[:] = [node.output[0]] * max(1, len(node.input))


@breaks("nodes form a cycle")
def _cycle(draw: st.DrawFn, model: ModelProto) -> None:
    # In front, for a cycle is not in an order either.
    a = helper.make_node("Neg", ["cycle_b"], ["cycle_a"])
    b = helper.make_node("Neg", ["cycle_a"], ["cycle_b"])
    nodes = [a, *model.graph.node, b]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@breaks("nodes in the wrong order")
def _order(draw: st.DrawFn, model: ModelProto) -> None:
    _add(model, "Neg", ["late"])
    _add(model, "Neg", [_array(model)]).output[0] = "late"
    model.graph.output[-1].name = "late"


@breaks("two nodes make one name")
def _made_twice(draw: st.DrawFn, model: ModelProto) -> None:
    name = _main_node(draw, model).output[0]
    node = _add(model, "Neg", [_array(model)])
    node.output[0] = name
    del model.graph.output[-1]


@breaks("a node makes the name of an input or initializer")
def _made_again(draw: st.DrawFn, model: ModelProto) -> None:
    node = _add(model, "Neg", [_array(model)])
    node.output[0] = _one(draw, [node.input[0], _float_input(model).name])
    del model.graph.output[-1]


@breaks("an input twice")
def _input_twice(draw: st.DrawFn, model: ModelProto) -> None:
    model.graph.input.append(_float_input(model))


@breaks("an initializer twice")
def _initializer_twice(draw: st.DrawFn, model: ModelProto) -> None:
    _array(model)
    model.graph.initializer.append(model.graph.initializer[-1])


@breaks("an output twice")
def _output_twice(draw: st.DrawFn, model: ModelProto) -> None:
    model.graph.output.append(_one(draw, list(model.graph.output)))


@breaks("a value of a subgraph is used outside")
def _leak(draw: st.DrawFn, model: ModelProto) -> None:
    inner = [g for g in _graphs_of(model.graph) if g is not model.graph and g.node]
    _add(model, "Neg", [_one(draw, inner).node[0].output[0]])


@breaks("an input without a name")
def _unnamed_input(draw: st.DrawFn, model: ModelProto) -> None:
    _float_input(model).name = ""


@breaks("an output without a name")
def _unnamed_output(draw: st.DrawFn, model: ModelProto) -> None:
    graph = _one(draw, list(_graphs_of(model.graph)))
    _one(draw, list(graph.output)).name = ""


@breaks("an initializer without a name")
def _unnamed_initializer(draw: st.DrawFn, model: ModelProto) -> None:
    _array(model)
    model.graph.initializer[-1].name = ""


@breaks("an attribute without a name")
def _unnamed_attribute(draw: st.DrawFn, model: ModelProto) -> None:
    _attribute(draw, model).name = ""


@breaks("a node without an operator")
def _unnamed_operator(draw: st.DrawFn, model: ModelProto) -> None:
    _node(draw, model).op_type = ""


# Operators and versions.


@breaks("an unknown operator")
def _unknown_operator(draw: st.DrawFn, model: ModelProto) -> None:
    _node(draw, model).op_type = _one(draw, ["Nothing", "add", "Add ", "é"])


@breaks("a domain that is not imported")
def _unknown_domain(draw: st.DrawFn, model: ModelProto) -> None:
    _node(draw, model).domain = "nobody"


@breaks("an unknown operator of an imported domain")
def _imported_domain(draw: st.DrawFn, model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("nobody", 1))
    _node(draw, model).domain = "nobody"


@breaks("no opset import")
def _no_opset(draw: st.DrawFn, model: ModelProto) -> None:
    del model.opset_import[:]


@breaks("an opset version that does not exist")
def _wrong_opset(draw: st.DrawFn, model: ModelProto) -> None:
    model.opset_import[0].version = _one(draw, [0, -1, -(2**63), 1000, *HUGE])


@breaks("two opset versions of one domain")
def _two_opsets(draw: st.DrawFn, model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid(_one(draw, ["", "ai.onnx"]), 7))


@breaks("an IR version that does not exist")
def _wrong_ir_version(draw: st.DrawFn, model: ModelProto) -> None:
    model.ir_version = _one(draw, [0, -1, -(2**63), 1000, *HUGE])


@breaks("no IR version")
def _no_ir_version(draw: st.DrawFn, model: ModelProto) -> None:
    model.ClearField("ir_version")


@breaks("no graph")
def _no_graph(draw: st.DrawFn, model: ModelProto) -> None:
    model.ClearField("graph")


@breaks("too many inputs")
def _too_many_inputs(draw: st.DrawFn, model: ModelProto) -> None:
    name = _array(model)
    _add(model, _one(draw, ["Neg", "Add", "Conv", "Gemm"]), [name] * 9)


@breaks("too few inputs")
def _too_few_inputs(draw: st.DrawFn, model: ModelProto) -> None:
    name = _array(model)
    _add(
        model,
        *_one(
            draw,
            [("Neg", []), ("Add", [name]), ("Conv", [name]), ("Concat", []), ("Add", [name, ""])],
        ),
    )


@breaks("too many outputs")
def _too_many_outputs(draw: st.DrawFn, model: ModelProto) -> None:
    node = _add(model, _one(draw, ["Neg", "Relu", "Softmax"]), [_array(model)])
    node.output.extend(f"more_{i}" for i in range(_one(draw, [1, 9])))


@breaks("no outputs")
def _no_outputs(draw: st.DrawFn, model: ModelProto) -> None:
    _add(model, "Neg", [_array(model)])
    del model.graph.node[-1].output[:]
    del model.graph.output[-1]


@breaks("shapes that do not fit")
def _shapes(draw: st.DrawFn, model: ModelProto) -> None:
    name = _array(model)
    _add(model, _one(draw, ["Add", "MatMul", "Gemm"]), [name, _float_input(model, [3, 5]).name])


@breaks("element types that do not fit")
def _types(draw: st.DrawFn, model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.arange(4).reshape(2, 2), "int_w"))
    _add(model, _one(draw, ["Add", "MatMul", "Gemm"]), [_array(model), "int_w"])


@breaks("an element type that the operator does not have")
def _operand_type(draw: st.DrawFn, model: ModelProto) -> None:
    array = _one(draw, [np.array(["a"], object), np.array([True]), np.array([1j], np.complex64)])
    model.graph.initializer.append(numpy_helper.from_array(array, "odd_w"))
    node = _add(model, _one(draw, ["Sigmoid", "Softmax", "MaxPool"]), ["odd_w"])
    if node.op_type == "MaxPool":
        node.attribute.append(helper.make_attribute("kernel_shape", [1]))


# Attributes.


@breaks("an unknown attribute")
def _unknown_attribute(draw: st.DrawFn, model: ModelProto) -> None:
    _node(draw, model).attribute.append(helper.make_attribute("nothing", 1))


@breaks("an attribute twice")
def _attribute_twice(draw: st.DrawFn, model: ModelProto) -> None:
    node = _add(model, "Elu", [_array(model)], alpha=0.5)
    node.attribute.append(helper.make_attribute("alpha", _one(draw, [0.5, 1.0])))


@breaks("an attribute of another type")
def _attribute_type(draw: st.DrawFn, model: ModelProto) -> None:
    name = _array(model)
    values: list[Any] = [1.5, b"text", [1, 2], [0.5], [b"a"], helper.make_tensor("t", 1, [1], [1])]
    value = _one(draw, values)
    _add(model, _one(draw, ["Softmax", "Flatten", "Cast"]), [name])
    key = "to" if model.graph.node[-1].op_type == "Cast" else "axis"
    model.graph.node[-1].attribute.append(helper.make_attribute(key, value))


@breaks("a list of integers that is of another type")
def _list_type(draw: st.DrawFn, model: ModelProto) -> None:
    value: Any = _one(draw, [1, 1.5, [0.5, 1.5], b"text", [b"a", b"b"]])
    _add(model, "Transpose", [_array(model)], perm=value)


@breaks("an attribute without a value")
def _attribute_value(draw: st.DrawFn, model: ModelProto) -> None:
    node = _one(
        draw,
        [
            _add(model, "Constant", []),
            _add(model, "If", [_array(model)]),
            _add(model, "Optional", []),
        ],
    )
    name, kind = {
        "Constant": ("value", AttributeProto.TENSOR),
        "If": ("then_branch", AttributeProto.GRAPH),
        "Optional": ("type", AttributeProto.TYPE_PROTO),
    }[node.op_type]
    node.attribute.add(name=name, type=kind)


@breaks("an attribute whose type and value differ")
def _attribute_mismatch(draw: st.DrawFn, model: ModelProto) -> None:
    node = _add(model, "Softmax", [_array(model)])
    node.attribute.add(name="axis", type=AttributeProto.INT, f=1.0)


@breaks("an attribute of an unknown kind")
def _attribute_kind(draw: st.DrawFn, model: ModelProto) -> None:
    # Python's protobuf takes no number that the enumeration lacks, so it goes in as bytes.
    node = _add(model, "Softmax", [_array(model)])
    attribute = node.attribute.add(name="axis", i=1)
    attribute.MergeFromString(_tag(20, 0) + _varint(_one(draw, [77, 2**31 - 1])))


@breaks("an attribute of no kind")
def _attribute_no_kind(draw: st.DrawFn, model: ModelProto) -> None:
    node = _add(model, "Softmax", [_array(model)])
    node.attribute.add(name="axis", i=1)


@breaks("an attribute with two values")
def _attribute_values(draw: st.DrawFn, model: ModelProto) -> None:
    node = _add(model, "Softmax", [_array(model)])
    node.attribute.add(name="axis", type=AttributeProto.INT, i=1, f=1.0, s=b"1")


@breaks("a reference to an attribute outside a function")
def _attribute_reference(draw: st.DrawFn, model: ModelProto) -> None:
    node = _add(model, "Softmax", [_array(model)])
    node.attribute.add(name="axis", type=AttributeProto.INT, ref_attr_name="a")


@breaks("a required attribute is missing")
def _required_attribute(draw: st.DrawFn, model: ModelProto) -> None:
    name = _array(model)
    _add(model, _one(draw, ["Cast", "Concat", "LRN", "MaxPool", "If", "Loop", "Einsum"]), [name])


@breaks("an attribute out of range")
def _attribute_range(draw: st.DrawFn, model: ModelProto) -> None:
    name = _array(model)
    number = _one(draw, [2, -3, 1000, -(2**63), *HUGE])
    kind = _one(draw, ["Concat", "Gather", "Softmax", "Flatten", "Transpose", "Cast", "MaxPool"])
    if kind == "Gather":
        model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "indices"))
        _add(model, kind, [name, "indices"], axis=number)
    elif kind == "Transpose":
        _add(model, kind, [name], perm=_one(draw, [[0, 0], [0], [number, 0], [0, 1, 2]]))
    elif kind == "Cast":
        _add(model, kind, [name], to=_one(draw, [0, -1, 77, *HUGE]))
    elif kind == "MaxPool":
        number = _one(draw, [0, -1, -(2**63)])
        _add(model, kind, [name], kernel_shape=[number, 1])
    else:
        _add(model, kind, [name], axis=3 if number == 2 else number)


@breaks("a text that is none of those that an attribute may have")
def _attribute_text(draw: st.DrawFn, model: ModelProto) -> None:
    text = _one(draw, [b"nothing", b"", b"\xff", b"same_upper"])
    kernel = [_array(model), _array(model)]
    for tensor in model.graph.initializer[-2:]:
        tensor.dims[:] = [1, 1, 4]
    _add(model, "Conv", kernel, auto_pad=text)
    model.graph.output[-1].type.tensor_type.shape.dim.add()


# Tensors.


@breaks("a tensor without an element type")
def _tensor_no_type(draw: st.DrawFn, model: ModelProto) -> None:
    _tensor(draw, model).data_type = 0


@breaks("a tensor of an unknown element type")
def _tensor_type(draw: st.DrawFn, model: ModelProto) -> None:
    _tensor(draw, model).data_type = _one(draw, [77, -1, 2**31 - 1])


@breaks("a tensor of another element type than its data")
def _tensor_other_type(draw: st.DrawFn, model: ModelProto) -> None:
    _tensor(draw, model).data_type = _one(draw, [2, 8, 10, 11, 15, 21, 22, 25])


@breaks("a tensor with a negative dimension")
def _tensor_negative(draw: st.DrawFn, model: ModelProto) -> None:
    _tensor(draw, model).dims[0] = _one(draw, [-1, -2, -(2**63)])


@breaks("a tensor with a huge dimension")
def _tensor_huge(draw: st.DrawFn, model: ModelProto) -> None:
    _tensor(draw, model).dims[:] = _one(
        draw, [[2**31], [2**40], [2**62], [2**63 - 1], [2**32, 2**32], [2**62, 4], [2**62, 0, 8]]
    )


@breaks("a tensor of far too many dimensions")
def _tensor_rank(draw: st.DrawFn, model: ModelProto) -> None:
    tensor = _tensor(draw, model)
    tensor.dims[:] = [2, 2, *[1] * _one(draw, [100, 1000])]
    tensor.raw_data += b"1"  # it has too much data, for rank alone breaks no rule


@breaks("a tensor with too little or too much data")
def _tensor_size(draw: st.DrawFn, model: ModelProto) -> None:
    tensor = _tensor(draw, model)
    tensor.raw_data = tensor.raw_data[: _one(draw, [0, 1, 15])] or bytes(_one(draw, [17, 64]))


@breaks("a tensor without data")
def _tensor_no_data(draw: st.DrawFn, model: ModelProto) -> None:
    _tensor(draw, model).ClearField("raw_data")


@breaks("a tensor with raw and typed data")
def _tensor_both(draw: st.DrawFn, model: ModelProto) -> None:
    _tensor(draw, model).float_data.extend([1.0, 2.0, 3.0, 4.0])


@breaks("a tensor with data in the wrong field")
def _tensor_field(draw: st.DrawFn, model: ModelProto) -> None:
    tensor = _tensor(draw, model)
    tensor.ClearField("raw_data")
    name = _one(draw, ["int32_data", "int64_data", "double_data", "uint64_data", "string_data"])
    getattr(tensor, name).extend([b"a"] * 4 if name == "string_data" else [1] * 4)


@breaks("a tensor with too little or too much typed data")
def _tensor_typed_size(draw: st.DrawFn, model: ModelProto) -> None:
    tensor = _tensor(draw, model)
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0] * _one(draw, [3, 5, 1]))


@breaks("strings in raw data")
def _tensor_raw_strings(draw: st.DrawFn, model: ModelProto) -> None:
    _tensor(draw, model).data_type = TensorProto.STRING


@breaks("a tensor in segments")
def _tensor_segment(draw: st.DrawFn, model: ModelProto) -> None:
    tensor = _tensor(draw, model)
    tensor.segment.begin, tensor.segment.end = 0, 1
    tensor.ClearField("raw_data")


@breaks("external data that cannot be there")
def _external(draw: st.DrawFn, model: ModelProto) -> None:
    tensor = _tensor(draw, model)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    location = _one(
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
        number = _one(draw, [None, "-1", "a", "", str(2**63), "9" * 100, "1e3"])
        entries |= {_one(draw, ["offset", "length"]): number} if number is not None else {}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


@breaks("a sparse tensor that is none")
def _sparse(draw: st.DrawFn, model: ModelProto) -> None:
    values = np.array([1.0, 2.0], np.float32)
    indices: np.ndarray = np.array([1, 3])
    dims = [6]
    wrong = _one(draw, ["high", "negative", "order", "twice", "dims", "rank", "int32", "count"])
    if wrong == "high":
        indices = np.array([1, _one(draw, [6, 2**62])])
    elif wrong == "negative":
        indices = np.array([-1, 1])
    elif wrong == "order":
        indices = np.array([3, 1])
    elif wrong == "twice":
        indices = np.array([3, 3])
    elif wrong == "dims":
        dims = _one(draw, [[], [-1], [2**40, 2**40]])
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


# Types.


@breaks("an input without a type")
def _input_no_type(draw: st.DrawFn, model: ModelProto) -> None:
    _float_input(model).ClearField("type")


@breaks("an input of an unknown element type")
def _input_type(draw: st.DrawFn, model: ModelProto) -> None:
    _float_input(model).type.tensor_type.elem_type = _one(draw, [0, 77, -1])


@breaks("an input of a size that cannot be")
def _input_size(draw: st.DrawFn, model: ModelProto) -> None:
    name = _float_input(model, [_one(draw, [-1, -5, -(2**63), *HUGE]), 2]).name
    _add(model, "Neg", [name])


@breaks("an input whose sequence, optional or map has no or a wrong element")
def _input_container(draw: st.DrawFn, model: ModelProto) -> None:
    kind = _float_input(model).type
    kind.Clear()
    which = _one(draw, ["sequence", "optional", "map", "key", "nested"])
    if which == "sequence":
        kind.sequence_type.SetInParent()
    elif which == "optional":
        kind.optional_type.SetInParent()
    elif which == "nested":
        kind.sequence_type.elem_type.sequence_type.elem_type.tensor_type.elem_type = 77
    else:
        kind.map_type.key_type = 7 if which == "map" else _one(draw, [0, 1, 77])


@breaks("a sequence where a tensor must be")
def _sequence(draw: st.DrawFn, model: ModelProto) -> None:
    value = _float_input(model)
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    value.type.CopyFrom(helper.make_sequence_type_proto(kind))
    _add(model, _one(draw, ["Neg", "MatMul"]), [value.name] * 2)
    if model.graph.node[-1].op_type == "Neg":
        del model.graph.node[-1].input[1:]


@breaks("an output of another type than declared")
def _output_type(draw: st.DrawFn, model: ModelProto) -> None:
    _add(model, "Neg", [_array(model)])
    model.graph.output[-1].type.tensor_type.elem_type = _one(draw, [7, 9, 8, 16])


@breaks("an output of another shape than declared")
def _output_shape(draw: st.DrawFn, model: ModelProto) -> None:
    _add(model, "Neg", [_array(model)])
    name = model.graph.output.pop().name
    shape = _one(draw, [[3, 2], [2], [2, 2, 2], []])
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


@breaks("a value of another type or shape than value_info says")
def _value_info(draw: st.DrawFn, model: ModelProto) -> None:
    name = _add(model, "Neg", [_array(model)]).output[0]
    _add(model, "Abs", [name])
    kind, shape = _one(draw, [(1, [3, 2]), (1, [2]), (7, [2, 2]), (8, [2, 2])])
    model.graph.value_info.append(helper.make_tensor_value_info(name, kind, shape))


@breaks("an initializer of another type or shape than its input")
def _initializer_type(draw: st.DrawFn, model: ModelProto) -> None:
    name = _array(model)
    kind, shape = _one(draw, [(1, [3, 2]), (1, [2]), (7, [2, 2]), (8, [2, 2])])
    model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    _add(model, "Neg", [name])


# Functions and subgraphs.


def _function(
    model: ModelProto, name: str, nodes: Sequence[NodeProto], inputs: Sequence[str] = ("a",)
) -> FunctionProto:
    """A new function in the domain `f`, which returns `b`."""
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("f", 1)]
    if all(entry.domain != "f" for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("f", 1))
    model.functions.append(helper.make_function("f", name, inputs, ["b"], nodes, opsets))
    return model.functions[-1]


def _call(name: str, value: str = "a", result: str = "b") -> NodeProto:
    return helper.make_node(name, [value], [result], domain="f")


@breaks("a function that calls itself")
def _recursion(draw: st.DrawFn, model: ModelProto) -> None:
    length = _one(draw, [1, 2, 3, 50])
    for index in range(length):
        _function(model, f"F{index}", [_call(f"F{(index + 1) % length}")])
    _add(model, "F0", [_array(model)], domain="f")


@breaks("functions that call each other exponentially often")
def _exponential(draw: st.DrawFn, model: ModelProto) -> None:
    for index in range(40):
        _function(
            model, f"F{index}", [_call(f"F{index + 1}", "a", "c"), _call(f"F{index + 1}", "c", "b")]
        )
    # The last one reads what nothing makes, for their number alone breaks no rule.
    _function(model, "F40", [helper.make_node("Neg", ["nothing"], ["b"])])
    _add(model, "F0", [_array(model)], domain="f")


@breaks("a function that reads a value of the graph, or one that nothing makes")
def _function_input(draw: st.DrawFn, model: ModelProto) -> None:
    name = _array(model)
    read = _one(draw, [name, "nothing"])
    _function(model, "F", [helper.make_node("Add", ["a", read], ["b"])])
    _add(model, "F", [name], domain="f")


@breaks("a function whose output nothing makes")
def _function_output(draw: st.DrawFn, model: ModelProto) -> None:
    _function(model, "F", [helper.make_node("Neg", ["a"], ["c"])])
    _add(model, "F", [_array(model)], domain="f")


@breaks("a function twice")
def _function_twice(draw: st.DrawFn, model: ModelProto) -> None:
    for op_type in ("Neg", "Abs"):
        _function(model, "F", [helper.make_node(op_type, ["a"], ["b"])])
    _add(model, "F", [_array(model)], domain="f")


@breaks("a function with an input twice")
def _function_names(draw: st.DrawFn, model: ModelProto) -> None:
    _function(model, "F", [helper.make_node("Add", ["a", "a"], ["b"])], inputs=["a", "a"])
    _add(model, "F", [_array(model)] * 2, domain="f")


@breaks("a function without a name")
def _function_name(draw: st.DrawFn, model: ModelProto) -> None:
    _function(model, "", [helper.make_node("Neg", ["a"], ["b"])])


@breaks("a function without opset imports")
def _function_opsets(draw: st.DrawFn, model: ModelProto) -> None:
    function = _function(model, "F", [helper.make_node("Neg", ["a"], ["b"])])
    del function.opset_import[:]
    _add(model, "F", [_array(model)], domain="f")


@breaks("a function is called with too many inputs")
def _function_call(draw: st.DrawFn, model: ModelProto) -> None:
    _function(model, "F", [helper.make_node("Neg", ["a"], ["b"])])
    _add(model, "F", [_array(model)] * 5, domain="f")


@breaks("a function's node refers to an attribute that the function does not have")
def _function_attribute(draw: st.DrawFn, model: ModelProto) -> None:
    node = helper.make_node("Softmax", ["a"], ["b"])
    node.attribute.add(name="axis", type=AttributeProto.INT, ref_attr_name="nothing")
    _function(model, "F", [node])
    _add(model, "F", [_array(model)], domain="f")


@breaks("a function whose attribute is not given")
def _function_no_attribute(draw: st.DrawFn, model: ModelProto) -> None:
    node = helper.make_node("Cast", ["a"], ["b"])
    node.attribute.add(name="to", type=AttributeProto.INT, ref_attr_name="to")
    _function(model, "F", [node]).attribute.append("to")
    _add(model, "F", [_array(model)], domain="f")


@breaks("subgraphs with another number of outputs")
def _branches(draw: st.DrawFn, model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    name = _array(model)
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    node = helper.make_node("Neg", [name], ["inner"])
    one = helper.make_graph([node], "one", [], [value])
    none = helper.make_graph([], "none", [], [])
    one_with_input = helper.make_graph([node], "one", [_float_input(ModelProto())], [value])
    then, other = _one(draw, [(one, none), (none, one), (none, none), (one_with_input, one)])
    _add(model, "If", ["condition"], then_branch=then, else_branch=other)


@breaks("a loop whose body has the wrong inputs or outputs")
def _body(draw: st.DrawFn, model: ModelProto) -> None:
    name = _array(model)
    model.graph.initializer.append(numpy_helper.from_array(np.array(2), "trips"))
    info = helper.make_tensor_value_info
    ins = [info("i", 7, []), info("c", 9, []), info("v", 1, None)]
    outs = [info("d", 9, []), info("u", 1, None)]
    nodes = [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Neg", [name], ["u"])]
    ins, outs = _one(
        draw, [(ins[:2], outs), (ins[:1], outs), ([], outs), (ins, []), (ins, outs[:1])]
    )
    body = helper.make_graph(nodes, "body", ins, outs)
    _add(model, "Loop", ["trips", "", name], body=body)


@breaks("a loop whose condition is no boolean")
def _loop_condition(draw: st.DrawFn, model: ModelProto) -> None:
    name = _array(model)
    model.graph.initializer.append(numpy_helper.from_array(np.array(2), "trips"))
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Neg", ["v"], ["u"]), helper.make_node("Neg", ["v"], ["d"])],
        "body",
        [info("i", 7, []), info("c", 9, []), info("v", 1, None)],
        [info("d", 1, None), info("u", 1, None)],
    )
    _add(model, "Loop", ["trips", _one(draw, ["", name]), name], body=body)


# The bytes of a file.


@damages("cut off")
def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(st.integers(0, max(0, len(data) - 1)))]


@damages("flipped bits")
def _bits(draw: st.DrawFn, data: bytes) -> bytes:
    damaged = bytearray(data)
    for place in draw(st.lists(st.integers(0, max(0, len(data) * 8 - 1)), min_size=1, max_size=4)):
        if damaged:
            damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)


@damages("other bytes")
def _other(draw: st.DrawFn, data: bytes) -> bytes:
    place = draw(st.integers(0, len(data)))
    new = draw(
        st.sampled_from((b"", b"\0", b"\xff", b"\x80" * 12, b"\x7f")) | st.binary(max_size=9)
    )
    return data[:place] + new + data[place + draw(st.integers(0, 9)) :]


@damages("more bytes at the end")
def _tail(draw: st.DrawFn, data: bytes) -> bytes:
    return data + draw(st.binary(min_size=1, max_size=20))


@damages("a name that is not UTF-8")
def _not_text(draw: st.DrawFn, data: bytes) -> bytes:
    model = _parsed(data)
    names = [model.graph.name, "Add", *(v.name for v in model.graph.output), "ai.onnx"]
    names += [name for node in model.graph.node for name in (node.op_type, *node.output)]
    # Some are bytes: of a file with two faults that are both of this kind.
    texts = sorted({n.encode() for n in names if isinstance(n, str) and n})
    texts = [text for text in texts if text in data]
    if not texts:
        return data + b"\x12\x01\xff"  # the producer's name
    name = draw(st.sampled_from(texts))
    wrong = draw(st.sampled_from((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8")))
    # Of the same length, so that the file can still be parsed.
    return data.replace(name, (wrong + name)[: len(name)])


@damages("subgraphs nested too deeply")
def _nested(draw: st.DrawFn, data: bytes) -> bytes:
    graph = b""
    for _ in range(draw(st.sampled_from((15, 31, 60, 100, 3000)))):
        attribute = _field(1, b"g") + _tag(20, 0) + b"\x05" + _field(6, graph)
        graph = _field(1, _field(2, b"y") + _field(4, b"If") + _field(5, attribute))
    return _tag(1, 0) + b"\x0a" + _field(7, graph) + _field(8, b"\x10\x14")


@damages("a field of another wire type")
def _wire_type(draw: st.DrawFn, data: bytes) -> bytes:
    def change(fields: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
        place = draw(st.integers(0, len(fields) - 1))
        number, _, payload = fields[place]
        kind = draw(st.sampled_from((0, 1, 2, 3, 4, 5, 6, 7)))
        return [*fields[:place], (number, kind, payload), *fields[place + 1 :]]

    return _edited(draw, data, change)


@damages("a field of another number")
def _number(draw: st.DrawFn, data: bytes) -> bytes:
    def change(fields: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
        place = draw(st.integers(0, len(fields) - 1))
        number = draw(st.integers(0, 30) | st.sampled_from((2**29 - 1, 19000)))
        return [*fields[:place], (number, *fields[place][1:]), *fields[place + 1 :]]

    return _edited(draw, data, change)


@damages("a field twice")
def _field_twice(draw: st.DrawFn, data: bytes) -> bytes:
    def change(fields: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
        return [*fields, draw(st.sampled_from(fields))]

    return _edited(draw, data, change)


@damages("a field is missing")
def _field_missing(draw: st.DrawFn, data: bytes) -> bytes:
    def change(fields: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
        place = draw(st.integers(0, len(fields) - 1))
        return fields[:place] + fields[place + 1 :]

    return _edited(draw, data, change)


@damages("fields in another order")
def _fields_order(draw: st.DrawFn, data: bytes) -> bytes:
    return _edited(draw, data, lambda fields: draw(st.permutations(fields)))


@damages("a number of another value")
def _number_value(draw: st.DrawFn, data: bytes) -> bytes:
    def change(fields: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
        places = [place for place, field in enumerate(fields) if field[1] == 0]
        if not places:
            return fields
        place = draw(st.sampled_from(places))
        value = draw(st.sampled_from((0, 1, 2, 17, 99, 2**31, 2**63, 2**64 - 1)))
        return [*fields[:place], (fields[place][0], 0, _varint(value)), *fields[place + 1 :]]

    return _edited(draw, data, change)


def _parsed(data: bytes) -> ModelProto:
    """The model in a file; an empty one if there is none."""
    try:
        return onnx.load_from_string(data)
    except Exception:  # of several kinds, that differ between protobuf's versions
        return ModelProto()


def _edited(
    draw: st.DrawFn,
    data: bytes,
    change: Callable[[list[tuple[int, int, bytes]]], Sequence[tuple[int, int, bytes]]],
) -> bytes:
    """A message, or one somewhere within it, with its fields changed."""
    fields = _fields(data)
    if not fields:
        return data + b"\0"
    inner = [i for i, (_, kind, payload) in enumerate(fields) if kind == 2 and _fields(payload)]
    if inner and draw(st.integers(0, 2)) > 0:
        place = draw(st.sampled_from(inner))
        number, kind, payload = fields[place]
        fields[place] = number, kind, _edited(draw, payload, change)
        return _message(fields)
    return _message(change(fields))


def _fields(data: bytes) -> list[tuple[int, int, bytes]]:
    """Number, wire type and payload of the fields of a message; none if it is no message."""
    fields, place = [], 0
    while place < len(data):
        tag, place = _read_varint(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = _read_varint(data, place)
            payload = _varint(value)
        elif kind in (1, 2, 5):
            size = {1: 8, 5: 4}.get(kind)
            if size is None:
                size, place = _read_varint(data, place)
            payload = data[place : place + size]
            place += size
        else:
            return []
        if place > len(data) or not tag >> 3:
            return []
        fields.append((tag >> 3, kind, payload))
    return fields


def _message(fields: Sequence[tuple[int, int, bytes]]) -> bytes:
    return b"".join(
        _field(number, payload) if kind == 2 else _tag(number, kind) + payload
        for number, kind, payload in fields
    )


def _field(number: int, payload: bytes) -> bytes:
    """A field with a length."""
    return _tag(number, 2) + _varint(len(payload)) + payload


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """A number and where it ends; past the end of the data if it does not."""
    value = shift = 0
    while place < len(data):
        value |= (data[place] & 127) << shift
        shift += 7
        place += 1
        if data[place - 1] < 128:
            return value & (2**64 - 1), place
    return 0, len(data) + 1
