import numpy as np

from support.samples import Sample, f32

INTEGERS = np.asarray([-7, -1, 0, 5, 8], np.int64)
BYTES = np.asarray([0, 1, 255], np.uint8)
SPECIAL = np.asarray([-np.inf, -2.5, -1.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, np.inf, np.nan], "f4")
ROUNDING = ("Neg", "Abs", "Sign", "Floor", "Ceil", "Round")
ANALYTIC = ("Exp", "Erf", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh")

SAMPLES = [
    *(Sample(name, (f32(3, 4),), grad=(0,)) for name in (*ROUNDING, *ANALYTIC)),
    *(Sample(name, (SPECIAL,)) for name in ("Abs", "Floor", "Ceil", "Round", "Exp", "Erf", "Tanh")),
    *(Sample(name, (f32(3, 4, low=0.1),), grad=(0,)) for name in ("Sqrt", "Reciprocal", "Log")),
    *(Sample(name, (SPECIAL,)) for name in ("Sqrt", "Reciprocal")),
    Sample("Log", (SPECIAL,), versions=(6, 13)),
    *(Sample(name, (f32(3, 4, low=-0.9, high=0.9),), grad=(0,)) for name in ("Asin", "Acos")),
    *(Sample(name, (f32(3, 4, low=-0.9, high=0.9),), grad=(0,)) for name in ("Atanh", "Tan")),
    Sample("Acosh", (f32(3, 4, low=1.1, high=5.0),), grad=(0,)),
    *(Sample(name, (INTEGERS,), versions=(6, 13)) for name in ("Neg", "Abs")),
    Sample("Abs", (BYTES,), versions=(6, 13)),
    *(Sample("Sign", (x,)) for x in (INTEGERS, BYTES, SPECIAL[:-1])),
    # No other runtime has the error function of integers.
    Sample("Erf", (INTEGERS,), versions=(9,), expected=lambda x: np.sign(x) * (abs(x) > 1)),
]
