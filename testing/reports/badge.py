"""How many operators agree, as a badge: a small SVG image."""

from __future__ import annotations

from onnxla.testing.reports.document import said
from onnxla.testing.reports.matrix import agreeing
from onnxla.testing.reports.results import FuzzResults

LABEL = "ONNX operators"
LETTER = 6.8  # pixels, of 11 pixels' sans-serif
# From which share of operators on.
COLOURS = ((1.0, "#1f7a45"), (0.8, "#4d7c0f"), (0.5, "#9a6700"), (0.0, "#b42318"))


def badge(report: FuzzResults) -> str:
    """An image that says how many of the operators agree, such as `ONNX operators 143/197`."""
    agree, of = agreeing(report), len(report.results)
    number = f"{agree}/{of}"
    colour = next(c for least, c in COLOURS if of and agree / of >= least) if of else "#666"
    left, right = (round(len(text) * LETTER) + 12 for text in (LABEL, number))
    title = said(f"{LABEL}: {number} ({report.runtime})")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{title}"><title>{title}</title>'
        f'<clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>'
        f'<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" '
        f'font-size="11"><text x="{left / 2}" y="14">{LABEL}</text>'
        f'<text x="{left + right / 2}" y="14">{number}</text></g></svg>\n'
    )
