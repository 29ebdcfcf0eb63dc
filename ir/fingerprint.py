"""Whether two models are the same: a hash of all that decides what a model computes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from onnxla.ir.dtypes import STRING
from onnxla.ir.files import Bytes, content
from onnxla.ir.model import Function, Graph, Model, Node, SparseTensor, Tensor
from onnxla.ir.number_list import NumberList
from onnxla.ir.tensors import encode_raw

OURS = "onnxla."  # what metadata begin with that change what is computed


def fingerprint(item: Any) -> str:
    """A hash of a model, or a part: opsets, functions, nodes with attributes, graphs, constants.

    Neither the names of nodes and graphs count, nor documentation, nor the types that are stated
    for values, nor the order of initializers.
    """
    digest = hashlib.sha256()
    for part in parts(item):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(content(part))
    return digest.hexdigest()


def parts(item: Any) -> Iterator[Bytes]:
    """What is hashed of a model or of a part of it, so that different ones have different parts."""
    match item:
        case Model():
            yield from parts((item.opsets, item.graph))
            yield from parts({function.key: function for function in item.functions})
        case Graph():
            yield from parts(([v.name for v in item.inputs], [v.name for v in item.outputs]))
            yield from parts({tensor.name: tensor for tensor in item.initializers})
            yield from parts(item.nodes)
        case Function():
            yield from parts((item.inputs, item.outputs, item.attributes, item.defaults))
            yield from parts((item.opsets, item.nodes))
        case Node():
            yield from parts((item.domain, item.op_type, item.overload))
            yield from parts((item.inputs, item.outputs, item.attributes, marks(item)))
        case Tensor():
            yield from parts((str(item.dtype), item.shape, marks(item)))
            yield from tensor_data(item)
        case SparseTensor():
            yield from parts((item.shape, item.values, item.indices))
        case Mapping():
            entries = sorted(item.items(), key=lambda entry: str(entry[0]))
            yield from parts(tuple(entries))
        case NumberList():  # as a tuple of them, sooner
            yield f"{len(item)} parts".encode()
            yield from (f"{item.kind.__name__} {part!r}".encode() for part in item)
        case tuple() | list():
            yield f"{len(item)} parts".encode()
            for part in item:
                yield from parts(part)
        case np.dtype():
            yield str(item).encode()
        case _ if is_dataclass(item):  # a type, or a reference to a function's attribute
            yield type(item).__name__.encode()
            yield from parts([getattr(item, field.name) for field in fields(item)])
        case _:
            yield f"{type(item).__name__} {item!r}".encode()


def marks(item: Node | Tensor) -> dict[str, str]:
    """Metadata that change what is computed."""
    return {key: value for key, value in item.metadata.items() if key.startswith(OURS)}


def tensor_data(tensor: Tensor) -> Iterator[Bytes]:
    """The data of a constant tensor; one at a time is in memory."""
    data = tensor.numpy()
    # An array of strings holds addresses.
    yield json.dumps(data.tolist()).encode() if data.dtype == STRING else encode_raw(data)
