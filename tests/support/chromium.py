"""Chromium without a window, told what to do through its debugging protocol."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Any

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

NOWHERE = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


class Chromium:
    """A browser with one page. It resolves no names, so pages of this machine alone are reached."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        their_in, self.out = os.pipe()
        self.into, their_out = os.pipe()
        self.numbers = itertools.count(1)
        self.session: str | None = None
        self.events: list[str] = []
        command = [
            *(str(PROGRAM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
            *(f"--user-data-dir={self.folder.name}", f"--host-resolver-rules={NOWHERE}"),
            *("--remote-debugging-pipe", "about:blank"),
        ]

        # The protocol's pipes are files 3 and 4; a shell gives them these numbers.
        numbered = f'exec "$@" 3<&{their_in} 4>&{their_out}'
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", numbered, "chromium", *command],
            pass_fds=(their_in, their_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_in)
        os.close(their_out)
        self.reader = os.fdopen(self.into, "rb")
        page = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attach = {"targetId": page["targetId"], "flatten": True}
        self.session = self.send("Target.attachToTarget", **attach)["sessionId"]
        self.send("Page.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session = None
        self.send("Browser.close")
        self.process.wait(20)
        self.reader.close()
        os.close(self.out)
        self.folder.cleanup()

    def receive(self) -> dict[str, Any]:
        """The next message, which ends in a zero byte."""
        read = bytearray()
        while (byte := self.reader.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("chromium has ended")
            read += byte
        message: dict[str, Any] = json.loads(read)
        if "method" in message:
            self.events.append(message["method"])
        return message

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method of the protocol."""
        number = next(self.numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer.get("result", {})

    def resize(self, width: int, height: int) -> None:
        """Gives the page another size, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str) -> None:
        """Lets the reader's system prefer a `light` or `dark` theme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def visit(self, address: str) -> None:
        """Opens a page, and waits until it is loaded."""
        self.events.clear()
        if error := self.send("Page.navigate", url=address).get("errorText"):
            raise RuntimeError(f"{address}: {error}")
        while "Page.loadEventFired" not in self.events:
            self.receive()

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page, awaited if it is a promise."""
        options = {"awaitPromise": True, "returnByValue": True}
        answer = self.send("Runtime.evaluate", expression=script, **options)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def add_style(self, rules: str) -> None:
        """Adds rules of CSS to the page."""
        add = "style.textContent = rules; document.head.append(style)"
        function = f"((style, rules) => {{ {add} }})"
        self.evaluate(f"{function}(document.createElement('style'), {json.dumps(rules)})")

    def wait_for(self, condition: str, seconds: float = 20) -> None:
        """Waits until an expression of JavaScript is true, and the page was drawn since."""
        end = time.monotonic() + seconds
        while not self.evaluate(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds} s: {condition}")
            time.sleep(0.05)
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")

    def picture(self) -> str:
        """The page as it is seen, as a PNG in base 64."""
        return str(self.send("Page.captureScreenshot", format="png")["data"])
