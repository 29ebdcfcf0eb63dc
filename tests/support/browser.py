"""Pages in headless Chromium: a script that runs in one, and what it returns."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt-get install chromium"
)
DARK = "--blink-settings=preferredColorScheme=0"


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
        folder: For the page, and what the browser keeps.
        html: The page.
        script: The body of an async function, whose result can be JSON.
        width: Of the window.
        height: Of the window.
        dark: Whether the reader prefers dark colours.
    """
    ending = (
        "<script>window.addEventListener('load', async () => {"
        "const wait = (ms) => new Promise((done) => setTimeout(done, ms));"
        "let found; try { found = { value: await (async () => {" + script + "})() }; }"
        "catch (error) { found = { error: String(error.stack || error) }; }"
        "const pre = document.createElement('pre'); pre.id = 'onnxla-result';"
        "pre.textContent = JSON.stringify(found); document.body.append(pre); });</script>"
    )
    path = folder / "page.html"
    before, _, after = html.rpartition("</body>")
    path.write_text(f"{before}{ending}</body>{after}", "utf-8")
    assert BROWSER is not None
    command = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *(f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}"),
        *([DARK] if dark else []),
        *("--virtual-time-budget=5000", "--dump-dom", path.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    match = re.search(r'<pre id="onnxla-result">(.*?)</pre>', done.stdout, re.S)
    assert match, f"the script did not end: {done.stdout[-500:]} {done.stderr[-2000:]}"
    found = json.loads(unescape(match[1]))
    assert "error" not in found, found["error"]
    return found.get("value")
