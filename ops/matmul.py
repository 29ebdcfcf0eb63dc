"""Products of matrices, in floating point and of quantized integers."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ir.names import quoted
from onnxla.ops.quantize import quantized
from onnxla.ops.table import op
from onnxla.ops.values import Value, alike, at_least_float32, is_floating


def callers_precision() -> str | None:
    """JAX's precision of products that a caller asks for, by `jax.default_matmul_precision`."""
    config: Any = jax.config
    asked: str | None = config.jax_default_matmul_precision
    return asked


@op(
    "MatMul",
    since=(1, 9, 13),
    roles={"A": "weight", "B": "weight"},
    product=True,
    linear=True,
    output_channels={"B": -1},
)
def matmul(A: Value, B: Value) -> Value:
    """A @ B as in `numpy.matmul`: 1-D operands are vectors, leading axes broadcast."""
    return jnp.matmul(A, B)


@op(
    "Gemm",
    since=(7, 9, 11, 13),
    roles={"A": "weight", "B": "weight", "C": "bias"},
    product=True,
    linear=True,
    matched={"A": 0},
)
def gemm(
    A: Value,
    B: Value,
    C: Value | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    """The sum alpha * A' @ B' + beta * C, ' a transpose if asked for; [M, N], C broadcasts.

    With `beta` of 0 there is no C, whose infinities are nowhere then, as in BLAS.
    """

    def scaled(x: Value, factor: float) -> Value:
        return x if factor == 1 else x * np.asarray(factor).astype(x.dtype)

    A = A.T if transA else A
    # XLA copies B.T for each product with one row on a CPU, which takes 20 times as long.
    turned = transB and A.shape == (1, B.shape[1])
    product = scaled(matmul(B, A.T).T if turned else matmul(A, B.T if transB else B), alpha)
    return product if C is None or beta == 0 else product + scaled(C, beta)


@op(
    "Gemm",
    since=(1, 6),
    roles={"A": "weight", "B": "weight", "C": "bias"},
    product=True,
    linear=True,
    matched={"A": 0},
)
def gemm_1(
    A: Value,
    B: Value,
    C: Value,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    broadcast: int = 0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    """`gemm`, where C broadcasts only if asked to: a model that does not ask has no use for it."""
    return gemm(A, B, C, alpha=alpha, beta=beta, transA=transA, transB=transB)


@op("Einsum", since=(12, 28), roles={"Inputs": "weight"}, product=True)
def einsum(*Inputs: Value, equation: str) -> Value:
    """The sum over products that `equation` describes, as in `numpy.einsum`."""
    equation = equation.replace(" ", "")
    if not re.fullmatch(r"[A-Za-z,.]*(->[A-Za-z.]*)?", equation):
        raise ModelError(f"{quoted(equation)} is no equation of Einsum")
    return jnp.einsum(equation, *Inputs)


@op("Det", since=(11, 22))
def det(X: Value) -> Value:
    """Determinants of the matrices in the last two axes; [..., M, M] to [...]."""
    return jnp.linalg.det(X.astype(at_least_float32(X.dtype))).astype(X.dtype)


def per_row(x: Value) -> Value:
    """A quantization parameter so that it broadcasts along rows: a vector has one entry a row."""
    return x[:, None] if x.ndim == 1 else x


def shifted(x: Value, zero_point: Value | None) -> Value:
    """`x` minus its zero point, wide enough to be exact: int32, or float32 of floating point."""
    wide = np.float32 if is_floating(x) else np.int32
    x = jnp.asarray(x, wide)
    return x if zero_point is None else x - jnp.asarray(zero_point, wide)


@op("MatMulInteger", since=(10,), roles={"A": "weight", "B": "weight"})
def matmul_integer(
    A: Value, B: Value, a_zero_point: Value | None = None, b_zero_point: Value | None = None
) -> Value:
    """(A - a_zero_point) @ (B - b_zero_point) in int32; zero points by row of A and column of B.

    In float32 if A or B is floating point, as in training.
    """
    rows = None if a_zero_point is None else per_row(a_zero_point)
    return jnp.matmul(*alike(shifted(A, rows), shifted(B, b_zero_point)))


@op(
    "QLinearMatMul",
    since=(10, 21),
    roles={"a": "weight", "b": "weight"}
    | dict.fromkeys(("a_scale", "b_scale", "y_scale"), "quantization_scale"),
    output_channels={"a": -2, "b": -1},
)
def qlinear_matmul(
    a: Value,
    a_scale: Value,
    a_zero_point: Value,
    b: Value,
    b_scale: Value,
    b_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value,
    *,
    train: bool = False,
) -> Value:
    """The product of the numbers that a and b quantize, quantized; scales as in MatMulInteger."""
    product = matmul_integer(a, b, a_zero_point, b_zero_point)
    a_scale, b_scale, y_scale = (jnp.asarray(s, np.float32) for s in (a_scale, b_scale, y_scale))
    scale = per_row(a_scale) * b_scale / per_row(y_scale)
    y = product.astype(np.float32) * scale
    return quantized(y, per_row(y_zero_point), y_zero_point.dtype, train=train)
