"""Zeros in parameters that no framework trains: an exporter's padding, and a padding's vector.

ONNX has LSTM and its like with two biases, and exporters of frameworks that have one fill up the
other with zeros. PyTorch's embeddings keep the vector of `padding_idx` at zero. Neither is said in
the file, so what is zero where that can be the reason is taken for it, and told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxla.ir.model import Node, Tensor
from onnxla.ir.traverse import is_standard
from onnxla.parameters.evidence import is_of_pytorch
from onnxla.parameters.uses import original
from onnxla.parameters.walk import Analysis

BIASES = 3  # the position of the biases among the operands of an LSTM and its like


@dataclass(frozen=True, eq=False)
class Padding:
    """Zeros of a tensor that stay in training, as far as one node reads them.

    Attributes:
        index: The operand's position.
        mask: Where they are; bool, broadcasts to the tensor's shape.
    """

    tensor: Tensor
    node: Node
    index: int
    mask: np.ndarray


def find_padding(analysis: Analysis) -> list[Padding]:
    """The uses of constants in which zeros may be padding, and are there."""
    return [padding for padding in possible(analysis) if padding.mask.any()]


def possible(analysis: Analysis) -> Iterator[Padding]:
    """The uses of constants in which zeros may be padding."""
    pytorch = is_of_pytorch(analysis.model)
    for node, operands in analysis.operands.items():
        if is_standard(node, "GRU", "LSTM", "RNN") and not pytorch and len(operands) > BIASES:
            biases = original(operands[BIASES])
            if biases is not None and len(biases.shape) == 2 and biases.shape[1] % 2 == 0:
                yield Padding(biases, node, BIASES, second_biases(biases.numpy()))
        elif is_standard(node, "Gather") and pytorch and not node.attributes.get("axis"):
            vectors = original(operands[0])
            if vectors is not None and len(vectors.shape) == 2:
                yield Padding(vectors, node, 0, the_only_one(vectors.numpy()))


def second_biases(array: np.ndarray) -> np.ndarray:
    """The second half of each direction's biases, if it is zero and the first is not."""
    first, second = np.split(array != 0, 2, axis=1)
    filled = first.any(1, keepdims=True) & ~second.any(1, keepdims=True)
    return np.concatenate([np.zeros_like(first), np.broadcast_to(filled, second.shape)], 1)


def the_only_one(vectors: np.ndarray) -> np.ndarray:
    """The one vector that is zero, as a column; none if there are several."""
    zero: np.ndarray = np.all(vectors == 0, axis=1, keepdims=True)
    return zero if zero.sum() == 1 else np.zeros_like(zero)
