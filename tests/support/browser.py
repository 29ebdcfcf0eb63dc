"""Pages in headless Chromium, of which there is one for all tests of a process."""

from __future__ import annotations

import atexit
import functools
from pathlib import Path
from typing import Any

import pytest

from support.chromium import PROGRAM, Chromium

needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium here: apt-get install chromium"
)


@functools.cache
def browser() -> Chromium:
    """The browser; it ends with the process."""
    started = Chromium()
    atexit.register(started.__exit__, None, None, None)
    return started


def in_page(
    folder: Path,
    html: str,
    script: str,
    *,
    width: int = 1200,
    height: int = 900,
    dark: bool = False,
) -> Any:
    """What a script returns that runs in a page when it is there.

    Args:
        folder: For the page.
        html: The page.
        script: The body of an async function, whose result can be JSON.
        width: Of the window.
        height: Of the window.
        dark: Whether the reader prefers dark colours.
    """
    path = folder / "page.html"
    path.write_text(html, "utf-8")
    page = browser()
    page.resize(width, height)
    page.prefer("dark" if dark else "light")
    page.visit(path.as_uri())
    wait = "const wait = (ms) => new Promise((done) => setTimeout(done, ms));"
    return page.evaluate(f"(async () => {{ {wait} {script} }})()")
