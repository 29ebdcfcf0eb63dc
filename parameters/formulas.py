"""Which constant tensors hold a formula rather than learned numbers.

Exporters store Fourier and mel bases, windows, position tables and masks like weights. Training
leaves no exact symmetry, recurrence or repetition in a tensor; a formula does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SAMPLE = 64  # how much of a tensor is looked at along each axis
KERNELS = 8 * SAMPLE  # how many rows and columns are, or kernels of a convolution
FEW = 8  # rows, of which one mostly tells that they are not mirrored
LONG = 32  # elements from which a filter can be told by an approximate symmetry


def has_kernels(shape: Sequence[int]) -> bool:
    """Whether the kernels of a convolution, or a matrix, have elements enough to be mirrored."""
    return min(shape) >= 8 if len(shape) == 2 else math.prod(shape[2:]) >= 3


def is_filter_bank(weight: np.ndarray) -> bool:
    """Whether each kernel of a convolution, or each column or row of a matrix, is its own mirror.

    So are the sines and cosines of a Fourier transform, wavelets, and low-pass filters. `weight`:
    the first `KERNELS` of [M, C, ...] of a convolution, or of a matrix, which has kernels.
    """
    if weight.ndim == 2:
        matrix = weight[:, :KERNELS]
        return mirrored(matrix) or mirrored(matrix.T)
    return mirrored(weight[:, :8].reshape(-1, math.prod(weight.shape[2:])))


def is_window(vector: np.ndarray) -> bool:
    """Whether a vector of some length is its own mirror, such as a Hann window."""
    return vector.size >= 8 and mirrored(vector.reshape(1, -1))


def mirrored(rows: np.ndarray) -> bool:
    """Whether each row of [R, N] is even or odd about its middle, or periodically about its start.

    Approximately if rows are long. Not if they are constant: new weights may be zeros or ones.
    """
    if not rows.size or not 0 < (top := largest(rows)) < math.inf:
        return False
    tolerance = 0.05 if rows.shape[1] >= LONG else 1e-3
    few = scaled(rows[:: max(1, len(rows) // FEW)], top)
    if not (asymmetry(few) < tolerance).all():  # as of nearly all weights
        return False
    rows = scaled(rows, top)
    return bool((np.ptp(rows, axis=1) > 1e-3).any() and (asymmetry(rows) < tolerance).all())


def largest(array: np.ndarray) -> float:
    """The largest absolute value; or NaN, if that is among them."""
    return max(float(array.max()), -float(array.min()))


def scaled(rows: np.ndarray, top: float) -> np.ndarray:
    """Rows with 1 as their largest absolute value, without those that are nothing beside `top`."""
    rows = rows.astype(np.float64)
    tops = np.abs(rows).max(1)
    used = tops > 1e-6 * top  # the sine of frequency 0 is rounding errors
    return np.asarray(rows[used] / tops[used, None])


def asymmetry(rows: np.ndarray) -> np.ndarray:
    """How far each row is from being even or odd, about its middle or periodically."""
    ways = (way - sign * way[:, ::-1] for way in (rows, rows[:, 1:]) for sign in (1, -1))
    return np.asarray(np.min([np.abs(way).max(1) for way in ways], axis=0))


def is_filterbank_matrix(weight: np.ndarray) -> bool:
    """Whether a matrix is nowhere negative and mostly zero, such as a mel basis."""
    if weight.ndim != 2 or not weight.size:
        return False
    return bool((weight >= 0).all() and np.mean(weight == 0) > 0.5)


def recurs(table: np.ndarray) -> bool:
    """Whether along some axis x[t-1] + x[t+1] = c x[t]: sinusoids, ramps and exponentials do."""
    table = sampled(table).astype(np.float64)
    if not np.isfinite(table).all():
        return False
    tolerance = 1e-3 * np.abs(table).max(initial=0)
    for axis in (axis for axis, size in enumerate(table.shape) if size >= 5):
        lines = np.moveaxis(table, axis, 0)
        middle, around = lines[1:-1], lines[:-2] + lines[2:]
        squares = (middle**2).sum(0)
        factor = (middle * around).sum(0) / np.where(squares > 0, squares, 1)
        if (np.abs(around - factor * middle) <= tolerance).all():
            return bool(np.ptp(lines, axis=0).max() > tolerance)
    return False


def repeats(table: np.ndarray) -> bool:
    """Whether neighbours along some axis are often equal: in masks, grids and their embeddings."""
    table = sampled(table)
    return any(
        np.mean(np.equal(*(np.delete(table, end, axis) for end in (0, -1)))) > 0.25
        for axis, size in enumerate(table.shape)
        if size > 1
    )


def sampled(table: np.ndarray) -> np.ndarray:
    """The first elements along each axis."""
    return table[(slice(SAMPLE),) * table.ndim]


def is_round(number: np.ndarray) -> bool:
    """Whether a scalar is one that somebody could have written down: at most four digits."""
    if not number.size:
        return True
    value = number.reshape(())[()]
    return bool(np.asarray(f"{float(value):.4g}", np.float64).astype(number.dtype) == value)
