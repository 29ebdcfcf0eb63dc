"""Weights that an exporter stored twice, once perhaps transposed, as it does with tied ones."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np

from onnxla.parameters.roles import Parameters


def hash_of(array: np.ndarray) -> bytes:
    """A hash of an array's numbers in their order."""
    return sha256(np.ascontiguousarray(array).view(np.uint8).data).digest()


def copies(parameters: Parameters) -> Iterator[tuple[str, str]]:
    """Pairs of weights or embeddings of which one is the other, or the other transposed.

    Of more than two, the first is paired with each.
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in parameters.params.items():
        if parameters.roles[name] in ("weight", "embedding") and len(tensor.shape) == 2:
            array = tensor.numpy()
            if array.size and array.min() != array.max():  # not zeros or ones, for a new layer
                # Hashes, so that each matrix is looked at once.
                hashes = map(hash_of, (array, array.T))
                shapes = zip(hashes, (array.shape, array.T.shape), strict=True)
                groups.setdefault((tensor.dtype, min(shapes)), []).append(name)
    for first, *others in groups.values():
        yield from ((first, other) for other in others)
