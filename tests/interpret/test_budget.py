"""What constants and attributes decide is limited: results, what is made on the way, and steps."""

from __future__ import annotations

import gc
import resource
from typing import Any

import jax
import numpy as np
import onnx
import pytest
from onnx import helper

import onnxla
from onnxla.interpret.kept import Kept
from onnxla.ops.limits import Budget, Limits, check_size, spending
from support.small_models import graph

FLOAT, INT = 1, 7
X = np.ones((2, 4), np.float32)
IMAGE = np.ones((1, 1, 4, 4), np.float32)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def one(op_type: str, x: np.ndarray = X, *operands: Any, opset: int = 21, **attributes: Any) -> Any:
    """A module of one node that takes `x` and known operands, and `x` by name."""
    tensors = {f"t{i}": value for i, value in enumerate(operands) if value is not None}
    names = [f"t{i}" if value is not None else "" for i, value in enumerate(operands)]
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    node = helper.make_node(op_type, ["x", *names], ["y"], **attributes)
    module = onnxla.load(graph([node], {"x": (kind, x.shape)}, ["y"], opset, tensors))
    return lambda: module(x)


def known(op_type: str, *operands: Any, outputs: int = 1, **attributes: Any) -> Any:
    """A module of one node all of whose operands are known; its result is read by Shape."""
    tensors = {f"t{i}": value for i, value in enumerate(operands)}
    made = [f"y{i}" for i in range(outputs)]
    nodes = [helper.make_node(op_type, [*tensors], made, **attributes)]
    nodes.append(helper.make_node("Shape", ["y0"], ["size"]))
    module = onnxla.load(graph(nodes, {}, ["size"], 21, tensors))
    return lambda: module()


W = np.ones((1, 1, 2, 2), np.float32)
LARGE = {
    "Expand": one("Expand", X[:1, :1], numbers(2**40, 2**40)),
    "Tile": one("Tile", X, numbers(2**40, 2**30)),
    "Pad": one("Pad", X, numbers(2**40, 0, 0, 0)),
    "CenterCropPad": one("CenterCropPad", X, numbers(2**62, 2**62)),
    "Conv pads": one("Conv", IMAGE, W, pads=[2**40] * 4),
    "ConvTranspose strides": one("ConvTranspose", IMAGE, W, strides=[2**40] * 2),
    "ConvTranspose output_shape": one("ConvTranspose", IMAGE, W, output_shape=[2**40] * 2),
    "MaxPool": one("MaxPool", IMAGE, kernel_shape=[2**40] * 2, pads=[2**40] * 4),
    "AveragePool": one("AveragePool", IMAGE, kernel_shape=[1, 1], pads=[2**40] * 4),
    "LRN": one("LRN", IMAGE, size=2**40),
    "OneHot": one("OneHot", numbers(1, 2), np.array(2**40), np.float32([0, 1])),
    "Resize": one("Resize", IMAGE, None, np.float32([1, 1, 1e9, 1e9]), mode="nearest"),
    "Resize linear": one("Resize", IMAGE, None, None, numbers(1, 1, 2**40, 2), mode="linear"),
    "MaxUnpool": one(
        "MaxUnpool",
        IMAGE,
        numbers(*[0] * 16).reshape(IMAGE.shape),
        numbers(1, 1, 2**40, 2**20),
        kernel_shape=[2, 2],
    ),
    "Col2Im": one(
        "Col2Im",
        IMAGE.reshape(1, 1, 16),
        numbers(*[3 * 2**31 + 1] * 2),
        numbers(1, 1),
        strides=[2**31] * 2,
    ),
    "DFT": one("DFT", X[..., None], np.array(2**40), np.array(1), opset=20),
    "Einsum": one(
        "Einsum",
        np.ones((64,) * 2, np.float32),
        *[np.ones((64, 64), np.float32)] * 2,
        equation="ab,cd,ef->abcdef",
    ),
    "HannWindow": known("HannWindow", np.array(2**33)),
    "TfIdfVectorizer": one(
        "TfIdfVectorizer",
        np.ones(4000, np.int64),
        mode="TF",
        min_gram_length=2,
        max_gram_length=2,
        max_skip_count=1000,
        ngram_counts=[0, 0],
        ngram_indexes=[0],
        pool_int64s=[1, 1],
    ),
    "MelWeightMatrix": known(
        "MelWeightMatrix",
        np.array(10**6),
        np.array(10**7),
        np.array(16000),
        np.float32(0),
        np.float32(8000),
    ),
    "Range": known("Range", np.float32(0), np.float32(1e30), np.float32(1e-30)),
    "ConstantOfShape": known("ConstantOfShape", numbers(2**20, 2**20)),
    "known outer sum": known("Add", np.ones((2**18, 1), np.int64), np.ones((1, 2**18), np.int64)),
    "known outer product": known(
        "MatMul", np.ones((2**18, 1), np.int64), np.ones((1, 2**18), np.int64)
    ),
    "known Gather": known("Gather", np.ones((1, 10**5)), np.zeros(10**6, np.int64)),
    "RandomNormalLike": one("Expand", X[:1, :1], numbers(2**31)),
}


@pytest.mark.parametrize("case", LARGE)
def test_what_a_few_bytes_decide_is_limited(case: str) -> None:
    with pytest.raises(onnxla.ModelError, match=r"times the limit|would have"):
        LARGE[case]()


def test_the_message_says_by_how_much_and_the_limit_can_be_raised() -> None:
    node = helper.make_node("Expand", ["x", "shape"], ["y"], name="widen")
    model = graph([node], {"x": (FLOAT, [1])}, ["y"], tensors={"shape": numbers(1000)})
    limits = onnxla.Limits(bytes=100)
    small = np.ones(1, np.float32)
    # 1,024 times the bytes of the input are allowed too.
    assert onnxla.load(model, limits=limits)(small).shape == (1000,)
    model = graph([node], {"x": (FLOAT, [1])}, ["y"], tensors={"shape": numbers(2000)})
    with pytest.raises(
        onnxla.ModelError, match=r"float32\[2000\], would have 8,000 bytes, 1.91"
    ) as e:
        onnxla.load(model, limits=limits)(small)
    assert "Limits(bytes=...)" in str(e.value)
    assert any("widen" in note for note in e.value.__notes__)
    assert onnxla.load(model)(small).shape == (2000,)


def test_all_that_is_computed_while_tracing_counts_together() -> None:
    nodes = [helper.make_node("ConstantOfShape", ["shape"], [f"c{i}"]) for i in range(5)]
    nodes += [helper.make_node("Shape", [f"c{i}"], [f"s{i}"]) for i in range(5)]
    nodes.append(helper.make_node("Concat", [f"s{i}" for i in range(5)], ["y"], axis=0))
    model = graph(nodes, {}, ["y"], tensors={"shape": numbers(1000)})
    with pytest.raises(onnxla.ModelError, match="computed while tracing would have 12,000 bytes"):
        onnxla.load(model, limits=onnxla.Limits(bytes=10_000))()
    assert onnxla.load(model, limits=onnxla.Limits(bytes=30_000))().shape == (5,)


def test_what_a_program_needs_at_one_time_is_limited() -> None:
    # Each tensor alone is within the limit.
    nodes = [helper.make_node("Expand", ["x", "shape"], ["e"])]
    nodes += [helper.make_node("CumSum", ["e", f"axis{i}"], [f"c{i}"]) for i in range(8)]
    axes = {f"axis{i}": np.array(i % 2) for i in range(8)}
    model = graph(
        nodes,
        {"x": (FLOAT, [1, 1])},
        [f"c{i}" for i in range(8)],
        tensors={"shape": numbers(100, 100), **axes},
    )
    with pytest.raises(onnxla.ModelError, match="made on the way"):
        onnxla.load(model, limits=onnxla.Limits(bytes=60_000))(X[:1, :1])
    onnxla.load(model)(X[:1, :1])


def loop(trip: int | None, *nodes: onnx.NodeProto, outputs: int = 0, x: bool = True) -> Any:
    """A loop over the state `s`, run on an input or, without one, on a constant."""
    ends = [helper.make_tensor_value_info(n, t, None) for n, t in (("i", 7), ("c", 9), ("s", 1))]
    results = ["c2", "s2", *(f"o{k}" for k in range(outputs))]
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), *nodes],
        "body",
        ends,
        [helper.make_tensor_value_info(name, 9 if name == "c2" else 1, None) for name in results],
    )
    tensors = {"yes": np.array(True), "start": X}
    tensors |= {} if trip is None else {"trip": np.array(trip)}
    node = helper.make_node(
        "Loop",
        ["" if trip is None else "trip", "yes", "x" if x else "start"],
        ["y", *(f"z{k}" for k in range(outputs))],
        body=body,
    )
    inputs = {"x": (FLOAT, X.shape)} if x else {}
    module = onnxla.load(graph([node], inputs, [*node.output], tensors=tensors))
    return lambda: module(X) if x else module()


NEGATED = helper.make_node("Neg", ["s"], ["s2"])
ENDLESS = {
    "of many steps": loop(10**9, NEGATED),
    "of many steps with outputs": loop(
        2**40, NEGATED, helper.make_node("Abs", ["s"], ["o0"]), outputs=1
    ),
    "of many known steps": loop(2**62, NEGATED, x=False),
    "of many steps without nodes": loop(
        2**62, helper.make_node("Identity", ["s"], ["s2"]), x=False
    ),
    "without an end": loop(None, NEGATED),
    "without an end, on constants": loop(None, NEGATED, x=False),
    "that grows": loop(10**6, helper.make_node("Concat", ["s", "s"], ["s2"], axis=0)),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_loops_end(case: str) -> None:
    with pytest.raises(onnxla.ModelError, match=r"times the limit|never ends"):
        ENDLESS[case]()


def test_steps_of_loops_within_loops_multiply() -> None:
    budget = Budget(Limits(steps=100))
    with budget.loop() as outer:
        with budget.loop() as inner:
            inner(20)
        with budget.loop() as inner:
            inner(5)
        outer(5)
        with pytest.raises(onnxla.ModelError, match="the loop would have 200 steps"):
            outer(2)


def test_sparse_tensors_count_as_dense_ones() -> None:
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("s", FLOAT, [1], [1.0]), helper.make_tensor("i", INT, [1], [0]), [2**27]
    )
    node = helper.make_node("Shape", ["s"], ["y"])
    made = helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name="y")])
    made.sparse_initializer.append(sparse)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    with pytest.raises(onnxla.ModelError, match="times the limit"):
        onnxla.load(model)()


def test_a_size_that_an_operator_asks_about() -> None:
    with spending(Budget(Limits(bytes=80))):
        assert check_size([2, 5]) == (2, 5)
        with pytest.raises(onnxla.ModelError, match=r"taps, int64\[2, 6\], would have 96 bytes"):
            check_size([2, 6], what="taps")
        with pytest.raises(onnxla.ModelError, match=r"\[-1, 2\]"):
            check_size([-1, 2])


def test_what_was_used_last_is_kept() -> None:
    kept: Kept[int] = Kept(2)
    made: list[int] = []

    def get(key: int) -> int:
        return kept.get(key, lambda: made.append(key) or key)

    for key in (1, 2, 1, 3, 1, 3):
        assert get(key) == key
    assert made == [1, 2, 3]
    with pytest.warns(UserWarning, match="4 programs were compiled"):
        get(2)
    assert made == [1, 2, 3, 2]
    assert len(kept) == 2


@pytest.mark.more
def test_programs_that_are_not_kept_take_no_memory() -> None:
    nodes = [helper.make_node("Sin", ["x"], ["a"]), helper.make_node("Exp", ["a"], ["y"])]
    model = graph(nodes, {"x": (FLOAT, ["n"])}, ["y"])
    module = onnxla.load(model, limits=onnxla.Limits(programs=8))

    def call(sizes: range) -> int:
        for n in sizes:
            jax.block_until_ready(module(np.ones(n, np.float32)))
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.warns(UserWarning, match="16 programs"):
        before = call(range(1, 60))
    # Each program takes more than a megabyte while it is kept.
    assert call(range(60, 260)) - before < 100 * 1024


@pytest.mark.parametrize(
    ("limits", "error", "message"),
    [
        ({"bytes": "4GB"}, TypeError, "bytes is a number, got '4GB'"),
        ({"nodes": None}, TypeError, "nodes is a number, got None"),
        ({"steps": -1}, ValueError, "steps is above 0, got -1"),
        ({"calls": float("nan")}, ValueError, "calls is above 0, got nan"),
    ],
)
def test_limits_are_numbers(limits: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Limits(**limits)
