"""The command line: `onnxla info|run|compare|finetune|fuzz|demo`.

Exit codes: 0, all is well; 1, the answer is no (values differ, operators are not supported);
2, the command or one of its files is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from onnxla.commands.compare import add_compare
from onnxla.commands.demo import add_demo
from onnxla.commands.finetune import add_finetune
from onnxla.commands.fuzz import add_fuzz
from onnxla.commands.info import add_info
from onnxla.commands.run import add_run
from onnxla.ir.errors import OnnxlaError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except (OnnxlaError, OSError, TypeError, ValueError) as error:
        print(f"onnxla: {error}", file=sys.stderr)
        for note in getattr(error, "__notes__", ()):
            print(f"  {note}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"onnxla: {error}; install the extra that has it", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(
        prog="onnxla", description="Run, compare, fine-tune and test ONNX models in JAX."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_info, add_run, add_compare, add_finetune, add_fuzz, add_demo):
        add(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
