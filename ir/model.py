"""What a model is: immutable data that mirrors the ONNX messages. Knows no JAX.

Each class has the fields that onnxla uses and, in `wire`, the protobuf message that it was read
from. Writing starts from a copy of that message and changes only the fields below, so whatever
onnxla does not model (doc strings of nodes, device configurations, unknown fields) is kept.
Change a model with `dataclasses.replace`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import Message

from onnxla.ir.dtypes import STRING
from onnxla.ir.errors import ModelError
from onnxla.ir.files import new_memory
from onnxla.ir.names import listed, plain, quoted
from onnxla.ir.number_list import NumberList

MAX_DENSE_SIZE = 2**31  # bytes that a sparse tensor may have when dense

FunctionId: TypeAlias = tuple[str, str, str]  # domain, name and overload
Dim: TypeAlias = int | str | None  # a size, the name of an unknown size, or nothing known


@dataclass(frozen=True)
class TensorType:
    """Type of a tensor. `dtype` or `shape` None: not stated.

    For example:

        graph = onnxla.ir.read("model.onnx").graph
        kind = graph.inputs[0].type
        assert isinstance(kind, onnxla.ir.TensorType)
    """

    dtype: np.dtype | None
    shape: tuple[Dim, ...] | None = None
    sparse: bool = False


@dataclass(frozen=True)
class SequenceType:
    """Type of a sequence of `element`.

    For example:

        of_floats = onnxla.ir.SequenceType(onnxla.ir.read("model.onnx").graph.inputs[0].type)
    """

    element: Type


@dataclass(frozen=True)
class OptionalType:
    """Type of an `element` that may be absent.

    For example:

        perhaps = onnxla.ir.OptionalType(onnxla.ir.read("model.onnx").graph.inputs[0].type)
    """

    element: Type


@dataclass(frozen=True)
class MapType:
    """Type of a map from `key` (an integer or string dtype) to `value`.

    For example:

        kind = onnxla.ir.read("model.onnx").graph.inputs[0].type
        by_name = onnxla.ir.MapType(onnxla.ir.STRING, kind)
    """

    key: np.dtype
    value: Type


Type: TypeAlias = TensorType | SequenceType | OptionalType | MapType | None


@dataclass(frozen=True)
class ValueInfo:
    """A named value of a graph with its type: an input, an output or an intermediate value.

    `metadata`: its `metadata_props`, in which exporters describe initializers, too.

    For example:

        graph = onnxla.ir.read("model.onnx").graph
        (x_info,) = graph.inputs
        print(x_info.name, x_info.type)
    """

    name: str
    type: Type = None
    wire: Message | None = field(default=None, repr=False, compare=False)
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A constant tensor whose data stays where it is until `numpy()` asks for it.

    Compares by identity, so that it can be a key: the same tensor is the same parameter.
    `metadata` are its `metadata_props`, of which those that begin with `onnxla.` are ours.

    For example:

        (weight, *others) = onnxla.ir.read("model.onnx").graph.initializers
        print(weight.name, weight.dtype, weight.numpy().mean())
    """

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    load: Callable[[], np.ndarray] = field(repr=False)
    wire: Message | None = field(default=None, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)

    def numpy(self) -> np.ndarray:
        """The data, with exactly `dtype` and `shape`. Raises: ModelError if it cannot be read."""
        return self.load()

    def first(self, count: int) -> np.ndarray:
        """The first entries along the first axis: `count` of them, or as many as there are.

        Only they are read, where the file allows it. Raises: ModelError if they cannot be read.
        """
        return self.part((slice(count),))

    def part(self, index: tuple[slice, ...]) -> np.ndarray:
        """What slices of the first axes choose, without steps; little else is read of a file.

        Raises: ModelError if it cannot be read.
        """
        load_part = getattr(self.load, "part", None)
        found: np.ndarray = load_part(index) if load_part else self.load()[index]
        return found

    def fresh(self) -> np.ndarray:
        """The data in memory that nobody else has. Not for strings.

        Raises:
            ModelError: It cannot be read.
        """
        array = self.load()
        if getattr(self.load, "makes_memory", False):
            return array
        copy: np.ndarray = new_memory(array.nbytes).view(array.dtype).reshape(array.shape)
        copy[...] = array
        return copy

    @classmethod
    def of(cls, name: str, array: np.ndarray, metadata: Mapping[str, str] | None = None) -> Tensor:
        """A tensor that holds `array`."""
        load = partial(np.asarray, array)  # which can be pickled
        return cls(name, array.dtype, array.shape, load, metadata=metadata or {})

    def with_data(self, array: np.ndarray) -> Tensor:
        """This tensor with other data; its name and whatever else the file says of it stay."""
        load = partial(np.asarray, array)
        return replace(self, dtype=array.dtype, shape=array.shape, load=load)


@dataclass(frozen=True, eq=False)
class SparseTensor:
    """A constant tensor in coordinate form. `values`: [nnz]; `indices`: [nnz] or [nnz, rank].

    For example:

        tensor = onnxla.ir.Tensor.of("numbers", np.float32([3, 4]))
        where = onnxla.ir.Tensor.of("where", np.array([0, 2]))
        sparse = onnxla.ir.SparseTensor(tensor, where, (4,))
        assert sparse.numpy().tolist() == [3, 0, 4, 0]
    """

    values: Tensor
    indices: Tensor
    shape: tuple[int, ...]
    wire: Message | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The name of `values`, which is also that of the dense tensor."""
        return self.values.name

    @property
    def dtype(self) -> np.dtype:
        """Element type."""
        return self.values.dtype

    def numpy(self) -> np.ndarray:
        """The dense tensor. Raises: ModelError if it is too large or an index is wrong."""
        size = math.prod(self.shape)
        if size * self.dtype.itemsize > MAX_DENSE_SIZE:
            # A sparse tensor of a few bytes can have any shape.
            raise ModelError(
                f"sparse tensor {quoted(self.name)} of shape {list(self.shape)} is larger than"
                f" {MAX_DENSE_SIZE} bytes when dense"
            )
        indices = self.indices.numpy()
        limits = self.shape if indices.ndim == 2 else size
        if np.any((indices < 0) | (indices >= np.array(limits, np.int64))):
            raise ModelError(f"sparse tensor {quoted(self.name)} has an index outside its shape")
        places = (
            np.ravel_multi_index(tuple(indices.T), self.shape) if indices.ndim == 2 else indices
        )
        if np.any(np.diff(places) <= 0):
            raise ModelError(f"the indices of sparse tensor {quoted(self.name)} are not in order")
        dense = np.full(size, "" if self.dtype == STRING else 0, self.dtype)
        dense[places] = self.values.numpy()
        return dense.reshape(self.shape)


@dataclass(frozen=True)
class AttributeReference:
    """Inside a function: the value of the function's attribute `name`, given by the caller.

    For example:

        given = onnxla.ir.AttributeReference("alpha")
    """

    name: str


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an operator. An empty input or output name means 'not given'.

    `metadata`: its `metadata_props`, of which those that begin with `onnxla.` are ours.
    `place`: its index among the nodes of its file's graph or function.

    For example:

        graph = onnxla.ir.read("model.onnx").graph
        print([(node.op_type, node.inputs, node.outputs) for node in graph.nodes])
    """

    op_type: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""
    domain: str = ""  # "ai.onnx" is read as ""
    overload: str = ""
    wire: Message | None = field(default=None, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    place: int | None = field(default=None, repr=False)

    @cached_property
    def subgraphs(self) -> tuple[Graph, ...]:
        """The graphs in its attributes."""
        values = self.attributes.values()
        return tuple(graph for value in values for graph in graphs_in(value))

    def __str__(self) -> str:
        domain = f"{plain(self.domain)}." if self.domain else ""
        label = f" {quoted(self.name)}" if self.name else ""
        outputs = listed([*filter(None, self.outputs)], plain)
        return f"{domain}{plain(self.op_type)}{label} -> {outputs}"


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in execution order between inputs and outputs.

    For example:

        graph = onnxla.ir.read("model.onnx").graph
        print(graph.name, len(graph.nodes), [value.name for value in graph.outputs])

    Attributes:
        inputs: Graph inputs as the file lists them, those with an initializer (a default) included.
        initializers: Constant tensors; a sparse one is a `SparseTensor`.
        value_info: Types that the file states for intermediate values.
        metadata: The graph's `metadata_props`.
        disordered: Whether the file has the nodes in another order, in which they cannot be run.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[ValueInfo, ...] = ()
    outputs: tuple[ValueInfo, ...] = ()
    initializers: tuple[Tensor | SparseTensor, ...] = ()
    value_info: tuple[ValueInfo, ...] = ()
    name: str = "graph"
    wire: Message | None = field(default=None, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    disordered: bool = False


Attribute: TypeAlias = (
    int
    | float
    | str
    | bytes
    | Tensor
    | SparseTensor
    | Graph
    | Type
    | AttributeReference
    | tuple[Any, ...]
    | NumberList
)
"""An attribute's value; lists are tuples, or `NumberList`. Text that is not UTF-8 stays bytes."""


def graphs_in(attribute: Attribute) -> list[Graph]:
    """The graphs that an attribute is."""
    if is_plain(attribute):
        return []
    items = attribute if isinstance(attribute, tuple) else (attribute,)
    return [item for item in items if isinstance(item, Graph)]


def is_plain(attribute: Attribute) -> bool:
    """Whether an attribute is numbers or texts, of which there may be millions: not to visit.

    The entries of a list are of one kind.
    """
    first = attribute[0] if isinstance(attribute, tuple) and attribute else attribute
    return isinstance(first, int | float | str | bytes | NumberList)


@dataclass(frozen=True, eq=False)
class Function:
    """A model-local function: an operator defined by nodes, with opset imports of its own.

    For example:

        model = onnxla.ir.read("model.onnx")
        print([function.key for function in model.functions])

    Attributes:
        attributes: Names of the attributes that a caller must give.
        defaults: Attributes that have a default value.
        disordered: As of a `Graph`.
    """

    domain: str
    name: str
    overload: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[str, ...]
    defaults: Mapping[str, Attribute]
    nodes: tuple[Node, ...]
    opsets: Mapping[str, int]
    wire: Message | None = field(default=None, repr=False)
    disordered: bool = False

    @property
    def key(self) -> FunctionId:
        """What the nodes that call it have in common: domain, name and overload."""
        return self.domain, self.name, self.overload


@dataclass(frozen=True, eq=False)
class Model:
    """A graph with what is needed to read it: opset imports and local functions.

    For example:

        model = onnxla.ir.read("model.onnx")
        print(model.opsets, [value.name for value in model.graph.inputs])

    Attributes:
        opsets: Version of each operator domain; the standard domain is "".
        metadata: The file's `metadata_props`.
    """

    graph: Graph
    opsets: Mapping[str, int]
    functions: tuple[Function, ...] = ()
    ir_version: int = 10
    producer: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    wire: Message | None = field(default=None, repr=False)
