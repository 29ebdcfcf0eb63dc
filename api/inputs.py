"""Inputs from files, and random ones that fit what a model declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxla import ir


def random_inputs(
    values: tuple[ir.ValueInfo, ...], sizes: Mapping[str, int] | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Random arrays for tensor inputs: floats from N(0, 1), integers 0 and 1.

    Args:
        values: The inputs to make.
        sizes: Size of each symbolic dimension by its name; 1 where it is not given.
        seed: Seed of numpy's generator.

    Raises:
        UnsupportedError: An input is no tensor, or its type is not stated.
    """
    rng = np.random.default_rng(seed)
    sizes = sizes or {}
    arrays = {}
    for value in values:
        kind = value.type
        if not isinstance(kind, ir.TensorType) or kind.dtype is None or kind.shape is None:
            raise ir.UnsupportedError(
                f"cannot make random values for input '{value.name}', whose type is {kind}"
            )
        shape = [d if isinstance(d, int) else sizes.get(d or "", 1) for d in kind.shape]
        arrays[value.name] = random_array(rng, kind.dtype, shape)
    return arrays


def random_array(rng: np.random.Generator, dtype: np.dtype, shape: list[int]) -> Any:
    """One random array."""
    if dtype == ir.STRING:
        return rng.choice(np.array(["a", "b", "onnx"], object), shape)
    if ir.is_float(dtype) or np.issubdtype(dtype, np.complexfloating):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def read_array(path: Path) -> Any:
    """The array in an .npy file, or the arrays by name in an .npz file.

    Raises:
        ValueError: There is no such file, or it is neither.
    """
    if not path.is_file():
        raise ValueError(f"there is no file '{path}'")
    try:
        data = np.load(path, allow_pickle=False)
        return data if isinstance(data, np.ndarray) else dict(data)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"'{path}' is no .npy or .npz file: {error}") from None
