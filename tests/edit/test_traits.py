"""What a user's operator says of itself counts; its name may be that of one of ONNX's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onnxla
from onnxla import op
from onnxla.edit.quantization import find_quantized
from onnxla.losses import binary_cross_entropy, cross_entropy
from onnxla.ops import table
from onnxla.train.objective import find_logits
from support.small_models import make

RNG = np.random.default_rng(3)
HEADER = '<ir_version: 9, opset_import: ["": 20, "my.domain": 1]>'
DOMAIN = "my.domain"
LINEAR_TRAITS: dict[str, Any] = {"linear": True, "output_channels": {"W": 0}}


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.fixture(autouse=True)
def operators() -> Iterator[None]:
    """Operators of a user's, for the time of a test."""
    before = dict(table.TABLE)
    mine = {"domain": DOMAIN, "since": (1,)}
    roles = {"W": "weight", "b": "bias"}

    @op("Linear", **mine, roles=roles, product=True, **LINEAR_TRAITS)
    def linear(x: Any, W: Any, b: Any = None, *, output: float = 1.0) -> Any:
        y = output * (x @ W.T)
        return y if b is None else y + b

    @op("Blocks", **mine, roles={"W": "weight"}, linear=True, output_channels={"W": 1})
    def blocks(x: Any, W: Any) -> Any:
        return jnp.einsum("nk,kmj->nmj", x, W)

    @op("Stubborn", **mine, roles=roles, **LINEAR_TRAITS)
    def stubborn(x: Any, W: Any, b: Any) -> Any:
        return x @ W.T + b

    @op("Soft", **mine, probabilities="categorical")
    def soft(x: Any) -> Any:
        return jax.nn.softmax(x)

    @op("Stairs", **mine, steps=True)
    def stairs(x: Any) -> Any:
        return jnp.floor(x)

    @op("Drop", **mine, moves="dropped")
    def drop(x: Any) -> Any:
        return x

    # Named like operators of ONNX's, and none of them.
    @op("Identity", **mine)
    @op("Transpose", **mine)
    @op("Softmax", **mine)
    @op("Dropout", **mine)
    @op("Floor", **mine)
    def doubled(x: Any) -> Any:
        return x + x

    @op("DequantizeLinear", **mine)
    def negated(x: Any, scale: Any) -> Any:
        return -x.astype(scale.dtype)

    yield
    table.TABLE.clear()
    table.TABLE.update(before)


LINEAR: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "alone": ("y = my.domain.Linear <output = 0.5> (x, W)", {"W": (7, 4)}),
    "with a bias": ("y = my.domain.Linear (x, W, b)", {"W": (7, 4), "b": (7,)}),
    "used twice": (
        "h = my.domain.Linear (x, W) y = my.domain.Linear (h, W, b)",
        {"W": (4, 4), "b": (4,)},
    ),
    "tied to a product": ("h = MatMul (x, W) y = my.domain.Linear (h, W)", {"W": (4, 6)}),
    "of a transposed weight": ("t = Transpose (W) y = my.domain.Linear (x, t)", {"W": (4, 7)}),
    "of three axes": ("y = my.domain.Blocks (x, W)", {"W": (4, 5, 3)}),
}


@pytest.mark.parametrize("name", LINEAR)
def test_an_operator_that_is_linear_in_a_weight_is_adapted(name: str, tmp_path: Path) -> None:
    body, shapes = LINEAR[name]
    tensors = {name: f32(*shape) for name, shape in shapes.items()}
    base = onnxla.load(make(f"{HEADER} m (float[N, 4] x) => (y) {{ {body} }}", **tensors))
    x = f32(5, 4)
    module = base.lora("W", rank=2)
    np.testing.assert_allclose(module(x), base(x), rtol=1e-5, atol=1e-6)
    assert set(module.partition()[0]) == {"W.lora_A", "W.lora_B"}

    target = f32(*np.shape(base(x)))
    result = onnxla.fit(module, (x, target), "mse", steps=30, learning_rate=0.03, progress=False)
    assert result.history.loss[-1] < 0.9 * result.history.loss[0]
    tuned = result.module
    merged = tuned.merge()
    assert set(merged.params) == set(base.params)
    assert not np.array_equal(merged.params["W"], base.params["W"])
    np.testing.assert_allclose(merged(x), tuned(x), rtol=1e-4, atol=1e-5)

    tuned.save(tmp_path / "merged.onnx")
    saved = onnxla.load(tmp_path / "merged.onnx")
    kinds = [node.op_type for node in saved.program.model.graph.nodes]
    assert kinds == [node.op_type for node in base.program.model.graph.nodes]
    np.testing.assert_array_equal(saved(x), merged(x))
    tuned.save(tmp_path / "kept.onnx", merge=False)
    kept = onnxla.load(tmp_path / "kept.onnx")
    np.testing.assert_array_equal(kept(x), tuned(x))
    np.testing.assert_array_equal(kept.merge().params["W"], merged.params["W"])
    tuned.save_adapters(tmp_path / "a.safetensors")
    loaded = base.load_adapters(tmp_path / "a.safetensors")
    np.testing.assert_allclose(loaded(x), tuned(x), rtol=1e-5, atol=1e-6)


def test_it_is_adapted_by_default_and_its_bias_is_not() -> None:
    body = " m (float[N, 6] x) => (y) { y = my.domain.Linear (x, W, b) }"
    base = onnxla.load(make(HEADER + body, W=f32(8, 6), b=f32(8)))
    assert base.roles == {"W": "weight", "b": "bias"}
    assert set(base.lora(rank=1).partition()[0]) == {"W.lora_A", "W.lora_B"}
    with pytest.raises(ValueError, match=r"'b': my.domain.Linear -> y uses it, beside which no"):
        base.lora("b")


def test_one_that_cannot_do_without_its_bias_is_refused() -> None:
    body = " m (float[N, 6] x) => (y) { y = my.domain.Stubborn (x, W, b) }"
    base = onnxla.load(make(HEADER + body, W=f32(8, 6), b=f32(8)))
    with pytest.raises(ValueError, match=r"my.domain.Stubborn -> y uses it, beside which no low"):
        base.lora("W")


@pytest.mark.parametrize("name", ["Identity", "Transpose"])
def test_a_weight_behind_an_operator_named_like_one_of_onnx_is_no_view(name: str) -> None:
    body = f" m (float[N, 6] x) => (y) {{ t = my.domain.{name} (w) y = MatMul (x, t) }}"
    base = onnxla.load(make(HEADER + body, w=f32(6, 6)))
    with pytest.raises(ValueError, match=rf"my.domain.{name} -> t uses it, beside which"):
        base.lora("w")


def test_losses_read_the_logits_of_what_makes_probabilities() -> None:
    def model(name: str) -> onnxla.Module:
        text = f"{HEADER} m (float[N, 3] x) => (y) {{ h = Mul (x, w) y = {name} (h) }}"
        return onnxla.load(make(text, w=f32(3)))

    module = model("my.domain.Soft")
    assert find_logits(module.program.model, "y", cross_entropy).names == ("h",)
    x, labels = f32(8, 3), RNG.integers(0, 3, 8)
    measured = onnxla.evaluate(module, (x, labels), "cross_entropy")
    logits = module.apply(module.params, x, outputs=["h"])
    np.testing.assert_allclose(measured["loss"], cross_entropy(logits, labels), rtol=1e-6)
    with pytest.warns(UserWarning, match=r"'y' comes from my.domain.Soft"):
        found = find_logits(module.program.model, "y", binary_cross_entropy)
    assert found.names == ("y",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = model("my.domain.Softmax").program.model
        assert find_logits(other, "y", cross_entropy).names == ("y",)


def test_an_operator_of_steps_can_be_seen_through() -> None:
    text = f"{HEADER} m (float[N, 2] x) => (y) {{ h = Mul (x, w) y = my.domain.Stairs (h) }}"
    module = onnxla.load(make(text, w=np.float32([1.5, 2.5])))
    x = np.float32([[1, 2]])

    def gradient(module: onnxla.Module) -> Any:
        return jax.grad(lambda p: module.apply_train(p, x)[0].sum())(module.params)["w"]

    np.testing.assert_array_equal(gradient(module), [0, 0])
    np.testing.assert_array_equal(gradient(module.straight_through("my.domain.Stairs")), [1, 2])
    with pytest.raises(ValueError, match="the model has no Floor"):
        module.straight_through("Floor")
    with pytest.raises(ValueError, match=r"my.domain.Floor is not an operator without slope: .*"):
        module.straight_through("my.domain.Floor")


@pytest.mark.parametrize(("name", "drops"), [("Dropout", False), ("Drop", True)])
def test_what_is_noted_of_dropout(name: str, drops: bool) -> None:
    text = f"{HEADER} m (float[N, 6] x) => (y) {{ h = MatMul (x, w) y = my.domain.{name} (h) }}"
    notes = onnxla.check(make(text, w=f32(6, 6))).notes
    assert any(note.startswith("no Dropout") for note in notes) is not drops


def test_what_is_named_like_a_dequantizer_is_none() -> None:
    text = f"{HEADER} m (float[N, 2] x) => (y) {{ d = @DequantizeLinear (q, s) y = MatMul (x, d) }}"
    tensors = {"q": np.int8([[1, 2], [3, 4]]), "s": np.float32(0.5)}
    theirs = onnxla.load(make(text.replace("@", f"{DOMAIN}."), **tensors))
    assert find_quantized(theirs.program.model) == ({}, [])
    with pytest.raises(ValueError, match="no quantized weight can be trained: there is none"):
        theirs.quantization_aware()
    standard = onnxla.load(make(text.replace("@", ""), **tensors))
    assert len(find_quantized(standard.program.model)[0]) == 1


def test_a_permutation_that_only_its_function_knows_is_no_view() -> None:
    @op("Roll", domain=DOMAIN, since=(1,), moves="permuted")
    def roll(x: Any) -> Any:
        return jnp.roll(x, 1, axis=0)

    text = " m (float[N, 3] x) => (float[N, 2] y) { v = my.domain.Roll (W) y = MatMul (x, v) }"
    module = onnxla.load(make(HEADER + text, W=f32(3, 2)))
    with pytest.raises(ValueError, match="in a shape that is computed"):
        module.lora("W", rank=1)


@pytest.mark.parametrize(
    ("traits", "error", "message"),
    [
        ({"stepz": True}, TypeError, "no trait is named 'stepz'; did you mean 'steps'"),
        ({"moves": "sideways"}, ValueError, "moves='sideways' is none of"),
        ({"probabilities": "softmax"}, ValueError, "probabilities='softmax' is none of"),
        (
            {"roles": {"x": "wieght"}},
            ValueError,
            "no role is named 'wieght'",
        ),
    ],
)
def test_wrong_traits(traits: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        op("Wrong", domain=DOMAIN, since=(1,), **traits)(lambda x: x)


def test_onnx_has_two_names_for_its_own_domain() -> None:
    op("Mine", domain="ai.onnx", since=(1,))(lambda x: x)
    assert table.lookup("", "Mine", 20) is not None
