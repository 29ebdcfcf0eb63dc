"""A report as lines of JSON: one about the run, then one for each operator."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.reports.about import About
from onnxla.testing.reports.results import FuzzResults

FORMAT = "onnxla fuzz report 1"


def records(report: FuzzResults) -> list[dict[str, Any]]:
    """What is known of the run, then of each operator, cases included."""
    run = {
        "format": FORMAT,
        "runtime": report.runtime,
        "judges": list(report.judges),
        "seed": report.seed,
        "about": asdict(report.about),
    }
    return [run, *(result.record() for result in report.results)]


def json_lines(report: FuzzResults) -> str:
    """The report as lines of JSON; `read_json_lines` reads them."""
    return "".join(f"{json.dumps(record)}\n" for record in records(report))


def read_json_lines(path: str | Path) -> tuple[str, tuple[str, ...], list[Fuzzed], int, About]:
    """What a report consists of: runtime, judges, results, seed, and about the run.

    Raises:
        ValueError: A line is not as `json_lines` writes it.
    """
    number = 1
    try:
        first, *rest = Path(path).read_text("utf-8").splitlines() or [""]
        run = json.loads(first)
        if run["format"] != FORMAT:
            raise ValueError(f"the format is {run['format']!r}, not {FORMAT!r}")
        about, results = About(**run["about"]), []
        for number, line in enumerate(rest, 2):  # noqa: B007  the error says which
            results.append(Fuzzed.of_record(json.loads(line)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"'{path}' is no report as .jsonl, line {number}: {what}") from error
    return run["runtime"], tuple(run["judges"]), results, run["seed"], about
