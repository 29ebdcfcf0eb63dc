"""The command line's grammar: `onnxla audit|compare|completion|corpus|demo|...`."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from typing import NoReturn

from onnxla.commands.audit import add_audit
from onnxla.commands.compare import add_compare
from onnxla.commands.completion import add_completion
from onnxla.commands.corpus import add_corpus
from onnxla.commands.demo import add_demo
from onnxla.commands.finetune import add_finetune
from onnxla.commands.fuzz import add_fuzz
from onnxla.commands.info import add_info
from onnxla.commands.messages import printable
from onnxla.commands.run import add_run

EPILOG = """\
Exit codes: 0, all is well; 1, the answer is no, such as values that differ; 2, the command or
a file is wrong; 3, audit found a danger; 70, a fault of onnxla; 130, interrupted."""


class Parser(argparse.ArgumentParser):
    """A grammar that says what is wrong with a command in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        self.exit(2, f"onnxla: {printable(message)}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The grammar of all commands."""
    top = Parser(
        prog="onnxla",
        description="Run, compare, fine-tune, audit and test ONNX models in JAX.",
        epilog=EPILOG,
    )
    top.add_argument("--version", action="version", version=f"onnxla {version('onnxla')}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        add_info,
        add_run,
        add_compare,
        add_finetune,
        add_audit,
        add_fuzz,
        add_corpus,
        add_demo,
        add_completion,
    ):
        add(commands)
    for command in commands.choices.values():
        command.add_argument(
            "--traceback", action="store_true", help="where an error comes from, for reporting it"
        )
    return top
