"""The result of a training, which is not lost where it cannot be saved as it was asked for."""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from onnxla.ir.claims import reserve
from onnxla.module import Module


def save_result(module: Module, path: Path, check: Any) -> None:
    """Saves a trained module; where that fails, under another name, and says which.

    Args:
        module: What was trained.
        path: Where it is to go.
        check: What `Module.save` takes.

    Raises:
        BaseException: What saving or the check raised, an interrupt too.
    """
    try:
        module.save(path, check=check)
    except BaseException:
        keep_result(module, path)
        raise


def keep_result(module: Module, path: Path) -> None:
    """Saves a module under a free name beside `path`, or in the system's temporary folder."""
    for folder in (path.parent, Path(tempfile.gettempdir())):
        with suppress(Exception):
            kept = reserve(folder / f"{path.stem}.unchecked{path.suffix}")
            try:
                module.save(kept)
            except BaseException:
                if not kept.stat().st_size:
                    kept.unlink()
                raise
            print(f"onnxla: the trained model is kept, unchecked, as '{kept}'", file=sys.stderr)
            return
    print("onnxla: the trained model could not be kept anywhere", file=sys.stderr)
