"""Zeros in parameters that no framework trains: an exporter's padding, and a padding's vector.

ONNX has LSTM and its like with two biases, and exporters of frameworks that have one fill up the
other with zeros. PyTorch's embeddings keep the vector of `padding_idx` at zero. Neither is said in
the file, so what is zero where that can be the reason is taken for it, and told.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxla.ir.model import Tensor
from onnxla.ir.traverse import is_standard
from onnxla.parameters.evidence import is_of_pytorch
from onnxla.parameters.roles import Parameters
from onnxla.parameters.walk import Analysis

BIASES = 3  # the position of the biases among the operands of an LSTM and its like


def find_padding(parameters: Parameters, analysis: Analysis) -> dict[str, np.ndarray]:
    """Where parameters are zeros that stay in training: masks that broadcast to their shapes."""
    names = {tensor: name for name, tensor in parameters.params.items()}
    found: dict[str, np.ndarray] = {}
    for tensor, mask in masks(analysis):
        if tensor in names and mask.any():
            found[names[tensor]] = found.get(names[tensor], np.True_) & mask
    return found


def masks(analysis: Analysis) -> Iterator[tuple[Tensor, np.ndarray]]:
    """For each use in which zeros may be padding, where a tensor has such zeros."""
    pytorch = is_of_pytorch(analysis.model)
    for node, operands in analysis.operands.items():
        if is_standard(node, "GRU", "LSTM", "RNN") and not pytorch and len(operands) > BIASES:
            biases = analysis.in_same_order(operands[BIASES])
            if isinstance(biases, Tensor) and len(biases.shape) == 2 and biases.shape[1] % 2 == 0:
                yield biases, second_biases(biases.numpy())
        elif is_standard(node, "Gather") and pytorch and not node.attributes.get("axis"):
            vectors = analysis.in_same_order(operands[0])
            if isinstance(vectors, Tensor) and len(vectors.shape) == 2:
                yield vectors, the_only_one(vectors.numpy())


def second_biases(array: np.ndarray) -> np.ndarray:
    """The second half of each direction's biases, if it is zero and the first is not."""
    first, second = np.split(array != 0, 2, axis=1)
    filled = first.any(1, keepdims=True) & ~second.any(1, keepdims=True)
    return np.concatenate([np.zeros_like(first), np.broadcast_to(filled, second.shape)], 1)


def the_only_one(vectors: np.ndarray) -> np.ndarray:
    """The one vector that is zero, as a column; none if there are several."""
    zero = ~vectors.any(1, keepdims=True)
    found: np.ndarray = zero & (zero.sum() == 1)
    return found
