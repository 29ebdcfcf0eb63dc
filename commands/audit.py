"""The command `onnxla audit`: what is unusual or dangerous in a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from onnxla.auditing.audit import audit
from onnxla.commands.terminal import show

CODES = {None: 0, "info": 0, "warning": 1, "danger": 3}
DESCRIPTION = """\
Tells what is unusual or dangerous in a model, without running it: where its data is, what it hides,
how much memory and time it asks for. Exit code 1 if there is a warning, 3 if there is a danger."""


def add_audit(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser(
        "audit", help="what is unusual or dangerous in a file", description=DESCRIPTION
    )
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--json", action="store_true", help="print a JSON document")
    command.set_defaults(command=run_audit)


def run_audit(arguments: argparse.Namespace) -> int:
    """`onnxla audit`."""
    found = audit(arguments.file)
    if arguments.json:
        print(found.json())
    else:
        show(found.report())
    return CODES[found.severity]
