"""Faults in conversion between element types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto

from onnxla.ir.dtypes import STRING, dtype_of, is_float
from onnxla.ops.cast import NARROW_INTEGERS
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, before, has, rank
from onnxla.testing.use import example


def types(case: Case) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """The type of the operand, and the one that it is converted to."""
    source = case.operands[0].dtype
    if case.op_type == "CastLike":
        return source, case.operands[1].dtype
    to = case.attributes["to"]
    return source, dtype_of(TensorProto.DataType.Value(to) if isinstance(to, str) else to)


# Whether powers of two are asked for.
SCALED = When(lambda case: types(case)[1] == ml_dtypes.float8_e8m0fnu)


@When
def not_in_numpy(case: Case) -> bool:
    """Whether numpy has no conversion between the two types."""
    source, target = types(case)
    some = np.array(["1"], object) if source == STRING else np.ones(1, source)
    try:
        some.astype(str if target == STRING else target)
    except TypeError:
        return True
    return False


@When
def rounded(case: Case) -> bool:
    """Whether floats with a fraction become integers of four bits or less."""
    source, target = types(case)
    if not is_float(source) or target not in NARROW_INTEGERS:
        return False
    x = case.operands[0].astype(np.float64)
    return bool((x != np.trunc(x)).any())


@When
def integral_text(case: Case) -> bool:
    """Whether floats without a fraction become strings."""
    source, target = types(case)
    if target != STRING or not is_float(source):
        return False
    x = case.operands[0].astype(np.float64)
    return bool((x == np.trunc(x)).any())


def dotted(op: str, make: Callable[[], Case]) -> Fault:
    """The reference writes floats as Python does."""
    return Fault(
        "reference",
        op,
        "writes a float without a fraction with one, as '2.0'",
        'The text says: \'plain floating-point representation (such as "314.15926") would be '
        "used', of a number that has a fraction. onnxla writes '2', as ONNX Runtime does.",
        integral_text,
        make,
    )


def rounds(op: str, make: Callable[[], Case]) -> Fault:
    """ONNX Runtime rounds floats to the narrow integers."""
    return Fault(
        "onnxruntime",
        op,
        "rounds floats to the nearest int4, uint4, int2 or uint2, where other integers truncate",
        "The text does not say how a fraction goes. onnxla truncates it, as the reference does, "
        "and as ONNX Runtime does for integers of eight bits and more.",
        rounded,
        make,
    )


FAULTS = [
    Fault(
        "reference",
        "Cast",
        "fails at version 1, where it takes the name of a type for its number",
        "Opset 1 has 'to : string'.",
        before(6),
        lambda: example(
            "Cast",
            1,
            np.ones(2, np.float32),
            to="DOUBLE",
            types={"output": "tensor(double)"},
            ranks={"y0": 1},
        ),
    ),
    *(
        Fault(
            "reference",
            op,
            "fails where numpy has no conversion, as from int4 to uint4 or strings to bfloat16",
            "The text says: 'Conversion from a numerical type to any numerical type is always "
            "allowed', and 'Casting from string tensor ... to float types is supported'.",
            not_in_numpy,
            make,
        )
        for op, make in (
            (
                "Cast",
                lambda: example(
                    "Cast",
                    25,
                    np.ones(2, ml_dtypes.int4),
                    to=TensorProto.UINT4,
                    types={"output": "tensor(uint4)"},
                ),
            ),
            (
                "CastLike",
                lambda: example(
                    "CastLike", 25, np.ones(2, ml_dtypes.int4), np.ones(2, ml_dtypes.uint4)
                ),
            ),
        )
    ),
    Fault(
        "reference",
        "CastLike",
        "fails on `round_mode`",
        "Opset 24 has such an attribute: 'Rounding mode for conversion to float8e8m0.'",
        has("round_mode"),
        lambda: example(
            "CastLike", 25, np.ones(2, np.float32), np.ones(2, np.float64), round_mode="up"
        ),
    ),
    dotted(
        "Cast",
        lambda: example(
            "Cast",
            25,
            np.array([2], np.float32),
            to=TensorProto.STRING,
            types={"output": "tensor(string)"},
        ),
    ),
    dotted(
        "CastLike",
        lambda: example("CastLike", 25, np.array([2], np.float32), np.array(["a"], object)),
    ),
    rounds(
        "Cast",
        lambda: example(
            "Cast",
            25,
            np.array([0.75], np.float32),
            to=TensorProto.INT4,
            types={"output": "tensor(int4)"},
        ),
    ),
    rounds(
        "CastLike",
        lambda: example("CastLike", 25, np.array([0.75], np.float32), np.zeros(1, ml_dtypes.int4)),
    ),
    Fault(
        "reference",
        "Cast",
        "fails on a tensor without axes that becomes float8e8m0",
        "The text sets no rank: 'Output tensor with the same shape as input'.",
        SCALED & rank(0),
        lambda: example(
            "Cast",
            24,
            np.array(1, np.float32),
            to=TensorProto.FLOAT8E8M0,
            types={"output": "tensor(float8e8m0)"},
        ),
    ),
    Fault(
        "reference",
        "CastLike",
        "fails on a tensor without axes that becomes float8e8m0",
        "The text sets no rank: 'Input tensor to be cast.'",
        SCALED & rank(0),
        lambda: example(
            "CastLike", 24, np.array(1, np.float32), np.ones(1, ml_dtypes.float8_e8m0fnu)
        ),
    ),
]
