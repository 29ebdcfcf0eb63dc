"""No other runtime has these on a CPU: their reference is the documented formula in numpy."""

import functools
import math
from typing import Any

import numpy as np

from support.samples import Sample, f32

Microsoft = functools.partial(Sample, domain="com.microsoft", rtol=1e-4, atol=1e-5)
X, BIAS, SKIP = f32(2, 3, 8), f32(8), f32(2, 3, 8, seed=1)
IMAGES, GAMMA, BETA = f32(2, 3, 5, 4), f32(4, low=0.5), f32(4)
FIRST = np.ascontiguousarray(np.moveaxis(IMAGES, -1, 1))


def softmax(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    e = np.exp(x - x.max(axes, keepdims=True))
    return e / e.sum(axes, keepdims=True)


def split_gelu(x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    left, right = np.split(x + bias, 2, -1)
    return left * np.vectorize(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2, "f")(right)


def gemm_fast_gelu(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    y = x @ w + (0 if bias is None else bias)
    return y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3))) / 2


def group_norm(attributes: dict[str, Any], *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    x, gamma, beta, *added = inputs
    last = attributes.get("channels_last", 1)
    images = np.moveaxis(x, -1, 1) if last else x
    for v in added:
        v = v[..., None, None] if v.ndim < 4 else np.moveaxis(v, -1, 1) if last else v
        images = images + v
    y = np.empty(images.shape, np.float32)
    for n, group in np.ndindex(len(images), attributes["groups"]):
        size = images.shape[1] // attributes["groups"]
        own = slice(group * size, (group + 1) * size)
        part = images[n, own].astype(np.float64)
        scaled = (part - part.mean()) / np.sqrt(part.var() + attributes.get("epsilon", 1e-5))
        y[n, own] = scaled * gamma[own, None, None] + beta[own, None, None]
    if attributes["activation"]:
        y = y / (1 + np.exp(-y))
    return tuple(np.moveaxis(v, 1, -1) if last else v for v in (y.astype(x.dtype), images))


def normalized(inputs: tuple[np.ndarray, ...], attributes: dict[str, Any], **more: Any) -> Sample:
    expected = functools.partial(group_norm, attributes)
    if len(inputs) == 3:
        return Microsoft(
            "GroupNorm", inputs, attributes, expected=lambda *x: expected(*x)[:1], **more
        )
    return Microsoft("SkipGroupNorm", inputs, attributes, 2, expected=expected, **more)


def rfft(x: np.ndarray, axes: tuple[int, ...] = (-1,)) -> np.ndarray:
    y = np.fft.rfftn(x, axes=axes)
    return np.stack([y.real, y.imag], -1).astype(x.dtype)


def irfft(x: np.ndarray, axes: tuple[int, ...] = (-1,)) -> np.ndarray:
    return np.fft.irfftn(x[..., 0] + 1j * x[..., 1], axes=axes).astype(x.dtype)


SAMPLES = [
    Microsoft("BiasAdd", (X, BIAS, SKIP), grad=(0, 1, 2), expected=lambda x, b, skip: x + b + skip),
    Microsoft("BiasAdd", (X[:1], BIAS, SKIP[:1]), expected=lambda x, b, skip: x + b + skip),
    Microsoft(
        "BiasAdd",
        (X.astype(np.float16), BIAS.astype(np.float16), SKIP.astype(np.float16)),
        expected=lambda x, b, skip: x + b + skip,
        rtol=1e-3,
    ),
    Microsoft(
        "BiasSoftmax",
        (f32(2, 3, 4, 5), f32(2, 1, 1, 5)),
        {"axis": 3, "is_inner_broadcast": 1},
        grad=(0, 1),
        expected=lambda x, b: softmax(x + b, (3,)),
    ),
    Microsoft(
        "BiasSoftmax",
        (f32(2, 3, 4, 5), f32(1, 3, 4, 5)),
        {"axis": -1, "is_inner_broadcast": 0},
        grad=(0, 1),
        expected=lambda x, b: softmax(x + b, (3,)),
    ),
    Microsoft(
        "BiasSoftmax",
        (f32(2, 3, 4, 5), f32(4, 5)),
        {"axis": 2, "is_inner_broadcast": 0},
        expected=lambda x, b: softmax(x + b, (2, 3)),
    ),
    Microsoft(
        "BiasSoftmax",
        (f32(2, 12), f32(1, 12)),
        {"is_inner_broadcast": 1},
        expected=lambda x, b: softmax(x + b, (1,)),
    ),
    Microsoft("BiasSplitGelu", (X, BIAS), grad=(0, 1), expected=split_gelu),
    Microsoft("BiasSplitGelu", (f32(1, 1, 2), f32(2)), expected=split_gelu),
    Microsoft("BiasSplitGelu", (f32(2, 5, 6), f32(6)), expected=split_gelu),
    Microsoft("GemmFastGelu", (X, f32(8, 5)), grad=(0, 1), expected=gemm_fast_gelu),
    Microsoft("GemmFastGelu", (X, f32(8, 5), f32(5)), grad=(0, 1, 2), expected=gemm_fast_gelu),
    Microsoft("GemmFastGelu", (f32(3, 4), f32(4, 2), f32(2)), expected=gemm_fast_gelu),
    normalized((IMAGES, GAMMA, BETA), {"activation": 0, "groups": 2}, grad=(0, 1, 2)),
    normalized((IMAGES, GAMMA, BETA), {"activation": 1, "groups": 4, "epsilon": 0.1}, grad=(0,)),
    normalized((FIRST, GAMMA, BETA), {"activation": 1, "groups": 1, "channels_last": 0}),
    normalized((IMAGES.astype(np.float16), GAMMA, BETA), {"activation": 1, "groups": 2}, rtol=2e-3),
    normalized(
        (IMAGES, GAMMA, BETA, f32(2, 3, 5, 4, seed=1)),
        {"activation": 0, "groups": 2},
        grad=(0, 1, 2, 3),
    ),
    normalized(
        (IMAGES, GAMMA, BETA, f32(2, 4), f32(4, seed=1)),
        {"activation": 1, "groups": 2},
        grad=(3, 4),
    ),
    normalized(
        (IMAGES, GAMMA, BETA, f32(2, 1, 1, 4), f32(4, seed=1)),
        {"activation": 1, "groups": 4, "epsilon": 0.1},
    ),
    normalized(
        (FIRST, GAMMA, BETA, f32(2, 4), f32(4, seed=1)),
        {"activation": 1, "groups": 2, "channels_last": 0},
    ),
    Microsoft("Rfft", (f32(3, 8),), grad=(0,), expected=rfft),
    Microsoft("Rfft", (f32(2, 3, 5),), {"signal_ndim": 1, "onesided": 1}, expected=rfft),
    Microsoft("Rfft", (f32(2, 4, 6),), {"signal_ndim": 2}, expected=lambda x: rfft(x, (-2, -1))),
    Microsoft("Irfft", (f32(3, 5, 2),), {"signal_ndim": 1}, grad=(0,), expected=irfft),
    Microsoft("Irfft", (f32(2, 2),), {"signal_ndim": 1, "normalized": 0}, expected=irfft),
    Microsoft(
        "Irfft", (f32(2, 4, 3, 2),), {"signal_ndim": 2}, expected=lambda x: irfft(x, (-2, -1))
    ),
]
