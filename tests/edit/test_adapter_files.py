"""What trains beside adapters, and files of adapters: onnxla's own, PEFT's, ONNX Runtime's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import onnxla
from onnxla import ir
from support.small_models import header, linear, make

X = np.random.default_rng(5).standard_normal((4, 12)).astype(np.float32)


def dotted(text: str, **tensors: np.ndarray) -> bytes:
    """A model from ONNX's textual syntax, in which names have two underscores for a dot."""
    model = onnx.load_from_string(make(header() + text, **tensors))
    for node in model.graph.node:
        node.input[:] = [name.replace("__", ".") for name in node.input]
    return model.SerializeToString()


def network(seed: int = 7) -> bytes:
    rng = np.random.default_rng(seed)

    def f32(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    text = """ m (float[N, 12] x) => (float[N, 3] y) {
        h = Gemm <transB = 1> (x, encoder__in__weight, encoder__in__bias)
        a = Tanh (h)
        f = MatMul (a, encoder__out__weight)
        g = Tanh (f)
        y = Gemm (g, head__weight, head__bias)
    }"""
    tensors = {"encoder.in.weight": f32(16, 12), "encoder.in.bias": f32(16)}
    tensors |= {"encoder.out.weight": f32(16, 8), "head.weight": f32(8, 3), "head.bias": f32(3)}
    return dotted(text, **tensors)


def trained(module: onnxla.Module, seed: int = 1) -> onnxla.Module:
    """The module with other values for all that trains by default."""
    rng = np.random.default_rng(seed)
    return module.replace(
        {
            name: (0.3 * rng.standard_normal(value.shape)).astype(value.dtype)
            for name, value in module.partition()[0].items()
        }
    )


ADAPTERS = {f"encoder.{layer}.weight.lora_{part}" for layer in ("in", "out") for part in "AB"}
HEAD = {"head.weight", "head.bias"}

# What trains beside adapters


def test_what_is_asked_for_trains_beside_adapters_until_they_are_merged() -> None:
    base = onnxla.load(network())
    module = base.lora("encoder.*", rank=2, also_train="head.*")
    assert {*module.partition()[0]} == ADAPTERS | HEAD
    assert "weight 3 344 1 of 3 trainable" in " ".join(str(module.summary()).split())
    assert {*module.freeze("head.*")[0]} == ADAPTERS
    assert module.roles["head.weight"] == "weight"
    np.testing.assert_allclose(module(X), base(X), rtol=1e-5)
    # No pattern, and one that matches more, leave it without an adapter.
    for patterns in ((), ("*",)):
        other = base.lora(*patterns, rank=2, also_train=["head.weight", "head.bias"])
        assert {*other.partition()[0]} == ADAPTERS | HEAD
    again = onnxla.load(ir.write(module.to_ir(merge=False)))
    assert {*again.partition()[0]} == ADAPTERS | HEAD
    assert {*again.merge().partition()[0]} == {*base.params}
    assert ir.write(module.to_ir()) == network()


def test_a_new_head_gets_no_adapter_and_trains() -> None:
    base = onnxla.load(network()).replace_head("g", 5, name="new")
    module = base.lora("*", rank=2)
    new = {"new.weight", "new.bias"}
    assert {*module.partition()[0]} == ADAPTERS | new
    assert {*base.lora(rank=2).partition()[0]} == ADAPTERS | new
    again = onnxla.load(ir.write(module.to_ir(merge=False)))
    assert {*again.partition()[0]} == ADAPTERS | new
    with pytest.raises(ValueError, match=r"'new.\*': it is part of a new head, so it trains as a"):
        onnxla.load(ir.write(base.to_ir())).lora("new.*")
    found = onnxla.fit(module, (X, np.arange(4)), "cross_entropy", epochs=1, progress=False)
    changed = [n for n, v in found.module.params.items() if np.any(v != module.params[n])]
    assert {*changed} == {n for n in ADAPTERS if n.endswith("B")} | new


def test_what_cannot_train_as_a_whole() -> None:
    base = onnxla.load(network())
    with pytest.raises(ValueError, match=r"'head.\*': it is in also_train, so it trains as"):
        base.lora("head.*", also_train="head.*")
    module = base.lora("head.weight", rank=1)
    with pytest.raises(ValueError, match=r"'head.weight' has an adapter, so it cannot train as a"):
        module.lora("encoder.*", also_train="head.weight")
    with pytest.raises(ValueError, match=r"'head.weight.lora_A' is part of an adapter"):
        module.lora("encoder.*", also_train="head.weight.lora_A")
    with pytest.raises(ValueError, match="no parameter matches 'tail'"):
        base.lora("encoder.*", also_train="tail")


# Patterns that match adapters by accident


def test_a_pattern_that_matches_adapters_by_accident_is_an_error() -> None:
    module = onnxla.load(network()).lora("encoder.*", rank=2)
    message = r"'encoder.\*' matches the adapter 'encoder.in.weight.lora_A' beside 'encoder.in.bias"
    calls: list[Any] = [
        lambda: module.partition("encoder.*"),
        lambda: module.freeze("encoder.*"),
        lambda: module.labels({"encoder.*": "slow"}),
        lambda: module.apply_train(module.params, X, train="encoder.*"),
        lambda: module.lora("head.weight", also_train="encoder.*"),
        lambda: onnxla.fit(module, (X, X), "mse", train="encoder.*", progress=False),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()
    assert {*module.partition("encoder.*", roles=["adapter"])[0]} == ADAPTERS
    assert {*module.partition("encoder.*.lora_?")[0]} == ADAPTERS
    assert {*module.partition("encoder.in.weight", "head.*")[0]} == {"encoder.in.weight", *HEAD}
    assert {*module.freeze("*.in.weight.lora_?")[0]} == {n for n in ADAPTERS if ".out." in n}
    labels = module.labels({"*.lora_?": "fast", "*": "slow"})
    assert {n for n, label in labels.items() if label == "fast"} == ADAPTERS


# onnxla's own file, and PEFT's folder


def adapted(module: onnxla.Module) -> onnxla.Module:
    """Adapters of two ranks and scales, and a head."""
    module = module.lora("encoder.in.*", rank=2, alpha=3, also_train="head.*")
    return trained(module.lora("encoder.out.*", rank=3))


@pytest.mark.parametrize("form", ["onnxla", "peft"])
def test_what_trained_as_a_whole_is_saved_beside_adapters(form: Any, tmp_path: Path) -> None:
    base = onnxla.load(network())
    module = adapted(base)
    module.save_adapters(tmp_path / "a", form=form)
    again = base.load_adapters(tmp_path / "a")
    assert {*again.partition()[0]} == ADAPTERS | HEAD
    np.testing.assert_allclose(again(X), module(X), rtol=1e-6)
    again.save_adapters(tmp_path / "b", form=form)
    np.testing.assert_array_equal(base.load_adapters(tmp_path / "b")(X), again(X))
    wide = base.astype("float64").load_adapters(tmp_path / "a")
    assert wide.params["head.weight"].dtype == np.float64
    np.testing.assert_allclose(wide(X), module(X), rtol=1e-5)
    with pytest.raises(onnxla.ModelError, match="trained beside other weights"):
        onnxla.load(network(8)).load_adapters(tmp_path / "a")
    with pytest.raises(onnxla.ModelError, match=r"cannot load .* no such constant|of no weight"):
        onnxla.load(linear()).load_adapters(tmp_path / "a")


@pytest.mark.parametrize("form", ["onnxla", "peft"])
def test_a_new_head_is_saved_with_adapters(form: Any, tmp_path: Path) -> None:
    base = onnxla.load(network())
    module = trained(base.replace_head("g", 5, name="new").lora(rank=2))
    module.save_adapters(tmp_path / "a", form=form)
    # The head that is there before is another one; the file's takes its place.
    fresh = base.replace_head("g", 5, name="new", key=jax.random.key(9))
    np.testing.assert_allclose(fresh.load_adapters(tmp_path / "a")(X), module(X), rtol=1e-6)
    with pytest.raises(onnxla.ModelError, match=r"hold 'new.*of a new head, call replace_head"):
        base.load_adapters(tmp_path / "a")


def test_a_folder_has_the_names_and_shapes_of_peft(tmp_path: Path) -> None:
    base = onnxla.load(network())
    adapted(base).save_adapters(tmp_path / "a", form="peft")
    tensors = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert {name: x.shape for name, x in tensors.items()} == {
        "base_model.model.encoder.in.lora_A.weight": (2, 12),
        "base_model.model.encoder.in.lora_B.weight": (16, 2),
        "base_model.model.encoder.out.lora_A.weight": (3, 16),
        "base_model.model.encoder.out.lora_B.weight": (8, 3),
        "base_model.model.head.weight": (8, 3),
        "base_model.model.head.bias": (3,),
    }
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 3.0)
    assert config["rank_pattern"] == {"encoder.in": 2, "encoder.out": 3}
    assert config["target_modules"] == ["encoder.in", "encoder.out"]
    assert config["modules_to_save"] == ["head"]
    # The update as PEFT computes it, of a weight [outputs, inputs].
    a, b = (tensors[f"base_model.model.encoder.in.lora_{part}.weight"] for part in "AB")
    merged = adapted(base).merge().params["encoder.in.weight"]
    expected = base.params["encoder.in.weight"] + 1.5 * b @ a
    np.testing.assert_allclose(merged, expected, rtol=1e-5, atol=1e-6)


def test_embeddings_and_convolutions_in_peft(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = """ m (int64[N, 6] i) => (float[N, 5, 4] y) {
        e = Gather (table__weight, i)
        t = Transpose <perm = [0, 2, 1]> (e)
        y = Conv (t, conv__weight)
    }"""
    tensors = {"table.weight": (9, 8), "conv.weight": (5, 8, 3)}
    floats = {k: rng.standard_normal(v).astype(np.float32) for k, v in tensors.items()}
    base = onnxla.load(dotted(text, **floats))
    module = trained(base.lora("*", rank=2))
    module.save_adapters(tmp_path / "a", form="peft")
    saved = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert {name.removeprefix("base_model.model."): x.shape for name, x in saved.items()} == {
        "table.lora_embedding_A": (2, 9),
        "table.lora_embedding_B": (8, 2),
        "conv.lora_A.weight": (2, 8, 3),
        "conv.lora_B.weight": (5, 2, 1),
    }
    i = rng.integers(0, 9, (2, 6))
    np.testing.assert_array_equal(base.load_adapters(tmp_path / "a")(i), module(i))


def test_a_folder_is_untrusted(tmp_path: Path) -> None:
    base, folder = onnxla.load(network()), tmp_path / "a"
    trained(base.lora("encoder.*", rank=2)).save_adapters(folder, form="peft")
    path, tensors = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    config, arrays = json.loads(path.read_text()), load_file(tensors)

    def message(text: str = "", arrays: Any = arrays, **changes: Any) -> str:
        path.write_text(text or json.dumps({**config, **changes}))
        save_file(arrays, tensors)
        with pytest.raises(onnxla.ModelError) as caught:
            base.load_adapters(folder)
        return str(caught.value)

    assert "says use_dora=True; onnxla reads False" in message(use_dora=True)
    assert "says peft_type='IA3'" in message(peft_type="IA3")
    assert "malformed: it holds no entries" in message("[1]")
    assert "is malformed" in message("[" * 100_000)
    assert "cannot load" in message("{")
    assert "longer than" in message(" " * (2**20 + 1))
    assert "is malformed" in message(lora_alpha="many")
    assert "has alpha nan" in message(lora_alpha=float("nan"))
    assert "alpha_pattern has '(a+)+'" in message(alpha_pattern={"(a+)+": 1})
    key = "base_model.model.encoder.in.lora_A.weight"
    assert f"'{key}' is missing" in message(arrays={k: v for k, v in arrays.items() if k != key})
    assert "is F32[16, 2], not F32[16, 5]" in message(
        arrays={**arrays, key: np.zeros((5, 12), "f4")}
    )
    odd = {**arrays, "base_model.model.other.lora_A.weight": np.zeros((2, 2), "f4")}
    assert "'base_model.model.other.lora_A.weight' is of no weight" in message(arrays=odd)
    path.unlink()
    with pytest.raises(onnxla.ModelError, match="cannot load the adapters"):
        base.load_adapters(folder)


def test_a_folder_that_peft_wrote_itself(tmp_path: Path) -> None:
    base, folder = onnxla.load(network()), tmp_path / "a"
    trained(base.lora("encoder.*", rank=2)).save_adapters(folder, form="peft")
    tensors = folder / "adapter_model.safetensors"
    with safe_open(tensors, "numpy") as file:
        assert {*file.metadata()} == {"format", "onnxla.base", "onnxla.constants"}
    save_file(load_file(tensors), tensors, {"format": "pt"})
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": True}
    config |= {"alpha_pattern": {"out": 8}, "lora_dropout": 0.1, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    module = base.load_adapters(folder)
    scales = [float(module.params[f"encoder.{layer}.weight.lora_scale"]) for layer in ("in", "out")]
    assert scales == pytest.approx([4 / 2**0.5, 8 / 2**0.5])


def test_what_peft_has_no_adapters_of(tmp_path: Path) -> None:
    kernels = np.ones((4, 2, 3), np.float32)
    text = " m (float[N, 4, 8] x) => (y) { y = Conv <group = 2> (x, w) }"
    module = onnxla.load(make(header() + text, w=kernels)).lora("w", rank=1)
    with pytest.raises(ValueError, match=r"no adapters of a grouped convolution, such as .* 'w'"):
        module.save_adapters(tmp_path / "a", form="peft")
    assert not [*tmp_path.iterdir()]
    with pytest.raises(ValueError, match="form"):
        module.save_adapters(tmp_path / "a", form="pickle")  # type: ignore[arg-type]


# ONNX Runtime's adapters


def test_onnx_runtime_switches_adapters(tmp_path: Path) -> None:
    base = onnxla.load(network())
    empty = base.lora("encoder.*", rank=1, also_train="head.*")
    empty.save(tmp_path / "model.onnx", switchable=True)
    proto = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = {value.name for value in session.get_overridable_initializers()}
    assert names == ADAPTERS | HEAD
    assert [value.name for value in session.get_inputs()] == ["x"]

    def run(adapter: Path | None) -> np.ndarray:
        options = onnxruntime.RunOptions()
        loaded = onnxruntime.LoraAdapter()
        if adapter:
            loaded.Load(str(adapter))
            options.add_active_adapter(loaded)
        return session.run(None, {"x": X}, options)[0]

    modules = {"one": trained(empty), "two": adapted(base)}  # of other ranks and scales
    for name, module in modules.items():
        module.save_adapters(tmp_path / f"{name}.onnx_adapter", form="onnxruntime")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("model.onnx", "one.onnx_adapter", "two.onnx_adapter")
    }
    for name in ("one", None, "two", "one"):
        module = base if name is None else modules[name]
        found = run(None if name is None else tmp_path / f"{name}.onnx_adapter")
        np.testing.assert_allclose(found, module(X), rtol=1e-4, atol=1e-5)
    # onnxla reads the file, and its adapters are adapters there.
    again = onnxla.load(tmp_path / "model.onnx")
    assert again.input_names == ("x",)
    np.testing.assert_allclose(again(X), base(X), rtol=1e-5)
    assert {*again.partition()[0]} == ADAPTERS | HEAD


def test_a_switchable_file_holds_what_was_trained(tmp_path: Path) -> None:
    module = adapted(onnxla.load(network()))
    module.save(tmp_path / "model.onnx", switchable=True, check=X)
    again = onnxla.load(tmp_path / "model.onnx")
    assert not [name for name in again.params if name.endswith("scale")]
    np.testing.assert_allclose(again(X), module(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again.merge()(X), module(X), rtol=1e-4, atol=1e-5)
    (found,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"x": X})
    np.testing.assert_allclose(found, module(X), rtol=1e-4, atol=1e-5)


def test_what_onnx_runtime_cannot_switch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no adapters to switch"):
        onnxla.load(network()).to_ir(switchable=True)
    weight = np.ones((6, 5), ml_dtypes.bfloat16)
    text = " m (bfloat16[N, 6] x) => (y) { y = MatMul (x, w) }"
    module = onnxla.load(make(header() + text, w=weight)).lora("w", rank=1)
    with pytest.raises(onnxla.UnsupportedError, match="takes no bfloat16"):
        module.save_adapters(tmp_path / "a", form="onnxruntime")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("form", ["onnxla", "peft"])
def test_running_statistics_go_along_with_what_trains(form: Any, tmp_path: Path) -> None:
    text = """ m (float[N, 12] x) => (float[N, 3] y) {
        a = MatMul (x, w) n = BatchNormalization (a, s, b, m, v) y = MatMul (n, h)
    }"""
    rng = np.random.default_rng(0)
    ones = np.ones(5, np.float32)
    tensors = {"w": rng.normal(size=(12, 5)), "h": rng.normal(size=(5, 3))}
    matrices = {name: value.astype(np.float32) for name, value in tensors.items()}
    norm = {"s": ones, "b": 0 * ones, "m": 2 * ones, "v": 3 * ones}
    base = onnxla.load(make(header(17) + text, **matrices, **norm))
    module = base.lora("w", rank=2, also_train=["s", "b"])
    targets = rng.normal(size=(4, 3)).astype(np.float32)
    tuned = onnxla.fit(module, (X, targets), "mse", steps=2, progress=False).module
    assert (np.asarray(tuned.params["m"]) != 2).all()
    tuned.save_adapters(tmp_path / "adapters", form=form)
    again = base.load_adapters(tmp_path / "adapters")
    np.testing.assert_array_equal(again.params["m"], tuned.params["m"])
    np.testing.assert_array_equal(again(X), tuned(X))
