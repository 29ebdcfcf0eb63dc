"""Losses, against PyTorch's numbers; what does not count in them; and weights through a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import onnxla
from onnxla import losses
from onnxla.train.losses import LOSSES
from support.small_models import header, make

pytestmark = pytest.mark.quickly

RNG = np.random.default_rng(0)
Z = (RNG.normal(size=(6, 4)) * 3).astype(np.float32)
Y = np.array([0, 3, -100, 1, 2, 3])
W = np.array([0.5, 2.0, 1.0, 3.0], np.float32)  # of classes
IMAGE = (RNG.normal(size=(2, 4, 3, 2)) * 3).astype(np.float32)
MASK = RNG.integers(0, 4, (2, 3, 2))
MASK[0, 1, 1] = -100
A, B, C = (RNG.normal(size=(6, 4)).astype(np.float32) for _ in range(3))
BITS = RNG.integers(0, 2, (6, 4))
SAMPLES = np.float32([1, 2, 0, 1, 3, 1])  # weights of samples
SOFT = np.exp(A) / np.exp(A).sum(1, keepdims=True)

# Of PyTorch 2: torch.nn.functional, torchvision's sigmoid_focal_loss, MONAI's DiceLoss.
CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], float]] = {
    "cross entropy": (losses.cross_entropy, (Z, Y), 1.7522382),
    "of classes": (partial(losses.cross_entropy, class_weight=W), (Z, Y), 1.7943418),
    "of some classes": (
        partial(losses.cross_entropy, class_weight={0: 0.5, 1: 2.0, 3: 3.0}),
        (Z, Y),
        1.7943418,
    ),
    "smoothed": (partial(losses.cross_entropy, label_smoothing=0.2), (Z, Y), 1.9519442),
    "both": (
        partial(losses.cross_entropy, class_weight=W, label_smoothing=0.2),
        (Z, Y),
        1.8063700,
    ),
    "a class of weight 0": (
        partial(losses.cross_entropy, class_weight=W * [1, 1, 1, 0], label_smoothing=0.2),
        (Z, Y),
        1.4434899,
    ),
    "of places": (
        partial(losses.cross_entropy, class_weight=W, label_smoothing=0.2),
        (IMAGE, MASK),
        3.4721076,
    ),
    "of places, classes last": (
        partial(losses.cross_entropy, class_weight=W, label_smoothing=0.2),
        (np.moveaxis(IMAGE, 1, -1), MASK),
        3.4721076,
    ),
    "probabilities": (
        partial(losses.cross_entropy_probabilities, class_weight=W),
        (np.asarray(jax.nn.softmax(Z)), Y),
        1.7943418,
    ),
    "binary": (losses.binary_cross_entropy, (Z, BITS), 1.5590864),
    "binary, positives": (
        partial(losses.binary_cross_entropy, pos_weight=W),
        (Z, BITS),
        1.7832292,
    ),
    "binary, samples": (losses.binary_cross_entropy, (Z, BITS, SAMPLES), 1.3266318),
    "huber": (partial(losses.huber, delta=0.7), (A, Z), 1.3696289),
    "mae": (losses.mean_absolute_error, (A, Z), 2.2988038),
    "kl": (losses.kl_divergence, (Z, SOFT), 1.1382109),
    "triplet": (partial(losses.triplet, margin=0.8), ((A, B, C),), 1.1688366),
    "contrastive": (partial(losses.contrastive, temperature=0.1), ((A, B),), 3.9744687),
    "contrastive, targets": (partial(losses.contrastive, temperature=0.1), (A, B), 3.9744687),
    "distillation": (
        partial(losses.distillation, temperature=3.0, mix=0.3),
        (Z, {"labels": Y, "teacher": A}),
        1.7035912,
    ),
    "focal, binary": (partial(losses.focal, alpha=0.25), (Z, BITS), 0.5890580),
    "focal": (partial(losses.focal, gamma=1.5), (Z, Y), 1.4158459),
    "focal is cross entropy": (partial(losses.focal, gamma=0.0), (Z, Y), 1.7522382),
    "dice": (losses.dice, (IMAGE, np.where(MASK < 0, 0, MASK)), 0.8929435),
}


@pytest.mark.parametrize("name", CASES)
def test_values_of_pytorch(name: str) -> None:
    loss, arguments, expected = CASES[name]
    assert float(jax.jit(loss)(*arguments)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(*arguments)) == pytest.approx(expected, rel=1e-5)


def mean(loss: Callable[..., Any], *arguments: Any) -> float:
    return float(loss(*arguments))


def test_weight_0_is_as_if_the_sample_were_not_there() -> None:
    there = SAMPLES > 0
    of_two = {"labels": Y[::-1].copy(), "teacher": A}
    for loss, (outputs, targets) in {
        losses.cross_entropy: (Z, Y[::-1].copy()),
        losses.focal: (Z, Y[::-1].copy()),
        losses.distillation: (Z, of_two),
        losses.binary_cross_entropy: (Z, BITS),
        losses.mean_squared_error: (Z, A),
        losses.kl_divergence: (Z, SOFT),
        losses.dice: (Z, Y[::-1].copy() % 4),
        losses.triplet: ((A, B, C), None),
        losses.ctc: (IMAGE.reshape(6, 4, 2), np.ones((6, 1), np.int32)),
    }.items():
        every: list[float] = []
        for outs, tars, weights in (
            (outputs, targets, there.astype(np.int32)),
            (*jax.tree.map(lambda a: a[there], (outputs, targets)), None),
        ):
            with jax.numpy_dtype_promotion("standard"):
                every.append(float(loss(outs, tars, weights)))
        assert every[0] == pytest.approx(every[1], rel=1e-5), loss


def test_whole_numbers_of_weight_are_repetitions() -> None:
    times = SAMPLES.astype(int)
    labels = np.array([0, 3, 2, 1, 2, 3])
    for loss in (losses.cross_entropy, partial(losses.cross_entropy, class_weight=W)):
        repeated = loss(np.repeat(Z, times, 0), np.repeat(labels, times))
        assert mean(loss, Z, labels, SAMPLES) == pytest.approx(float(repeated), rel=1e-5)


def test_a_mask_of_padding() -> None:
    outputs, targets = RNG.normal(size=(2, 3, 5, 4)).astype(np.float32)
    mask = np.arange(5) < np.array([[5], [2], [4]])
    expected = np.square(outputs - targets)[mask].mean()
    assert mean(losses.mean_squared_error, outputs, targets, mask) == pytest.approx(expected)
    outputs[~mask] = np.nan  # what is not there may be anything
    assert mean(losses.mean_squared_error, outputs, targets, mask) == pytest.approx(expected)
    labels = RNG.integers(0, 4, (3, 5))
    expected = mean(losses.cross_entropy, targets[mask], labels[mask])
    assert mean(losses.cross_entropy, targets, labels, mask) == pytest.approx(expected, rel=1e-6)
    for wrong in (mask[:2], mask[:, :4], np.float32(1)):
        with pytest.raises(ValueError, match=r"weights have shape .*\[3\], or one an el.*\[3, 5\]"):
            losses.cross_entropy(targets, labels, wrong)


def test_where_no_label_counts_loss_and_gradient_are_0() -> None:
    labels = np.full(6, -100)
    for loss in (
        losses.cross_entropy,
        losses.cross_entropy_probabilities,
        losses.focal,
        partial(losses.cross_entropy, label_smoothing=0.1, class_weight=W),
    ):
        value, gradient = jax.value_and_grad(loss)(jnp.asarray(Z), labels)
        assert value == 0
        np.testing.assert_array_equal(gradient, np.zeros_like(Z))
    no_weight = np.zeros(6, np.float32)
    value, gradient = jax.value_and_grad(losses.cross_entropy)(jnp.asarray(Z), Y, no_weight)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(Z))


def test_an_ignored_label_is_as_if_it_were_not_there() -> None:
    kept = MASK >= 0
    rows = np.moveaxis(IMAGE, 1, -1)
    for loss in (losses.cross_entropy, losses.focal):
        assert mean(loss, IMAGE, MASK) == pytest.approx(
            mean(loss, rows[kept], MASK[kept]), rel=1e-5
        )
    other = partial(losses.cross_entropy, ignore_index=255)
    labels = np.where(MASK < 0, 255, MASK).astype(np.uint8)
    assert mean(other, IMAGE, labels) == pytest.approx(mean(losses.cross_entropy, IMAGE, MASK))
    changed = np.where(kept[:, None], IMAGE, 9)
    assert mean(losses.dice, changed, MASK) == pytest.approx(mean(losses.dice, IMAGE, MASK))
    assert np.isnan(mean(partial(losses.cross_entropy, ignore_index=1), IMAGE, MASK))


def test_gradients_stay_finite_where_a_loss_is_flat() -> None:
    sure = jnp.array([[90.0, -90.0], [0.0, 0.0]], jnp.float32)
    labels = np.array([0, 1])
    for loss in (
        *(partial(losses.focal, gamma=gamma) for gamma in (0.0, 0.5, 2.0)),
        losses.cross_entropy_probabilities,
    ):
        outputs = jax.nn.softmax(sure) if loss is losses.cross_entropy_probabilities else sure
        assert np.isfinite(jax.grad(loss)(outputs, labels)).all()
    zeros = jnp.zeros((3, 2), jnp.float32)
    for alike in (losses.contrastive, partial(losses.triplet, margin=0.5)):
        count = 2 if alike is losses.contrastive else 3
        gradients = jax.grad(alike)([zeros] * count)
        assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert np.isfinite(jax.grad(losses.kl_divergence)(sure, np.float32([[1, 0], [0, 1]]))).all()


def test_dice_of_masks_and_of_labels_agree() -> None:
    logits = np.stack([-IMAGE[:, 0] / 2, IMAGE[:, 0] / 2], 1)
    labels = RNG.integers(0, 2, (2, 3, 2))
    masks = np.stack([1 - labels, labels], 1)
    of_masks = mean(losses.dice, np.stack([-IMAGE[:, 0], IMAGE[:, 0]], 1), masks)
    assert mean(losses.dice, logits, labels) == pytest.approx(of_masks, rel=1e-5)
    nothing = np.zeros((1, 1, 3, 3), np.float32)
    assert mean(losses.dice, nothing - 200, nothing.astype(bool)) == pytest.approx(0, abs=1e-6)


def test_wrong_arguments() -> None:
    for loss, arguments, error, message in (
        (partial(losses.focal, alpha=0.5), (Z, Y), ValueError, "takes class_weight=, not alpha="),
        (partial(losses.focal, class_weight=W), (Z, BITS), ValueError, "takes alpha=, not class_w"),
        (partial(losses.cross_entropy, class_weight=W[:3]), (Z, Y), ValueError, r"\[3\].* 4 clas"),
        (
            partial(losses.cross_entropy, class_weight={"cat": 2}),
            (Z, Y),
            ValueError,
            "class_weight has class 'cat'; the outputs have 4, 0 to 3",
        ),
        (losses.distillation, (Z, Y), TypeError, "'teacher': logits}"),
        (partial(losses.distillation, mix=2), (Z, {"teacher": A}), ValueError, "share.* got 2"),
        (losses.triplet, ((A, B, C[:3]),), ValueError, r"3 arrays of one .*, \[3, 4\]"),
        (losses.contrastive, (A, None), ValueError, r"2 arrays of one shape .* \[\]"),
    ):
        with pytest.raises(error, match=message):
            loss(*arguments)


# In runs

X = RNG.normal(size=(22, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 22)
COUNTS = RNG.integers(0, 4, 22).astype(np.float32)
MODULE = onnxla.load(
    make(
        header() + " m (float[N, 4] x) => (float[N, 3] p) { z = Gemm (x, w, b) p = Softmax (z) }",
        w=RNG.normal(size=(4, 3)).astype(np.float32),
        b=np.zeros(3, np.float32),
    )
)
TOWERS = onnxla.load(
    make(
        header()
        + """ m (float[N, 4] x, float[N, 4] y) => (float[N, 3] a, float[N, 3] b) {
            a = MatMul (x, w)
            b = MatMul (y, w)
        }""",
        w=RNG.normal(size=(4, 3)).astype(np.float32),
    )
)
LOGITS = np.asarray(MODULE.apply(MODULE.params, X, outputs=["z"]))
fit = partial(onnxla.fit, progress=False)
SGD: dict[str, Any] = {"optimizer": optax.sgd(0.1), "batch_size": 8}


def same(a: onnxla.FitResult, b: onnxla.FitResult) -> None:
    assert a.history.steps == b.history.steps
    for name, value in a.module.params.items():
        np.testing.assert_array_equal(value, b.module.params[name], name)


def test_a_mean_over_all_batches_is_exact() -> None:
    labels = LABELS.copy()
    labels[:9] = -100  # so that a batch has none, and others differ in how many
    expected = mean(losses.cross_entropy, LOGITS, labels)
    pieces = [(X[i : i + 5], labels[i : i + 5]) for i in range(0, 22, 5)]
    for data in ((X, labels), pieces):
        found = onnxla.evaluate(MODULE, data, "cross_entropy", "cross_entropy", batch_size=5)
        assert found["loss"] == found["cross_entropy"] == pytest.approx(expected, rel=1e-6)
    expected = mean(losses.cross_entropy, LOGITS, LABELS, COUNTS)
    found = onnxla.evaluate(MODULE, (X, LABELS, COUNTS), "cross_entropy", batch_size=5)
    assert found["loss"] == pytest.approx(expected, rel=1e-6)
    weighed = partial(losses.cross_entropy, class_weight=[1, 5, 0.5])
    expected = mean(weighed, LOGITS, LABELS)
    for loss, options in ((weighed, {}), ("cross_entropy", {"class_weight": {1: 5, 2: 0.5}})):
        found = onnxla.evaluate(MODULE, (X, LABELS), loss, batch_size=5, **options)
        assert found["loss"] == pytest.approx(expected, rel=1e-6)


def test_validation_is_as_exact_as_evaluation() -> None:
    data = (X, LABELS, COUNTS)
    result = fit(MODULE, data, "cross_entropy", validation=data, class_weight=[1, 2, 3], **SGD)
    found = onnxla.evaluate(
        result.module, data, "cross_entropy", class_weight=[1, 2, 3], batch_size=22
    )
    assert result.history.epochs["validation_loss"] == [pytest.approx(found["loss"], rel=1e-6)]


PAIRS: list[Any] = [(X, LABELS), (X, LABELS, None)]


def test_a_step_of_weighted_samples_is_one_of_repeated_samples() -> None:
    times = COUNTS.astype(int)
    weighted = fit(MODULE, [(X, LABELS, COUNTS)], "cross_entropy", **SGD)
    repeated = fit(
        MODULE, [(np.repeat(X, times, 0), np.repeat(LABELS, times))], "cross_entropy", **SGD
    )
    assert weighted.history.loss == pytest.approx(repeated.history.loss, rel=1e-5)
    for name, value in weighted.module.params.items():
        np.testing.assert_allclose(value, repeated.module.params[name], rtol=1e-4, atol=1e-6)
    without, none = (fit(MODULE, [data], "cross_entropy", **SGD) for data in PAIRS)
    same(without, none)


def test_batches_of_ignored_labels_change_nothing() -> None:
    result = fit(MODULE, [(X, np.full(22, -100))] * 2, "cross_entropy", **SGD)
    assert result.history.steps == {"loss": [0, 0], "gradient_norm": [0, 0]}
    for name, value in MODULE.params.items():
        np.testing.assert_array_equal(result.module.params[name], value)


def test_a_loss_of_ones_own_gets_weights() -> None:
    def weighted(outputs: Any, targets: Any, weights: Any) -> Any:
        return (jnp.square(outputs).sum(1) * weights).mean(), {"heaviest": weights.max()}

    data = (X, LABELS, COUNTS)
    result = fit(MODULE, data, weighted, batch_size=22, validation=data, metrics=[weighted_mean])
    assert result.history.steps["heaviest"] == [COUNTS.max()]
    assert result.history.epochs["weighted_mean"] == [pytest.approx(COUNTS.mean())]

    def unaware(outputs: Any, targets: Any) -> Any:
        return outputs.mean()

    with pytest.raises(
        TypeError, match=r"data has weights, or .*, and unaware takes none: .*\(outputs, t"
    ):
        fit(MODULE, data, unaware)
    with pytest.raises(TypeError, match="and unaware takes none"):
        onnxla.evaluate(MODULE, data, "cross_entropy", unaware)


def weighted_mean(outputs: Any, targets: Any, weights: Any) -> Any:
    return weights.mean()


@pytest.mark.parametrize("form", ["arrays", "batches"])
def test_a_run_with_weights_goes_on_bit_for_bit(form: str, tmp_path: Path) -> None:
    data: Any = (X, LABELS, COUNTS)
    other: Any = (X, LABELS, COUNTS + 1)
    if form == "batches":
        data, other = (
            [tuple(array[i : i + 8] for array in arrays) for i in range(0, 22, 8)]
            for arrays in (data, other)
        )
    options: dict[str, Any] = {**SGD, "loss": "cross_entropy", "class_weight": {1: 2.0}}
    whole = fit(MODULE, data, steps=6, **options)
    fit(MODULE, data, steps=4, checkpoint=tmp_path, **options)
    with pytest.raises(onnxla.CheckpointError, match="the same shapes and other contents"):
        fit(MODULE, other, steps=6, checkpoint=tmp_path, **options)
    with pytest.raises(onnxla.CheckpointError, match=r"loss_options.class_weight.1 was 2.0, is 3"):
        fit(MODULE, data, steps=6, checkpoint=tmp_path, **{**options, "class_weight": {1: 3.0}})
    same(fit(MODULE, data, steps=6, checkpoint=tmp_path, **options), whole)


def test_labels_that_are_no_class_are_named() -> None:
    labels = LABELS.copy()
    labels[[4, 11]] = -100, 7
    message = r"label 7 of sample 11 is no class: the outputs have 3, 0 to 2; -100 \(ignore_index\)"
    with pytest.raises(ValueError, match=message):
        fit(MODULE, (X, labels), "cross_entropy")
    with pytest.raises(ValueError, match=message):
        fit(MODULE, (X, LABELS), "cross_entropy", validation=(X, labels))
    for metric in ("cross_entropy", "accuracy", "confusion_matrix", losses.f1()):
        with pytest.raises(ValueError, match=message):
            onnxla.evaluate(MODULE, (X, labels), None, metric)
    pieces = [(X[i : i + 8], labels[i : i + 8]) for i in (0, 8)]
    with pytest.raises(
        onnxla.NonFiniteLossError, match=r"batch of step 1 .* 7 of sample 3 of the batch is"
    ) as e:
        fit(MODULE, pieces, "cross_entropy", **SGD)
    same(e.value.result, fit(MODULE, pieces[:1], "cross_entropy", **SGD))
    # 7 may be what does not count, and then -100 is no class.
    with pytest.raises(ValueError, match=r"label -100 of sample 4 is .*; 7 \(ignore_index\)"):
        fit(MODULE, (X, labels), partial(losses.cross_entropy, ignore_index=7))
    fit(MODULE, (X, labels, (labels < 7).astype(np.float32)), "cross_entropy")
    places = onnxla.load(make(header() + " m (float[N, 4, 5] x) => (y) { y = Identity (x) }"))
    grid = np.zeros((2, 5), np.uint8)
    grid[1, 3] = 9
    with pytest.raises(ValueError, match=r"label 9 of sample 1 at \[3\] is no class"):
        onnxla.evaluate(places, (np.zeros((2, 4, 5), np.float32), grid), "dice")


def test_class_weight() -> None:
    labels = np.array([0, 0, 0, 1, 1, -100, 2, 0])
    x = X[:8]
    run = partial(fit, MODULE, (x, labels), **SGD)
    # scikit-learn: compute_class_weight("balanced", classes=[0, 1, 2], y=labels without -100)
    balanced = {0: 7 / 12, 1: 7 / 6, 2: 7 / 3}
    weighed = partial(losses.cross_entropy, class_weight=np.float32([*balanced.values()]))
    expected = run(weighed)
    for given in (balanced, "balanced", np.array([*balanced.values()])):
        assert run("cross_entropy", class_weight=given).history.loss == pytest.approx(
            expected.history.loss, rel=1e-6
        )
    for loss, given, message in (
        ("mse", {0: 1.0}, "class_weight= is of losses of integer labels: cross_entropy, .*weights"),
        ("binary_cross_entropy", {0: 1.0}, "has pos_weight="),
        ("cross_entropy", "equal", "class_weight is 'balanced', a dict .*, got 'equal'"),
        ("cross_entropy", {5: 1.0}, "class_weight has class 5; the outputs have 3, 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            run(loss, class_weight=given)
    with pytest.raises(ValueError, match="counts labels of arrays: pass a dict"):
        fit(MODULE, [(x, labels)], "cross_entropy", class_weight="balanced")
    with pytest.raises(ValueError, match="pass loss="):
        onnxla.evaluate(MODULE, (x, labels), "accuracy", class_weight="balanced")


def test_losses_of_several_outputs() -> None:
    data = ((X, X + RNG.normal(size=X.shape).astype(np.float32)), None)
    options: dict[str, Any] = {"optimizer": optax.adam(0.02), "batch_size": 22}
    result = fit(TOWERS, data, "contrastive", epochs=10, **options)
    assert result.history.loss[-1] < result.history.loss[0]
    outputs = TOWERS(*data[0])
    found = onnxla.evaluate(TOWERS, data, "contrastive", batch_size=22)
    assert found["loss"] == pytest.approx(mean(losses.contrastive, outputs), rel=1e-5)
    for loss, message in (
        ("triplet", "triplet is of three outputs, and there are a, b; name them with outputs="),
        ("mse", r"mse is of one output, and there are a, b; say which with outputs=\['a'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(TOWERS, data, loss)


def test_distillation_reads_the_teachers_logits() -> None:
    teacher = MODULE.replace({"w": -MODULE.params["w"]})
    data = losses.distilled((X, LABELS, COUNTS), teacher, batch_size=8, progress=False)
    inputs, targets, weights = data
    assert inputs is X
    np.testing.assert_array_equal(weights, COUNTS)
    np.testing.assert_array_equal(targets["labels"], LABELS)
    logits = teacher.apply(teacher.params, X, outputs=["z"])
    np.testing.assert_allclose(targets["teacher"], logits, rtol=1e-5, atol=1e-6)
    loss = partial(losses.distillation, mix=1.0)
    result = fit(MODULE, data, loss, epochs=30, **{**SGD, "optimizer": optax.adam(0.05)})
    assert result.history.loss[-1] < 0.1 * result.history.loss[0]
    (_, unlabelled) = losses.distilled((X, None), teacher, progress=False)
    assert [*unlabelled] == ["teacher"]
    assert mean(losses.distillation, logits, unlabelled) == pytest.approx(0, abs=1e-5)
    with pytest.raises(TypeError, match=r"all data at once, .* got list of 1"):
        losses.distilled([(X, LABELS)], teacher)


def test_losses_run_by_name() -> None:
    several = {"contrastive", "triplet", "distillation", "ctc", "causal_lm"}
    targets: dict[str, Any] = {
        name: LABELS for name in ("cross_entropy", "cross_entropy_probabilities", "focal", "dice")
    }
    module = MODULE.cut(outputs=["z"])
    for name in LOSSES.keys() - several:
        result = fit(module, (X, targets.get(name, X[:, :3] > 0)), name, **SGD)
        assert np.isfinite(result.history.loss).all(), name


def test_the_loss_of_next_tokens() -> None:
    """That of cross entropy with labels that are one further on."""
    rng = np.random.default_rng(0)
    logits, tokens = rng.normal(size=(3, 5, 7)).astype(np.float32), rng.integers(0, 7, (3, 5))
    tokens[1, 3:] = -100
    expected = mean(losses.cross_entropy, logits[:, :-1].reshape(-1, 7), tokens[:, 1:].reshape(-1))
    assert mean(losses.causal_lm, logits, tokens) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match=r"causal_lm takes logits \[N, S, K\] .*, got \[3, 7\]"):
        losses.causal_lm(logits[:, 0], tokens[:, 0])
