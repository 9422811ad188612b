"""A headless Chromium, driven over a pair of pipes by the DevTools protocol: no driver, no port, no package.

with Browser.started(tmp_path) as browser:
    seen = browser.look(file, width=390, scheme="dark")
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import IO, Any, NamedTuple

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 120  # seconds for one answer, on a machine that does much else

# Chromium reads its commands from descriptor 3 and answers on 4, wherever our pipes happen to be.
_LAUNCH = (
    "import os, sys; a, b = (os.dup(os.dup(int(n))) for n in sys.argv[1:3]); "
    "os.dup2(a, 3); os.dup2(b, 4); os.execv(sys.argv[3], sys.argv[3:])"
)


class Seen(NamedTuple):
    """What a page did. problems: the console's messages, errors, the browser's warnings. requests: URLs asked for."""

    problems: list[str]
    requests: list[str]
    images: list[tuple[str, int]]  # of each image its alt text and its natural width
    overflow: int  # pixels by which the page is wider than the window
    title: str
    text: str


def found() -> str | None:
    """The browser on the PATH, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A running browser."""

    def __init__(self, process: subprocess.Popen[bytes], commands: IO[bytes], answers: int) -> None:
        self.process = process
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._count = 0
        self._events: list[dict[str, Any]] = []

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Browser]:
        """A browser whose profile is in `folder`; stopped at the end."""
        program = found()
        assert program is not None
        to_read, to_write = os.pipe()
        answers, answer = os.pipe()
        command = [sys.executable, "-c", _LAUNCH, str(to_read), str(answer), program, *FLAGS]
        with (folder / "browser.log").open("wb") as log, open(to_write, "wb", buffering=0) as commands:
            process = subprocess.Popen(
                [*command, f"--user-data-dir={folder / 'profile'}", "about:blank"],
                pass_fds=(to_read, answer), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            os.close(to_read)
            os.close(answer)
            try:
                yield cls(process, commands, answers)
            finally:
                os.close(answers)
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def look(self, file: Path, *, width: int = 1200, scheme: str = "light", script: bool = True) -> Seen:
        """Open a file in a page of its own. scheme: light or dark. script: whether pages may run any."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", session, features=features)
        self.call("Emulation.setScriptExecutionDisabled", session, value=not script)
        self._events.clear()
        self.call("Page.navigate", session, url=file.resolve().as_uri())
        self._wait_for("Page.loadEventFired")
        seen = json.loads(
            self.call(
                "Runtime.evaluate",
                session,
                returnByValue=True,
                expression="JSON.stringify({"
                "images: [...document.images].map(i => [i.alt, i.complete ? i.naturalWidth : 0]),"
                "wide: document.documentElement.scrollWidth,"
                "title: document.title, text: document.body.innerText})",
            )["result"]["value"]
        )
        problems, requests = [], []
        for event in self._events:
            method, given = event["method"], event.get("params", {})
            if method == "Network.requestWillBeSent":
                requests.append(given["request"]["url"])
            elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                problems.append(json.dumps(given))
            elif method == "Page.javascriptDialogOpening":
                problems.append(given["message"])
        self.call("Target.closeTarget", targetId=target)
        # Not window.innerWidth: a phone zooms out of a page that is too wide, and says that it fits.
        overflow = seen["wide"] - width
        images = [(alt, natural) for alt, natural in seen["images"]]
        return Seen(problems, requests, images, overflow, seen["title"], seen["text"])

    @contextmanager
    def tab(self, *, width: int = 1200, height: int = 900, scheme: str = "light") -> Iterator[Tab]:
        """A page of its own that is used by keyboard."""
        context = self.call("Target.createBrowserContext")["browserContextId"]  # with cookies of its own
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", session, features=features)
        self._events.clear()
        yield Tab(self, session, width)
        self.call("Target.disposeBrowserContext", browserContextId=context)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command and its answer; what happens in between is kept."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    @property
    def problems(self) -> list[str]:
        """What the console and the browser complained of since the last page was opened."""
        kinds = (
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        )
        return [json.dumps(event.get("params", {})) for event in self._events if event["method"] in kinds]

    @property
    def requests(self) -> list[str]:
        """URLs asked for since the last page was opened."""
        return [e["params"]["request"]["url"] for e in self._events if e["method"] == "Network.requestWillBeSent"]

    def _wait_for(self, method: str) -> None:
        while not any(event["method"] == method for event in self._events):
            self._next()

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select([self._answers], [], [], max(0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser has gone"
            self._buffer += part
        one, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        if "method" in message:
            self._events.append(message)
        return message


# The code of a key and the text that it writes.
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowDown": (40, ""), "ArrowRight": (39, "")}


class Tab:
    """A page in a browser."""

    def __init__(self, browser: Browser, session: str, width: int) -> None:
        self.browser, self.session, self.width = browser, session, width

    def go(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        self.browser._events = [e for e in self.browser._events if e["method"] != "Page.loadEventFired"]
        self.browser.call("Page.navigate", self.session, url=url)
        self.browser._wait_for("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self.browser.call("Runtime.evaluate", self.session, returnByValue=True, expression=expression)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        code, text = _KEYS.get(key, (ord(key.upper()) if len(key) == 1 else 0, key))
        event = {"key": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        kind = "keyDown" if text else "rawKeyDown"
        self.browser.call("Input.dispatchKeyEvent", self.session, type=kind, text=text, **event)
        self.browser.call("Input.dispatchKeyEvent", self.session, type="keyUp", **event)

    def write(self, text: str) -> None:
        """Write a text into the element that has the focus."""
        self.browser.call("Input.insertText", self.session, text=text)

    def focus(self, selector: str) -> None:
        """Press Tab until an element that matches has the focus."""
        for _ in range(100):
            if self.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
                return
            self.press("Tab")
        raise AssertionError(f"Tab does not lead to {selector}")

    def wait(self, expression: str) -> Any:
        """Wait until an expression is true, also over the change of a page."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if value := self.evaluate(f"document.readyState === 'complete' && ({expression})"):
                    return value
            except AssertionError:  # the page is changing
                pass
            time.sleep(0.02)
        raise AssertionError(f"not seen: {expression}")
