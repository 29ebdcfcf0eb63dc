"""The support matrix: what came of each operator, dtype and opset."""

from __future__ import annotations

import collections
import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.outcomes import WRONG
from onnxla.testing.reports.kinds import KINDS
from onnxla.testing.reports.results import FuzzResults
from onnxla.testing.schemas import onnx_schemas


@dataclass(frozen=True)
class Cell:
    """What came of the cases of an operator with one dtype at one schema version.

    Attributes:
        operator: The operator's name, with its domain if that is not ONNX's own.
        dtype: See `element_type`.
        since: The first opset that has this schema version.
        until: The last one that is known to; None if the newest one has it.
        counts: Cases by kind of outcome.
    """

    operator: str
    dtype: str
    since: int
    until: int | None
    counts: Mapping[str, int]

    @property
    def status(self) -> str:
        """`fails`, `agrees`, `in part` (agrees, but not all is supported or judged), or a kind."""
        if any(self.counts.get(kind) for kind in WRONG):
            return "fails"
        if set(self.counts) == {"agreed"}:
            return "agrees"
        for kind in ("known fault", "judges differ"):
            if self.counts.get(kind):
                return kind
        if self.counts.get("agreed"):
            return "in part"
        return next(kind for kind in reversed(KINDS) if self.counts.get(kind))


def cells(report: FuzzResults) -> list[Cell]:
    """The matrix, in the order of operators, opsets and dtypes."""
    found = []
    for result in report.results:
        counts: dict[tuple[int, str], collections.Counter[str]] = {}
        for key, count in result.by_type.items():
            version, dtype, kind = key.split(" ", 2)
            counts.setdefault((int(version), dtype), collections.Counter())[kind] += count
        for (since, dtype), kinds in sorted(counts.items()):
            domain, _, op_type = result.name.rpartition(".")
            until = last_opset(op_type, domain, since)
            found.append(Cell(result.name, dtype, since, until, dict(sorted(kinds.items()))))
    return found


@functools.cache
def last_opset(op_type: str, domain: str, since: int) -> int | None:
    """The last opset with the schema version of `since`; None if no newer version is known."""
    newer = [
        version
        for known, name, version in onnx_schemas()
        if (known, name) == (domain, op_type) and version > since
    ]
    return min(newer) - 1 if newer else None


def agreeing(report: FuzzResults) -> int:
    """How many operators have cases that agree, and none at which the runtime is wrong."""
    return sum(agrees(result, report.runtime) for result in report.results)


def agrees(result: Fuzzed, runtime: str) -> bool:
    """Whether cases of an operator agree, and at none the runtime is wrong, on record or not."""
    own = any(title.startswith(f"{runtime}: ") for title in result.known)
    return result.ok and not own and bool(result.counts["agreed"])


def matrix_json(report: FuzzResults) -> str:
    """The matrix as JSON: sums, and one record for each cell."""
    records = [{**asdict(cell), "status": cell.status} for cell in cells(report)]
    operators = {"agree": agreeing(report), "of": len(report.results)}
    head = {"runtime": report.runtime, "judges": list(report.judges), "operators": operators}
    about = {"versions": dict(report.about.versions), "date": report.about.date}
    return json.dumps({**head, **about, "cells": records}, indent=1) + "\n"
