"""The corpus: the same models and inputs wherever it is made, and values that two judges share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxla.commands import main as cli
from onnxla.testing import Reference
from onnxla.testing.corpus import check_corpus, export_corpus
from onnxla.testing.corpus.entry import expected_of
from onnxla.testing.corpus.folder import MANIFEST
from onnxla.testing.corpus.seeded import Bits, SeededDraw
from onnxla.testing.operator_cases import case_with, operators
from onnxla.testing.outcomes import WRONG, runtime_of
from onnxla.testing.schemas import schema
from onnxla.testing.use import example
from onnxla.testing.wanted import Wanted
from support.small_runtimes import Doubling

OPERATORS = ("Add", "Conv", "Softmax", "SequenceInsert", "Optional", "StringNormalizer", "Loop")
# Of a case of each: other versions of Hypothesis and numpy must give the same.
DIGESTS = Path(__file__).with_name("corpus_digests.json")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "made"
    export_corpus(folder, 22, [*OPERATORS, "ai.onnx.ml.ZipMap"], count=2)
    return folder


def test_files_are_as_in_the_old_node_tests(corpus: Path) -> None:
    folder = corpus / "node" / "add_v14_000"
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    data = folder / "test_data_set_0"
    tensors = [onnx.TensorProto.FromString(p.read_bytes()) for p in sorted(data.glob("input_*"))]
    inputs = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
    (output,) = Reference().run(model.SerializeToString(), inputs)
    expected = onnx.TensorProto.FromString((data / "output_0.pb").read_bytes())
    assert expected.name == model.graph.output[0].name
    np.testing.assert_allclose(numpy_helper.to_array(expected), output, rtol=1e-5)


def test_the_manifest_says_why_values_are_right(corpus: Path) -> None:
    manifest = json.loads((corpus / MANIFEST).read_text())
    assert manifest["opset"] == 22
    assert {name.partition("_v")[0] for name in manifest["cases"]} == {
        *map(str.lower, OPERATORS),
        "ai_onnx_ml_zipmap",
    }
    for told in manifest["cases"].values():
        assert len(told["expected"]["judges"]) >= 2 or told["expected"]["text"]
        assert len(told["sha256"]) == 64


def test_runtimes_are_run_on_it(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {outcome.kind for _, outcome in check_corpus(corpus)} == {"agreed"}
    assert any(outcome.kind in WRONG for _, outcome in check_corpus(corpus, Doubling()))
    assert cli.main(["corpus", "check", str(corpus), "--runtime", "reference"]) == 0
    assert " agreed" in capsys.readouterr().out
    assert cli.main(["corpus", "check", str(corpus), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [*told["counts"]] == ["agreed"]
    assert told["wrong"] == []


def test_a_changed_file_is_told(corpus: Path, tmp_path: Path) -> None:
    made = export_corpus(tmp_path / "made", 22, ["Neg"], count=1)
    (name, *_) = made["cases"]
    file = tmp_path / "made" / "node" / name / "test_data_set_0" / "input_0.pb"
    if not file.exists():
        pytest.skip("the operand is stored")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="are not those of the manifest"):
        list(check_corpus(tmp_path / "made"))
    with pytest.raises(ValueError, match="is no corpus"):
        list(check_corpus(tmp_path))
    with pytest.raises(ValueError, match="goes into an empty folder"):
        export_corpus(tmp_path / "made", 22, ["Neg"])


def test_values_need_two_judges() -> None:
    case = example("Neg", 13, np.float32([1]))
    onnxla, reference = runtime_of("onnxla"), runtime_of("reference")
    entry = expected_of("neg", case, [onnxla, reference, Doubling()])
    assert entry is not None
    assert entry.judges == ("onnxla", "reference")
    assert entry.source == "float64, rounded once"
    assert expected_of("neg", case, [onnxla, Doubling()]) is None


def test_every_strategy_draws_from_a_seed() -> None:
    """None needs Hypothesis: a case of every operator, the same each time."""
    found = {}
    for (domain, name), versions in operators().items():
        drawing = SeededDraw(schema(name, versions[-1], domain), f"0/{name}", Wanted())
        found[f"{domain}.{name}"] = case_with(drawing).digest.hex()[:16]
    del found[".ImageDecoder"]  # its files are as the installed Pillow writes them
    assert found == json.loads(DIGESTS.read_text())


def test_numbers_come_from_the_seed_alone() -> None:
    bits = Bits("seed")
    assert [bits.word() for _ in range(2)] == [12723855736013197759, 10220568839831658679]
    assert {bits.integer(2, 4) for _ in range(50)} == {2, 3, 4}
    assert sorted(bits.permutation(5)) == [0, 1, 2, 3, 4]
    assert bits.integers(-2, 2, (3, 4), endpoint=True).shape == (3, 4)
    assert 0 <= bits.random() < 1


@pytest.mark.more
def test_the_corpus_of_the_newest_opset(tmp_path: Path) -> None:
    """Nearly every operator has a case, whose values those give who are said to."""
    opset = onnx.defs.onnx_opset_version()
    told = export_corpus(tmp_path / "made", opset, count=1, newest=True)["cases"]
    assert len(told) >= 250
    for runtime in ("onnxla", "onnxruntime"):
        wrong = [n for n, each in check_corpus(tmp_path / "made", runtime) if each.kind in WRONG]
        assert not [name for name in wrong if runtime in told[name]["expected"]["judges"]]
