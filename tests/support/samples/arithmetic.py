import numpy as np

from support.samples import Sample, f32, i64

NUMPY = {"Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide", "Pow": "power"}
INTEGERS = np.asarray([[-7, -3, 0], [5, 8, 100]], np.int32)
DIVISORS = np.asarray([[2, -2, 3], [-3, 5, 7]], np.int32)
BYTES = np.asarray([0, 1, 77, 128, 255], np.uint8)

SAMPLES = [
    *(
        Sample(name, (f32(2, 3, 4), f32(2, 3, 4, low=0.5, seed=1)), grad=(0, 1))
        for name in ("Add", "Sub", "Mul", "Div")
    ),
    *(
        Sample(
            name,
            (f32(2, 3, 4, low=0.5), f32(3, low=0.5)),
            {"axis": 1, "broadcast": 1},
            versions=(1,) if name == "Pow" else (1, 6),
            grad=(0, 1),
            # No runtime implements the broadcasting attributes of opsets 1 to 6.
            expected=lambda a, b, name=name: getattr(np, NUMPY[name])(a, b[:, None]),
        )
        for name in ("Add", "Sub", "Mul", "Div", "Pow")
    ),
    Sample("Add", (f32(2, 3, 4), f32(3, 1, seed=1)), versions=(7, 13, 14), grad=(0, 1)),
    Sample("Div", (INTEGERS, DIVISORS), versions=(7, 13, 14)),
    Sample("Mod", (INTEGERS, DIVISORS)),
    Sample("Mod", (INTEGERS, DIVISORS), {"fmod": 1}),
    Sample("Mod", (f32(3, 4, low=0.1), f32(4, low=3, high=4)), {"fmod": 1}, grad=(0, 1)),
    Sample("Mod", (f32(3, 4, low=0.1), f32(4, low=-4, high=-3)), versions=(28,), grad=(0, 1)),
    Sample("Mod", (np.float32([5, -5, 6, -6, 0]), np.float32([3, -3, -3, 3, -2])), versions=(28,)),
    Sample("Pow", (f32(3, 4, low=0.5), f32(4, seed=1)), versions=(7, 12, 13, 15), grad=(0, 1)),
    Sample("Pow", (np.float32([-3, -2, 0, 0, 2]), np.float32([3, 2, 2, 0, -1])), grad=(0,)),
    Sample("Pow", (f32(3, 4), i64(3)), versions=(12, 13, 15), grad=(0,)),
    Sample("Pow", (f32(3, 4), i64([2, 1, 0, 3])), versions=(12, 13, 15), grad=(0,)),
    Sample("Pow", (i64(2, -2, 10), np.float32([0.5, 3, 18])), versions=(12, 13, 15)),
    Sample(
        "Pow",
        (i64(2, -2, 1, -1, 3), i64(-1, -2, -3, -3, 39)),
        versions=(12, 13, 15),
        # Runtimes disagree on negative exponents: here 2 ** -1 is 0.5, truncated.
        expected=lambda x, y: i64(0, 0, 1, -1, 3**39),
    ),
    *(
        Sample(name, (f32(2, 3), f32(2, 3, seed=1), f32(2, 3, seed=2)), grad=(0, 1, 2))
        for name in ("Max", "Min", "Mean", "Sum")
    ),
    *(
        Sample(name, (f32(2, 3), f32(3, seed=1), f32(2, 1)), versions=(8, 13), grad=(0, 1, 2))
        for name in ("Max", "Min", "Mean", "Sum")
    ),
    *(Sample(name, (f32(2, 3),), grad=(0,)) for name in ("Max", "Min", "Mean", "Sum")),
    *(Sample(name, (INTEGERS, DIVISORS), versions=(12, 13)) for name in ("Max", "Min")),
    *(Sample(name, (np.float32([np.nan, 1]), f32(2))) for name in ("Max", "Min")),
    *(
        Sample("Clip", (f32(3, 4),), bounds, versions=(6,), grad=(0,))
        for bounds in ({"min": -1.0, "max": 0.5}, {"max": 0.5}, {})
    ),
    Sample(
        "Clip",
        (f32(3, 4),),
        {"max": 0.5},
        versions=(1,),
        grad=(0,),
        # No other runtime has version 1.
        expected=lambda x: np.minimum(x, np.float32(0.5)),
    ),
    Sample("Clip", (f32(3, 4).astype(np.float16),), {"min": -1e9}, versions=(6,)),
    Sample(
        "Clip",
        (f32(3, 4), np.asarray(-1, np.float32), np.asarray(0.5, np.float32)),
        versions=(11, 12, 13),
        grad=(0, 1, 2),
    ),
    Sample(
        "Clip", (f32(3, 4), None, np.asarray(0.5, np.float32)), versions=(11, 12, 13), grad=(0, 2)
    ),
    Sample(
        "Clip", (f32(3, 4), np.asarray(1, np.float32), np.asarray(-1, np.float32)), versions=(13,)
    ),
    Sample(
        "Clip", (INTEGERS, np.asarray(-5, np.int32), np.asarray(6, np.int32)), versions=(12, 13)
    ),
    *(
        Sample("BitShift", (BYTES, np.uint8([[1], [0], [7]])), {"direction": direction})
        for direction in ("LEFT", "RIGHT")
    ),
    *(
        Sample(
            "BitShift", (INTEGERS, np.int32([[1], [-1]])), {"direction": direction}, versions=(28,)
        )
        for direction in ("LEFT", "RIGHT")
    ),
    *(Sample(f"Bitwise{name}", (INTEGERS, DIVISORS[0])) for name in ("And", "Or", "Xor")),
    Sample("BitwiseNot", (INTEGERS,)),
    *(
        Sample(
            name,
            (f32(2, 3, 4), np.asarray(axis, np.int32)),
            {"exclusive": exclusive, "reverse": reverse},
            grad=(0,),
        )
        for name in ("CumSum", "CumProd")
        for axis, exclusive, reverse in ((1, 0, 0), (0, 0, 1), (-1, 1, 0), (2, 1, 1))
    ),
    Sample("CumSum", (INTEGERS, i64(1))),
    Sample("CumProd", (np.float32([2, 0, 3, 0, 5]), np.asarray(0)), grad=(0,)),
]
