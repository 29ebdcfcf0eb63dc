"""Training behind what JAX cannot hold: strings, and shapes that depend on data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import optax
import pytest

import onnxla
from support.small_models import header, make

RNG = np.random.default_rng(0)
WORDS = np.array([["a", "b", "c"][i % 3] for i in range(24)], object)
TEXTS = WORDS[:, None]
LABELS = np.array([i % 3 for i in range(24)])
X = RNG.standard_normal((24, 3)).astype(np.float32)
W = RNG.standard_normal((3, 3)).astype(np.float32)
IMPORTS = '<ir_version: 9, opset_import: ["": 20, "ai.onnx.ml": 3]>'
ENCODED = f"""{IMPORTS} m (string[N] s, float[N, 3] x) => (float[N, 3] z) {{
    o = ai.onnx.ml.OneHotEncoder <cats_strings = ["a", "b", "c"]> (s)
    n = Shape (o)
    e = Reshape (o, n)
    h = Add (e, x)
    z = MatMul (h, w)
}}"""
PLAIN = header() + " m (float[N, 3] h) => (float[N, 3] z) { z = MatMul (h, w) }"
fit = partial(onnxla.fit, loss="cross_entropy", progress=False, batch_size=6)
SGD: dict[str, Any] = {"optimizer": optax.sgd(0.5), "epochs": 3}


def test_strings_are_encoded_before_each_step(tmp_path: Path) -> None:
    module = onnxla.load(make(ENCODED, w=W))
    data = {"s": WORDS, "x": X, "labels": LABELS}
    result = fit(module, data, **SGD, validation=data, metrics="accuracy")
    plain = onnxla.load(make(PLAIN, w=W))
    encoded = (WORDS[:, None] == ["a", "b", "c"]).astype(np.float32) + X
    same = fit(plain, (encoded, LABELS), **SGD, validation=(encoded, LABELS))
    np.testing.assert_allclose(result.module.params["w"], same.module.params["w"], 1e-5)
    np.testing.assert_allclose(result.history.loss, same.history.loss, 1e-5)
    losses = result.history.epochs["validation_loss"]
    np.testing.assert_allclose(losses, same.history.epochs["validation_loss"], 1e-5)
    measured = onnxla.evaluate(result.module, data, "accuracy")
    assert measured == {"accuracy": pytest.approx(result.history.epochs["accuracy"][-1])}
    result.module.save(tmp_path / "tuned.onnx", check={"s": WORDS, "x": X})
    saved, before = onnx.load(tmp_path / "tuned.onnx"), onnx.load_from_string(make(ENCODED, w=W))
    assert saved.graph.node == before.graph.node


# Nodes from s or x to h [N, 3], of which one needs concrete values.
CONCRETE = {
    "n-grams": """h = TfIdfVectorizer <max_gram_length = 1, max_skip_count = 0,
        min_gram_length = 1, mode = "TF", ngram_counts = [0], ngram_indexes = [0, 1, 2],
        pool_strings = ["a", "b", "c"]> (t)""",
    "labels": """k = ai.onnx.ml.LabelEncoder <keys_strings = ["a", "b", "c"],
        values_int64s = [2, 1, 0]> (s) h = Gather (table, k)""",
    "places that are not zero": """p = NonZero (x) n = Transpose (p) v = GatherND (x, n)
        m = ReduceMean <keepdims = 0> (v) h = Mul (x, m)""",
    "distinct values": """u, i, inverse, c = Unique <axis = 0> (x) h = Gather (u, inverse)""",
    "a split of strings": """parts, n = StringSplit <delimiter = " "> (s) one = Squeeze (parts)
        k = ai.onnx.ml.LabelEncoder <keys_strings = ["a", "b", "c"],
            values_floats = [0.1, 0.2, 0.3]> (one)
        c = Unsqueeze (k, last) h = Mul (x, c)""",
}


@pytest.mark.parametrize("nodes", CONCRETE)
def test_what_needs_concrete_values_and_no_weight_comes_before(nodes: str) -> None:
    inputs = "string[N] s, string[N, 1] t, float[N, 3] x"
    text = f"{IMPORTS} m ({inputs}) => (float[N, 3] z) {{ {CONCRETE[nodes]} z = MatMul (h, w) }}"
    tensors = {"table": np.eye(3, dtype=np.float32), "last": np.int64([1])}
    module = onnxla.load(make(text, w=W, **tensors))
    data = {"s": WORDS, "t": TEXTS, "x": X, "labels": LABELS}
    h = module.cut(outputs=["h"])  # of each batch, as a step sees it
    batches = ({k: data[k][i : i + 6] for k in h.input_names} for i in range(0, 24, 6))
    encoded = np.concatenate([np.asarray(h.run(batch)["h"]) for batch in batches])
    plain = onnxla.load(make(PLAIN, w=W))
    trained = fit(module, data, **SGD, train="w", shuffle=False).module
    same = fit(plain, (encoded, LABELS), **SGD, shuffle=False).module
    np.testing.assert_allclose(trained.params["w"], same.params["w"], 1e-5)
    measured = onnxla.evaluate(trained, data, "cross_entropy", batch_size=6)
    expected = onnxla.evaluate(same, (encoded, LABELS), "cross_entropy", batch_size=6)
    assert measured == pytest.approx(expected, rel=1e-5)


def test_a_run_on_strings_goes_on_bit_for_bit(tmp_path: Path) -> None:
    module, data = onnxla.load(make(ENCODED, w=W)), {"s": WORDS, "x": X, "labels": LABELS}
    run: dict[str, Any] = {"optimizer": optax.adam(0.1)}
    whole = fit(module, data, **run, steps=7).module
    fit(module, data, **run, steps=5, checkpoint=tmp_path)
    further = fit(module, data, **run, steps=7, checkpoint=tmp_path).module
    np.testing.assert_array_equal(whole.params["w"], further.params["w"])
    other = {**data, "s": WORDS[::-1]}
    with pytest.raises(onnxla.CheckpointError, match="the data has the same shapes"):
        fit(module, other, **run, steps=9, checkpoint=tmp_path)


BEHIND = """ m (float[N, 3] x) => (float[N, 3] z) {
    h = MatMul (x, w)
    p = NonZero (h)
    n = Transpose (p)
    v = GatherND (h, n)
    m = ReduceMean <keepdims = 0> (v)
    z = Mul (h, m)
}"""


def test_no_step_goes_through_a_node_that_needs_concrete_values() -> None:
    module = onnxla.load(make(header() + BEHIND, w=W))
    with pytest.raises(onnxla.StaticOperandError, match=r"NonZero -> p.*parameters 'w'.*freeze="):
        fit(module, (X, LABELS))
    assert len(fit(module, (X, LABELS), outputs=["h"], steps=2).history.loss) == 2
    z = np.asarray(module(X))
    loss = -np.asarray(jax.nn.log_softmax(z))[np.arange(24), LABELS].mean()
    measured = onnxla.evaluate(module, (X, LABELS), "cross_entropy", batch_size=24)
    assert measured["loss"] == pytest.approx(loss, rel=1e-5)
