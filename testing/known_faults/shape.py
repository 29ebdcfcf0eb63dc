"""Faults in reading and changing shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from onnxla.testing.arrays import i64
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, dtype, has, operand, rank, some, version
from onnxla.testing.types import Typed
from onnxla.testing.use import example

SINGLE = np.zeros((2, 3), np.float32)


def pads(case: Case) -> list[int]:
    """What Pad adds, or removes where negative."""
    name = "paddings" if case.version == 1 else "pads"
    found: Any = case.operands[1] if case.version >= 11 else case.attributes[name]
    return list(np.ravel(found))


@When
def repeats_beside_nothing(case: Case) -> bool:
    """Whether Pad, not with a constant, leaves nothing of some axis before it adds to others."""
    data, found = case.operands[0], pads(case)
    axes = list(range(data.ndim))
    if len(case.operands) > 3 and case.operands[3] is not None:
        axes = [int(axis) % data.ndim for axis in case.operands[3]]
    left = list(data.shape)
    for i, axis in enumerate(axes):
        left[axis] += min(found[i], 0) + min(found[i + len(axes)], 0)
    return case.attributes.get("mode", "constant") != "constant" and 0 in left


@When
def before_axis_is_empty(case: Case) -> bool:
    """Whether the axes that Flatten makes rows of have no elements."""
    (x,) = case.operands
    axis = case.attributes.get("axis", 1)
    return bool(axis != 0 and math.prod(x.shape[:axis]) == 0)


@When
def out_of_order(case: Case) -> bool:
    """Whether inserting one axis after another gives another shape than all at once."""
    axes = case.attributes.get("axes", [])
    return len(axes) > 1 and (axes != sorted(axes) or min(axes) < 0)


@When
def begins_before_first(case: Case) -> bool:
    """Whether a backward slice begins before the first element of an axis."""
    if len(case.operands) < 5 or case.operands[4] is None:
        return False
    data, starts, _, axes, steps = case.operands
    chosen = range(len(starts)) if axes is None else axes
    return any(
        step < 0 and start < -data.shape[int(axis)]
        for start, axis, step in zip(starts, chosen, steps, strict=True)
    )


def sparse_example() -> Case:
    """A vector of three elements, one of which is stored."""
    value = helper.make_sparse_tensor(
        helper.make_tensor("values", TensorProto.FLOAT, (1,), [2.0]),
        helper.make_tensor("indices", TensorProto.INT64, (1,), [1]),
        (3,),
    )
    types = {"y0": "tensor(float)"}
    return example("Constant", 13, types=types, sparse_value=value)


SPARSE_TEXT = (
    "'sparse_value: The value for the elements of the output tensor in sparse format.' The output "
    "is a tensor, so only the attribute is sparse."
)

FAULTS = [
    Fault(
        "reference",
        "Tile",
        "has no implementation of version 1",
        "Version 1 has the operands `tiles` and `axis`, which it lacks.",
        version(1),
        lambda: example("Tile", 1, SINGLE, np.float32(2), np.float32(0), ranks={"y0": 2}),
    ),
    Fault(
        "reference",
        "Concat",
        "wants the attribute `axis` in version 1",
        "Version 1 says: 'Which axis to concat on. Default value is 1.'",
        version(1) & ~has("axis"),
        lambda: example("Concat", 1, SINGLE, SINGLE, ranks={"y0": 2}),
    ),
    Fault(
        "reference",
        "Shape",
        "takes an `end` before the first axis for one counted from the end once more",
        "'Note that axes will be clamped to the range [0, r], where r is the rank of the input "
        "tensor if they are out-of-range (after adding r in the case of negative axis).'",
        lambda case: case.attributes.get("end", 0) < -case.operands[0].ndim,
        lambda: example("Shape", 15, SINGLE, end=-3),
    ),
    Fault(
        "reference",
        "Identity",
        "cannot return an optional without a value",
        "The input may be an optional since version 16, and one need not have an element.",
        ~operand(0),
        lambda: example("Identity", 16, Typed("optional(tensor(float))", None)),
    ),
    Fault(
        "reference",
        "Constant",
        "returns a sparse tensor for `sparse_value`",
        SPARSE_TEXT,
        has("sparse_value"),
        sparse_example,
    ),
    Fault(
        "onnxruntime",
        "Constant",
        "makes a sparse tensor of `sparse_value` where that is a graph's output",
        SPARSE_TEXT,
        has("sparse_value"),
        sparse_example,
    ),
    Fault(
        "reference",
        "Flatten",
        "fails where the axes before `axis` have no elements",
        "'If input tensor has shape (d_0, d_1, ... d_n) then the output will have shape (d_0 X d_1 "
        "... d_(axis-1), d_axis X d_(axis+1) ... X dn)': both products are known.",
        before_axis_is_empty,
        lambda: example("Flatten", 13, np.zeros((0, 2), np.float32)),
    ),
    Fault(
        "reference",
        "Unsqueeze",
        "inserts one axis after another before opset 13",
        "Version 1: 'Dimension indices in `axes` are as seen in the output tensor'; version 11 "
        "also: 'The order of values in `axes` does not matter and can come in any order.'",
        out_of_order,
        lambda: example("Unsqueeze", 11, SINGLE, axes=[1, 0]),
    ),
    Fault(
        "reference",
        "Squeeze",
        "squeezes one axis after another before opset 13",
        "'Negative value means counting dimensions from the back. Accepted range is [-r, r-1] "
        "where r = rank(data)': the axes are those of the data, in any order.",
        out_of_order,
        lambda: example("Squeeze", 11, np.zeros((1, 2, 1), np.float32), axes=[2, 0]),
    ),
    Fault(
        "reference",
        "Slice",
        "begins nowhere if a backward slice begins before the first element",
        "'starts[axes[i]] is clamped to range ... [0, dims[axes[i]]-1] for negative stepping.'",
        begins_before_first,
        lambda: example(
            "Slice", 13, SINGLE, i64([-3]), i64([-4]), i64([0]), i64([-1]), ranks={"y0": 2}
        ),
    ),
    Fault(
        "reference",
        "Pad",
        "fails if a pad is negative",
        "Since version 2: 'the number of padding elements to add or remove (if negative)'.",
        lambda case: min(pads(case), default=0) < 0,
        lambda: example("Pad", 13, SINGLE, i64([0, -1, 0, 0]), ranks={"y0": 2}),
    ),
    Fault(
        "onnxruntime",
        "Pad",
        "refuses to repeat elements along an axis if another one has size 0",
        "'the number of padding elements to add or remove (if negative) at the beginning and end "
        "of each axis', whatever the other axes are. The result has no elements either.",
        repeats_beside_nothing,
        lambda: example("Pad", 13, SINGLE, i64([1, -3, 0, 0]), mode="edge", ranks={"y0": 2}),
    ),
    *(
        Fault(
            runtime,
            "Pad",
            "fails for a scalar",
            "'`pads` should be a 1D tensor of shape [2 * num_axes]'; a scalar has no axes, and "
            "nothing is added to it.",
            lambda case: not pads(case) and case.operands[0].ndim == 0,
            lambda: example("Pad", 13, np.float32(1), i64([])),
        )
        for runtime in ("reference", "onnxruntime")
    ),
    Fault(
        "onnxruntime",
        "CenterCropPad",
        "fails for a scalar",
        "The text asks for no axes: 'If not provided, all axes are assumed [0, 1, ..., r-1]'.",
        rank(0),
        lambda: example("CenterCropPad", 18, np.float32(1), i64([])),
    ),
    Fault(
        "reference",
        "Expand",
        "gives NaN as a part of a complex number of which the other part is infinite",
        "'Broadcast the input tensor': its elements stay as they are. The reference multiplies "
        "them by 1, which is 1 + 0i.",
        dtype(np.complex64, np.complex128) & some(np.isinf),
        lambda: example("Expand", 13, np.array([complex(0, np.inf)], np.complex64), i64([1])),
    ),
]
