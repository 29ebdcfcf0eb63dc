"""The command `onnxla completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse
from typing import Any

from onnxla.ir.errors import OnnxlaError

SHELLS = ("bash", "zsh", "tcsh")
DESCRIPTION = """\
Prints a script that makes a shell complete commands and options:
  onnxla completion bash > ~/.local/share/bash-completion/completions/onnxla"""


def add_completion(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser(
        "completion",
        help="let a shell complete commands and options",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("shell", choices=SHELLS)
    command.set_defaults(command=run_completion)


def run_completion(arguments: argparse.Namespace) -> int:
    """`onnxla completion`."""
    from onnxla.commands.grammar import parser  # which has this command, too

    try:
        import shtab
    except ImportError:
        raise OnnxlaError('completion needs shtab: pip install "onnxla[completion]"') from None
    print(shtab.complete(parser(), arguments.shell))
    return 0
