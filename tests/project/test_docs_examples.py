"""Every block of Python on a page of `docs/` is run, here or in the file that is named here."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import pytest

import onnxla
from onnxla.ops import table
from onnxla.testing.operator_cases import STRATEGIES, operators
from support.decoders import Sizes, gpt
from support.small_models import header, make

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
# Pages whose blocks have a test of their own.
ELSEWHERE = {
    "docs/adding_an_operator.md": "testing/test_testing.py",
    "docs/deployment.md": "project/test_deployment_docs.py",
    "docs/finetuning.md": "project/test_finetuning_docs.py",
    "docs/drawing.md": "project/test_drawing_docs.py",
    "docs/generation.md": "project/test_generation_docs.py",
    "docs/testing_ci.md": "testing/test_continuous_integration.py",
    "docs/testing_runtimes.md": "project/test_testing_runtimes_docs.py",
}
# Generated with code that is run where it is generated from.
GENERATED = "docs/findings/"


def classifier() -> bytes:
    """x [N, 4] to logits [N, 3]."""
    rng = np.random.default_rng(0)
    text = " m (float[N, 4] x) => (float[N, 3] y) { h = MatMul (x, w) y = Add (h, b) }"
    weight = rng.normal(size=(4, 3)).astype(np.float32)
    model = onnx.load_from_string(make(header() + text, w=weight, b=np.zeros(3, np.float32)))
    # The textual syntax has no such names.
    model.graph.initializer[0].name = model.graph.node[0].input[1] = "encoder.w"
    return model.SerializeToString()


def tagger() -> bytes:
    """Tokens and their mask [N, seq] to logits [N, seq, 9]."""
    rng = np.random.default_rng(0)
    text = """ m (int64[N, seq] ids, int64[N, seq] attention_mask) => (float[N, seq, 9] z) {
        e = Gather (w, ids) m = Cast <to = 1> (attention_mask) k = Unsqueeze (m, last)
        h = Mul (e, k) z = MatMul (h, v)
    }"""
    tables = {"w": rng.normal(size=(9, 8)), "v": rng.normal(size=(8, 9))}
    tensors = {name: value.astype(np.float32) for name, value in tables.items()}
    return make(header() + text, **tensors, last=np.array([-1]))


def given() -> dict[str, Any]:
    """What a page takes for granted: data of a few samples."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.int32)
    return {"onnxla": onnxla, "x": x, "labels": labels, "path": "model.onnx"}


def one_device(code: str) -> str:
    """The meshes of a page with as many devices as there are."""
    return code.replace("make_mesh((4,)", f"make_mesh(({jax.device_count()},)")


def check_quantized(names: dict[str, Any]) -> None:
    """Integers that were trained are integers again."""
    before, after = ({t.name: t.dtype for t in initializers(p)} for p in ("small", "tuned"))
    assert before == after
    assert np.dtype(np.int8) in after.values()


def initializers(name: str) -> Any:
    return onnxla.ir.read(f"{name}.onnx").graph.initializers


def check_start(names: dict[str, Any]) -> None:
    assert onnxla.load("tuned.onnx").fingerprint() == names["result"].module.fingerprint()


def check_data(names: dict[str, Any]) -> None:
    assert {len(each) for each in names["tags"]} == {len(each["ids"]) for each in names["samples"]}


def check_coming(names: dict[str, Any]) -> None:
    assert {*names["gradient"]} == {"encoder.w", "b"}


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "docs/coming_from.md": check_coming,
    "docs/data.md": check_data,
    "docs/quantization.md": check_quantized,
    "docs/start.md": check_start,
}


def blocks(page: str) -> list[tuple[str, str]]:
    """The code of a page, each with what the page says that it prints."""
    text = (ROOT / page).read_text()
    printed = r"(?:\n```text\n(.*?)```\n)?"
    return re.findall(rf"^```python\n(.*?)```\n{printed}", text, re.DOTALL | re.MULTILINE)


def masked(text: str) -> str:
    """A text without the digits that another machine may change."""
    return re.sub(r"\d+\.\d+(e[+-]\d+)?", "#", text).strip()


PAGES = [
    page
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if blocks(page := str(path.relative_to(ROOT))) and not page.startswith(GENERATED)
]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ELSEWHERE])
def test_the_examples(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("model.onnx").write_bytes(classifier())
    Path("tagger.onnx").write_bytes(tagger())
    Path("decoder.onnx").write_bytes(gpt(Sizes(longest=512)))
    operators()  # has the strategies of operators, before a page adds one
    names, strategies, mesh = given(), dict(STRATEGIES), jax.sharding.get_mesh()
    (own_operator,) = (code for code, _ in blocks("README.md") if '@onnxla.op("MyOp"' in code)
    try:
        exec(own_operator, {**names, "jax": jax})
        for code, printed in blocks(page):
            if name := re.match(r"# (\w+\.py)\n", code):  # a file of its own
                Path(name[1]).write_text(code)
            out = io.StringIO()
            with redirect_stdout(out), jax.numpy_dtype_promotion("standard"):
                exec(compile(one_device(code), page, "exec"), names)
            if printed:
                assert masked(out.getvalue()) == masked(printed)
    finally:
        jax.set_mesh(mesh)
        table.TABLE.pop(("my.domain", "MyOp"))
        STRATEGIES.clear()
        STRATEGIES.update(strategies)
    if page in CHECKS:
        CHECKS[page](names)


@pytest.mark.parametrize("page", ELSEWHERE)
def test_other_pages_have_a_test_of_their_own(page: str) -> None:
    assert page in PAGES
    assert page.removeprefix("docs/") in (TESTS / ELSEWHERE[page]).read_text()


def test_code_is_marked_as_python() -> None:
    """A block that looks like Python and is not marked would not be run."""
    for path in (ROOT / "docs").rglob("*.md"):
        for block in re.findall(r"^```\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE):
            if re.match(r"(import|from) \w+", block):
                assert "jax.distributed" in block, path  # wants several processes
