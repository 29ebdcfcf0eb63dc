"""Fourier transforms, windows and the mel scale."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.dtypes import dtype_of
from onnxla.ir.errors import ModelError
from onnxla.ops.cast import convert
from onnxla.ops.limits import check_size
from onnxla.ops.table import op
from onnxla.ops.values import Value


def to_complex(x: Value) -> Value:
    """[..., 1] real or [..., 2] complex numbers as such, in float32 or float64."""
    if x.shape[-1] not in (1, 2):
        raise ModelError(f"the last axis of {list(x.shape)} is neither 1 (real) nor 2 (complex)")
    x = jnp.asarray(x if x.dtype == np.float64 else x.astype(np.float32))
    return x[..., 0] if x.shape[-1] == 1 else lax.complex(x[..., 0], x[..., 1])


def to_parts(x: Value, dtype: np.dtype) -> Value:
    """Real numbers as [..., 1], complex ones as [..., 2]."""
    parts = [x.real, x.imag] if jnp.iscomplexobj(x) else [x]
    return jnp.stack(parts, -1).astype(dtype)


def two_sided(x: Value, n: int | None, axis: int, inverse: int) -> Value:
    """The transform of real numbers, or the inverse one, whose second half mirrors the first."""
    size = x.shape[axis] if n is None else n
    half = jnp.fft.rfft(x, size, axis)
    half = half.conj() / size if inverse else half
    rest = lax.slice_in_dim(half, 1, (size + 1) // 2, axis=axis)
    return jnp.concatenate([half, jnp.flip(rest, axis).conj()], axis)


@op(
    "DFT",
    since=(20,),
    static=("dft_length", "axis"),
    transform=True,
    times_zero=("input",),
)
def dft(
    input: Value,
    dft_length: np.ndarray | None = None,
    axis: np.ndarray | None = None,
    *,
    inverse: int = 0,
    onesided: int = 0,
) -> Value:
    """Discrete Fourier transform along an axis of [..., 1] real or [..., 2] complex numbers.

    One-sided, the transform of real numbers has n // 2 + 1 complex ones, and the inverse goes back
    from those to n = `dft_length` real ones, by default 2 * (size - 1).
    """
    along = -2 if axis is None else int(axis)
    along = along if along < 0 else along - input.ndim
    if not -input.ndim <= along <= -2:
        raise ModelError(f"axis {axis} of a transform is not in [-{input.ndim}, -2]")
    x, n = to_complex(input), None if dft_length is None else int(dft_length)
    if onesided and not inverse and jnp.iscomplexobj(x):
        raise ModelError("a one-sided transform is one of real numbers, not of complex ones")
    if onesided:
        transform = jnp.fft.irfft if inverse else jnp.fft.rfft
    elif jnp.iscomplexobj(x):
        transform = jnp.fft.ifft if inverse else jnp.fft.fft
    else:
        transform = functools.partial(two_sided, inverse=inverse)
    return to_parts(transform(x, n, axis=along + 1), input.dtype)


@op("DFT", since=(17,), static=("dft_length",), transform=True, times_zero=("input",))
def dft_17(
    input: Value,
    dft_length: np.ndarray | None = None,
    *,
    axis: int = 1,
    inverse: int = 0,
    onesided: int = 0,
) -> Value:
    """`dft` with the axis as an attribute."""
    return dft(input, dft_length, np.asarray(axis), inverse=inverse, onesided=onesided)


@op(
    "STFT",
    since=(17,),
    static=("frame_step", "frame_length"),
    transform=True,
    times_zero=("signal", "window"),
)
def stft(
    signal: Value,
    frame_step: np.ndarray,
    window: Value | None = None,
    frame_length: np.ndarray | None = None,
    *,
    onesided: int = 1,
) -> Value:
    """Transforms [B, frames, n or n // 2 + 1, 2] of frames of a signal [B, L, 1 or 2].

    A frame starts `frame_step` after the one before, and has n = `frame_length` samples, by default
    as many as the window [n], and without one as the signal.

    Departs from ONNX: a signal may be [B, L], as PyTorch's exporter wrote it until 2026.
    """
    signal = signal if signal.ndim > 2 else signal[..., None]
    size = signal.shape[1] if window is None else window.shape[0]
    size, step = size if frame_length is None else int(frame_length), int(frame_step)
    if step < 1 or size < 1:
        raise ModelError(f"frames of {size} samples, {step} apart, are none")
    starts = np.arange(0, signal.shape[1] - size + 1, step)
    check_size((len(starts), size), what="the frames")
    frames = jnp.asarray(signal)[:, starts[:, None] + np.arange(size)]
    if window is not None:
        frames = frames * window[:, None]
    return dft(frames, onesided=onesided)


def window(name: str, *coefficients: float) -> Callable[..., Value]:
    """Registers a window that is a sum of cosines of 0, 1, 2, ... periods."""

    @op(name, since=(17,), static=("size",))
    def function(size: np.ndarray, *, output_datatype: int = 1, periodic: int = 1) -> Value:
        (n,) = check_size((int(size),))
        phase = 2 * np.pi * np.arange(n) / max(n if periodic else n - 1, 1)
        values = sum(c * np.cos(k * phase) for k, c in enumerate(coefficients))
        return convert(np.asarray(values), dtype_of(output_datatype))

    function.__doc__ = f"The {name} of `size` samples; symmetric unless `periodic`."
    return function


hann_window = window("HannWindow", 0.5, -0.5)
hamming_window = window("HammingWindow", 25 / 46, -21 / 46)
blackman_window = window("BlackmanWindow", 0.42, -0.5, 0.08)

MEL_OPERANDS = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")


@op("MelWeightMatrix", since=(17,), static=MEL_OPERANDS)
def mel_weight_matrix(
    num_mel_bins: np.ndarray,
    dft_length: np.ndarray,
    sample_rate: np.ndarray,
    lower_edge_hertz: np.ndarray,
    upper_edge_hertz: np.ndarray,
    *,
    output_datatype: int = 1,
) -> Value:
    """Weights [dft_length // 2 + 1, num_mel_bins] of triangular bands, evenly spaced in mel.

    mel(f) = 2595 * log10(1 + f / 700). As in the ONNX function and in ONNX Runtime, a band's edges
    are whole bins, and the spacing is a `num_mel_bins + 2`-th of the range, so that the upper edge
    is not reached.
    """
    bands, length = int(num_mel_bins), int(dft_length)
    check_size((length // 2 + 1, bands + 2))
    low, high = (2595 * np.log10(1 + float(f) / 700) for f in (lower_edge_hertz, upper_edge_hertz))
    mel = low + np.arange(bands + 2) * (high - low) / (bands + 2)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    edges = np.floor((length + 1) * hertz / int(sample_rate)).astype(np.int64)
    left, center, right = edges[:-2], edges[1:-1], edges[2:]
    j = np.arange(length // 2 + 1)[:, None]
    rising = np.where(left < center, (j - left) / np.maximum(center - left, 1), 1)
    falling = (right - j) / np.maximum(right - center, 1)
    inside = (left <= j) & ((j <= center) | (j < right))
    weights = np.where(inside, np.where(j <= center, rising, falling), 0)
    return convert(weights, dtype_of(output_datatype))
