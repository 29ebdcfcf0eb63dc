"""Write the line numbers into docs/architecture.md: `file.py:12` is where the name after it begins.

python tools/number_journeys.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
STEP = re.compile(r"`([\w/]+\.py):(\d*)` `([\w.]+)`")


def line_of(path: str, name: str) -> int:
    """The line at which a file defines a function, a class, a method or a constant.

    Raises:
        LookupError: It does not.
    """
    body = ast.parse((ROOT / path).read_text()).body
    *classes, last = name.split(".")
    for outer in classes:
        body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == outer)
    for node in body:
        names = [target.id for target in getattr(node, "targets", ()) if hasattr(target, "id")]
        if last in (getattr(node, "name", ""), *names):
            return node.lineno
    raise LookupError(f"{path} defines no '{name}'")


def numbered(text: str) -> str:
    """The page with the numbers as they are now."""
    return STEP.sub(lambda m: f"`{m[1]}:{line_of(m[1], m[3])}` `{m[3]}`", text)


if __name__ == "__main__":
    PAGE.write_text(numbered(PAGE.read_text()))
