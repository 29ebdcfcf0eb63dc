"""Graphs whose shapes depend on data: compiled regions with concrete nodes between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import onnxla
from onnxla.interpret.regions import Region
from support.small_models import graph, header, make

# A small detector: features, boxes and scores; then what is kept decides the shapes.
DETECTOR = """ detect (float[1, 3, 16, 16] image) =>
    (float[K, 4] found, float[K] score, float[1, 3] mean)
{
    features = Conv <kernel_shape = [4, 4], strides = [4, 4]> (image, kernel)
    active = Relu (features)
    flat = Reshape (active, rows)
    per_box = Transpose <perm = [0, 2, 1]> (flat)
    boxes = MatMul (per_box, to_box)
    logits = MatMul (per_box, to_score)
    likely = Sigmoid (logits)
    scores = Transpose <perm = [0, 2, 1]> (likely)
    kept = NonMaxSuppression (boxes, scores, most, overlap, least)
    index = Gather <axis = 1> (kept, two)
    all = Squeeze (boxes, zero)
    chosen = Gather <axis = 0> (all, index)
    found = Mul (chosen, size)
    every = Squeeze (scores, zero_one)
    score = Gather <axis = 0> (every, index)
    mean = ReduceMean <keepdims = 0> (image, last)
}"""


def detector() -> bytes:
    rng = np.random.default_rng(0)
    return make(
        header() + DETECTOR,
        kernel=rng.standard_normal((8, 3, 4, 4)).astype(np.float32),
        to_box=rng.standard_normal((8, 4)).astype(np.float32),
        to_score=rng.standard_normal((8, 1)).astype(np.float32) * 0.3,
        rows=np.array([1, 8, -1]),
        most=np.array([20]),
        overlap=np.array([0.5], np.float32),
        least=np.array([0.6], np.float32),
        two=np.array(2),
        zero=np.array([0]),
        zero_one=np.array([0, 1]),
        last=np.array([2, 3]),
        size=np.float32(16),
    )


def images(n: int) -> Iterator[np.ndarray]:
    for seed in range(n):
        yield np.random.default_rng(seed).standard_normal((1, 3, 16, 16)).astype(np.float32)


def all_regions(module: onnxla.Module) -> list[Region]:
    """The regions that are kept, that of the whole graph first."""
    return sorted(module.program.regions.kept.values(), key=lambda region: -len(region.nodes))


def test_a_detector_equals_onnx_runtime() -> None:
    model = detector()
    module, session = onnxla.load(model), onnxruntime.InferenceSession(model)
    sizes = set()
    for image in images(8):
        expected = session.run(None, {"image": image})
        sizes.add(len(expected[0]))
        for ours, theirs in zip(module(image), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len(sizes) > 2
    first, *after = all_regions(module)
    names = [node.op_type for node in first.graph.nodes]
    assert [names[i] for i in first.plan.concrete] == ["NonMaxSuppression"]
    # All before it, and what does not depend on it, is one program; what follows is another, for
    # each number of boxes.
    assert {names[i] for i in first.plan.rest} == {"Gather", "Mul"}
    assert len(after) == len(sizes)
    assert not any(region.plan.concrete or region.plan.rest for region in after)


def test_regions_are_traced_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[int] = []
    trace = Region.trace
    monkeypatch.setattr(Region, "trace", lambda self, *a: (traced.append(1), trace(self, *a))[1])
    module = onnxla.load(detector())
    image = next(images(1))
    first = module(image)
    count = len(traced)
    assert count == 2
    np.testing.assert_array_equal(module(image + 0)[0], first[0])
    tuned = module.replace({"size": np.float32(32)})  # a program of the same shapes
    np.testing.assert_allclose(tuned(image)[0], 2 * first[0])
    assert len(traced) == count


def test_regions_are_kept_up_to_a_number() -> None:
    module = onnxla.load(detector(), limits=onnxla.Limits(programs=3))
    with pytest.warns(UserWarning, match="6 programs were compiled"):
        [module(image) for image in images(8)]
    assert len(module.program.regions.kept) == 3


def test_apply_names_the_nodes_and_the_cut() -> None:
    module, image = onnxla.load(detector()), next(images(1))
    with pytest.raises(onnxla.StaticOperandError) as caught:
        jax.jit(module.apply)(module.params, image + jnp.zeros(()))
    message = str(caught.value)
    assert "NonMaxSuppression -> kept" in message
    assert "graph inputs 'image'" in message
    assert "specialize" not in message  # an image is no setting
    assert "module.cut(outputs=['all', 'boxes', 'every', 'mean', 'scores'])" in message
    part = module.cut(outputs=["boxes", "scores"])
    gradient = jax.grad(lambda p: part.apply(p, image)[1].sum())(part.params)
    assert float(jnp.abs(gradient["kernel"]).sum()) > 0
    with pytest.raises(onnxla.StaticOperandError):
        jax.jit(module)(image)
    with pytest.raises(onnxla.StaticOperandError):
        module.batched()(np.stack([image, image]))


def test_labels_are_looked_up_by_a_computed_index() -> None:
    text = """ label (float[n, 3] x) => (string[n] y)
    {
        i = ArgMax <axis = 1, keepdims = 0> (x)
        y = Gather (labels, i)
    }"""
    model = make(header() + text, labels=np.array(["cat", "dog", "eel"], object))
    module = onnxla.load(model)
    x = np.float32([[1, 2, 3], [5, 1, 1]])
    assert module(x).tolist() == ["eel", "cat"]
    with pytest.raises(onnxla.StaticOperandError, match=r"'i'.* meets strings"):
        jax.jit(module.apply)(module.params, x)


def test_strings_are_evaluated_between_programs() -> None:
    helper = onnx.helper
    nodes = [
        helper.make_node("StringConcat", ["words", "end"], ["marked"]),
        helper.make_node(
            "LabelEncoder",
            ["marked"],
            ["ids"],
            domain="ai.onnx.ml",
            keys_strings=["a.", "b.", "c."],
            values_int64s=[0, 1, 2],
            default_int64=3,
        ),
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weight"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    weights = {
        "end": np.array(".", object),
        "table": rng.standard_normal((4, 5)).astype(np.float32),
        "weight": rng.standard_normal((5, 2)).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("words", onnx.TensorProto.STRING, ["N"])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 2])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    module = onnxla.load(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for words in (["a", "b", "zebra"], ["c", "c", "b"], ["a"]):
        array = np.array(words, object)
        expected = session.run(None, {"words": array})[0]
        np.testing.assert_allclose(module(array), expected, rtol=1e-5)
    # Two lengths; the texts themselves are in no key. The strings need no program at all.
    found = [r for r in all_regions(module) if not r.is_empty]
    assert [len(region.nodes) for region in found] == [2, 2]


def test_known_values_and_sequences_pass_from_region_to_region() -> None:
    text = """ m (float[N, 4] x) => (float[M, 4] y, float[K] z) {
        n = Shape <start = 0, end = 1> (x)
        half = Slice (x, zero, two)
        parts = SequenceConstruct (x, half)
        sums = ReduceSum <keepdims = 0> (x, one)
        positive = Greater (sums, none)
        some = Compress <axis = 0> (x, positive)
        more = SequenceInsert (parts, some)
        y = ConcatFromSequence <axis = 0> (more)
        bounded = Expand (none, n)
        z = Sub (sums, bounded)
    }"""
    model = make(
        header() + text,
        zero=np.array([0]),
        two=np.array([2]),
        one=np.array([1]),
        none=np.float32(0),
    )
    module = onnxla.load(model)
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((6, 4)).astype(np.float32)
        y, z = module(x)
        np.testing.assert_allclose(y, np.concatenate([x, x[:2], x[x.sum(1) > 0]]))
        np.testing.assert_allclose(z, x.sum(1), rtol=1e-6)


def test_nodes_draw_the_same_numbers_in_regions() -> None:
    def noisy(tail: str) -> Any:
        return onnxla.load(
            make(
                header()
                + """ m (float[12] x) => (float[N] y) {
                    noise = RandomNormal <shape = [12]> ()
                    louder = Add (noise, x)
                """
                + tail
                + "}"
            )
        )

    x, key = np.ones(12, np.float32), jax.random.key(3)
    whole = np.asarray(noisy("y = Identity (louder)")(x, key=key))
    found = noisy("i = NonZero (louder) j = Transpose (i) y = GatherND (louder, j)")(x, key=key)
    np.testing.assert_array_equal(whole, found)


def test_a_wrong_graph_is_explained() -> None:
    model = make(
        header()
        + """ m (float[20] x) => (float[N] y) {
            i = NonZero (x)
            j = Transpose (i)
            g = GatherND (x, j)
            y = Sine (g)
        }"""
    )
    with pytest.raises(onnxla.UnsupportedError, match=r"ai\.onnx\.Sine of opset"):
        onnxla.load(model)(np.ones(20, np.float32))


def test_a_node_of_very_many_operands_is_not_compiled():
    names = [f"x{i}" for i in range(1100)]
    node = helper.make_node("Sum", names, ["y"])
    module = onnxla.load(
        graph([node], {name: (onnx.TensorProto.FLOAT, [2]) for name in names}, ["y"])
    )
    values = {name: np.full(2, i, np.float32) for i, name in enumerate(names)}
    np.testing.assert_array_equal(module.run(values)["y"], [1100 * 1099 / 2] * 2)
    assert not module.program.programs.values()
