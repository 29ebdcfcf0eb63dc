import numpy as np

from support.samples import Sample, f32, i64

INTEGERS = np.asarray([[1, 2, 3], [3, 2, 1]], np.int32)
FLOATS = INTEGERS.astype(np.float32)
BOOLS = np.asarray([[True, True], [False, False]])
SPECIAL = np.asarray([-np.inf, -1, 0, np.inf, np.nan], np.float32)
TEXT = np.asarray([["a", "b"], ["c", ""]], object)
NUMPY = {"Equal": "equal", "Greater": "greater", "Less": "less"} | {
    name: f"logical_{name.lower()}" for name in ("And", "Or", "Xor")
}

SAMPLES = [
    Sample("Equal", (INTEGERS, np.int32([[1], [2]])), versions=(7, 11, 13, 19)),
    Sample("Equal", (FLOATS, np.float32([1, 2, np.nan])), versions=(11, 13, 19)),
    Sample("Equal", (TEXT, np.asarray(["a", ""], object)), versions=(19,)),
    *(
        Sample(name, (FLOATS, np.float32([1, 2, np.nan])), versions=versions)
        for name, versions in {
            "Greater": (7, 9, 13),
            "Less": (7, 9, 13),
            "GreaterOrEqual": None,
            "LessOrEqual": None,
        }.items()
    ),
    *(
        Sample(name, (INTEGERS, np.int32([[1], [2]])), versions=versions)
        for name, versions in {
            "Greater": (9, 13),
            "Less": (9, 13),
            "GreaterOrEqual": None,
            "LessOrEqual": None,
        }.items()
    ),
    *(Sample(name, (BOOLS, BOOLS.T)) for name in ("And", "Or", "Xor")),
    *(
        Sample(
            name,
            (a, b),
            {"axis": 0, "broadcast": 1},
            versions=(1,),
            # No runtime implements the broadcasting attributes of opsets 1 to 6.
            expected=lambda a, b, name=name: getattr(np, NUMPY[name])(a, b[:, None]),
        )
        for names, a, b in (
            (("Equal",), INTEGERS, np.int32([1, 2])),
            (("Greater", "Less"), FLOATS, np.float32([1, 2])),
            (("And", "Or", "Xor"), BOOLS, np.asarray([True, False])),
        )
        for name in names
    ),
    Sample("Not", (BOOLS,)),
    Sample("IsNaN", (SPECIAL,)),
    Sample("IsInf", (SPECIAL,)),
    Sample("IsInf", (SPECIAL,), {"detect_negative": 0}),
    Sample("IsInf", (SPECIAL,), {"detect_positive": 0}),
    Sample("Where", (BOOLS, f32(3, 1, 2), f32(2, seed=1)), grad=(1, 2)),
    Sample("Where", (BOOLS[0], i64([1, 2]), i64(3))),
]
