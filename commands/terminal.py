"""How a report is printed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any


def show(report: Any) -> None:
    """Prints a report: as wide as the terminal if there is one, and rich is installed."""
    if sys.stdout.isatty() and find_spec("rich") is not None:
        import rich

        rich.print(report)
    else:
        print(report)
