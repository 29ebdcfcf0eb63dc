"""Optimizers and schedules by name, what optax's ask for, averages of weights, and `lr_find`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import onnxla
from onnxla.train.digests import digest_of_optimizer
from onnxla.train.history import History
from onnxla.train.lr_find import steepest
from onnxla.train.monitor import Monitor
from onnxla.train.optimizer import NORMALIZED, OPTIMIZERS
from onnxla.train.plateau import FallingRate
from onnxla.train.recipe import Recipe
from onnxla.train.schedules import SCHEDULES
from onnxla.train.stacking import cannot_tell
from support.small_models import header, make

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 4)).astype(np.float32)
Y = np.arange(12) % 3
MODULE = onnxla.load(
    make(
        header()
        + """ m (float[N, 4] x) => (float[N, 3] z) {
            h = Gemm (x, v, c)
            t = Tanh (h)
            z = Gemm (t, w, b)
        }""",
        v=RNG.standard_normal((4, 8)).astype(np.float32),
        c=np.zeros(8, np.float32),
        w=RNG.standard_normal((8, 3)).astype(np.float32),
        b=np.zeros(3, np.float32),
    )
)
fit = partial(onnxla.fit, MODULE, (X, Y), "cross_entropy", batch_size=4, progress=False)
DECAYED = {"v": True, "c": False, "w": True, "b": False}


@pytest.fixture(autouse=True)
def compile_quickly() -> Iterator[None]:
    """These programs run for a few steps only."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def same(a: onnxla.FitResult, b: onnxla.FitResult) -> None:
    assert a.history.steps["loss"] == b.history.steps["loss"]
    for name, value in a.module.params.items():
        np.testing.assert_array_equal(value, b.module.params[name], name)


# By name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adam", lambda rate: optax.adam(rate)),
        ("adamw", lambda rate: optax.adamw(rate, mask=DECAYED)),
        ("sgd", lambda rate: optax.sgd(rate)),
        ("lion", lambda rate: optax.lion(rate, mask=DECAYED)),
        ("adafactor", lambda rate: optax.adafactor(rate)),
        ("lamb", lambda rate: optax.lamb(rate)),
    ],
)
def test_an_optimizer_by_name_is_that_of_optax(name: str, expected: Any) -> None:
    rate = optax.warmup_cosine_decay_schedule(0.01 / 2, 0.01, 1, 20)
    same(fit(steps=20, optimizer=name, learning_rate=0.01), fit(steps=20, optimizer=expected(rate)))


def test_adamw_is_the_default() -> None:
    same(fit(steps=4), fit(steps=4, optimizer="adamw", learning_rate=1e-4, schedule="cosine"))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_name_makes_an_update(name: str) -> None:
    rate = None if name in NORMALIZED | {"lbfgs"} else 1e-3
    made = Recipe(name, rate).make({"w": "weight"}, 9)
    params = {"w": jnp.ones((2, 3))}
    with jax.numpy_dtype_promotion("standard"):
        assert len(digest_of_optimizer(made, params)) == 64
    assert "learning_rate" in inspect.signature(getattr(optax, name)).parameters


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_rise_and_then_fall_or_stay(name: str) -> None:
    rates = fit(steps=40, learning_rate=0.01, schedule=name).history.steps["learning_rate"]
    np.testing.assert_allclose(rates[:3], 0.01 * np.array([1 / 3, 2 / 3, 1]), rtol=1e-5)
    done = np.arange(38) / 38
    expected = {"cosine": (1 + np.cos(np.pi * done)) / 2, "linear": 1 - done, "constant": done**0}
    np.testing.assert_allclose(rates[2:], 0.01 * expected[name], rtol=1e-4, atol=1e-8)


def test_a_schedule_rises_as_long_as_it_is_told() -> None:
    for warmup, rising in ((0.0, []), (0.25, [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])):
        rates = fit(steps=20, learning_rate=0.01, schedule="constant", warmup=warmup).history.steps
        expected = [*rising, *[1.0] * (20 - len(rising))]
        np.testing.assert_allclose(rates["learning_rate"], np.multiply(0.01, expected), rtol=1e-5)


def test_rates_count_updates_where_gradients_accumulate() -> None:
    options: dict[str, Any] = {"learning_rate": optax.linear_schedule(1.0, 0.0, 4), "accumulate": 2}
    assert fit(steps=6, **options).history.steps["learning_rate"] == [1, 1, 0.75, 0.75, 0.5, 0.5]


def test_rates_that_an_optimizer_tells() -> None:
    injected = optax.inject_hyperparams(optax.sgd)(optax.linear_schedule(1.0, 0.0, 4))
    assert fit(steps=3, optimizer=injected).history.steps["learning_rate"] == [1, 0.75, 0.5]
    assert "learning_rate" not in fit(steps=3, optimizer=optax.sgd(0.1)).history.steps


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimizer": "adm"}, ValueError, "no optimizer is named 'adm'; did you mean 'adam'"),
        ({"optimizer": optax.adam}, TypeError, "one of optax, as optax.sgd.* or a name, got <func"),
        ({"optimizer": 3}, TypeError, "optimizer is one of optax, .* or a name, got 3"),
        ({"optimizer": "sgd"}, ValueError, "sgd has no learning rate by default: pass learning_r"),
        ({"schedule": "cosin"}, ValueError, "no schedule is named 'cosin'; did you mean 'cosine'"),
        ({"schedule": "linear", "optimizer": optax.sgd(1.0)}, ValueError, "given has its own"),
        (
            {"schedule": "linear", "learning_rate": optax.constant_schedule(1.0)},
            ValueError,
            "learning_rate is a schedule already, besides schedule='linear'",
        ),
        (
            {"warmup": 0.1, "learning_rate": optax.constant_schedule(1.0)},
            ValueError,
            "learning_rate is a schedule already, besides warmup=0.1",
        ),
        ({"warmup": 1.0}, ValueError, "warmup is a share of the steps, at least 0 and below 1"),
        ({"schedule": "plateu"}, ValueError, "no schedule is named 'plateu'; did you mean 'platea"),
        (
            {"optimizer": "lbfgs", "learning_rate": 1.0, "schedule": "plateau"},
            ValueError,
            "and no plateau",
        ),
        ({"optimizer": "lbfgs", "accumulate": 2}, ValueError, "neither accumulate= nor clip_norm="),
        ({"optimizer": "lbfgs", "clip_norm": 1.0}, ValueError, "neither accumulate= nor clip_nor"),
        ({"weight_average": 1.0}, ValueError, "weight_average is a number between 0 and 1"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fit(**options)


def test_a_schedule_of_an_unknown_number_of_steps() -> None:
    batches = (batch for batch in [(X, Y)] * 3)
    with pytest.raises(ValueError, match="schedule='linear' needs the number of steps"):
        onnxla.fit(MODULE, batches, "cross_entropy", epochs=1, schedule="linear", progress=False)


# A rate that falls where nothing gets better


def unmoved(outputs: Any, targets: Any) -> Any:
    """A loss that nothing makes smaller, and that has a gradient all the same."""
    return 1 + outputs.mean() - jax.lax.stop_gradient(outputs.mean())


def constant(outputs: Any, targets: Any) -> Any:
    return jnp.float32(0.5)


@pytest.mark.parametrize(
    ("options", "lowered"),
    [
        ({"validate_every": 2, "monitor": ("constant", "max")}, [3, 4, 6, 8, 9, 10]),
        ({"monitor": ("constant", "min")}, [6, 9]),  # by epochs of three steps
        ({"validation": None, "metrics": ()}, [6, 9]),
        ({"patience": 2}, [6]),  # where the run ends, too
    ],
)
def test_a_rate_falls_at_a_plateau(options: dict[str, Any], lowered: list[int]) -> None:
    given: dict[str, Any] = {"validation": (X, Y), "metrics": [constant], **options}
    run = partial(onnxla.fit, MODULE, (X, Y), unmoved, batch_size=4, steps=11, progress=False)
    plateau = onnxla.Plateau(factor=0.5, patience=1)
    found = run(optimizer="sgd", learning_rate=0.1, schedule=plateau, warmup=0.0, **given)
    halves = optax.piecewise_constant_schedule(0.1, dict.fromkeys(lowered, 0.5))
    expected = run(optimizer="sgd", learning_rate=halves, **given)
    same(found, expected)
    rates = (each.history.steps["learning_rate"] for each in (found, expected))
    np.testing.assert_allclose(*rates, rtol=1e-6)


def test_how_far_a_rate_falls() -> None:
    def scale(values: list[float], **options: Any) -> float:
        history = History(epochs={"step": [*range(len(values))], "auc": values})
        return FallingRate(onnxla.Plateau(**options), Monitor("auc", True, 0.1)).scale(history)

    assert scale([1.0] * 10) == 1.0
    assert scale([1.0] * 11) == 0.1
    assert scale([1.0] * 5, factor=0.5, patience=2) == 0.25
    assert scale([1.0, 1.05, 1.08], factor=0.5, patience=2) == 0.5  # not by min_delta
    assert scale([1.0, 1.05, 1.2, 1.2], factor=0.5, patience=2) == 1.0
    assert scale([float("nan"), 1.0, 0.0], factor=0.5, patience=1) == 0.25
    assert scale([1.0] * 9, factor=0.5, patience=1, lowest=0.3) == 0.3
    assert scale([], patience=1) == 1.0


@pytest.mark.parametrize("options", [{"factor": 1.0}, {"patience": 0}, {"lowest": -0.1}])
def test_what_is_no_plateau(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} is "):
        onnxla.Plateau(**options)


def test_a_run_goes_on_with_the_plateau_that_it_had(tmp_path: Path) -> None:
    plateau = onnxla.Plateau(factor=0.5, patience=1)
    given: dict[str, Any] = {"schedule": plateau, "learning_rate": 0.3, "warmup": 0.0}
    options: dict[str, Any] = {**given, "validation": (X, Y), "metrics": "accuracy"}
    whole = fit(epochs=6, monitor="accuracy", **options)
    assert whole.history.steps["learning_rate"][-1] < 0.3
    options |= {"checkpoint": tmp_path}
    fit(epochs=3, monitor="accuracy", **options)
    for changed in (
        {"schedule": onnxla.Plateau(factor=0.4, patience=1)},
        {"monitor": "validation_loss"},
        {"validation": None, "metrics": (), "monitor": None},
    ):
        with pytest.raises(onnxla.CheckpointError, match="schedule was plateau of highest accurac"):
            fit(epochs=6, **{"monitor": "accuracy", **options, **changed})
    resumed = fit(epochs=6, monitor="accuracy", **options)
    assert resumed.history.steps == whole.history.steps
    same(resumed, whole)


# What optax's optimizers ask for


def test_l_bfgs_converges_where_gradient_descent_does_not() -> None:
    scales = np.float32([100, 10, 1, 0.1])  # the condition of the problem: a million
    x = RNG.standard_normal((64, 4)).astype(np.float32) * scales
    w = RNG.standard_normal((4, 1)).astype(np.float32) / scales[:, None]
    module = onnxla.load(
        make(
            header() + " m (float[N, 4] x) => (float[N, 1] y) { y = MatMul (x, w) }",
            w=np.zeros((4, 1), np.float32),
        )
    )
    options: dict[str, Any] = {"steps": 60, "batch_size": 64, "progress": False}
    found = onnxla.fit(module, (x, x @ w), "mse", optimizer="lbfgs", **options)
    assert found.history.loss[-1] < 1e-6 * found.history.loss[0]
    assert found.history.steps["learning_rate"]  # the steps that its search along a line took
    assert not found.history.notes
    options["batch_size"] = 32
    half = onnxla.fit(module, (x, x @ w), "mse", optimizer=optax.lbfgs(), **options)
    assert any("each is to have all samples" in note for note in half.history.notes)
    options["batch_size"] = 64
    for rate in (1e-5, 1e-4):  # twice the latter diverges
        descent = onnxla.fit(module, (x, x @ w), "mse", optimizer=optax.sgd(rate), **options)
        assert descent.history.loss[-1] > 1e-3 * descent.history.loss[0]


PLATEAU = optax.chain(
    optax.sgd(1e-9), optax.contrib.reduce_on_plateau(factor=0.5, patience=2, accumulation_size=2)
)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_plateau_lowers_the_rate(accumulate: int) -> None:
    options: dict[str, Any] = {"steps": 16, "shuffle": False, "accumulate": accumulate}
    history = onnxla.fit(
        MODULE, (X, Y), "cross_entropy", optimizer=PLATEAU, progress=False, **options
    ).history
    scales = history.steps["learning_rate_scale"]
    assert scales == sorted(scales, reverse=True)
    assert scales[0] == 1
    assert scales[-1] < 1


def test_stacks_are_right_beside_what_asks_for_the_loss() -> None:
    names = [f"w{i}" for i in range(4)]
    layers = " ".join(f"h{i} = MatMul (a{i}, w{i}) a{i + 1} = Tanh (h{i})" for i in range(4))
    model = make(
        header() + f" m (float[N, 4] a0) => (float[N, 4] a4) {{ {layers} }}",
        **{name: RNG.standard_normal((4, 4)).astype(np.float32) for name in names},
    )
    rolled, plain = (onnxla.load(model, roll=roll) for roll in (True, False))
    stacks = rolled.program.stacks()
    assert stacks.members
    assert cannot_tell(PLATEAU, rolled.params, stacks)
    assert not cannot_tell(optax.lbfgs(), rolled.params, stacks)
    for options in (
        {"optimizer": optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1))},
        {"optimizer": "lbfgs"},
        {"optimizer": "lion", "learning_rate": 0.01},
        {"optimizer": "lamb", "learning_rate": 0.01},
        {"weight_average": 0.9, "learning_rate": 0.01},
    ):
        found = [
            onnxla.fit(module, (X, X), "mse", steps=6, progress=False, **options)
            for module in (rolled, plain)
        ]
        for name in names:
            values = (result.module.params[name] for result in found)
            np.testing.assert_allclose(*values, rtol=2e-3, atol=2e-4)


# Averages of weights


def test_validation_and_the_result_have_averages() -> None:
    sgd: dict[str, Any] = {"optimizer": optax.sgd(0.1)}
    average = {name: np.asarray(value) for name, value in MODULE.params.items()}
    for step in range(1, 7):
        params = fit(steps=step, **sgd).module.params
        decay = min(0.3, step / (9 + step))
        average = {k: decay * v + (1 - decay) * params[k] for k, v in average.items()}
    result = fit(steps=6, weight_average=0.3, validation=(X, Y), **sgd)
    for name, value in average.items():
        np.testing.assert_allclose(result.module.params[name], value, rtol=1e-5, atol=1e-6)
    assert result.history.loss == fit(steps=6, **sgd).history.loss
    measured = onnxla.evaluate(result.module, (X, Y), "cross_entropy")["loss"]
    assert result.history.epochs["validation_loss"][-1] == pytest.approx(measured, rel=1e-6)
    assert "averages of the weights, of decay 0.3" in str(result.history)


def test_averages_count_updates_where_gradients_accumulate() -> None:
    options: dict[str, Any] = {"optimizer": optax.sgd(0.1), "weight_average": 0.3}
    small = fit(steps=4, accumulate=2, shuffle=False, **options)
    before = fit(steps=5, accumulate=2, shuffle=False, **options)
    for name, value in small.module.params.items():
        np.testing.assert_array_equal(before.module.params[name], value)  # the third is to come
    after = fit(steps=6, accumulate=2, shuffle=False, **options)
    assert not np.array_equal(after.module.params["w"], before.module.params["w"])


def test_running_statistics_are_averaged_too() -> None:
    module = onnxla.load(
        make(
            header()
            + """ m (float[N, 4] x) => (float[N, 4] z) {
                z = BatchNormalization (x, scale, bias, mean, var)
            }""",
            **{name: np.ones(4, np.float32) for name in ("scale", "var")},
            **{name: np.zeros(4, np.float32) for name in ("bias", "mean")},
        )
    )
    options: dict[str, Any] = {"steps": 1, "optimizer": optax.sgd(0.1), "progress": False}
    plain = onnxla.fit(module, (X, X), "mse", **options).module
    averaged = onnxla.fit(module, (X, X), "mse", weight_average=0.9, **options).module
    for name in ("mean", "var", "scale"):
        before, after = module.params[name], plain.params[name]
        expected = 0.1 * before + 0.9 * after
        np.testing.assert_allclose(averaged.params[name], expected, rtol=1e-5, atol=1e-7)


# A learning rate to begin with


def test_a_learning_rate_is_found() -> None:
    before = {name: np.array(value) for name, value in MODULE.params.items()}
    found = onnxla.lr_find(
        *(MODULE, (X, Y), "cross_entropy"),
        optimizer="sgd",
        highest=100.0,
        batch_size=12,
        progress=False,
    )
    for name, value in before.items():
        np.testing.assert_array_equal(MODULE.params[name], value)
    assert len(found.rates) == len(found.losses) <= 100
    np.testing.assert_allclose(found.rates[:2], [1e-7, 1e-7 * 1e9 ** (1 / 99)], rtol=1e-4)
    assert found.suggestion is not None
    assert 1e-3 < found.suggestion < 10
    assert f"falls most steeply at {found.suggestion:.3g}" in str(found)
    few: dict[str, Any] = {"steps": 20, "batch_size": 12, "progress": False}
    descent = [
        onnxla.fit(MODULE, (X, Y), "cross_entropy", optimizer=optax.sgd(rate), **few).history.loss
        for rate in (found.suggestion, found.suggestion / 100)
    ]
    assert descent[0][-1] < descent[1][-1]


def test_a_search_ends_where_the_loss_diverges() -> None:
    found = onnxla.lr_find(
        MODULE, (X, Y), "cross_entropy", optimizer="sgd", highest=1e6, progress=False
    )
    assert len(found.rates) < 100
    assert found.rates[-1] < 1e6


def test_a_search_as_text_and_picture() -> None:
    found = onnxla.lr_find(MODULE, (X, Y), "cross_entropy", steps=20, progress=False)
    assert "data:image/png;base64," in found._repr_html_()
    figure = found.plot()
    assert figure.axes[0].get_xscale() == "log"
    assert found.plot(figure.axes[0]) is figure.axes[0]


def test_the_steepest_descent() -> None:
    rates = list(np.geomspace(1e-6, 1, 100))
    fall = [3 - 2 / (1 + np.exp(-4 * np.log10(r / 1e-3))) for r in rates]
    assert steepest(rates, fall) == pytest.approx(1e-3, rel=2)
    assert steepest(rates, [*range(100)]) is None
    assert steepest(rates[:2], [1, 0]) is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lowest": 1.0, "highest": 0.1}, ValueError, "0 < lowest < highest, got 1.0 and 0.1"),
        ({"steps": 3}, ValueError, "steps is a whole number of at least 10"),
        ({"epochs": 3, "learning_rate": 1}, TypeError, "lr_find takes no epochs, learning_rate"),
        ({"optimizer": optax.sgd(0.1)}, ValueError, "has its own"),
    ],
)
def test_wrong_searches(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        onnxla.lr_find(MODULE, (X, Y), "cross_entropy", progress=False, **options)
