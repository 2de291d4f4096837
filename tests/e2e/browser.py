"""Drives a real headless Chromium by its DevTools protocol: opens a page, clicks, types, asks it, photographs it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DEADLINE_S = 60.0
"""For starting and for what a page does: generous, since the machine may be busy."""

PAUSE_S = 0.02
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
    "--remote-debugging-port=0",
)
KEYS = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36}


def find_browser() -> str:
    """Give the path of a browser; a missing one fails the test in CI, and skips it elsewhere."""
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    reason = f"no browser was found in PATH ({', '.join(NAMES)}); install one: apt-get install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Tab:
    """One page of a browser.

    Attributes:
        troubles: errors that the page's console shows, and exceptions that nobody caught.
        requests: the addresses of all that the page has asked for.
    """

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=DEADLINE_S, suppress_origin=True)
        self._number = 0
        self.troubles: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> Any:
        """Send a command and give its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, told = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.troubles.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in {"error", "warning", "assert"}:
            self.troubles.append(str([argument.get("value") for argument in told["args"]]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in {"error", "warning"}:
            self.troubles.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])

    def open(self, address: str, *, width: int = 1440, height: int = 1000, is_dark: bool = False) -> None:
        """Go to an address, and wait until the page says that it has drawn itself."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.command("Emulation.setEmulatedMedia", features=scheme)
        self.command("Page.navigate", url=address)
        self.wait_for("document.documentElement?.dataset.ready === 'true'")

    def ask(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        result = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a condition holds in the page."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.ask(expression):
            assert time.monotonic() < deadline, f"in vain waited for {expression}; the page's troubles: {self.troubles}"
            time.sleep(PAUSE_S)

    def click(self, x: float, y: float) -> None:
        """Click with the mouse at a point of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a point of the window."""
        self.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click_on(self, selector: str) -> None:
        """Scroll an element into sight, and click in its middle."""
        box = self.box_of(selector)
        self.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def box_of(self, selector: str) -> dict[str, float]:
        """Scroll an element into sight, and give where it is in the window."""
        found = self.ask(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)}); if (!found) return null;"
            " found.scrollIntoView({block: 'nearest', behavior: 'instant'});"
            " const {x, y, width, height} = found.getBoundingClientRect(); return {x, y, width, height}; })()"
        )
        assert found is not None, f"the page has no {selector}"
        box: dict[str, float] = found
        return box

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def type(self, text: str) -> None:
        """Type a text where the cursor is."""
        self.command("Input.insertText", text=text)

    def picture(self, *, is_whole: bool = False) -> bytes:
        """Give a PNG of the window, or of the whole page."""
        taken = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        return base64.b64decode(taken["data"])

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@contextmanager
def browser_tab() -> Iterator[Tab]:
    """Start a browser with a profile of its own, give a page of it, and end it."""
    program = find_browser()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            tab = Tab(_address(Path(profile), process))
            try:
                yield tab
            finally:
                tab.close()
        finally:
            _end(process)


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until the browser has said where it listens, and give the address of its page."""
    told = profile / "DevToolsActivePort"
    lines: list[str] = []

    def has_told() -> bool:
        assert process.poll() is None, f"the browser ended with {process.returncode}"
        if told.exists():
            lines[:] = told.read_text().split()
        return len(lines) == 2

    _wait_until(has_told, "the browser has said where it listens")
    port, path = lines
    root = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=DEADLINE_S, suppress_origin=True)
    try:
        root.send(json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
        while (message := json.loads(root.recv())).get("id") != 1:
            pass
    finally:
        root.close()
    return f"ws://127.0.0.1:{port}/devtools/page/{message['result']['targetId']}"


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:g} s in vain until {what}"
        time.sleep(PAUSE_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the browser with all its processes, which are a group of their own."""
    for number in (15, 9):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(5.0)
            if number == 9:
                return
        except subprocess.TimeoutExpired:
            continue
