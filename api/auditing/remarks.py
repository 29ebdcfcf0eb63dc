"""What an audit says, as text, as a page and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

from onnxla.ir.names import plain
from onnxla.tables import Report, Table

Severity = Literal["danger", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("danger", "warning", "info")
FORMAT = 1  # of the JSON document
MOST = 20  # remarks of a kind; a file may give reason for millions


@dataclass(frozen=True)
class Remark:
    """One thing that an audit found.

    Attributes:
        severity: `danger`: no honest file is likely to have it; `warning`: look at it before you
            use the file; `info`: worth knowing.
        kind: What it is, one of a few fixed words, such as `external-data`.
        where: The node, tensor or other part of the file; empty if it is the file.
        text: A sentence.
    """

    severity: Severity
    kind: str
    where: str
    text: str


@dataclass(frozen=True)
class Audit:
    """What is unusual or dangerous in a file.

    For example:

        audit = onnxla.audit("model.onnx")
        assert audit.severity is None
        print(audit.json())

    Attributes:
        remarks: What was found, dangers first; at most 20 of each kind and severity.
        file: The file's path, if it was given by one.
    """

    remarks: tuple[Remark, ...]
    file: str | None = None

    @property
    def severity(self) -> Severity | None:
        """The gravest severity, or None if there is no remark."""
        return self.remarks[0].severity if self.remarks else None

    def json(self) -> str:
        """A JSON document: `format`, `file`, `severity` and `remarks`. Stable within a format."""
        remarks = [asdict(remark) for remark in self.remarks]
        document = {"format": FORMAT, "file": self.file, "severity": self.severity}
        return json.dumps({**document, "remarks": remarks}, indent=2)

    def report(self) -> Report:
        """The remarks as a table, under a line that counts them."""
        counts = Counter(remark.severity for remark in self.remarks)
        told = ", ".join(f"{counts[each]} {each}" for each in SEVERITIES if counts[each])
        title = f"{plain(self.file or 'the model')}: {told or 'nothing unusual'}"
        rows = [(each.severity, each.kind, each.where, each.text) for each in self.remarks]
        return Report([Table(title, ("", "kind", "where", "what"), rows) if rows else title])

    def __str__(self) -> str:
        return str(self.report())

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def ranked(remarks: Iterable[Remark]) -> tuple[Remark, ...]:
    """Remarks by severity and kind; of each the first ones, and whether there are more."""
    groups: dict[tuple[int, str], list[Remark]] = {}
    for remark in remarks:
        rank = SEVERITIES.index(remark.severity), remark.kind
        group = groups.setdefault(rank, [])
        if len(group) < MOST:
            group.append(remark)
        elif len(group) == MOST:
            group.append(replace(remark, where="", text="and more of this kind"))
    return tuple(remark for _, group in sorted(groups.items()) for remark in group)
