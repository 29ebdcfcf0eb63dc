"""Errors of Python's own kinds in a notebook, folded as those of onnxla's kinds."""

from __future__ import annotations

import sys
from functools import partial
from types import TracebackType
from typing import Any


def fold_errors() -> None:
    """Has a running IPython fold the frames of what onnxla raises; nothing where there is none.

    A handler that somebody else has set stays.
    """
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python is not None else None
    if shell is not None and not shell.custom_exceptions:
        shell.set_custom_exc((Exception,), show)


def show(
    shell: Any,
    kind: type[Exception],
    error: Exception,
    where: TracebackType,
    tb_offset: int | None = None,
) -> None:
    """Shows an error as IPython does, which asks the error itself how, if it has an answer."""
    from onnxla.ir.tracebacks import folded, is_raised_within  # which `import onnxla` need not load

    if not hasattr(error, "_render_traceback_") and is_raised_within(error):
        error._render_traceback_ = partial(folded, error)  # type: ignore[attr-defined]
    shell.showtraceback((kind, error, where), tb_offset=tb_offset, running_compiled_code=True)
