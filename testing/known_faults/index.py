"""Faults in picking and placing elements by index."""

from __future__ import annotations

import math

import numpy as np

from onnxla.ir import STRING
from onnxla.testing.arrays import i64
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, dtype, has, rank, some
from onnxla.testing.use import example

SINGLE = np.zeros((2, 3), np.float32)


@When
def slices_of_texts(case: Case) -> bool:
    """Whether Gather picks slices of more than one text."""
    data = case.operands[0]
    axis = case.attributes.get("axis", 0) % data.ndim
    return bool(data.dtype == STRING and math.prod(data.shape[axis + 1 :]) > 1)


@When
def smaller_window(case: Case) -> bool:
    """Whether indices and data differ in an axis other than that of the indices."""
    data, indices = case.operands
    if case.attributes.get("axis") == -1:  # is compared too
        return bool(data.shape != indices.shape)
    axis = case.attributes.get("axis", 0) % data.ndim
    pairs = enumerate(zip(data.shape, indices.shape, strict=True))
    return any(n != k for i, (n, k) in pairs if i != axis)


@When
def not_along_first(case: Case) -> bool:
    """Whether Unique in order of occurrence is of anything but entries along axis 0."""
    (x,) = case.operands
    axis = case.attributes.get("axis")
    entries = x.ndim == 1 if axis is None else axis % x.ndim == 0
    unsorted = case.attributes.get("sorted", 1) == 0
    return unsorted and (not entries or len(case.node.output) == 1)


@When
def nans(case: Case) -> bool:
    """Whether there is NaN more than once."""
    return bool(np.isnan(case.operands[0]).sum() > 1)


@When
def nan_beside_numbers(case: Case) -> bool:
    """Whether some of the numbers are NaN, and others are not."""
    (x,) = case.operands
    found = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    return bool(found.any() and not found.all())


@When
def spreads(case: Case) -> bool:
    """Whether the difference of what is on and off is no finite number."""
    values = case.operands[2]
    if values.dtype.kind not in "fcV":
        return False
    with np.errstate(all="ignore"):
        return not np.isfinite(values[1] - values[0])


@When
def reduces(case: Case) -> bool:
    """Whether float16 is multiplied or compared."""
    reduction = case.attributes.get("reduction", "none")
    return bool(reduction != "none" and case.operands[0].dtype == np.float16)


FAULTS = [
    Fault(
        "onnxruntime",
        "Gather",
        "copies the first text of each slice only",
        "'Each entry in `indices` produces a `r-1` dimensional slice of the input tensor.' The "
        "other texts of a slice are empty.",
        slices_of_texts,
        lambda: example("Gather", 13, np.array([["a", "b"], ["c", "d"]], object), i64([1])),
    ),
    Fault(
        "reference",
        "GatherElements",
        "wants indices as large as the data on the other axes",
        "'indices: Tensor of int32/int64 indices, with the same rank r as the input'; the output "
        "has their shape, and 'out[i][j][k] = input[index[i][j][k]][j][k] if axis = 0'. Nothing "
        "asks for equal sizes.",
        smaller_window,
        lambda: example("GatherElements", 13, SINGLE, np.zeros((1, 1), np.int64)),
    ),
    *(
        Fault(
            "onnxruntime",
            op,
            "has no reduction of float16 numbers",
            "It says so: 'MLFloat16 data type is not supported'. The schema has all float types.",
            reduces,
            make,
        )
        for op, make in (
            (
                "ScatterElements",
                lambda: example(
                    "ScatterElements",
                    18,
                    np.ones(2, np.float16),
                    i64([0]),
                    np.ones(1, np.float16),
                    reduction="mul",
                ),
            ),
            (
                "ScatterND",
                lambda: example(
                    "ScatterND",
                    18,
                    np.ones(2, np.float16),
                    i64([0]).reshape(1, 1),
                    np.ones(1, np.float16),
                    reduction="mul",
                ),
            ),
        )
    ),
    Fault(
        "reference",
        "OneHot",
        "compares indices that are no integers as they are",
        "'In case 'indices' is of non-integer type, the values will be casted to int64 before "
        "use.'",
        some(lambda x: x % 1 != 0),
        lambda: example(
            "OneHot",
            11,
            np.array([0.5], np.float32),
            np.array(2),
            np.array([0, 1], np.float32),
            ranks={"y0": 2},
        ),
    ),
    Fault(
        "reference",
        "OneHot",
        "fails if the depth is a vector",
        "'depth: Scalar or Rank 1 tensor containing exactly one element'.",
        rank(1, of=1),
        lambda: example(
            "OneHot", 11, i64([0]), i64([2]), np.array([0, 1], np.float32), ranks={"y0": 2}
        ),
    ),
    Fault(
        "reference",
        "OneHot",
        "fails if what is on and off are texts or truth values",
        "'values' may be of any type; the reference subtracts one from the other.",
        dtype(STRING, np.bool_, of=2),
        lambda: example(
            "OneHot", 11, i64([0]), np.array(2), np.array([False, True]), ranks={"y0": 2}
        ),
    ),
    Fault(
        "reference",
        "OneHot",
        "spreads an infinity or NaN from what is on or off to all elements",
        "'The locations represented by the index values in the 'indices' input tensor will have "
        "'on_value' and the other locations will have 'off_value' in the output tensor'.",
        spreads,
        lambda: example(
            "OneHot", 11, i64([0]), np.array(2), np.array([0, np.inf], np.float32), ranks={"y0": 2}
        ),
    ),
    Fault(
        "onnxruntime",
        "NonZero",
        "returns an index of the one axis that a scalar is given",
        "'for scalar input, NonZero produces output shape (0, N) instead of (1, N), which is "
        "different from Numpy's behavior.'",
        rank(0),
        lambda: example("NonZero", 13, np.array(1, np.float32)),
    ),
    Fault(
        "reference",
        "GatherND",
        "fails on an empty batch",
        "Nothing excludes it.",
        lambda case: 0 in case.operands[1].shape[: case.attributes.get("batch_dims", 0)],
        lambda: example("GatherND", 13, SINGLE[:0], i64([0])[:0, None], batch_dims=1),
    ),
    Fault(
        "onnxruntime",
        "Unique",
        "takes NaN for equal to each other number",
        "'This operator returns the unique values', of which NaN is no other. onnxla and the "
        "reference have it once, after all numbers.",
        nan_beside_numbers,
        lambda: example("Unique", 11, np.array([0, np.nan], np.float32)),
    ),
    Fault(
        "onnxruntime",
        "Unique",
        "has each NaN on its own",
        "'Finds all the unique values (deduped list) present in the given input tensor' does not "
        "say whether NaN is one value. It is one in onnxla, as in ONNX's own Unique.",
        nans,
        lambda: example(
            "Unique",
            1,
            np.array([np.nan, np.nan], np.float32),
            domain="com.microsoft",
            outputs=3,
            ranks={"y0": 1, "y1": 1, "y2": 1},
        ),
        domain="com.microsoft",
    ),
    Fault(
        "reference",
        "Unique",
        "fails on texts along an axis",
        "T has tensor(string), and 'when an optional attribute 'axis' is provided, unique "
        "subtensors sliced along the 'axis' are returned'.",
        dtype(STRING) & has("axis"),
        lambda: example("Unique", 11, np.array([["a"]], object), axis=0, ranks={"y0": 2}),
    ),
    Fault(
        "reference",
        "Unique",
        "puts out entries along axis 0, or sorted ones, where `sorted` is 0",
        "'Outputs are either sorted in ascending order or optionally in the order of the first "
        "occurrence of the values in the input', for any `axis`, and whichever outputs there are.",
        not_along_first,
        lambda: example("Unique", 11, np.array([2, 1], np.float32), sorted=0),
    ),
]
