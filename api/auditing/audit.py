"""The audit of a file: each check in turn. It never runs the model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onnxla import ir
from onnxla.auditing.contents import Contents
from onnxla.auditing.external import external_data
from onnxla.auditing.functions import functions
from onnxla.auditing.loops import loops
from onnxla.auditing.operators import images, operators, patterns
from onnxla.auditing.payload import (
    duplicates,
    overwritten,
    training_info,
    unknown_fields,
    unused_data,
)
from onnxla.auditing.remarks import Audit, Remark, ranked
from onnxla.auditing.sizes import sizes
from onnxla.auditing.texts import texts
from onnxla.auditing.versions import versions
from onnxla.ir.errors import describe
from onnxla.ir.files import OpenFile
from onnxla.ir.reader import parse_model, source_bytes
from onnxla.ir.splice import extract
from onnxla.ops.limits import Limits

CHECKS: tuple[Callable[[Contents], Iterator[Remark]], ...] = (
    external_data,
    unknown_fields,
    overwritten,
    unused_data,
    training_info,
    duplicates,
    texts,
    functions,
    operators,
    patterns,
    images,
    sizes,
    loops,
    versions,
)


def audit(source: Any, *, limits: Limits | None = None) -> Audit:
    """What is unusual or dangerous in a model, told without running it.

    It reads the model, and looks at external data in its folder without reading it. Nothing found
    is no promise: see `docs/security.md`.

    For example:

        print(onnxla.audit("model.onnx"))

    Args:
        source: A path, or whatever else `load` takes.
        limits: What is too much, as for `load`.

    Raises:
        OSError: A path cannot be opened.
        ModelError: A path leads to a folder, or to something else that is no regular file.
        TypeError: `source` is nothing that a model is read from.
    """
    path = Path(source) if isinstance(source, str | os.PathLike) else None
    data = memoryview(source_bytes(source)) if path is None else OpenFile(path).content
    name = None if path is None else str(path)
    try:
        reduced, _ = extract(data)
        message = parse_model(reduced, data)
        contents = Contents.of(message, len(reduced), path, limits or Limits())
    except ir.ModelError as error:
        return Audit((Remark("danger", "unreadable", "", describe(error)),), name)
    remarks = (remark for check in CHECKS for remark in check(contents))
    return Audit(ranked(itertools.chain(remarks, faults(source))), name)


def faults(source: Any) -> Iterator[Remark]:
    """Why the model cannot be loaded."""
    if hasattr(source, "read"):
        return  # it has been read
    try:
        problems = ir.check(ir.read(source))
    except (ir.ModelError, OSError) as error:
        problems = [describe(error)]
    for problem in problems:
        yield Remark("warning", "faulty", "", f"it cannot be loaded: {problem}")
