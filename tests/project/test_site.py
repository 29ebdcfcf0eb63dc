"""The documentation site: it builds, its links lead somewhere, and it looks as it should."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import onnxla
from support.browser import browser
from support.chromium import PROGRAM, Chromium

ROOT = Path(__file__).resolve().parents[2]
LOOK = (ROOT / "tests" / "support" / "look.js").read_text().split("\n", 1)[1]
# One page of each kind; `make test-more` looks at all of them, at the width of a phone.
KINDS = (
    "index.html",
    "coming_from.html",
    "operators.html",
    "measurements.html",
    "findings/onnxla.html",
    "reference/training.html",
)
THEMES = {"light": "default", "dark": "slate"}
PAGES = sorted(
    str(path.relative_to(ROOT / "docs").with_suffix(".html"))
    for path in (ROOT / "docs").rglob("*.md")
)
# Its build is shared by all tests of this file.
pytestmark = pytest.mark.xdist_group("site")


class Links(HTMLParser):
    """A page's ids, the links of its anchors, and what it loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag != "a":
            self.loaded += [found[name] for name in ("href", "src", "srcset") if name in found]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def parsed(site: Path) -> dict[Path, Links]:
    """Every page but the one for addresses that there are not, whose links begin at the root."""
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    return {path: Links(path.read_text()) for path in pages}


def test_every_link_leads_to_a_page_and_a_heading(parsed: dict[Path, Links]) -> None:
    seen, broken = 0, []
    for page, found in parsed.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            name = unquote(parts.fragment)
            there = target.is_file() and (not name or name in parsed[target].ids)
            seen += 1
            if not there and name != "__skip":
                broken.append(f"{page.name}: {link}")
    assert seen > 5000
    assert not broken


def test_nothing_is_loaded_from_another_host(site: Path, parsed: dict[Path, Links]) -> None:
    loaded = {link for found in parsed.values() for link in found.loaded}
    assert len(loaded) > 10
    assert not [link for link in loaded if urlsplit(link).netloc]
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text()), sheet


def public_names() -> Iterator[str]:
    """The names that docs/stability.md promises."""
    for package in ("onnxla", "onnxla.testing", "onnxla.generate"):
        module = importlib.import_module(package)
        for name in module.__all__:
            if not inspect.ismodule(getattr(module, name)):
                yield f"{package}.{name}"
    for package in ("onnxla.ir", "onnxla.losses", "onnxla.loggers"):
        for name, value in vars(importlib.import_module(package)).items():
            errors = package == "onnxla.ir" and name in onnxla.__all__  # they stand with onnxla's
            if not (name.startswith("_") or inspect.ismodule(value) or errors):
                yield f"{package}.{name}"
    for name in ("prepare", "run_node", "is_compatible", "supports_device"):
        yield f"onnxla.backend.{name}"
    yield "onnxla.testing.pytest.for_operators"


def test_every_public_name_is_in_the_reference(parsed: dict[Path, Links]) -> None:
    shown = set()
    for page, found in parsed.items():
        shown |= found.ids if page.parent.name == "reference" else set()
    names = [*public_names()]
    assert len(names) > 120
    assert not [name for name in names if name not in shown]
    methods = [name for name in vars(onnxla.Module) if not name.startswith("_")]
    assert len(methods) > 30
    wanted = [f"onnxla.Module.{name}" for name in (*methods, "__call__")]
    fields = {f"onnxla.Module.{name}" for name in ("params", "program")}
    assert not {*wanted} - shown - fields


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(name="browser")
def browser_of_the_process() -> Chromium:
    if PROGRAM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    return browser()


def looks() -> Iterator[Any]:
    for page in PAGES:
        for width in (400, 1400) if page in KINDS else (400,):
            often = page in KINDS and (width == 400 or page == "reference/training.html")
            yield pytest.param(
                page, width, id=f"{page}-{width}", marks=[] if often else [pytest.mark.more]
            )


@pytest.mark.parametrize(("page", "width"), [*looks()])
def test_a_page_is_easy_to_read(page: str, width: int, browser: Chromium, address: str) -> None:
    """No text leaves the page or is covered, and its contrast is enough, in both themes."""
    problems, schemes = [], []
    browser.resize(width, 3000)
    browser.prefer("light")
    browser.visit(address + page)
    browser.add_style("* { transition: none !important }")
    for scheme in THEMES:
        browser.prefer(scheme)
        browser.wait_for(f"document.body.dataset.mdColorScheme === {THEMES[scheme]!r}")
        schemes.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        found = browser.evaluate(f"({LOOK})()")
        assert found["texts"] > 10
        assert found["points"] > 30
        assert found["hosts"] == [urlsplit(address).netloc]
        problems += [f"{scheme}: {problem}" for problem in found["problems"]]
    assert schemes[0] != schemes[1]
    assert not problems


FAULTS = {
    "the page is 500 wide": "p { width: 490px } .md-typeset { margin-left: 10px }",
    "contrast 2.8": "p { color: #999 !important }",
    "is below P": "h1 + p { position: relative; top: 60px; background: #fff }",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_ugly_is_found(fault: str, browser: Chromium, address: str) -> None:
    browser.resize(400, 3000)
    browser.prefer("light")
    browser.visit(address + "index.html")
    browser.add_style(FAULTS[fault])
    problems = browser.evaluate(f"({LOOK})()")["problems"]
    assert any(fault in problem for problem in problems), problems


def test_operators_are_filtered(browser: Chromium, address: str) -> None:
    """Rows have all the words, of the operator or of its domain; empty tables are not shown."""
    browser.resize(1400, 3000)
    browser.visit(address + "operators.html?filter=conv%20microsoft")
    rows = "[...document.querySelectorAll('tbody tr')].filter(row => row.checkVisibility())"
    names = f"{rows}.map(row => row.cells[0].textContent)"
    found = browser.evaluate(names)
    assert {"FusedConv", "NhwcConv"} & {*found}
    assert all("conv" in name.lower() for name in found)
    headings = "[...document.querySelectorAll('h2')].filter(h => h.checkVisibility()).length"
    assert browser.evaluate(headings) == 1
    status = "document.querySelector('.table-filter [role=status]').textContent"
    assert browser.evaluate(status).startswith(f"{len(found)} of ")
    typed = "input => { input.value = ''; input.dispatchEvent(new Event('input')) }"
    browser.evaluate(f"({typed})(document.querySelector('.table-filter input'))")
    assert len(browser.evaluate(names)) > 250
    assert browser.evaluate(status) == ""


def test_the_search_finds_a_name(browser: Chromium, address: str) -> None:
    browser.resize(1400, 1000)
    browser.visit(address + "index.html?q=lr_find")
    browser.wait_for("document.querySelector('.md-search-result__link')?.href.length > 0")
    links = "[...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"
    assert any("training.html" in link for link in browser.evaluate(links))
