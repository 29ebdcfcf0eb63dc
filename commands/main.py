"""The program `onnxla`: how a command ends.

Exit codes: 0, all is well; 1, the answer is no (values differ, operators are not supported, `audit`
has a warning); 2, the command or one of its files is wrong; 3, `audit` found a danger; 70, onnxla
has a fault; 130, somebody pressed Ctrl-C; 141, nobody reads what is printed.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress

WRONG, FAULT, INTERRUPTED, UNREAD = 2, 70, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    try:
        # Not at the top: this takes a second or two, in which somebody may press Ctrl-C.
        from onnxla.commands.grammar import parser
        from onnxla.commands.messages import warning

        warnings.formatwarning = warning
        try:
            arguments = parser().parse_args(words)
            return int(arguments.command(arguments))
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return end_of_interrupt()
    except BrokenPipeError:
        return end_of_unread()
    except Exception as error:
        if os.environ.get("ONNXLA_TRACEBACK") or "--traceback" in words:
            import traceback

            traceback.print_exc()
        return end_of_error(error)


def end_of_interrupt() -> int:
    """Says that Ctrl-C was pressed; once more ends the process at once, without a traceback."""
    import signal

    with suppress(ValueError):  # of a thread that is not the main one
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    print("onnxla: interrupted", file=sys.stderr)
    return INTERRUPTED


def end_of_unread() -> int:
    """Ends quietly, as when `head` has read enough."""
    with suppress(OSError, ValueError):  # Python writes what is left once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNREAD


def end_of_error(error: Exception) -> int:
    """Says what is wrong, in one message."""
    from onnxla.commands.messages import is_mistake, message

    print(f"onnxla: {message(error)}", file=sys.stderr)
    if is_mistake(error):
        return WRONG
    print(
        "This is a fault of onnxla. Please report it, with the command, the model if you can, and"
        " what the same command with --traceback says.",
        file=sys.stderr,
    )
    return FAULT


if __name__ == "__main__":
    sys.exit(main())
