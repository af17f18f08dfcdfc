"""A headless Chromium, driven over the pipe of its DevTools protocol, which needs no package."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["Chromium", "Page", "find_chromium", "open_chromium"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60
WIDTH, HEIGHT = 1150, 900
FLAGS = (
    # A container's root has no sandbox; the rest keeps the browser itself off the network.
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", f"--window-size={WIDTH},{HEIGHT}", "--remote-debugging-pipe"),
)


def find_chromium() -> str | None:
    """Path of a Chromium: the environment's ``CHROMIUM``, or one on the path; None without one."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


START = """
import os, sys
read, write = map(int, sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Becomes the browser, which expects the pipes of the protocol at 3 and 4. `read` was opened first
and so is the lowest number of all: nothing is overwritten before it is copied."""


@dataclass
class Page:
    """One page that was opened, and what happened in it since."""

    chromium: Chromium
    session: str
    problems: list[str] = field(default_factory=list)
    """Exceptions of its scripts, errors on its console, files that did not load."""
    requests: list[str] = field(default_factory=list)
    """Addresses of everything that it fetched, itself first."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the protocol, events before it noted."""
        return self.chromium.call(method, self.session, **parameters)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is, as JSON."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {_exception_text(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    def mouse(self, kind: str, selector: str) -> None:
        """``mouseMoved``, ``mousePressed`` or ``mouseReleased`` in the middle of an element."""
        x, y = self.value(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f"return [b.x + b.width / 2, b.y + b.height / 2]; }})({selector})"
        )
        press = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **press)

    def picture(self) -> Image.Image:
        """The whole page, RGB, not only what a window shows of it."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        answer = self.call(
            "Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1}
        )
        return Image.open(io.BytesIO(base64.b64decode(answer["data"]))).convert("RGB")

    def note(self, event: dict[str, Any]) -> None:
        """Keep what an event tells."""
        method, said = event["method"], event["params"]
        if method == "Runtime.exceptionThrown":
            self.problems.append(_exception_text(said["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "assert"):
            self.problems.append(" ".join(str(arg.get("value")) for arg in said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.problems.append(said["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])


class Chromium:
    """A running browser: commands and answers are JSON texts that end with a zero byte."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._received, self._number = b"", 0
        self._pages: dict[str, Page] = {}
        self._loaded: set[str] = set()

    def open(self, file: Path) -> Page:
        """Open ``file`` and wait until it has loaded and its scripts have run."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=file.absolute().as_uri())
        while session not in self._loaded:
            self._receive()
        page.value("1")  # what was reported on the way comes before the answer
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a command; RuntimeError if the browser refuses it."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        """The next message; events are noted at their page, too."""
        end = time.monotonic() + SECONDS
        while b"\0" not in self._received:
            left = end - time.monotonic()
            if left < 0 or not select.select([self._from], [], [], left)[0]:
                raise TimeoutError(f"Chromium must answer within {SECONDS} s")
            if not (part := os.read(self._from, 1 << 20)):
                raise ConnectionError("Chromium has ended")
            self._received += part
        text, self._received = self._received.split(b"\0", 1)
        message = json.loads(text)
        if page := self._pages.get(message.get("sessionId", "")):
            if message.get("method") == "Page.loadEventFired":
                self._loaded.add(page.session)
            elif "method" in message:
                page.note(message)
        return message


@contextmanager
def open_chromium(program: str, folder: Path) -> Iterator[Chromium]:
    """Start a Chromium with an empty profile in ``folder``; it ends with the context."""
    read, to_browser = os.pipe()
    from_browser, write = os.pipe()
    options = (*FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank")
    with subprocess.Popen(
        [sys.executable, "-c", START, str(read), str(write), program, *options],
        pass_fds=(read, write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    ) as process:
        os.close(read)
        os.close(write)
        try:
            chromium = Chromium(to_browser, from_browser)
            yield chromium
            chromium.call("Browser.close")
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(to_browser)
            os.close(from_browser)


def _exception_text(details: dict[str, Any]) -> str:
    thrown = details.get("exception", {}).get("description")
    return str(thrown or details["text"]).splitlines()[0]
