"""A headless Chromium, driven through a pipe by its DevTools protocol: no driver, no library, no port.

Chromium reads commands from its file descriptor 3 and writes answers and events to 4, each of them JSON that a NUL byte
ends (`--remote-debugging-pipe`).
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEADLINE = 20.0  # in seconds, for an answer: the machine may be busy
OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # Chromium refuses to be root with it; the pages are ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


def find() -> str | None:
    """The browser of this machine, if it has one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class ScriptError(Exception):
    """A script in the page has thrown."""


class Chromium:
    """A browser; `home` is where it may write."""

    def __init__(self, executable: str, home: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # A shell moves the pipes to where Chromium looks for them: nothing in this process may be at 3 and 4 for that.
        places = f'exec "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", places, "bash", executable, *OPTIONS, f"--user-data-dir={home}"],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(home)},
        )
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def close(self) -> None:
        os.close(self._commands)  # at which Chromium ends
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Give a command and return its answer; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        deadline = time.monotonic() + DEADLINE
        while (answer := self._read(deadline)).get("id") != self._number:
            self._events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def events(self, session: str, method: str) -> list[dict[str, Any]]:
        """The parameters of the events that have come, of one kind or, with a name that ends in a dot, of a domain."""
        return [
            event["params"]
            for event in self._events
            if event.get("sessionId") == session
            and (event["method"] == method or (method.endswith(".") and event["method"].startswith(method)))
        ]

    def wait(self, session: str, method: str) -> dict[str, Any]:
        """The parameters of the first event of a kind."""
        deadline = time.monotonic() + DEADLINE
        while not (found := self.events(session, method)):
            self._events.append(self._read(deadline))
        return found[0]

    def open(self, path: Path, **media: str) -> "Page":
        """Open a file in a new tab and wait until it is loaded; `media` are features such as prefers_color_scheme."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        page.call("Emulation.setEmulatedMedia", features=features)
        page.resize(1440, 900)
        page.call("Page.navigate", url=path.as_uri())
        self.wait(session, "Page.loadEventFired")
        return page

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(deadline - time.monotonic(), 0))
            data = os.read(self._answers, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError("Chromium does not answer" if not ready else "Chromium has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        read: dict[str, Any] = json.loads(message)
        return read


class Page:
    """A file in a tab."""

    def __init__(self, browser: Chromium, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def settle(self) -> None:
        """Wait until the page has been drawn; only a page in front is."""
        self.call("Page.bringToFront")
        self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def run(self, script: str) -> Any:
        """The value of an expression, or of what it promises."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise ScriptError(answer["exceptionDetails"]["exception"].get("description"))
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "", modifiers: int = 0) -> None:
        """Press a key and let it go, as a person does: "Tab", 9, or "Enter", 13, "\\r"."""
        fields = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **fields)
        self.call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def requests(self) -> list[str]:
        """The addresses of all that was asked for, of the file itself, too."""
        return [event["request"]["url"] for event in self._browser.events(self._session, "Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """What stands in the console: messages, exceptions, violations of the policy."""
        logged = [event["entry"]["text"] for event in self._browser.events(self._session, "Log.entryAdded")]
        thrown = self._browser.events(self._session, "Runtime.exceptionThrown")
        said = self._browser.events(self._session, "Runtime.consoleAPICalled")
        return [*logged, *map(str, thrown), *map(str, said)]
