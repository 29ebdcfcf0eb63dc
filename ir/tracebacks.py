"""Tracebacks for a notebook: the reader's own lines, and what is wrong."""

import os
import traceback

HELPERS = ("jax", "jaxlib", "contextlib", "functools")  # what onnxla's frames call, and call back
FOLDED = ("onnxla", "IPython", "ipykernel", *HELPERS)


def packages(error: BaseException) -> list[str]:
    """The package of each frame of an error's traceback, the innermost last."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return [frame.f_globals.get("__name__", "").partition(".")[0] for frame in frames]


def is_raised_within(error: BaseException) -> bool:
    """Whether onnxla raised an error, or JAX that onnxla called; not what the reader's code did."""
    callers = (name for name in reversed(packages(error)) if name not in HELPERS)
    return next(callers, "") == "onnxla"


def folded(error: BaseException) -> list[str]:
    """The lines of a traceback in which frames of onnxla and JAX are one line.

    All frames are there where the environment variable `ONNXLA_TRACEBACK` is set.
    """
    if os.environ.get("ONNXLA_TRACEBACK"):
        return "".join(traceback.format_exception(error)).splitlines()
    hint = "(all frames: set the environment variable ONNXLA_TRACEBACK)"
    return [*lines_of(error), hint]


def raised_before(error: BaseException) -> BaseException | None:
    """The error that another one was raised from, or while it was handled."""
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def lines_of(error: BaseException) -> list[str]:
    """The lines of an error, and before them those of what the reader's code had raised before."""
    before = raised_before(error)
    while before is not None and is_raised_within(before):
        before = raised_before(before)
    lines: list[str] = []
    if before is not None:
        lines = [*lines_of(before), "", "and then:", ""]
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f, name in zip(frames, packages(error), strict=True) if name not in FOLDED]
    count = f"  ... {len(frames) - len(own)} frames within onnxla and JAX"
    texts = [*traceback.format_list(own), count, *traceback.format_exception_only(error)]
    return [*lines, "Traceback (most recent call last):", *(text.rstrip("\n") for text in texts)]
