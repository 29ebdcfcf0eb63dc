"""Arrays for examples, in few letters."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.ir import STRING


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """An array of ones."""
    return np.ones(shape, dtype)


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """An array of zeros."""
    return np.zeros(shape, dtype)


def rising(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """An array of the numbers 0, 1, 2 ..."""
    return np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)


def f16(values: Any) -> np.ndarray:
    """Numbers as float16."""
    return np.array(values, np.float16)


def f32(values: Any) -> np.ndarray:
    """Numbers as float32."""
    return np.array(values, np.float32)


def f64(values: Any) -> np.ndarray:
    """Numbers as float64."""
    return np.array(values, np.float64)


def i8(values: Any) -> np.ndarray:
    """Numbers as int8."""
    return np.array(values, np.int8)


def i32(values: Any) -> np.ndarray:
    """Numbers as int32."""
    return np.array(values, np.int32)


def i64(values: Any) -> np.ndarray:
    """Numbers as int64."""
    return np.array(values, np.int64)


def u8(values: Any) -> np.ndarray:
    """Numbers as uint8."""
    return np.array(values, np.uint8)


def texts(values: Any) -> np.ndarray:
    """Texts."""
    return np.array(values, STRING)
