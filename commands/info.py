"""The command `onnxla info`: what a model is, and what is unsupported in it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from onnxla import ir
from onnxla.commands.messages import printable
from onnxla.draw.drawing import draw
from onnxla.findings import check
from onnxla.module import load
from onnxla.ops.signatures import find_misfits
from onnxla.parameters.roles import find_parameters
from onnxla.summary import summarize


def add_info(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser("info", help="what a model is, and what is unsupported in it")
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument(
        "--graph",
        type=Path,
        metavar="PATH",
        help="write the graph drawn: .html, which opens and folds in a browser, .svg or .png",
    )
    command.set_defaults(command=run_info)


def run_info(arguments: argparse.Namespace) -> int:
    """`onnxla info`."""
    model = ir.read(arguments.file)
    ir.verify(model)
    find_misfits(model).raise_any()
    print(summarize(model, find_parameters(model), {}))
    if arguments.graph is not None:
        draw(load(model)).save(arguments.graph)
        print(printable(f"the graph is drawn in {arguments.graph}"))
    findings = check(arguments.file)
    for note in findings.notes:
        print(printable(f"note: {note}"))
    return 0 if findings.ok else 1
