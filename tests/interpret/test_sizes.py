"""Known values may hold symbolic dimensions: a graph is exported once for every batch size."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import onnxruntime
import pytest
from jax import export

import onnxla
from onnxla.ops.sizes import Sizes, as_sizes
from support.small_models import header, make

CONSTANTS: dict[str, Any] = {
    "zero": np.array(0),
    "first": np.array([0]),
    "one": np.array([1]),
    "two": np.array(2),
    "three": np.array([3]),
    "twelve": np.array([12]),
    "two_sizes": np.array([2]),
    "minus": np.array([-1]),
    "around": np.array([1, 0, 1, 0]),
    "end": np.array([2**63 - 1]),
    "w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "row": np.float32([[1, 2, 3]]),
    "half": np.float32(0.5),
    "quarter": np.float32(0.25),
}

# Bodies from x [N, 3] to y.
GRAPHS = {
    "reshaped and multiplied": """
        s = Shape (x)
        n = Gather (s, first)
        shape = Concat <axis = 0> (n, three)
        flat = Reshape (x, shape)
        y = MatMul (flat, w)""",
    "a batch doubled": """
        s = Shape (x)
        n = Gather (s, zero)
        more = Mul (n, two)
        u = Unsqueeze (more, first)
        shape = Concat <axis = 0> (u, three)
        both = Concat <axis = 0> (x, x)
        flat = Reshape (both, shape)
        y = MatMul (flat, w)""",
    "sizes computed": """
        s = Shape (x)
        small = Cast <to = 6> (s)
        n = Slice (small, first, one)
        scalar = Squeeze (n, first)
        size = Cast <to = 7> (scalar)
        total = Size (x)
        rest = Div (total, size)
        less = Sub (rest, two)
        more = Add (size, less)
        again = Sub (more, less)
        a = Unsqueeze (again, first)
        b = Unsqueeze (less, first)
        shape = Concat <axis = 0> (a, b, minus)
        y = Reshape (x, shape)""",
    "expanded": """
        s = Shape <start = 0, end = 1> (x)
        shape = Concat <axis = 0> (s, one)
        rows = Expand (row, shape)
        doubled = Concat <axis = 0> (two_sizes, s, one)
        stacked = Expand (x, doubled)
        y = Add (stacked, rows)""",
    "sliced and counted": """
        total = Size (x)
        number = Cast <to = 1> (total)
        tail = Slice (x, first, end, first)
        scaled = Div (tail, number)
        n = Shape <start = 0, end = 1> (x)
        m = ReduceMax <keepdims = 0> (i)
        k = Add (n, m)
        f = Cast <to = 1> (k)
        y = Mul (scaled, f)""",
    "a size that may equal a number": """
        s = Shape (x)
        n = Gather (s, zero)
        is_two = Equal (n, two)
        term = Where (is_two, half, quarter)
        y = Add (x, term)""",
    "a size that equals no negative number": """
        s = Shape (x)
        is_open = Equal (s, minus)
        given = Where (is_open, one, s)
        rows = Expand (row, given)
        y = Add (x, rows)""",
    "division of what may be negative": """
        s = Shape (x)
        n = Gather (s, zero)
        negative = Sub (zero, n)
        share = Div (negative, two)
        f = Cast <to = 1> (share)
        y = Mul (x, f)""",
    "positions": """
        s = Shape (x)
        n = Gather (s, zero)
        places = Range (zero, n, two)
        f = Cast <to = 1> (places)
        total = ReduceSum <keepdims = 1> (f)
        y = Add (x, total)""",
    "tiled": """
        s = Shape <start = 0, end = 1> (x)
        repeats = Concat <axis = 0> (s, one)
        rows = Tile (row, repeats)
        y = Add (x, rows)""",
    "reflected": """
        y = Pad <mode = "reflect"> (x, around)""",
    "wrapped": """
        y = Pad <mode = "wrap"> (x, around)""",
    "padded by its size, and cut": """
        s = Shape <start = 0, end = 1> (x)
        pads = Concat <axis = 0> (s, first, s, minus)
        y = Pad (x, pads)""",
    "split in halves": """
        a, b = Split <axis = 0, num_outputs = 2> (x)
        y = Concat <axis = 0> (b, a)""",
    "elements counted": """
        s = Shape (x)
        product = ReduceProd (s)
        sum = ReduceSum (s)
        more = Sub (sum, three)
        rest = Div (product, more)
        shape = Concat <axis = 0> (more, rest)
        y = Reshape (x, shape)""",
    "dropout and zeros": """
        kept, mask = Dropout (x)
        s = Shape (x)
        zeros = ConstantOfShape (s)
        y = Add (kept, zeros)""",
}


def model_of(name: str) -> bytes:
    body = GRAPHS[name]
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {key: value for key, value in CONSTANTS.items() if key in words}
    inputs = "float[N, 3] x, int64[2] i" if "i" in words else "float[N, 3] x"
    return make(header(18) + f" m ({inputs}) => (float[A, B] y) {{ {body} }}", **used)


@pytest.mark.parametrize("name", GRAPHS)
def test_one_program_for_every_batch_size(name: str) -> None:
    model = model_of(name)
    module = onnxla.load(model)
    (n,) = export.symbolic_shape("n")
    others = [np.array([1, 2])] if len(module.input_names) > 1 else []

    def function(x: jax.Array, *others: jax.Array) -> jax.Array:
        return module.apply(module.params, x, *others)

    with jax.enable_x64(True):
        specs = [jax.ShapeDtypeStruct((n, 3), np.float32)]
        specs += [jax.ShapeDtypeStruct(other.shape, other.dtype) for other in others]
        exported = export.export(jax.jit(function))(*specs)
        session = onnxruntime.InferenceSession(model)
        for size in (2, 5):
            x = np.random.default_rng(size).standard_normal((size, 3)).astype(np.float32)
            feeds = dict(zip(module.input_names, [x, *others], strict=True))
            (expected,) = session.run(None, feeds)
            got = np.asarray(exported.call(x, *others))
            assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_convolution_and_pooling_of_every_picture_size() -> None:
    text = """ m (float[N, 2, H, W] x) => (float[N, 3, A, B] y) {
        c = Conv <pads = [1, 1, 1, 1]> (x, k)
        y = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (c)
    }"""
    kernel = np.random.default_rng(0).standard_normal((3, 2, 3, 3)).astype(np.float32)
    module = onnxla.load(make(header(18) + text, k=kernel))
    shape = export.symbolic_shape("n, 2, 2*h, 2*w")
    spec = jax.ShapeDtypeStruct(shape, np.float32)
    exported = export.export(jax.jit(lambda x: module.apply(module.params, x)))(spec)
    for n, h, w in ((1, 4, 6), (3, 8, 2)):
        x = np.random.default_rng(h).standard_normal((n, 2, h, w)).astype(np.float32)
        np.testing.assert_allclose(exported.call(x), module(x), rtol=1e-5, atol=1e-5)


PICTURES = {
    "Conv": "y = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, k)",
    "Conv, grouped": "y = Conv <group = 2, pads = [1, 1, 1, 1], strides = [2, 2]> (x, g)",
    "Conv, padded as it needs": 'y = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, k)',
    "ConvTranspose": "y = ConvTranspose <strides = [2, 2]> (x, t)",
    "MaxPool": "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)",
    "AveragePool": "y = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)",
    "Resize": 'y = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
    " (x, , twice)",
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_sizes_that_are_no_multiples(name: str) -> None:
    """Where a window does not reach to the end, what is left over depends on the size."""
    rng = np.random.default_rng(0)
    tensors = {
        "k": rng.standard_normal((3, 2, 3, 3)),
        "g": rng.standard_normal((4, 1, 3, 3)),
        "t": rng.standard_normal((2, 3, 3, 3)),
        "twice": np.array([1, 1, 2, 2]),
    }
    body = PICTURES[name]
    used = {k: np.float32(v) for k, v in tensors.items() if f", {k})" in body}
    model = make(
        header(18) + f" m (float[N, 2, H, W] x) => (float[A, B, C, D] y) {{ {body} }}", **used
    )
    module = onnxla.load(model)
    shape = export.symbolic_shape("n, 2, h, w", constraints=["h >= 3", "w >= 3"])
    spec = jax.ShapeDtypeStruct(shape, np.float32)
    exported = export.export(jax.jit(lambda x: module.apply(module.params, x)))(spec)
    export.export(jax.jit(lambda x: module.apply(module.params, x)), platforms=["cuda"])(spec)
    session = onnxruntime.InferenceSession(model)
    for n, h, w in ((1, 4, 7), (3, 9, 6)):
        x = rng.standard_normal((n, 2, h, w)).astype(np.float32)
        (expected,) = session.run(None, {"x": x})
        np.testing.assert_allclose(exported.call(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1.5, 2.0])
def test_a_symbolic_size_is_not_resized_by_interpolation(scale: float) -> None:
    text = f"{header(18)} m (float[1, 1, H] x) => (float[A, B, C] y) {{"
    text += ' y = Resize <mode = "linear"> (x, , scales) }'
    module = onnxla.load(make(text, scales=np.float32([1, 1, scale])))
    spec = jax.ShapeDtypeStruct(export.symbolic_shape("1, 1, h"), np.float32)
    with pytest.raises(onnxla.UnsupportedError, match=r"symbolic size h.*"):
        export.export(jax.jit(lambda x: module.apply(module.params, x)))(spec)


def test_sizes_are_integers_of_the_models_type() -> None:
    (n,) = export.symbolic_shape("n")
    sizes = as_sizes((n, 3))
    assert isinstance(sizes, Sizes)
    assert sizes.dtype == np.int64
    narrow = sizes.astype(np.int32)
    assert (narrow.dtype, (narrow[:1] * 2).dtype) == (np.int32, np.int32)
    assert (sizes * 2).tolist() == [2 * n, 6]
    numbers = as_sizes(sizes[1:])
    assert not isinstance(numbers, Sizes)
    assert (numbers.dtype, numbers.tolist()) == (np.int64, [3])
