"""Examples in the docstrings of public names run, on small models."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import optax
import pytest
from hypothesis import given, settings

import onnxla
import onnxla.testing.pytest
from onnxla.ops import table
from onnxla.testing.operator_cases import STRATEGIES, operators
from support.decoders import Sizes, gpt
from support.small_models import header, make

MODULES = (
    "onnxla",
    "onnxla.losses",
    "onnxla.loggers",
    "onnxla.backend",
    "onnxla.generate",
    "onnxla.ir",
    "onnxla.testing",
    "onnxla.testing.pytest",
)
# They import names from other rooms.
ADAPTED = ("onnxla.backend", "onnxla.testing.pytest")
# What only the plugin of pytest calls.
WITHOUT = ("onnxla.testing.pytest.fail", "onnxla.testing.pytest.outcome_in")


def example_in(docstring: str | None) -> str:
    """The indented block after `For example:`."""
    found = re.search(
        r"For example:\n\n((?:(?: {4}.*)?\n)+)", inspect.cleandoc(docstring or "") + "\n"
    )
    return textwrap.dedent(found[1]) if found else ""


def own(module: str) -> Iterator[tuple[str, Any]]:
    """The public names of a module that are functions or classes of onnxla."""
    there = importlib.import_module(module)
    for name in getattr(there, "__all__", vars(there)):
        value = getattr(there, name)
        twice = name.startswith("_") or (module == "onnxla.ir" and name in onnxla.__all__)
        home = module if module in ADAPTED else "onnxla"
        is_documented = inspect.isfunction(value) or inspect.isclass(value)
        if is_documented and not twice and value.__module__.startswith(home):
            yield name, value


def documented() -> dict[str, str]:
    """The example, or nothing, of each public name and of its public members."""
    found = {}
    for module in MODULES:
        for name, value in own(module):
            found[f"{module}.{name}"] = example_in(value.__doc__)
            for member, function in vars(value).items() if inspect.isclass(value) else ():
                function = getattr(function, "__func__", function)  # of a class or static method
                attribute = isinstance(function, property | functools.cached_property)
                known = inspect.isfunction(function) or attribute
                if known and (not member.startswith("_") or member == "__call__"):
                    found[f"{module}.{name}.{member}"] = example_in(function.__doc__)
    return found


EXAMPLES = documented()
RNG = np.random.default_rng(0)


def f32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape, scale=0.3).astype(np.float32)


def two_layers(batch: str = "N", dropout: str = "") -> bytes:
    """x to logits by way of `features`; its weights are `encoder.w`, `head.w` and `head.b`."""
    text = f""" m (float[{batch}, 8] x) => (float[{batch}, 3] y) {{
        h = MatMul (x, w1) features = Relu (h) {dropout or "d = Identity (features)"}
        z = MatMul (d, w2) y = Add (z, b2)
    }}"""
    more = {"ratio": np.float32(0.5), "training": np.array(True)} if dropout else {}
    file = make(header() + text, w1=f32(8, 16), w2=f32(16, 3), b2=f32(3), **more)
    model = onnx.load_from_string(file)
    names = {"w1": "encoder.w", "w2": "head.w", "b2": "head.b"}  # no names of the textual syntax
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return model.SerializeToString()


def plain(
    body: str, opset: int = 20, inputs: str = "float[N, 8] x", **tensors: np.ndarray
) -> bytes:
    return make(f"{header(opset)} m ({inputs}) => (float y) {{ {body} }}", **tensors)


def write_models() -> None:
    """The files that examples name."""
    deep = " ".join(f"h{i} = MatMul (h{i - 1}, w{i}) " for i in range(1, 6)).replace("h0", "x")
    files = {
        "model": two_layers(),
        "single": two_layers(batch="1"),
        "training": two_layers(dropout="d = Dropout (features, ratio, training)"),
        "deep": plain(f"{deep} y = Identity (h5)", **{f"w{i}": f32(8, 8) for i in range(1, 6)}),
        "decoder": gpt(Sizes(longest=256)),
        "sized": plain("y = Reshape (x, sizes)", inputs="float[N, 8] x, int64[2] sizes"),
        "old": plain("y = Relu (x)", opset=9),
        "rounded": plain("h = Mul (x, w) y = Round (h)", w=f32(8)),
        "shared": plain("h = MatMul (x, w) r = Relu (h) y = MatMul (r, w)", w=f32(8, 8)),
        "copied": copied(),
        "quantized": quantized(),
    }
    for name, data in files.items():
        Path(f"{name}.onnx").write_bytes(data)


def copied() -> bytes:
    """An embedding, and a head whose weight is its transpose."""
    w = f32(12, 8)
    body = "e = Gather (w, ids) y = MatMul (e, v)"
    return plain(body, inputs="int64[N] ids", w=w, v=np.ascontiguousarray(w.T))


def quantized() -> bytes:
    body = """w = DequantizeLinear (q, scale) y = MatMul (x, w)"""
    q = RNG.integers(-100, 100, (8, 3)).astype(np.int8)
    return plain(body, q=q, scale=np.float32(0.01))


def given_names() -> dict[str, Any]:
    """What an example may use without saying where it comes from."""
    x = np.random.default_rng(1).normal(size=(32, 8)).astype(np.float32)
    write_models()
    names = {"onnxla": onnxla, "np": np, "jax": jax, "onnx": onnx, "optax": optax}
    names |= {"dataclasses": dataclasses, "given": given, "settings": settings}
    module = onnxla.load("model.onnx")
    return names | {"module": module, "x": x, "labels": np.arange(32, dtype=np.int32) % 3}


@pytest.mark.quickly
@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example])
def test_the_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = given_names()
    if "WandB" in EXAMPLES[name]:
        pytest.importorskip("wandb")
    if "sklearn" in EXAMPLES[name]:
        names["sklearn"] = pytest.importorskip("sklearn")
        pytest.importorskip("sklearn.metrics")
    operators()
    before, strategies = {*table.TABLE}, dict(STRATEGIES)
    try:
        with jax.numpy_dtype_promotion("standard"):
            exec(compile(EXAMPLES[name], name, "exec"), names)
    finally:
        for added in {*table.TABLE} - before:
            table.TABLE.pop(added)
        STRATEGIES.clear()
        STRATEGIES.update(strategies)


def test_every_public_name_has_an_example() -> None:
    """Every function, every class, and every method of `Module`."""
    names = [f"{module}.{name}" for module in MODULES for name, _ in own(module)]
    names += [name for name in EXAMPLES if name.startswith("onnxla.Module.")]
    assert len(names) > 140
    assert not [name for name in names if name not in WITHOUT and not EXAMPLES[name]]


def test_every_public_name_has_a_docstring() -> None:
    for module in MODULES:
        for name, value in own(module):
            assert value.__doc__, f"{module}.{name}"
            assert value.__doc__.strip() != (object.__init__.__doc__ or "")
