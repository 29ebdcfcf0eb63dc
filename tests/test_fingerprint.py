"""What a model is known by, and files of earlier versions that know it otherwise."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxla
from onnxla import ir
from onnxla.ir.fingerprint import fingerprint
from small_models import header, make

ROOT = Path(__file__).resolve().parent
VERSIONS = sorted(path.name for path in (ROOT / "old_files").iterdir())
W = np.float32([[1, 2], [3, 4]])

TEXT = (
    '<ir_version: 9, opset_import: ["": 20, "l": 1]>'
    """ m (float[N, 2] x, bool c) => (float[N, 2] y) {
        h = MatMul (x, w)
        a = LeakyRelu <alpha = 0.25> (h)
        b = l.f <beta = 0.5> (a)
        y = If (c) <
            then_branch = t () => (p) { p = Elu <alpha = 2.0> (b) },
            else_branch = e () => (q) { q = Neg (b) }
        >
    }
    <domain: "l", opset_import: ["": 20]> f <beta> (u) => (v) {
        k = Constant <value_float: float = @beta> ()
        v = Mul (u, k)
    }"""
)


def model() -> onnx.ModelProto:
    return onnx.load_from_string(make(TEXT, w=W))


def hashed(proto: onnx.ModelProto) -> str:
    return fingerprint(ir.read(proto))


Change = Callable[[onnx.ModelProto], Any]

DIFFERENT: dict[str, Change] = {
    "an attribute": lambda m: setattr(m.graph.node[1].attribute[0], "f", 0.5),
    "an attribute that is another kind of number": lambda m: (
        m.graph.node[1].attribute[0].CopyFrom(helper.make_attribute("alpha", 1))
    ),
    "an attribute more": lambda m: m.graph.node[0].attribute.append(helper.make_attribute("z", 0)),
    "an attribute of a node in a subgraph": lambda m: setattr(
        m.graph.node[3].attribute[0].g.node[0].attribute[0], "f", 1.0
    ),
    "a node in a subgraph": lambda m: setattr(
        m.graph.node[3].attribute[1].g.node[0], "op_type", "Abs"
    ),
    "a node in a function": lambda m: setattr(m.functions[0].node[1], "op_type", "Add"),
    "a function's opsets": lambda m: setattr(m.functions[0].opset_import[0], "version", 19),
    "an attribute of a call": lambda m: setattr(m.graph.node[2].attribute[0], "f", 0.25),
    "opsets": lambda m: setattr(m.opset_import[0], "version", 19),
    "a number": lambda m: m.graph.initializer[0].CopyFrom(numpy_helper.from_array(-W, "w")),
    "a sign of zero": lambda m: m.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(W * 0 * -1, "w")
    ),
    "a shape": lambda m: m.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(W.reshape(1, 4), "w")
    ),
    "a dtype": lambda m: m.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(W.view(np.int32), "w")
    ),
    "a domain": lambda m: setattr(m.graph.node[0], "domain", "l"),
    "an operand": lambda m: m.graph.node[0].input.reverse(),
    "an absent operand": lambda m: m.graph.node[0].input.append(""),
    "the order of inputs": lambda m: m.graph.input.reverse(),
    "outputs": lambda m: m.graph.output.append(onnx.ValueInfoProto(name="h")),
    "a mark of ours": lambda m: m.graph.node[0].metadata_props.add(key="onnxla.x", value="1"),
}

SAME: dict[str, Change] = {
    "nothing": lambda m: None,
    "the name of a node": lambda m: setattr(m.graph.node[0], "name", "first"),
    "the name of the graph": lambda m: setattr(m.graph, "name", "other"),
    "documentation": lambda m: setattr(m, "doc_string", "a model"),
    "the producer": lambda m: setattr(m, "producer_name", "somebody"),
    "metadata": lambda m: m.metadata_props.add(key="author", value="me"),
    "the order of attributes": lambda m: m.graph.node[3].attribute.reverse(),
    "how data is written": lambda m: m.graph.initializer[0].CopyFrom(
        helper.make_tensor("w", onnx.TensorProto.FLOAT, W.shape, W.ravel())
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_decides_what_is_computed_changes_it(what: str) -> None:
    changed = model()
    if what == "a sign of zero":
        plain = model()
        plain.graph.initializer[0].CopyFrom(numpy_helper.from_array(W * 0, "w"))
        DIFFERENT[what](changed)
        assert hashed(changed) != hashed(plain)
        return
    DIFFERENT[what](changed)
    assert hashed(changed) != hashed(model())


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_leaves_it(what: str) -> None:
    changed = model()
    SAME[what](changed)
    assert hashed(changed) == hashed(model())


def test_it_is_known_for_good() -> None:
    # Files have it: another hash is another format, which says so.
    assert hashed(model()) == "a340423935b24f13e35c5562569c95cbb512b459546484f3409494020753ec14"


def test_that_of_a_module_follows_its_parameters() -> None:
    module = onnxla.load(model())
    other = module.replace({"w": W + 1})
    assert module.fingerprint() != other.fingerprint()
    assert other.replace({"w": W}).fingerprint() == module.fingerprint()
    assert other.fingerprint() == onnxla.load(ir.write(other.to_ir())).fingerprint()


def test_texts_and_sparse_tensors_are_hashed() -> None:
    texts = [np.array(["a", "b"], object), np.array(["ab", ""], object)]
    found = {
        hashed(onnx.load_from_string(make(header() + " m () => (y) { y = Identity (t) }", t=t)))
        for t in texts
    }
    for values in ([1.0, 2.0], [1.0, 3.0]):
        proto = onnx.load_from_string(make(header() + " m () => (y) { y = Identity (t) }"))
        proto.graph.sparse_initializer.append(
            helper.make_sparse_tensor(
                helper.make_tensor("t", onnx.TensorProto.FLOAT, [2], values),
                helper.make_tensor("i", onnx.TensorProto.INT64, [2], [0, 2]),
                [3],
            )
        )
        found.add(hashed(proto))
    assert len(found) == 4


# Adapters and checkpoints


def leaky(alpha: float, **metadata: str) -> onnxla.Module:
    text = f" m (float[N, 2] x) => (y) {{ h = MatMul (x, w) y = LeakyRelu <alpha = {alpha}> (h) }}"
    return onnxla.load(make(header() + text, w=W))


def test_adapters_are_of_one_model_attributes_included(tmp_path: Path) -> None:
    leaky(0.25).lora("w", rank=1).save_adapters(tmp_path / "a")
    assert set(leaky(0.25).load_adapters(tmp_path / "a").partition()[0]) == {
        "w.lora_A",
        "w.lora_B",
    }
    with pytest.raises(onnxla.ModelError, match="another model with the same weights: its opsets"):
        leaky(0.5).load_adapters(tmp_path / "a")


@pytest.mark.parametrize("first", ["lora", "dropout"])
def test_adapters_trained_with_dropout_fit_the_model_without(tmp_path: Path, first: str) -> None:
    base = leaky(0.25)
    if first == "lora":
        module = base.lora("w", rank=1).insert_dropout("h")
    else:
        module = base.insert_dropout("h").lora("w", rank=1)
    module = module.replace({"w.lora_B": np.ones((1, 2), np.float32)})
    module.save_adapters(tmp_path / "a")
    x = np.float32([[1, -1]])
    for other in (base, base.insert_dropout("*")):
        np.testing.assert_array_equal(other.load_adapters(tmp_path / "a")(x), module(x))


def test_adapters_of_a_format_to_come_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    leaky(0.25).lora("w", rank=1).save_adapters(tmp_path / "a")
    save_file(load_file(tmp_path / "a"), tmp_path / "a", {"format": "onnxla.lora.3"})
    with pytest.raises(
        onnxla.ModelError, match=r"format is 'onnxla.lora.3'; .* reads onnxla.lora.1 and"
    ):
        leaky(0.25).load_adapters(tmp_path / "a")


def run(alpha: float, folder: Path, epochs: int) -> onnxla.FitResult:
    x = np.float32([[1, 2], [-1, 1]])
    return onnxla.fit(leaky(alpha), (x, x), "mse", epochs=epochs, checkpoint=folder, progress=False)


def test_a_checkpoint_is_of_one_model_attributes_included(tmp_path: Path) -> None:
    run(0.25, tmp_path, 1)
    assert len(run(0.25, tmp_path, 2).history.loss) == 2
    with pytest.raises(onnxla.CheckpointError, match=r"of another run: model was \w{64}, is"):
        run(0.5, tmp_path, 3)


def test_a_checkpoint_of_a_format_to_come_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxla.train import checkpoints

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "FORMAT", 3)
        run(0.25, tmp_path, 1)
    with pytest.raises(onnxla.CheckpointError, match=r"has format 3; this version .* up to 2"):
        run(0.25, tmp_path, 2)


# Files of earlier versions


def tool() -> Any:
    """The script that made the files, with the model, data and run that they are of."""
    path = ROOT.parent / "tools" / "make_old_files.py"
    spec = importlib.util.spec_from_file_location("make_old_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest) -> Path:
    return ROOT / "old_files" / request.param


def test_old_adapters_load(old: Path) -> None:
    base = onnxla.load(old / "model.onnx")
    module = base.load_adapters(old / "adapters.safetensors")
    x, _ = tool().old_data()
    np.testing.assert_allclose(module(x), np.load(old / "adapted.npy"), rtol=1e-5, atol=1e-6)
    assert not np.allclose(module(x), base(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(onnxla.ModelError, match="trained beside other weights"):
        onnxla.load(base.replace({"v": base.params["v"] + 1}).to_ir()).load_adapters(
            old / "adapters.safetensors"
        )


def test_an_old_run_goes_on(old: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(old / "checkpoint.zip") as archive:
        archive.extractall(tmp_path)
    module = onnxla.load(old / "model.onnx")
    resumed = tool().old_run(module, 3, tmp_path / "checkpoint")
    whole = tool().old_run(module, 3, None)
    assert len(resumed.history.loss) == 6
    np.testing.assert_allclose(resumed.history.loss, whole.history.loss, rtol=1e-5)
    for name, value in whole.module.params.items():
        np.testing.assert_allclose(resumed.module.params[name], value, rtol=1e-5, atol=1e-6)
    again = tool().old_run(module, 4, tmp_path / "checkpoint")  # from a checkpoint of today
    assert len(again.history.loss) == 8


def test_an_old_run_of_another_model_does_not_go_on(old: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(old / "checkpoint.zip") as archive:
        archive.extractall(tmp_path)
    module = onnxla.load(old / "model.onnx")
    other = module.replace({"w": module.params["w"] + 1})
    with pytest.raises(onnxla.CheckpointError, match=r"of another run: model was \w{16}, is"):
        tool().old_run(other, 3, tmp_path / "checkpoint")
