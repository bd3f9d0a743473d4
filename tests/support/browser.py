"""A real browser without a window, spoken to in the DevTools protocol through two pipes."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
"""Debian's package of the first is what 'make apt-chromium' installs."""
PASTE = {"commands": ["paste"], "key": "v", "code": "KeyV", "modifiers": 2}


def program() -> str | None:
    """Path of a browser on this machine, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One page of a browser.

    Attributes
    ----------
    requests : addresses that the page asked for, whatever became of it
    faults : what scripts threw, and what the page's policy refused
    """

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self.requests: list[str] = []
        self.faults: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Result of a method of the protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._until(lambda found: found.get("id") == number)["result"]

    def grant(self, permission: str) -> None:
        """Give pages a permission that a browser with a window would ask for, or give at once."""
        session, self._session = self._session, None
        self.call("Browser.grantPermissions", permissions=[permission])
        self._session = session

    def open(self, address: str) -> None:
        """Load a page to its end."""
        self.call("Page.navigate", url=address)
        self._until(lambda found: found.get("method") == "Page.loadEventFired")

    def ask(self, expression: str) -> Any:
        """Value of an expression in the page, awaited if it is a promise."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Press the mouse's left button there, and let it go."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def pasted(self) -> str:
        """What the clipboard holds, pasted by its key into a new field."""
        self.ask(
            "globalThis.field = document.createElement('textarea'); document.body.append(field); "
            "field.focus()"
        )
        self.call("Input.dispatchKeyEvent", type="keyDown", **PASTE)
        self.call("Input.dispatchKeyEvent", type="keyUp", key="v", code="KeyV", modifiers=2)
        text: str = self.ask("field.remove(), field.value")
        return text

    def picture(self) -> bytes:
        """PNG of the window."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            found = self._message()
            method, values = found.get("method"), found.get("params", {})
            if method == "Network.requestWillBeSent":
                self.requests.append(values["request"]["url"])
            elif method == "Runtime.exceptionThrown":
                self.faults.append(str(values["exceptionDetails"]))
            elif method == "Log.entryAdded":
                self.faults.append(values["entry"]["text"])
            if "error" in found:
                raise RuntimeError(str(found["error"]))
            if wanted(found):
                return found

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            more = os.read(self._back, 1 << 16)
            if not more:
                raise RuntimeError("The browser has ended")
            self._buffer += more
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


@contextmanager
def browser(folder: Path, width: int = 1200, height: int = 1000) -> Iterator[Browser]:
    """A browser of its own profile in a folder, ended with the context.

    Its sandbox is off: root has none, and the page is our own.
    """
    path = program()
    if path is None:
        raise RuntimeError("There is no browser; install one with 'make apt-chromium'")
    ours, theirs = os.pipe(), os.pipe()

    command = [
        path, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
        "--no-first-run", "--hide-scrollbars", f"--user-data-dir={folder}",
        f"--window-size={width},{height}", "about:blank",
    ]  # fmt: skip
    # Where the browser looks for its pipes.
    moved = ["bash", "-c", f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}', "bash"]
    process = subprocess.Popen(
        [*moved, *command], pass_fds=(ours[0], theirs[1]), stderr=subprocess.DEVNULL
    )
    os.close(ours[0])
    os.close(theirs[1])
    try:
        yield Browser(ours[1], theirs[0])
    finally:
        os.close(ours[1])
        os.close(theirs[0])
        ended = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < ended:
            time.sleep(0.02)
        process.kill()
        process.wait()
