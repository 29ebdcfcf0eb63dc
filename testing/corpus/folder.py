"""The corpus in a folder: `node/NAME/model.onnx`, `test_data_set_0/input_0.pb`, and a manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import onnx

from onnxla.ir.names import quoted
from onnxla.peers.command import as_message, read_message
from onnxla.peers.difference import Tolerance
from onnxla.peers.protocol import Runtime
from onnxla.testing.case import Case
from onnxla.testing.corpus.entry import Entry, entries
from onnxla.testing.operator_cases import operators, select_operators
from onnxla.testing.outcomes import JUDGES, Outcome, is_there, judge_answer, runtime_of

MANIFEST = "manifest.json"
LICENCE = "Apache-2.0"


def export_corpus(
    folder: str | Path,
    opset: int,
    patterns: Sequence[str] = (),
    count: int = 10,
    seed: int = 0,
    newest: bool = False,
    progress: Callable[[str, int], Any] = lambda name, made: None,
) -> dict[str, Any]:
    """Writes cases with expected values of every operator at every schema version up to an opset.

    Each is a folder of `node`, as in the tests that onnx had: `model.onnx`, and in
    `test_data_set_0` `input_0.pb`, `output_0.pb` and so on. `manifest.json` says of each the
    SHA-256 of the model and the inputs, the tolerance, and who agrees on the outputs. These are
    written where two of onnxla, onnx's reference evaluator and ONNX Runtime agree, or where one has
    a fault on record and the specification's text decides.

    Args:
        folder: Where it goes; it must not be there, or be empty.
        opset: Of ONNX's own operators; those of other domains have all their versions.
        patterns: Names of operators, as of `select_operators`; all if there are none.
        count: How many of each version.
        seed: The same one gives the same models and inputs.
        newest: Whether only the version of each operator is written that holds in the opset.
        progress: Called with each operator and how many entries it has.

    Returns:
        The manifest.

    Raises:
        ValueError: The folder has files, or a judge is not installed.
    """
    root = Path(folder)
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"{quoted(root)} has files; a corpus goes into an empty folder")
    if missing_judges := [name for name in JUDGES if not is_there(name)]:
        text = "expected values are those on which two of three agree, and there is no"
        raise ValueError(f"{text} {missing_judges[0]}: install the extra `compare`")
    judges = [runtime_of(name) for name in JUDGES]
    cases: dict[str, Any] = {}
    missing: dict[str, int] = {}
    for operator in select_operators(list(patterns), opset):
        made = 0
        versions = [v for v in operators()[operator] if operator[0] or v <= opset]
        for version in versions[-1:] if newest else versions:
            of_version = 0
            for entry in entries(operator, version, count, judges, seed):
                cases[entry.name] = write_entry(root / "node" / entry.name, entry)
                of_version += 1
            made += of_version
            if of_version < count:
                missing[f"{operator[0] or 'ai.onnx'}.{operator[1]}-{version}"] = of_version
        progress(operator[1], made)
    names = ("onnxla", "onnx", "onnxruntime", "numpy")
    manifest = {
        "opset": opset,
        "seed": seed,
        "count": count,
        "licence": LICENCE,
        "versions": {name: version_of(name) for name in names},
        "fewer": missing,
        "cases": cases,
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def write_entry(folder: Path, entry: Entry) -> dict[str, Any]:
    """Writes the files of an entry; what the manifest says of it."""
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(entry.case.model)
    digest = hashlib.sha256(entry.case.model)
    graph = entry.case.proto.graph
    types = {value.name: value.type for value in graph.input}
    for i, (name, value) in enumerate(entry.case.inputs.items()):
        message = as_message(value, types[name])
        message.name = name
        (data / f"input_{i}.pb").write_bytes(written := message.SerializeToString())
        digest.update(written)
    for i, (formal, value) in enumerate(zip(graph.output, entry.expected, strict=True)):
        message = as_message(value, formal.type)
        message.name = formal.name
        (data / f"output_{i}.pb").write_bytes(message.SerializeToString())
    return {
        "sha256": digest.hexdigest(),
        "tolerance": asdict(entry.case.tolerance),
        "expected": {"source": entry.source, "judges": entry.judges, "text": entry.text},
    }


def read_corpus(folder: str | Path) -> Iterator[tuple[str, Case, list[Any]]]:
    """The names, cases and expected outputs of a corpus.

    Raises:
        ValueError: It is none, or a file is not the one that the manifest tells.
    """
    root = Path(folder)
    try:
        manifest = json.loads((root / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{quoted(root)} is no corpus: {error}") from None
    for name, told in manifest["cases"].items():
        data = root / "node" / name / "test_data_set_0"
        model = (root / "node" / name / "model.onnx").read_bytes()
        graph = onnx.load_from_string(model).graph
        inputs = [(data / f"input_{i}.pb").read_bytes() for i in range(len(graph.input))]
        if hashlib.sha256(b"".join([model, *inputs])).hexdigest() != told["sha256"]:
            raise ValueError(f"the model or inputs of {quoted(name)} are not those of the manifest")
        given = {
            value.name: read_message(file, value.type)
            for value, file in zip(graph.input, inputs, strict=True)
        }
        expected = [
            read_message((data / f"output_{i}.pb").read_bytes(), value.type)
            for i, value in enumerate(graph.output)
        ]
        yield name, Case(model, given, Tolerance(**told["tolerance"])), expected


def check_corpus(
    folder: str | Path, runtime: Runtime | str = "onnxla"
) -> Iterator[tuple[str, Outcome]]:
    """What comes of each case of a corpus in a runtime, whose values are compared.

    Args:
        folder: What `export_corpus` wrote.
        runtime: The runtime, or its name.

    Raises:
        ValueError: The folder is no corpus, or not what its manifest tells.
    """
    tested = runtime_of(runtime)
    for name, case, expected in read_corpus(folder):
        yield name, judge_answer(case, tested, expected)
