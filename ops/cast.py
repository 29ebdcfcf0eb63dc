"""Conversion between element types."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from jax import lax

from onnxla.ir.dtypes import STRING, bits_of, dtype_of, is_float, number_of
from onnxla.ir.errors import ModelError, StaticOperandError
from onnxla.ops.checks import only
from onnxla.ops.limits import OF_A_CALL, budget
from onnxla.ops.table import op
from onnxla.ops.values import NOT_IN_JAX, Value, as_known, is_concrete, is_known, xp

# Types that differ in what is beyond their range: NaN or infinity, unless they saturate.
FLOAT8 = tuple(
    np.dtype(getattr(ml_dtypes, f"float8_{kind}"))
    for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz")
)
E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)
NARROW_INTEGERS = tuple(
    np.dtype(getattr(ml_dtypes, kind)) for kind in ("int4", "uint4", "int2", "uint2")
)


def convert(x: Value, dtype: np.dtype, saturate: bool = True, round_mode: str = "up") -> Value:
    """`x` as another element type. A float becomes the nearest float, or an integer toward zero.

    Out of range, an integer loses its higher bits, and a float becomes infinite or NaN; but in
    eight bits, the nearest finite value if `saturate`.
    """
    if {dtype, x.dtype} & NOT_IN_JAX:
        x = concrete(x)
    if dtype == x.dtype and not (dtype in FLOAT8 and saturate):
        return x
    if dtype == STRING:
        return to_text(x)
    if x.dtype == STRING:
        return convert(from_text(x, dtype), dtype, saturate, round_mode)
    if dtype == E8M0:
        return to_e8m0(x, saturate, round_mode)
    if is_float(x.dtype):
        x = widen(x)
    if x.dtype in NARROW_INTEGERS or (dtype in NARROW_INTEGERS and is_float(x.dtype)):
        x = x.astype(np.int32)
    if dtype in FLOAT8:
        x = widen(x)
    if dtype in FLOAT8 and saturate:
        limit = float(ml_dtypes.finfo(dtype).max)
        x = xp(x).clip(x, -limit, limit)
    with np.errstate(all="ignore"):  # numpy would warn of what becomes infinite
        return narrowed(x, dtype) if narrows(x, dtype) else x.astype(dtype)


def narrows(x: Value, dtype: np.dtype) -> bool:
    """Whether `x` is traced and `dtype` a float of fewer bits."""
    floats = is_float(x.dtype) and is_float(dtype)
    return floats and not is_known(x) and dtype.itemsize < x.dtype.itemsize


def narrowed(x: Value, dtype: np.dtype) -> Value:
    """`x` as a float of fewer bits, rounded even where it is widened again at once.

    There XLA leaves both conversions out but on CPU, and with them what quantization to floats is.
    """

    def kept(x: Value) -> Value:
        return lax.optimization_barrier(x.astype(dtype))

    return lax.platform_dependent(x, cpu=lambda x: x.astype(dtype), default=kept)


def widen(x: Value) -> Value:
    """`x` in float32, or in float64 if it has that type."""
    return x if x.dtype == np.float64 else x.astype(np.float32)


def concrete(x: Value) -> np.ndarray:
    """`x` as numpy, whose types are more than JAX's. Raises: StaticOperandError if it is traced."""
    if not is_concrete(x):
        raise StaticOperandError("JAX has no strings and no float6, so they cannot be traced")
    return np.asarray(as_known(x))


def to_text(x: np.ndarray) -> np.ndarray:
    """Elements as strings: floats with as many digits as tell them apart, booleans as 1 and 0."""
    budget().count_call(x.size // OF_A_CALL)
    special = {"nan": "NaN", "inf": "INF", "-inf": "-INF"}
    numbers = x.astype(np.int8) if x.dtype == np.bool_ else x
    texts = [special.get(s, s.removesuffix(".0")) for s in map(str, numbers.flat)]
    return np.asarray(texts, STRING).reshape(x.shape)


def from_text(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The numbers that strings denote, in a wide type of the kind of `dtype`."""
    if is_float(dtype) or dtype == np.bool_:
        return x.astype(np.float64)
    numbers = [int(s) if s.strip().lstrip("+-").isdigit() else int(float(s)) for s in x.flat]
    wide = np.uint64 if dtype == np.uint64 else np.int64
    return np.asarray(numbers, wide).reshape(x.shape)


def to_e8m0(x: Value, saturate: bool, round_mode: str) -> Value:
    """Powers of two from 2**-127 to 2**127, as their exponents. The sign is ignored."""
    m, bits = xp(x), x.astype(np.float32).view(np.int32) & 0x7FFFFFFF
    exponent, fraction = bits >> 23, bits & 0x7FFFFF
    # Where the exponent is 0, float32 is subnormal: 2**-127 has the fraction 0x400000.
    subnormal = exponent == 0
    match round_mode:
        case "up":
            exponent += (fraction > m.where(subnormal, 0x400000, 0)).astype(np.int32)
        case "nearest":
            exponent += (fraction >= m.where(subnormal, 0x600000, 0x400000)).astype(np.int32)
        case _:
            only("round_mode", round_mode, "down", "up", "nearest")
    if saturate:
        code = m.where(bits > 0x7F800000, 255, m.minimum(exponent, 254))
    else:
        code = m.where(bits < 0x400000, 255, m.minimum(exponent, 255))
    return code.astype(np.uint8).view(E8M0)


@op("Cast", since=(24, 25, 28), converts=True)
def cast(input: Value, *, to: int, saturate: int = 1, round_mode: str = "up") -> Value:
    """`input` as the element type with the number `to`."""
    return convert(input, dtype_of(to), bool(saturate), round_mode)


@op("Cast", since=(6, 9, 13, 19, 21, 23), converts=True)
def cast_23(input: Value, *, to: int, saturate: int = 1) -> Value:
    """`cast` without float8e8m0.

    Departs from ONNX: saturates an infinity to the greatest float8e4m3fnuz and float8e5m2fnuz,
    as version 24 says and as runtimes do; versions 19 to 23 say NaN.
    """
    return cast(input, to=to, saturate=saturate)


@op("Cast", since=(1,), converts=True)
def cast_1(input: Value, *, to: str) -> Value:
    """`cast` to a type by its name, such as FLOAT or INT64."""
    name = {"FLOAT": "float32", "DOUBLE": "float64"}.get(to.upper(), to.lower())
    try:
        return convert(input, np.dtype(name))
    except TypeError:
        raise ModelError(f"{to!r} is not the name of an element type") from None


@op("CastLike", since=(15, 19, 21, 23, 24, 25), converts=True)
def cast_like(
    input: Value, target_type: Value, *, saturate: int = 1, round_mode: str = "up"
) -> Value:
    """`input` as the element type of `target_type`."""
    return convert(input, target_type.dtype, bool(saturate), round_mode)


@op("BitCast", since=(26,), exact="bits")
def bit_cast(input: Value, *, to: int) -> Value:
    """`input` with its bits, in little-endian order, read as an element type of the same width."""
    width = bits_of(number_of(input.dtype))
    if width != bits_of(to):
        raise ModelError(f"{input.dtype} has {width} bits, but {dtype_of(to)} has {bits_of(to)}")
    if dtype_of(to) == np.complex64 and input.dtype != np.complex64 and not is_known(input):
        # JAX's view multiplies the second half by i, which loses infinities and subnormal numbers.
        halves = lax.bitcast_convert_type(input, np.float32)
        return lax.complex(halves[..., 0], halves[..., 1])
    return input.view(dtype_of(to))
