"""`fit`: what a step computes, the forms of data, losses, stops, checkpoints and resume."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import optax
import pytest

import onnxla
from onnxla import losses
from onnxla.train.history import History
from onnxla.train.objective import make_objective
from onnxla.train.step import make_step
from support.real_models import FURTHER
from support.small_models import header, make

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


X = normal(52, 4) * 2
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)

PLAIN = make(
    header()
    + """ plain (float[N, 4] x) => (float[N, 3] p) {
        h = Gemm (x, w0, b0)
        r = Relu (h)
        z = Gemm (r, w1, b1)
        p = Softmax (z)
    }""",
    w0=normal(4, 16),
    b0=normal(16),
    w1=normal(16, 3),
    b1=normal(3),
)
# With running statistics, and values dropped at random.
LIVE = make(
    header()
    + """ live (float[N, 4] x) => (float[N, 3] p) {
        h = Gemm (x, w0, b0)
        n = BatchNormalization (h, scale, bias, mean, var)
        r = Relu (n)
        ratio = Constant <value_float = 0.2> ()
        d = Dropout (r, ratio)
        z = Gemm (d, w1, b1)
        p = Softmax (z)
    }""",
    w0=normal(4, 16),
    b0=normal(16),
    scale=np.ones(16, np.float32),
    bias=np.zeros(16, np.float32),
    mean=np.zeros(16, np.float32),
    var=np.ones(16, np.float32),
    w1=normal(16, 3),
    b1=normal(3),
)

TINY = make(
    header() + " tiny (float[N, 4] x) => (float[N, 3] z) { z = MatMul (x, w) }", w=normal(4, 3)
)
PLAIN_SGD: dict[str, Any] = {"loss": "cross_entropy", "optimizer": optax.sgd(0.1)}

fit = partial(onnxla.fit, progress=False)


@pytest.fixture(autouse=True)
def compile_quickly() -> Iterator[None]:
    """Most of these programs run for a few steps only."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def batches(size: int = 13) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(X[i : i + size], LABELS[i : i + size]) for i in range(0, len(X), size)]


def same(a: onnxla.Module, b: onnxla.Module) -> None:
    for name, value in a.params.items():
        np.testing.assert_array_equal(value, b.params[name], name)


def test_training_lowers_the_loss_and_the_saved_file_runs(tmp_path: Path) -> None:
    module = onnxla.load(LIVE)
    before = {name: np.array(value) for name, value in module.params.items()}
    result = fit(
        module,
        (X, LABELS),
        "cross_entropy",
        epochs=30,
        batch_size=16,
        learning_rate=0.02,
        validation=(X, LABELS),
        metrics="accuracy",
    )
    history = result.history
    assert len(history.loss) == 30 * 3  # four samples of an epoch wait for the next one
    assert history.epochs["validation_loss"][-1] < 0.5 * history.epochs["validation_loss"][0]
    assert history.epochs["accuracy"][-1] > 0.9
    assert not np.array_equal(result.module.params["mean"], before["mean"])
    for name, value in before.items():
        np.testing.assert_array_equal(module.params[name], value)  # the module stays as it was
    result.module.save(tmp_path / "tuned.onnx")
    (y,) = onnxruntime.InferenceSession(tmp_path / "tuned.onnx").run(None, {"x": X})
    np.testing.assert_allclose(y, result.module(X), rtol=1e-4, atol=1e-5)
    assert np.mean(y.argmax(1) == LABELS) == pytest.approx(history.epochs["accuracy"][-1])


def test_a_run_is_the_loop_that_one_would_write() -> None:
    module = onnxla.load(LIVE)
    result = fit(module, batches(), **PLAIN_SGD, seed=7)
    train, frozen = module.partition()

    @jax.jit
    def step(train: Any, frozen: Any, x: Any, labels: Any, key: Any) -> Any:
        def loss(train: Any) -> Any:
            params = {**train, **frozen}
            logits, updates = module.apply_train(params, x, key=key, outputs=["z"])
            chosen = jax.nn.log_softmax(logits)[jnp.arange(len(x)), labels]
            return -chosen.mean(), updates

        (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(train)
        train = {k: v - jnp.float32(0.1) * gradient[k] for k, v in train.items()}
        return train, {**frozen, **updates}, value

    found = []
    for number, (x, labels) in enumerate(batches()):
        key = jax.random.fold_in(jax.random.key(7), number)
        train, frozen, value = step(train, frozen, x, labels, key)
        found.append(float(value))
    np.testing.assert_allclose(result.history.loss, found, rtol=1e-5)
    for name, value in {**train, **frozen}.items():
        np.testing.assert_allclose(result.module.params[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_pytorchs_loss_curve(name: str) -> None:
    """Made by benchmarks/finetuning/torch_curve.py from the same file and order of batches."""
    data = json.loads(Path(__file__).with_name("torch_curve.json").read_text())
    x, y = np.array(data["x"], np.float32), np.array(data["y"])
    result = fit(
        onnxla.load(base64.b64decode(data["model"])),
        [(x[rows], y[rows]) for rows in data["order"]],
        "cross_entropy",
        optimizer={
            "sgd": optax.sgd(0.05, momentum=0.9),
            "adamw": optax.adamw(0.01, weight_decay=0.1),
        }[name],
    )
    np.testing.assert_allclose(result.history.loss, data["losses"][name], rtol=0, atol=1e-5)


def test_forms_of_data() -> None:
    module = onnxla.load(TINY)
    forms: dict[str, Any] = {
        "arrays": (X, LABELS),
        "by name": ({"x": X}, LABELS),
        "in order": ((X,), LABELS),
        "dict": {"x": X, "y": LABELS},
        "list": batches(),
        "lists": [[x, labels.tolist()] for x, labels in batches()],
        "dicts": [{"x": x, "target": labels} for x, labels in batches()],
        "wider": (X.astype(np.float64), LABELS.astype(np.int32)),
        "jax": (jnp.asarray(X), jnp.asarray(LABELS.astype(np.int32))),
        "generator": (batch for batch in batches()),
        "cycled": itertools.cycle(batches()),
    }
    expected = None
    for form, data in forms.items():
        options = {**PLAIN_SGD, "steps": 4}
        result = fit(module, data, batch_size=13, shuffle=False, **options)
        expected = expected or result
        assert result.history.loss == expected.history.loss, form
        same(result.module, expected.module)


def test_integers_keep_64_bits() -> None:
    model = make(
        header()
        + """ m (int64[N, 4] i) => (float[N, 3] z) {
            big = Constant <value_int = 1099511627776> ()
            small = Sub (i, big)
            x = Cast <to = 1> (small)
            z = MatMul (x, w)
        }""",
        w=normal(4, 3),
    )
    module, small = onnxla.load(model), np.arange(52 * 4).reshape(52, 4) % 3
    targets = small @ np.asarray(module.params["w"], np.float64)
    result = fit(module, (small + 2**40, targets), "mse", validation=(small + 2**40, targets))
    assert max(result.history.loss + result.history.epochs["validation_loss"]) < 1e-6


def test_an_epoch_shuffles_anew_and_drops_a_remainder_for_the_next() -> None:
    seen: list[np.ndarray] = []

    def loss(outputs: Any, rows: Any) -> Any:
        jax.debug.callback(lambda rows: seen.append(np.asarray(rows)), rows, ordered=True)
        return outputs.mean()

    rows = np.arange(52, dtype=np.int32)
    for seed in (0, 0, 1):
        options = {"optimizer": optax.sgd(0.1), "epochs": 2, "batch_size": 16}
        fit(onnxla.load(TINY), (X, rows), loss, seed=seed, **options)
    jax.effects_barrier()
    runs = np.array(seen).reshape(3, 2, 48)
    assert all(len(set(epoch)) == 48 for run in runs for epoch in run)
    assert not np.array_equal(runs[0, 0], runs[0, 1])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_evaluation_counts_every_sample_once() -> None:
    module = onnxla.load(PLAIN)

    def squares(outputs: Any, labels: Any) -> Any:
        return (outputs**2).mean()

    p = np.asarray(module(X), np.float64)
    for data in ((X, LABELS), batches(20)):
        measured = onnxla.evaluate(
            module, data, "cross_entropy", ["accuracy", squares], batch_size=20
        )
        expected = -np.log(p[np.arange(52), LABELS]).mean()
        assert measured["loss"] == pytest.approx(expected, rel=1e-5)
        assert measured["accuracy"] == pytest.approx(np.mean(p.argmax(1) == LABELS), rel=1e-6)
        assert measured["squares"] == pytest.approx((p**2).mean(), rel=1e-5)


def test_accumulated_gradients_are_those_of_the_larger_batch() -> None:
    module = onnxla.load(PLAIN)
    options = {"loss": "cross_entropy", "optimizer": optax.adam(0.01), "epochs": 2}
    small = fit(module, (X, LABELS), batch_size=13, accumulate=2, **options)
    large = fit(module, (X, LABELS), batch_size=26, **options)
    for name, value in large.module.params.items():
        np.testing.assert_allclose(small.module.params[name], value, rtol=1e-4, atol=1e-5)
    pairs = np.array(small.history.loss).reshape(-1, 2).mean(1)
    np.testing.assert_allclose(pairs, large.history.loss, rtol=1e-4)


def test_gradients_are_clipped_by_their_norm() -> None:
    module = onnxla.load(PLAIN)
    result = fit(module, batches()[:1], "cross_entropy", optimizer=optax.sgd(1.0), clip_norm=0.01)
    moved = [result.module.params[k] - module.params[k] for k in module.params]
    assert np.sqrt(sum(float((m**2).sum()) for m in moved)) == pytest.approx(0.01, rel=1e-3)
    assert result.history.steps["gradient_norm"][0] > 0.01


def test_what_trains() -> None:
    module = onnxla.load(LIVE)
    # A BatchNormalization takes away what b0 adds.
    for options, expected in (
        ({}, {"w0", "w1", "b1", "scale", "bias", "mean", "var"}),
        # A layer whose scale and bias do not train keeps its statistics, unless asked not to.
        ({"train": ["w0", "b?"], "freeze": "b0"}, {"w0", "b1"}),
        ({"train": ["w0"], "freeze_statistics": False}, {"w0", "mean", "var"}),
        ({"train": ["w1", "scale"]}, {"w1", "scale", "mean", "var"}),
        ({"roles": ["bias"], "freeze": ["b0", "b1"], "freeze_statistics": "m*"}, {"bias"}),
    ):
        tuned = fit(module, batches()[:2], **PLAIN_SGD, **options).module
        moved = {k: np.abs(v - tuned.params[k]).max() for k, v in module.params.items()}
        changed = {name for name, distance in moved.items() if distance > 1e-6}
        assert changed == expected
    for options in ({"freeze": "*"}, {"roles": ["running_statistic"]}):
        with pytest.raises(ValueError, match="no parameter trains: all are frozen"):
            fit(module, batches(), "cross_entropy", **options)


def test_weights_decay_and_biases_do_not() -> None:
    module = onnxla.load(PLAIN)
    data = [(X[:4], np.zeros((4, 3), np.float32))] * 3

    def nothing(outputs: Any, targets: Any) -> Any:
        return (outputs * targets).sum()  # all gradients are zero

    tuned = fit(module, data, nothing, learning_rate=1.0).module
    np.testing.assert_array_equal(tuned.params["b0"], module.params["b0"])
    shrunk = np.abs(tuned.params["w0"]) < np.abs(module.params["w0"])
    assert shrunk.all()


def test_a_step_is_traced_once_and_wrong_data_before_anything_is_compiled() -> None:
    traces = []

    def loss(outputs: Any, labels: Any) -> Any:
        traces.append(outputs.shape)
        return (outputs**2).mean(), {"largest": outputs.max()}

    result = fit(onnxla.load(LIVE), (X, LABELS), loss, epochs=3, batch_size=20)
    assert traces == [(20, 3)] * 2  # to check the first batch, and to compile
    assert len(result.history.steps["largest"]) == len(result.history.loss) == 6


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((X.astype(int), LABELS), TypeError, "input 'x' takes float32, got int64"),
        ((X[:, :3], LABELS), ValueError, r"input 'x' takes shape \[N, 4\], got \[32, 3\]"),
        ((X, LABELS[:-1]), ValueError, "one number of samples .* got x: 52, targets: 51"),
        ((X, LABELS.astype(float)), TypeError, "labels are integers, .* got float"),
        ((X, X), TypeError, "labels are integers"),
        ((X, np.stack([LABELS, LABELS])), ValueError, "one number of samples"),
        ((X, LABELS[:, None]), ValueError, r"labels have shape \[32, 1\]; .* of shape \[32\]"),
        ({"z": X, "y": LABELS}, TypeError, "missing inputs: x"),
        ((X[:0], LABELS[:0]), ValueError, "the data has no samples"),
        ([], ValueError, "the data has no batches"),
        ([X], TypeError, r"a batch is a pair .* got an array float32\[52, 4\]; arrays of"),
        (X, TypeError, r"data is a tuple \(inputs, targets\), .* got an array"),
        (3, TypeError, "got int"),
        (((X, X), LABELS), TypeError, r"takes 1 inputs \(x\), got 2"),
    ],
)
def test_wrong_data(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fit(onnxla.load(PLAIN), data, "cross_entropy")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "nothing"}, ValueError, "no loss is named 'nothing'; there are cross_entropy, "),
        ({"loss": lambda y, t: y}, TypeError, r"a loss is one .* got float32\[32, 3\]"),
        ({"epochs": 1, "steps": 1}, ValueError, "epochs or steps, not both"),
        ({"epochs": 0}, ValueError, "epochs is a whole number of at least 1, got 0"),
        ({"batch_size": 0}, ValueError, "batch_size is a whole number of at least 1, got 0"),
        ({"accumulate": 0}, ValueError, "accumulate is a whole number of at least 1, got 0"),
        ({"clip_norm": -1.0}, ValueError, "clip_norm is a number above 0"),
        ({"checkpoint_every": 2}, ValueError, "about checkpoints: pass checkpoint="),
        ({"metrics": "accuracy"}, ValueError, "pass validation="),
        ({"patience": 2}, ValueError, "pass validation="),
        (
            {"validation": (X, LABELS), "metrics": "acuracy"},
            ValueError,
            "no metric is named 'acuracy'; did you mean 'accuracy'",
        ),
        ({"optimizer": optax.sgd(1.0), "learning_rate": 1.0}, ValueError, "has its own"),
        ({"train": "head.*"}, ValueError, "no parameter matches 'head"),
        ({"outputs": ["q"]}, ValueError, "no value is named 'q'"),
        ({"outputs": ["p", "z"]}, ValueError, r"one output, and there are p, z; .*\['p'\]"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fit(onnxla.load(PLAIN), (X, LABELS), **{"loss": "cross_entropy", **options})


def test_probabilities_that_underflow_train_as_logits() -> None:
    module = onnxla.load(PLAIN)
    module = module.replace({"b1": np.float32([0, 300, 0])})
    assert np.asarray(module(X))[:, 0].max() == 0
    zeros = np.zeros(52, np.int64)
    result = fit(module, (X, zeros), "cross_entropy", optimizer=optax.sgd(1.0), train="b1")
    assert "the loss reads 'z', the logits" in str(result.history)
    assert 290 < result.history.loss[0] < 310
    assert float(result.module.params["b1"][1]) < 299.5
    options = {"optimizer": optax.sgd(1.0), "train": "b1"}
    unlogged = fit(module, (X, zeros), "cross_entropy_probabilities", **options)
    assert unlogged.history.notes == [
        "the gradient was 0 in all steps: the loss does not change with what trains"
    ]
    assert unlogged.history.steps["gradient_norm"][0] == 0


@pytest.mark.parametrize("opset", [11, 20])
def test_a_softmax_that_is_written_out(opset: int) -> None:
    axes = "axes = Constant <value_ints = [1]> ()" if opset > 11 else ""
    written = make(
        header(opset)
        + f""" m (float[N, 4] x) => (float[N, 3] p) {{
            z = MatMul (x, w)
            top = ReduceMax <keepdims = 1> (z)
            shifted = Sub (z, top)
            e = Exp (shifted)
            {axes}
            total = ReduceSum {"(e, axes)" if opset > 11 else "<axes = [1]> (e)"}
            same = Identity (total)
            p = Div (e, same)
        }}""",
        w=normal(4, 3),
    )
    module = onnxla.load(written)
    assert make_objective(module, losses.cross_entropy, None).outputs == ("shifted",)
    assert make_objective(module, partial(losses.ctc, blank=1), None).outputs == ("shifted",)
    assert make_objective(module, losses.mean_squared_error, None).outputs == ("p",)
    assert make_objective(module, losses.binary_cross_entropy, None).outputs == ("p",)


@pytest.mark.parametrize(
    "last", ["q = Squeeze (p, axis)", "r = Squeeze (p, axis) q = Identity (r)"]
)
def test_a_sigmoid_is_seen_through_a_reshape(last: str) -> None:
    text = f" m (float[N, 4] x) => (float[N] q) {{ z = MatMul (x, w) p = Sigmoid (z) {last} }}"
    module = onnxla.load(make(header() + text, w=100 * normal(4, 1), axis=np.array([1])))
    plain = onnxla.load(
        make(
            header() + " m (float[N, 4] x) => (float[N, 1] z) { z = MatMul (x, w) }",
            w=np.asarray(module.params["w"]),
        )
    )
    x, y = 100 * X, (RNG.random(len(X)) < 0.5).astype(np.float32)
    loss = "binary_cross_entropy"
    result, expected = (
        onnxla.fit(m, (x, t), loss, steps=3, learning_rate=0.1, progress=False)
        for m, t in ((module, y), (plain, y[:, None]))
    )
    assert max(result.history.loss) > 1000  # where a Sigmoid is 0 or 1
    np.testing.assert_allclose(result.history.loss, expected.history.loss, rtol=1e-5)
    assert "the loss reads 'z', the logits before the last node" in result.history.notes
    names = ["auc", "f1", "mae"]
    found = onnxla.evaluate(result.module, (x, y), loss, names)
    other = onnxla.evaluate(expected.module, (x, y[:, None]), loss, names)
    assert {k: found[k] for k in ("loss", "auc", "f1")} == pytest.approx(
        {k: other[k] for k in ("loss", "auc", "f1")}, rel=1e-5
    )
    assert found["mae"] < 1  # of probabilities


def test_probabilities_that_are_rearranged_are_not_taken_for_logits_unnoticed() -> None:
    moved = make(
        header()
        + """ m (float[N, 4] x) => (float[3, N] q) {
            z = MatMul (x, w)
            p = Softmax (z)
            q = Transpose <perm = [1, 0]> (p)
        }""",
        w=normal(4, 3),
    )
    with pytest.warns(UserWarning, match="'q' comes from Softmax -> p, and cross_entropy is of"):
        make_objective(onnxla.load(moved), losses.cross_entropy, None)


@pytest.mark.parametrize("written_out", [False, True])
def test_logits_are_found_behind_rounded_probabilities(written_out: bool) -> None:
    """A quantizer rounds what Softmax makes, and each step of one that is written out."""
    softmax = "e = Exp (z) r = Round8 (e) s = ReduceSum (r, last) t = Round8 (s) p = Div (r, t)"
    nodes = softmax if written_out else "p = Softmax (z)"
    nodes = f"z = MatMul (x, w) {nodes} q = Round8 (p)"
    rounded = r"\1_i = QuantizeLinear (\2, scale, zero) \1 = DequantizeLinear (\1_i, scale, zero)"
    file = make(
        header()
        + " m (float[N, 4] x) => (float[N, 3] q) { "
        + re.sub(r"(\w) = Round8 \((\w)\)", rounded, nodes)
        + " }",
        w=normal(4, 3),
        scale=np.float32(1 / 16),
        zero=np.uint8(0),
        last=np.int64([-1]),
    )
    values = make_objective(onnxla.load(file), losses.cross_entropy, None).values
    assert values.names == ("z",)


def reference_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Of logits [N, K, ...]."""
    shifted = logits - logits.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-np.take_along_axis(log_probabilities, labels[:, None], 1).mean())


def test_losses() -> None:
    logits = normal(6, 5) * 4
    labels = RNG.integers(0, 5, 6)
    expected = reference_cross_entropy(logits, labels)
    assert float(losses.cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-5)
    probabilities = np.asarray(jax.nn.softmax(logits))
    measured = losses.cross_entropy_probabilities(probabilities, labels)
    assert float(measured) == pytest.approx(expected, rel=1e-5)
    for image, classes in ((normal(2, 5, 3, 4), (2, 3, 4)), (normal(2, 5, 7), (2, 7))):
        labels = RNG.integers(0, 5, classes)
        expected = reference_cross_entropy(image, labels)
        for array in (image, np.moveaxis(image, 1, -1)):
            assert float(losses.cross_entropy(array, labels)) == pytest.approx(expected, rel=1e-5)
    smooth = partial(losses.cross_entropy, label_smoothing=0.1)
    labels = RNG.integers(0, 5, 6)
    with jax.numpy_dtype_promotion("standard"):
        soft = optax.smooth_labels(jax.nn.one_hot(labels, 5), 0.1)
        expected = float(optax.softmax_cross_entropy(logits, soft).mean())
    assert float(smooth(logits, labels)) == pytest.approx(expected, rel=1e-5)
    z, t = normal(8) * 9, RNG.integers(0, 2, 8)
    expected = np.mean(np.log1p(np.exp(-np.where(t == 1, z, -z).astype(np.float64))))
    assert float(losses.binary_cross_entropy(z, t)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.mean_squared_error(z, t)) == pytest.approx(np.mean((z - t) ** 2), rel=1e-5)
    with pytest.raises(ValueError, match=r"targets have shape \[8\], the outputs \[8, 1\]"):
        losses.mean_squared_error(z[:, None], t)
    assert np.isnan(losses.cross_entropy(logits, np.full(6, -1)))
    assert np.isnan(losses.cross_entropy(logits, np.full(6, 5)))


def test_ctc_is_the_sum_over_alignments() -> None:
    frames, classes, blank = 4, 3, 2
    logits = normal(3, frames, classes) * 3
    texts, lengths = [[0, 1], [0, 0], [1]], [4, 4, 3]
    expected = []
    for row, text, length in zip(logits, texts, lengths, strict=True):
        p = np.exp(row) / np.exp(row).sum(1, keepdims=True)
        total = 0.0
        for path in itertools.product(range(classes), repeat=length):
            kept = [k for k, _ in itertools.groupby(path) if k != blank]
            total += (kept == text) * np.prod(p[np.arange(length), path])
        expected.append(-np.log(total))
    labels = np.array([[0, 1], [0, 0], [1, -1]])
    with jax.numpy_dtype_promotion("standard"):
        ctc = jax.jit(partial(losses.ctc, blank=blank))
        assert float(ctc(logits, (labels, np.array(lengths)))) == pytest.approx(
            np.mean(expected), rel=1e-4
        )
        assert float(ctc(logits[:2], labels[:2])) == pytest.approx(np.mean(expected[:2]), rel=1e-4)
        with pytest.raises(ValueError, match=r"ctc takes logits \[N, T, K\]"):
            ctc(logits[0], labels)


def test_a_loss_that_is_not_finite_stops_and_changes_nothing() -> None:
    data = [(x.copy(), labels) for x, labels in batches()]
    data[2][0][3, 1] = np.nan
    module = onnxla.load(PLAIN)
    with pytest.raises(onnxla.NonFiniteLossError) as caught:
        fit(module, data, **PLAIN_SGD)
    for text in (
        "the loss of step 2 (epoch 0) is nan",
        "input 'x': float32[13, 4] in [",
        "1 of them not finite",
        "targets: int64[13] in [0, 2]",
    ):
        assert text in str(caught.value)
    result = caught.value.result
    assert len(result.history.loss) == 2
    with pytest.raises(
        onnxla.NonFiniteLossError, match=r"label 7 of sample 0 of the batch is no class: .* 3, 0"
    ):
        fit(module, [(X[:13], np.full(13, 7))], **PLAIN_SGD)
    with pytest.raises(onnxla.NonFiniteLossError) as caught:
        fit(module, data[2:3] * 3, **PLAIN_SGD)
    same(caught.value.result.module, module)


def test_an_early_stop_returns_the_best_epoch() -> None:
    module = onnxla.load(LIVE)
    worse = np.float32(0.05)

    def score(outputs: Any, targets: Any) -> Any:
        return outputs[:, 0].mean()

    options = {"loss": score, "outputs": ["z"], "optimizer": optax.sgd(-worse), "batch_size": 52}
    once = fit(module, (X, LABELS), epochs=1, **options)
    result = fit(module, (X, LABELS), epochs=50, validation=(X, LABELS), patience=3, **options)
    assert len(result.history.epochs["step"]) == 4  # the loss rises; the first epoch is the best
    assert "stopped after 4 epochs" in str(result.history)
    same(result.module, once.module)


CASTING = make(
    header()
    + """ m (float[N, 4] x, int32[N] i) => (float[N, 3] p) {
        h = MatMul (x, w0)
        half = Mul (h, c)
        position = Cast <to = 1> (i)
        one = Constant <value_ints = [1]> ()
        column = Unsqueeze (position, one)
        shifted = Add (half, column)
        twice = Cast <to = 11> (shifted)
        back = Cast <to = 1> (twice)
        z = MatMul (back, w1)
        p = Softmax (z)
    }""",
    w0=normal(4, 8),
    c=np.float32(0.5),
    w1=normal(8, 3),
)


def test_mixed_precision_computes_products_in_bfloat16_and_trains_in_float32() -> None:
    module = onnxla.load(CASTING)
    data = {"x": X, "i": np.arange(52) % 3, "target": LABELS}
    options = {"optimizer": optax.sgd(1e-4), "epochs": 1, "batch_size": 26}
    full = fit(module, data, "cross_entropy", **options)
    mixed = fit(module, data, "cross_entropy", compute_dtype="bfloat16", **options)
    assert full.history.loss != mixed.history.loss
    np.testing.assert_allclose(mixed.history.loss, full.history.loss, rtol=0.02)
    for name, value in mixed.module.params.items():
        assert value.dtype == np.float32
        # The steps are far smaller than bfloat16 can hold beside the weights.
        moved, expected = (
            value - module.params[name],
            full.module.params[name] - module.params[name],
        )
        assert np.abs(moved - expected).max() <= 0.05 * np.abs(expected).max()
    inputs = module.check_inputs({"x": X, "i": data["i"]})
    text = str(jax.make_jaxpr(module.autocast().apply)(module.params, inputs["x"], inputs["i"]))
    dots = [line for line in text.splitlines() if "dot_general" in line]
    assert len(dots) == 2
    assert all("bf16[52" in line for line in dots)
    assert "f32[52,3] = exp" in text


def test_a_real_model_trains_in_mixed_precision() -> None:
    model = FURTHER["openwakeword/timer"]
    module = onnxla.load(model.load())
    data = [(model.feeds(1, seed), np.zeros((1, 7), np.float32)) for seed in range(3)]
    options = {"optimizer": optax.sgd(1e-3), "epochs": 1}
    full, mixed = (
        fit(module, data, "mse", compute_dtype=dtype, **options) for dtype in (None, "bfloat16")
    )
    assert full.history.loss != mixed.history.loss
    np.testing.assert_allclose(mixed.history.loss, full.history.loss, rtol=0.05)
    assert {k: v.dtype for k, v in mixed.module.params.items()} == {
        k: v.dtype for k, v in module.params.items()
    }


def test_weights_in_float16_are_trained_in_float32() -> None:
    half = make(
        header() + " m (float16[N, 4] x) => (float16[N, 3] z) { z = MatMul (x, w) }",
        w=np.ones((4, 3), np.float16),
    )
    data = [(X[:13].astype(np.float16), LABELS[:13])] * 100
    optimizer = optax.adam(1e-5)  # a step of a hundredth of what float16 can hold at 1
    tuned = fit(onnxla.load(half), data, "cross_entropy", optimizer=optimizer).module
    assert tuned.params["w"].dtype == np.float16
    moved = np.abs(np.asarray(tuned.params["w"], np.float32) - 1)
    np.testing.assert_allclose(moved, 1e-3, atol=6e-4)


def test_rematerialization_changes_memory_and_nothing_else() -> None:
    layers = "".join(
        f"h{i + 1} = MatMul (a{i}, w{i}) s{i + 1} = Sigmoid (h{i + 1}) "
        f"t{i + 1} = Tanh (s{i + 1}) a{i + 1} = Softplus (t{i + 1}) "
        for i in range(3)
    )
    model = make(
        header() + f" m (float[N, 64] a0) => (float[N, 64] a3) {{ {layers} }}",
        **{f"w{i}": normal(64, 64) / 4 for i in range(3)},
    )
    module = onnxla.load(model)
    x = normal(512, 64)
    runs = [
        fit(module, [(x, x)] * 3, "mse", optimizer=optax.sgd(0.1), remat=remat).history.loss
        for remat in (False, True)
    ]
    np.testing.assert_allclose(*runs, rtol=1e-5)
    objective = make_objective(module, losses.mean_squared_error, None)
    memory = []
    for remat in (False, True):
        optimizer = optax.sgd(0.1)
        state = {
            "params": module.params,
            "statistics": {},
            "optimizer": optimizer.init(module.params),
        }
        step = make_step(objective, optimizer, 0, remat)
        compiled = step.lower(state, {}, np.uint32(0), {"a0": x}, x).compile()
        memory.append(compiled.memory_analysis().temp_size_in_bytes)
    if jax.default_backend() == "cpu":  # of so little, a GPU makes no difference
        assert memory[1] < memory[0]


def test_outputs_and_inputs_of_any_name() -> None:
    model = make(
        header()
        + """ m (float[N, 4] key, float[N, 4] params) => (float[N, 4] sum, float[N, 4] product) {
            sum = Add (key, params)
            scaled = Mul (sum, scale)
            product = Mul (scaled, params)
        }""",
        scale=np.float32([1, 2, 3, 5]),
    )
    module = onnxla.load(model)
    data = {"key": X, "params": X, "target": X}
    result = fit(module, data, "mse", outputs=["product"], validation=data)
    assert len(result.history.loss) == 1
    both = fit(module, data, lambda outputs, t: (outputs[0] * outputs[1] * t).mean())
    assert len(both.history.loss) == 1
    with pytest.raises(ValueError, match="one output, and there are sum, product"):
        fit(module, data, "mse")


def test_a_generator_that_ends_early_says_so() -> None:
    with pytest.warns(UserWarning, match="the data ended after 4 steps of 9"):
        result = fit(onnxla.load(TINY), iter(batches()), steps=9, **PLAIN_SGD)
    assert len(result.history.loss) == 4
    assert "the data ended after 4 steps" in str(result.history)


def test_history_as_text_picture_and_data() -> None:
    result = fit(onnxla.load(PLAIN), (X, LABELS), "cross_entropy", epochs=3, validation=(X, LABELS))
    history = result.history
    assert "3 steps, loss" in str(history)
    assert "validation_loss" in str(history)
    page = history._repr_html_()
    assert "<table>" in page
    assert "data:image/png;base64," in page
    axes = history.plot().axes[0]
    assert [len(line.get_xdata()) for line in axes.lines] == [3, 3]
    assert History(**json.loads(json.dumps(history.to_dict()))) == history
    assert "3 steps" in repr(result)


def test_the_progress_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxla.progress.is_watched", lambda: True)
    onnxla.fit(onnxla.load(TINY), (X, LABELS), epochs=12, batch_size=52, **PLAIN_SGD)
    shown = capsys.readouterr().err.split("\r")
    assert any(text.startswith("compiling:   0%") for text in shown)
    assert shown[-1].startswith("training: 100%")
    assert "12/12" in shown[-1]
    onnxla.fit(onnxla.load(TINY), (X, LABELS), epochs=2, batch_size=52, **PLAIN_SGD)
    assert capsys.readouterr().err.split("\r")[-1].startswith("training: 100%")


def test_import_needs_none_of_the_extras() -> None:
    code = "import onnxla, sys; print({'optax', 'orbax', 'tqdm', 'matplotlib'} & {*sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


# Checkpoints

OPTIONS: dict[str, Any] = {
    "loss": "cross_entropy",
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 0.02,
    "validation": (X, LABELS),
    "metrics": "accuracy",
    "patience": 4,
}


def write_model(folder: Path) -> Path:
    path = folder / "live.onnx"
    path.write_bytes(LIVE)
    np.savez(folder / "data.npz", x=X, y=LABELS)
    return path


KILLED = """
import os, signal, sys
import numpy as np
import onnxla.train.loop

folder = sys.argv[1]
data = np.load(folder + "/data.npz")
x, y = data["x"], data["y"]
take = onnxla.train.loop.Loop.read

def read(self):
    take(self)
    if self.step == 16:
        os.kill(os.getpid(), signal.SIGKILL)

onnxla.train.loop.Loop.read = read
onnxla.fit(
    onnxla.load(folder + "/live.onnx"), (x, y), "cross_entropy", epochs=4, batch_size=8,
    learning_rate=0.02, validation=(x, y), metrics="accuracy", patience=4, progress=False,
    checkpoint=folder + "/checkpoints", checkpoint_every=5,
)
"""


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False
    )
    assert done.returncode == -signal.SIGKILL
    folder = tmp_path / "checkpoints"
    saved = {int(name) for name in os.listdir(folder) if name.isdigit()}
    assert max(saved) == 15  # in the middle of the third epoch, which has steps 12 to 17
    resumed = fit(onnxla.load(path), (X, LABELS), checkpoint=folder, checkpoint_every=5, **OPTIONS)
    whole = fit(onnxla.load(path), (X, LABELS), **OPTIONS)
    assert resumed.history == whole.history
    assert len(whole.history.loss) == 24
    same(resumed.module, whole.module)
    # The last three and the best, and nothing else.
    best = int(whole.history.epochs["step"][whole.history.best_epoch()])
    kept = {int(name) for name in os.listdir(folder) if name.isdigit()}
    assert kept == {18, 20, 24} | {best}
    again = fit(onnxla.load(path), (X, LABELS), checkpoint=folder, checkpoint_every=5, **OPTIONS)
    assert again.history == whole.history
    same(again.module, whole.module)


class Stream:
    """Batches that do something before one of them is drawn."""

    def __init__(self, at: int, action: Callable[[], Any]) -> None:
        self.at, self.action, self.drawn = at, action, 0

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[Any]:
        for batch in batches():
            self.drawn += 1
            if self.drawn == self.at:
                self.action()
            yield batch


SGD: dict[str, Any] = {
    "loss": "cross_entropy",
    "optimizer": optax.sgd(0.1, momentum=0.9),
    "epochs": 3,
}


def test_an_interrupted_run_saves_and_goes_on(
    tmp_path: Path,
) -> None:
    module = onnxla.load(PLAIN)
    whole = fit(module, batches(), **SGD)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stream = Stream(6, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(onnxla.TrainingInterrupted, match="after step 6; its checkpoint is in"):
            fit(module, stream, checkpoint=tmp_path / "checkpoints", **SGD)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        stream = Stream(2, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="after step 2; nothing was saved") as caught:
            fit(module, stream, **SGD)
        assert caught.value.result.history.loss == whole.history.loss[:2]
    finally:
        signal.signal(signal.SIGINT, previous)
    resumed = fit(module, batches(), checkpoint=tmp_path / "checkpoints", **SGD)
    assert resumed.history == whole.history
    same(resumed.module, whole.module)


def test_a_full_disk_costs_neither_checkpoints_nor_the_message(tmp_path: Path) -> None:
    module, folder = onnxla.load(PLAIN), tmp_path / "checkpoints"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    stream = Stream(10, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1])))
    try:
        with pytest.raises(onnxla.CheckpointError) as caught:
            fit(module, stream, checkpoint=folder, **SGD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the checkpoint of step 12 could not be written to" in str(caught.value)
    assert "File too large" in str(caught.value)
    assert "steps with a checkpoint: 4, 8" in str(caught.value)
    assert sorted(os.listdir(folder)) == ["4", "8"]
    whole = fit(module, batches(), **SGD)
    same(caught.value.result.module, whole.module)  # nothing that was trained is lost
    resumed = fit(module, batches(), checkpoint=folder, **SGD)
    assert resumed.history == whole.history


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    module, folder = onnxla.load(PLAIN), tmp_path / "checkpoints"
    options = {**SGD, "checkpoint": folder, "epochs": 1}
    data = (X, LABELS)
    fit(module, data, batch_size=26, **options)
    options["batch_size"] = 26
    for change, message in (
        ({"batch_size": 13}, "data.batch_size was 26, is 13"),
        ({"seed": 1}, "data.seed was 0, is 1"),
        ({"optimizer": optax.adam(0.1)}, "optimizer was .*TraceState.*, is .*ScaleByAdamState"),
        ({"train": "w*"}, r"trained.b0 was float32\[16\], is absent"),
        ({"loss": "cross_entropy_probabilities"}, "loss was cross_entropy, is cross_entropy_pro"),
        ({"compute_dtype": "bfloat16"}, "compute_dtype was absent, is bfloat16"),
    ):
        with pytest.raises(onnxla.CheckpointError, match=message):
            fit(module, data, **{**options, **change})
    with pytest.raises(onnxla.CheckpointError, match=r"data\.samples was 52, is 48"):
        fit(module, (X[:48], LABELS[:48]), **options)
    other = module.replace({"b0": np.zeros(16, np.float32)})
    with pytest.raises(onnxla.CheckpointError, match=r"of step 2 in .* another run: model was"):
        fit(other, data, **options)
    with pytest.raises(ValueError, match=r"has checkpoints of steps \[2\]: resume"):
        fit(module, data, resume=False, **options)
    longer = fit(module, data, **{**options, "epochs": 2})
    assert len(longer.history.loss) == 4
