"""Weights that an operator makes itself meet no element on which a result does not depend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onnxla.ops import lookup
from onnxla.ops.sparse_matrix import UNROLLED
from support.samples import Sample, f32, i64

MICROSOFT = "com.microsoft"
ROW, IMAGE, VOLUME = f32(1, 2, 7), f32(2, 3, 5, 4), f32(1, 2, 3, 4, 3)
LONG = f32(1, 1, 6 * UNROLLED)
REGIONS = np.float32([[0, 0, 2, 2], [0.5, 1, 3.2, 2.7]])
# Positions at elements, between them, at the edge and outside.
GRID = np.float32([[-1, -1], [0, 0], [0.1, -0.4], [1, 0.3], [5, 0.2], [-0.2, -3]])


def use(op: str, index: int, *inputs: Any, domain: str = "", **attributes: Any) -> Any:
    """A use of an operator, and the position of the operand that it is linear in."""
    shape = "x".join(map(str, inputs[index].shape))
    name = "-".join([op, shape, *(str(v) for v in attributes.values())])
    return pytest.param(Sample(op, inputs, attributes, domain=domain), index, id=name)


def resize(x: np.ndarray, *scales: float, roi: Any = None, **attributes: Any) -> Any:
    """A use of Resize by scales of the last axes."""
    every = np.float32([*(1,) * (x.ndim - len(scales)), *scales])
    return use("Resize", 0, x, None if roi is None else np.float32(roi), every, **attributes)


def transposed(x: np.ndarray, *kernel: int, group: int = 1, by: int = 0, **attributes: Any) -> Any:
    """A use of ConvTranspose, by its input or its weights."""
    w = f32(x.shape[1], 2, *kernel, seed=1)
    return use("ConvTranspose", by, x, w, group=group, **attributes)


def deformed(x: np.ndarray, group: int, *mask: int, far: float) -> Any:
    """A use of DeformConv whose taps are moved, some of them out of the image."""
    offset = np.where(f32(2, 8 * group, 4, 3) > 1, far, f32(2, 8 * group, 4, 3, seed=1))
    w, masks = f32(4, x.shape[1] // group, 2, 2), [f32(2, 4 * group, 4, 3)] if mask else []
    optional = [None, *masks] if masks else []
    return use("DeformConv", 0, x, w, offset, *optional, group=group, offset_group=group)


USES = [
    *(
        resize(x, *scales, mode=mode)
        for mode in ("linear", "cubic")
        for x, scales in ((ROW, (2,)), (IMAGE, (1.5, 0.6)), (VOLUME, (2, 0.5, 1.7)), (LONG, (0.4,)))
    ),
    *(
        resize(ROW, 2.5, mode="linear", coordinate_transformation_mode=mode)
        for mode in ("align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric")
    ),
    resize(IMAGE, 0.5, 0.4, mode="linear", antialias=1),
    resize(LONG, 0.05, mode="cubic", antialias=1),  # more neighbours than are unrolled
    resize(ROW, 1.4, mode="cubic", exclude_outside=1),
    resize(
        ROW,
        1.4,
        roi=[0, 0, 0.2, 1, 1, 1.3],
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
    ),
    *(use("Upsample", 0, IMAGE, np.float32([1, 1, s, 2]), mode="linear") for s in (1, 3)),
    *(
        use("GridSample", 0, x, np.resize(grid, (len(x), *grid.shape)), mode=mode, **padded)
        for mode in ("nearest", "linear", "cubic")
        for padded in ({}, {"padding_mode": "border"}, {"align_corners": 1})
        for x, grid in (
            (ROW, GRID[:, :1]),
            (IMAGE, GRID[:, None]),
            (VOLUME, GRID[:, None, None, [0, 1, 0]]),
        )
    ),
    *(
        use("RoiAlign", 0, IMAGE, REGIONS, i64(0, 1), output_height=2, sampling_ratio=ratio)
        for ratio in (0, 2)
    ),
    use(
        "CropAndResize", 0, IMAGE, REGIONS / 4, np.int32([0, 1]), np.int32([3, 2]), domain=MICROSOFT
    ),
    use("AffineGrid", 0, f32(2, 2, 3), i64(2, 1, 3, 5), align_corners=1),
    *(deformed(f32(2, 4, 5, 4), group, *m, far=9.0) for group in (1, 2) for m in ((), (1,))),
    *(
        transposed(x, *kernel, by=by, **attributes)
        for by in (0, 1)
        for x, kernel, attributes in (
            (ROW, (2,), {}),
            (ROW, (3,), {"strides": [2], "pads": [1, 2], "output_padding": [1]}),
            (ROW, (2,), {"strides": [3], "dilations": [2]}),
            (ROW, (3,), {"group": 2, "strides": [2], "output_shape": [12]}),
            (IMAGE, (4, 3), {"strides": [2, 1], "pads": [1, 1, 1, 1]}),
            (IMAGE, (2, 3), {"group": 3, "strides": [1, 3], "dilations": [3, 1]}),
            (VOLUME, (2, 1, 3), {"strides": [1, 2, 2], "auto_pad": "SAME_UPPER"}),
        )
    ),
    use("Col2Im", 0, f32(1, 8, 9), i64(4, 3), i64(2, 2), pads=[0, 1, 0, 0]),
    *(
        use("AveragePool", 0, IMAGE, kernel_shape=[2, 3], pads=[1, 1, 0, 1], **more)
        for more in ({}, {"count_include_pad": 1})
    ),
]


def of_operand(sample: Sample, index: int) -> Callable[[Any], Any]:
    """An operator as a function of one operand, compiled."""
    operator = lookup(sample.domain, sample.op_type, 10**6)
    assert operator is not None
    attributes = {k: tuple(v) if isinstance(v, list) else v for k, v in sample.attributes.items()}

    def function(x: Any) -> Any:
        inputs = [x if i == index else value for i, value in enumerate(sample.inputs)]
        return operator.function(*inputs, **attributes)

    return jax.jit(function)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("sample", "index"), USES)
def test_an_infinity_reaches_what_depends_on_it(sample: Sample, index: int) -> None:
    """And no other result; the derivative of what is linear is the same everywhere."""
    function, start = of_operand(sample, index), sample.inputs[index]
    cotangent = f32(*jax.eval_shape(function, start).shape, seed=2)

    @jax.jit
    def with_gradient(x: Any) -> Any:
        y, pull = jax.vjp(function, x)
        return y, *pull(cotangent)

    for place in range(0, start.size, max(1, start.size // 5)):
        values = []
        for value in (1.5, -2.5, math.inf):
            x = start.copy()
            x.flat[place] = value
            values.append(map(np.asarray, with_gradient(x)))
        (y, gradient), (other, _), (found, same) = values
        depends = y != other
        np.testing.assert_array_equal(np.isfinite(found), ~depends)
        np.testing.assert_array_equal(found[~depends], y[~depends])
        np.testing.assert_allclose(same, gradient, rtol=1e-5, atol=1e-6)


def test_a_place_that_is_no_element_has_no_slope() -> None:
    """An infinite element has no part in the gradient by positions that do not see it."""
    x = IMAGE.copy()
    x[:, :, 0, 0] = math.inf
    grid = np.float32([[[[5, 0.1], [0.3, 0.2]]]] * 2)

    def total(grid: jax.Array) -> jax.Array:
        return jnp.sum(of_operand(Sample("GridSample", (x, grid)), 1)(grid))

    slope = jax.grad(total)(grid)
    assert np.isfinite(slope).all()
    assert not slope[0, 0, 0].any()
    assert slope[0, 0, 1].all()


def test_the_largest_of_minus_infinities() -> None:
    """It is one, in a bin that has elements."""
    x = np.full((1, 1, 4, 4), -math.inf, np.float32)
    rois = np.float32([[0, 0, 0, 3, 3], [0, 9, 9, 9, 9]])
    y = of_operand(Sample("MaxRoiPool", (x, rois), {"pooled_shape": [1, 2]}), 0)(x)
    np.testing.assert_array_equal(y, [[[[-math.inf] * 2]], [[[0, 0]]]])


NOTHING = {
    "Conv": [(0, 4, 5, 5), (4, 1, 3, 3)],
    "ConvTranspose": [(0, 4, 5, 5), (4, 1, 3, 3)],
    "GroupNormalization": [(0, 4, 3), (4,), (4,)],
    "RoiAlign": [(1, 2, 4, 4), (0, 4)],
    "GridSample": [(0, 2, 3, 3), (0, 2, 2, 2)],
    "Resize": [(0, 2, 3, 4)],
}


@pytest.mark.parametrize("op", NOTHING)
def test_a_batch_of_nothing(op: str) -> None:
    """Also under `vmap`."""
    arrays = [f32(*shape) for shape in NOTHING[op]]
    more, attributes = {
        "Conv": ((), {"group": 4}),
        "ConvTranspose": ((), {"group": 4}),
        "GroupNormalization": ((), {"num_groups": 2}),
        "RoiAlign": ((i64(),), {"sampling_ratio": 1}),
        "GridSample": ((), {}),
        "Resize": ((None, None, i64(0, 2, 6, 8)), {"mode": "linear"}),
    }[op]
    operator = lookup("", op, 10**6)
    assert operator is not None

    def function(*arrays: Any) -> Any:
        return operator.function(*arrays, *more, **attributes)

    y = function(*arrays)
    assert y.shape[0] == 0
    stacked = [jnp.zeros((2, *x.shape)) for x in arrays]

    def total(*arrays: Any) -> Any:
        return jnp.sum(jax.vmap(function)(*arrays))

    gradients = jax.grad(total, tuple(range(len(stacked))))(*stacked)
    assert [g.shape for g in gradients] == [x.shape for x in stacked]
    assert not any(map(np.any, gradients))
