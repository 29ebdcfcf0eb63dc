"""The support matrix as a page."""

from __future__ import annotations

from onnxla.testing.reports.document import document, facts, said
from onnxla.testing.reports.kinds import KINDS
from onnxla.testing.reports.matrix import Cell, agreeing, cells
from onnxla.testing.reports.results import FuzzResults

# Each status with a sign, since not everybody sees colours, and a colour.
SIGNS = {
    "agrees": ("✓", KINDS["agreed"]),
    "in part": ("◐", KINDS["agreed"]),
    "fails": ("✗", KINDS["disagreed"]),
    "known fault": ("!", KINDS["known fault"]),
    "judges differ": ("?", KINDS["judges differ"]),
    "not judged": ("·", KINDS["not judged"]),
    "unsupported": ("-", KINDS["unsupported"]),
}


def matrix_page(report: FuzzResults) -> str:
    """A table of operators and opsets by dtype; a cell tells its counts where the pointer rests."""
    found = cells(report)
    dtypes = sorted({cell.dtype for cell in found}, key=dtype_order)
    rows: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in found:
        rows.setdefault((cell.operator, opsets(cell)), {})[cell.dtype] = cell
    head = "".join(f"<th>{said(dtype)}</th>" for dtype in dtypes)
    body = "".join(
        f"<tr><td>{said(operator)}</td><td>{said(row)}</td>"
        + "".join(data(by_dtype.get(dtype)) for dtype in dtypes)
        + "</tr>"
        for (operator, row), by_dtype in rows.items()
    )
    legend = " ".join(
        f"<span style='display:inline-block;margin-right:1em'>{sign(status)} {status}</span>"
        for status in SIGNS
    )
    head = f"<tr><th>operator</th><th>opsets</th>{head}</tr>"
    title = f"{report.runtime}: {agreeing(report)} of {len(report.results)} operators agree"
    lines = {"compared with": " and ".join(report.judges), **report.about.lines}
    table = f"<div class='scroll'><table>{head}{body}</table></div>"
    return document(title, facts(lines), f"<p>{legend}</p>", table)


def dtype_order(dtype: str) -> tuple[str, int, str]:
    """Floats by size, then integers by size, then others: the order of columns."""
    name = dtype.rstrip("0123456789")
    kinds = ("float", "bfloat", "int", "uint", "bool", "string", "complex")
    known = name in kinds
    return (str(kinds.index(name)) if known else "z", int(dtype[len(name) :] or 0), dtype)


def opsets(cell: Cell) -> str:
    """The opsets of a schema version."""
    if cell.until is None:
        return f"{cell.since}+"
    return str(cell.since) if cell.since == cell.until else f"{cell.since}-{cell.until}"


def sign(status: str) -> str:
    """The sign of a status, in its colour."""
    text, colour = SIGNS[status]
    return f"<b style='color:{colour}'>{text}</b>"


def data(cell: Cell | None) -> str:
    """A cell of the table; empty where no case was drawn."""
    if cell is None:
        return "<td></td>"
    counts = ", ".join(f"{kind} {count}" for kind, count in cell.counts.items())
    label = said(f"{cell.dtype}: {cell.status} ({counts})")
    return f"<td title='{label}' style='text-align:center'>{sign(cell.status)}</td>"
