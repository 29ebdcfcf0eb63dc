"""The pytest plugin: how many cases, a folder for failing ones, a report on the whole run.

A conftest.py that says `pytest_plugins = ["onnxla.testing.plugin"]` loads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.pytest import PROPERTY
from onnxla.testing.reports.report import FuzzReport


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("onnxla", "ONNX operators by property (onnxla.testing)")
    group.addoption(
        "--onnxla-examples", type=int, metavar="N", help="cases of each operator, in every test"
    )
    group.addoption(
        "--onnxla-seed", type=int, default=0, metavar="N", help="what they are drawn from"
    )
    group.addoption(
        "--onnxla-save",
        type=Path,
        metavar="FOLDER",
        help="write the simplest case of each finding, as .onnx and .npz",
    )
    group.addoption(
        "--onnxla-report",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="write a report in the form of the ending; repeatable",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Takes a profile for cases, unless one is chosen: a runtime may compile in its first call."""
    hypothesis.settings.register_profile(
        "onnxla", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    if not config.getoption("--hypothesis-profile", default=None):
        hypothesis.settings.load_profile("onnxla")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Writes what `check` found in the tests made by `for_operators`, also those of workers."""
    records = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    paths = config.getoption("--onnxla-report")
    if not records or not paths:
        return
    results = [Fuzzed.of_record(json.loads(record)) for record in records]
    seed = int(config.getoption("--onnxla-seed") or 0)
    report = FuzzReport("tested", ("expected",), results, seed)
    for path in paths:
        report.save(path)
        terminalreporter.write_line(f"onnxla: report written to {path}")
