"""Parts of a model: what `cut` makes of its parameters, and `paste` puts back; copies, exports."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onnxla
from support.small_models import BIAS, WEIGHT, header, linear, make

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3)).astype(np.float32)
ONES, ZEROS = np.ones(2, np.float32), np.zeros(2, np.float32)


def normalized() -> onnxla.Module:
    """[N, 3] to h [N, 2], normalized to n, and y = n @ v."""
    text = """ m (float[N, 3] x) => (float[N, 2] y) {
        h = MatMul (x, w) n = BatchNormalization (h, s, b, mean, var) y = MatMul (n, v)
    }"""
    v = RNG.standard_normal((2, 2)).astype(np.float32)
    return onnxla.load(make(header() + text, w=WEIGHT, v=v, s=ONES, b=ZEROS, mean=ZEROS, var=ONES))


def test_what_was_trained_in_a_part_goes_back() -> None:
    whole = normalized()
    part = whole.cut(outputs=["n"])
    target = np.zeros((6, 2), np.float32)
    trained = onnxla.fit(part, (X, target), "mse", epochs=2, progress=False).module
    back = whole.paste(trained)
    assert {k for k, v in back.params.items() if v is not whole.params[k]} == set(part.params)
    np.testing.assert_array_equal(back.cut(outputs=["n"])(X), trained(X))
    assert np.any(back.params["mean"] != whole.params["mean"])


def test_a_shape_in_the_whole_and_a_parameter_in_the_part() -> None:
    text = """ m (float[1, 1, 2, 4] x) => (float[A, B, C, D] y) {
        h = Mul (x, s) y = Resize (h, , s)
    }"""
    scales = np.float32([1, 1, 2, 2])
    whole = onnxla.load(make(header() + text, s=scales))
    assert not whole.params
    part = whole.cut(outputs=["h"])
    assert set(part.params) == {"s"}
    x = np.ones((1, 1, 2, 4), np.float32)
    np.testing.assert_array_equal(part(x), x * scales)
    assert not whole.paste(part).params  # as it was: nothing to tell
    with pytest.warns(match=r"'s' was trained in the part, but is no parameter of the whole"):
        whole.paste(part.replace({"s": scales + 1}))


def test_a_parameter_of_the_whole_and_an_exponent_in_the_part() -> None:
    text = " m (float[3] x) => (float[3] y) { h = Pow (x, e) y = Mul (h, e) }"
    whole = onnxla.load(make(header() + text, e=np.float32(2))).replace({"e": np.float32(3)})
    part = whole.cut(outputs=["h"])
    assert not part.params
    np.testing.assert_allclose(part(X[0]), X[0] ** 3, rtol=1e-6)
    np.testing.assert_array_equal(whole.paste(part)(X[0]), whole(X[0]))


def test_names_in_subgraphs_that_the_part_spells_otherwise() -> None:
    branches = "\n".join(
        f"""h{i} = If (c) <
            then_branch = t () => (float[N, 2] r) <float[2] k = {{{i}, 1}}> {{ r = Add (a, k) }},
            else_branch = e () => (float[N, 2] r) {{ r = Identity (a) }}
        >"""
        for i in (1, 2)
    )
    text = f""" m (float[N, 3] x, bool c) => (float[N, 2] y) {{
        a = MatMul (x, w)
        {branches}
        y = Add (h1, h2)
    }}"""
    whole = onnxla.load(make(header() + text, w=WEIGHT))
    assert set(whole.params) == {"w", "h1/then_branch/k", "h2/then_branch/k"}
    part = whole.cut(outputs=["h2"])
    assert set(part.params) == {"w", "k"}
    back = whole.paste(part.replace({"k": BIAS}))
    np.testing.assert_array_equal(back.params["h2/then_branch/k"], BIAS)
    np.testing.assert_array_equal(back.params["h1/then_branch/k"], np.float32([1, 1]))
    np.testing.assert_array_equal(back.replace_head("h2", 3).params["k"], BIAS)


def test_what_belongs_to_the_part_alone() -> None:
    whole = normalized()
    part = whole.cut(outputs=["n"]).lora("w", rank=1)
    part = part.replace({"w.lora_B": part.params["w.lora_B"] + 1})
    with pytest.raises(ValueError, match=r"no 'w\.lora_A', 'w\.lora_B', .*part\.merge\(\)"):
        whole.paste(part)
    back = whole.paste(part.merge())
    np.testing.assert_allclose(back.apply(back.params, X, outputs=["n"]), part(X), rtol=1e-4)


# Copies and exports, also of what has been called


def called(module: onnxla.Module, x: Any = X) -> onnxla.Module:
    """The module after a call, and one under a caller's jit."""
    module(x)
    jax.jit(module.apply)(module.params, x)
    return module


MADE: dict[str, Callable[[], onnxla.Module]] = {
    "loaded": lambda: called(onnxla.load(linear())),
    "batched": lambda: called(onnxla.load(linear()).batched(), X[None]),
    "adapted": lambda: called(onnxla.load(linear()).lora("w", rank=1)),
    "cut": lambda: called(normalized().cut(outputs=["n"])),
    "upgraded": lambda: called(normalized().upgrade()),
    "trained": lambda: called(
        onnxla.fit(normalized(), (X, X[:, :2]), "mse", progress=False).module
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_copies(name: str) -> None:
    module = MADE[name]()
    x = X[None] if name == "batched" else X
    for same in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module), copy.copy(module)):
        np.testing.assert_allclose(same(x), module(x), rtol=1e-5)
        assert dict(same.roles) == dict(module.roles)
    apply = pickle.loads(pickle.dumps(module.apply))
    np.testing.assert_allclose(apply(module.params, x), module(x), rtol=1e-5)


@pytest.mark.parametrize("name", MADE)
def test_exports(name: str) -> None:
    module = MADE[name]()
    x = X[None] if name == "batched" else X
    functions = {
        "apply": (jax.jit(module.apply), (module.params, x)),
        "call": (jax.jit(module), (x,)),
        "gradient": (
            jax.jit(jax.grad(lambda p, x: jnp.sum(module.apply_train(p, x)[0]))),
            (module.params, x),
        ),
    }
    for function, arguments in functions.values():
        written = jax.export.export(function)(*arguments).serialize()
        got = jax.export.deserialize(written).call(*arguments)
        jax.tree.map(np.testing.assert_allclose, got, function(*arguments))


def test_a_copy_of_a_file_with_data_beside_it(tmp_path: Path) -> None:
    onnxla.load(linear()).save(tmp_path / "m.onnx", external_data=True)
    module = called(onnxla.load(tmp_path / "m.onnx"))
    pickle.loads(pickle.dumps(module)).save(tmp_path / "copy.onnx")
    np.testing.assert_array_equal(onnxla.load(tmp_path / "copy.onnx")(X), module(X))


def test_float64_stays_float64_in_copies() -> None:
    module = onnxla.load(linear()).astype("float64")
    module = module.replace({"w": np.asarray(module.params["w"]) + 1e-12})
    for same in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert same.params["w"].dtype == np.float64
        np.testing.assert_array_equal(same.params["w"], module.params["w"])
        np.testing.assert_array_equal(same(X), module(X))
