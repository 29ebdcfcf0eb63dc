"""A report on fuzzing, which shows itself and is saved in the form that is asked for."""

from __future__ import annotations

from pathlib import Path

from onnxla.testing.baselines import Baseline
from onnxla.testing.reports.formats import form_of
from onnxla.testing.reports.json_lines import read_json_lines
from onnxla.testing.reports.markdown import write_each
from onnxla.testing.reports.page import page
from onnxla.testing.reports.results import FuzzResults
from onnxla.testing.reports.text import text


class FuzzReport(FuzzResults):
    """What came of fuzzing some operators; see `FuzzResults` for its attributes and sums.

    For example:

        results = [onnxla.testing.fuzz("Neg", "reference", "onnxla", examples=3)]
        about = onnxla.testing.About.of_run(["reference", "onnxla"])
        onnxla.testing.FuzzReport("reference", ("onnxla",), results, 0, about).save("report.html")
    """

    def __str__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        """How notebooks show it."""
        return page(self)

    def save(self, path: str | Path) -> None:
        """Writes the report in the form that the path's ending names.

        `.txt`: text; `.jsonl`: all of it, for `load`; `.xml`: JUnit; `.sarif`; `.html`; `.md`: all
        findings, to be pasted into an issue tracker. Of operators, dtypes and opsets:
        `.matrix.json`, `.matrix.html`; `.svg`: a badge.

        Raises:
            ValueError: There is no form of that ending.
        """
        write = form_of(path)
        Path(path).write_text(write(self), "utf-8")

    def save_findings(self, folder: str | Path) -> list[Path]:
        """Writes each finding as Markdown into a file of its own, and returns their paths."""
        return write_each(self, Path(folder))

    @classmethod
    def load(cls, path: str | Path, baseline: Baseline | None = None) -> FuzzReport:
        """Reads a report that was saved as `.jsonl`.

        Args:
            path: The file.
            baseline: Failures that are known, which the file does not have.

        Raises:
            ValueError: It is no such file; the message says in which line.
        """
        return cls(*read_json_lines(path), baseline)
