"""Models in the form for training: called as the file says, evaluated in the form for inference."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import pytest

import onnxla
from support.small_models import header, make

pytestmark = pytest.mark.quickly

RNG = np.random.default_rng(0)
X = RNG.normal([3, -1], [2, 5], (40, 2)).astype(np.float32)
LABELS = (X[:, 0] > 3).astype(np.int64)
DROPS = {"r": np.float32(0.5), "t": np.array(True)}
BATCH = {
    "s": np.float32([2, 3]),
    "b": np.float32([1, -1]),
    "m": np.float32([4, 0]),
    "v": np.float32([2, 9]),
}
IMPORTS = '<ir_version: 9, opset_import: ["": 20, "f": 1]>'
FUNCTION = '<domain: "f", opset_import: ["": 20]>'

# Nodes from h to d, at an opset, with tensors: in the form for training.
FORMS: dict[str, tuple[int, str, Mapping[str, Any]]] = {
    "an operand": (13, "d = Dropout (h, r, t)", DROPS),
    "behind nodes": (
        13,
        """one = Identity (t) two = Unsqueeze (one, a) three = Squeeze (two)
           d = Dropout (h, r, three)""",
        DROPS | {"a": np.int64([0])},
    ),
    "a constant": (20, "t = Constant <value = bool {1}> () d, mask = Dropout (h, r, t)", {}),
    "a computed operand": (20, "t = Not (f) d = Dropout (h, , t)", {"f": np.array(False)}),
    "no is_test": (6, "d = Dropout <ratio = 0.5> (h)", {}),
    "an attribute": (15, "d = BatchNormalization <training_mode = 1> (h, s, b, m, v)", BATCH),
    "unread outputs": (
        14,
        "d, mm, vv = BatchNormalization <training_mode = 1> (h, s, b, m, v)",
        BATCH,
    ),
    "outputs that are read": (
        15,
        """e, mm, vv = BatchNormalization <training_mode = 1> (h, s, b, m, v)
           f = Add (e, mm) d = Sub (f, vv)""",
        BATCH,
    ),
    "further outputs": (9, "d, mm, vv, sm, sv = BatchNormalization (h, s, b, m, v)", BATCH),
    "a branch": (
        20,
        """c = Constant <value = bool {1}> ()
           d = If (c) <then_branch = then () => (float[N, 2] y) { y = Dropout (h, r, t) },
                       else_branch = other () => (float[N, 2] z) { z = Identity (h) }>""",
        DROPS,
    ),
}


def model(form: str) -> bytes:
    opset, nodes, tensors = FORMS[form]
    tensors = {"r": np.float32(0.5)} | dict(tensors) if "r," in nodes else tensors
    ends = f"h = MatMul (x, w) {nodes} y = MatMul (d, w)"
    text = f"{header(opset)} m (float[N, 2] x) => (float[N, 2] y) {{ {ends} }}"
    return make(text, **tensors, w=np.float32([[1, 0.5], [0, 1]]))


def without_training(form: str) -> np.ndarray:
    """What the model computes in inference."""
    w = np.float64([[1, 0.5], [0, 1]])
    h = X @ w
    if "BatchNormalization" in FORMS[form][1]:
        h = (h - BATCH["m"]) / np.sqrt(BATCH["v"] + 1e-5) * BATCH["s"] + BATCH["b"]
    if form == "outputs that are read":
        h = h + BATCH["m"] - BATCH["v"]
    return h @ w


@pytest.mark.parametrize("form", FORMS)
def test_it_is_evaluated_validated_and_checked_in_inference(form: str, tmp_path: Path) -> None:
    module, expected = onnxla.load(model(form)), without_training(form)
    y = module(X, key=jax.random.key(0))
    assert np.abs(y - expected).max() > 0.1  # as the file says
    np.testing.assert_allclose(module.inference()(X), expected, rtol=1e-4, atol=1e-4)
    z = expected - expected.max(1, keepdims=True)
    loss = np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(40), LABELS])
    measured = onnxla.evaluate(module, (X, LABELS), "cross_entropy", batch_size=7)
    assert measured["loss"] == pytest.approx(loss, rel=1e-4)
    fit = partial(onnxla.fit, loss="cross_entropy", progress=False, steps=1, learning_rate=1e-9)
    result = fit(module, (X, LABELS), validation=(X, LABELS), batch_size=40, freeze_statistics=True)
    assert result.history.epochs["validation_loss"] == pytest.approx([loss], rel=1e-4)
    if "BatchNormalization" not in FORMS[form][1]:
        assert result.history.loss != pytest.approx([loss], rel=1e-3)  # trained as in training
    assert any("module.inference()" in note for note in onnxla.check(model(form)).notes)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "no is_test"])
def test_the_file_keeps_its_form_until_it_is_asked_for_the_other(form: str, tmp_path: Path) -> None:
    module, path = onnxla.load(model(form)), tmp_path / "m.onnx"
    module.save(path, check={"x": X})  # outputs of ONNX Runtime as in inference
    assert path.read_bytes() == model(form)
    module.inference().save(path, check={"x": X})
    saved = onnx.load(path)
    onnx.checker.check_model(saved, full_check=True)
    again = onnxla.load(path)
    assert again.inference() is again
    assert not any("module.inference()" in note for note in onnxla.check(path).notes)
    np.testing.assert_allclose(again(X), without_training(form), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_training_is_the_same_in_both_forms(form: str) -> None:
    module, key = onnxla.load(model(form)), jax.random.key(0)
    inference = module.inference()
    assert set(inference.params) == set(module.params)
    (y, updates), (z, others) = (
        each.apply_train(each.params, X, key=key, outputs=["d"]) for each in (module, inference)
    )
    jax.tree.map(np.testing.assert_array_equal, updates, others)
    if "Dropout" in FORMS[form][1]:
        assert 0.25 < np.mean(np.asarray(y) == 0) < 0.75
        assert 0.25 < np.mean(np.asarray(z) == 0) < 0.75
    elif form != "outputs that are read":  # there, the next statistics
        np.testing.assert_array_equal(y, z)


@pytest.mark.parametrize(("mode", "trains"), [(True, True), (False, False)])
@pytest.mark.parametrize("given", ["t", "u", "one"])
def test_the_operand_of_a_function_is_what_its_calls_give(
    mode: bool, trains: bool, given: str
) -> None:
    text = f"""{IMPORTS} m (float[N, 2] x) => (float[N, 2] y) {{
            one = Identity (t)
            y = f.outer (x, {given})
        }}
        {FUNCTION} inner (p, q) => (r) {{ s = Identity (q) half = Constant <value_float = 0.5> ()
                                          r = Dropout (p, half, s) }}
        {FUNCTION} outer (p, q) => (r) {{ r = f.inner (p, q) }}"""
    module = onnxla.load(make(text, t=np.array(mode), u=np.array([mode])))
    assert (module.inference() is not module) == trains
    np.testing.assert_array_equal(module.inference()(X), X)
    with pytest.raises(ValueError, match=r"module\.inference\(\)") if trains else nullcontext():
        module(X)


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Dropout (x, r)",
        "y = Dropout (x, r, f)",
        "g = Identity (f) y = Dropout (x, r, g)",
        "y = BatchNormalization (x, s, b, m, v)",
    ],
)
def test_the_form_for_inference_is_left_as_it_is(nodes: str) -> None:
    tensors = {"r": np.float32(0.5), "f": np.array(False)} | BATCH
    data = make(header() + f" m (float[N, 2] x) => (float[N, 2] y) {{ {nodes} }}", **tensors)
    module = onnxla.load(data)
    assert module.inference() is module


def test_a_mode_that_is_an_input_counts_for_calls_alone() -> None:
    text = " m (float[N, 2] x, bool t) => (float[N, 2] y) { y = Dropout (x, , t) }"
    module = onnxla.load(make(header() + text))
    assert (np.asarray(module(X, np.array(True), key=jax.random.key(0))) == 0).any()
    np.testing.assert_array_equal(module.inference()(X, np.array(True)), X)
