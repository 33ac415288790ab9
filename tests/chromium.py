"""A page in headless Chromium, over the DevTools protocol through a pipe: what it measures, asks for and looks like."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_SECONDS = 300.0


class Browser:
    """One page of one browser. messages: events of the protocol since the page was opened."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._count, self._rest = commands, answers, 0, b""
        self._session: str | None = None
        self.messages: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.messages.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._answers], [], [], PATIENCE_SECONDS)[0]:
                raise RuntimeError("Chromium says nothing any more")
            more = os.read(self._answers, 1 << 20)
            if not more:
                raise RuntimeError("Chromium ended")
            self._rest += more
        text, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        return message

    def open(self, path: Path, **options: Any) -> None:
        """`navigate`, and all pictures decoded."""
        self.navigate(path, **options)
        self.value("Promise.all([...document.images].map(image => image.decode())).then(() => 1)")

    def navigate(self, path: Path, *, width: int, height: int = 900, dark: bool = False, media: str = "screen") -> None:
        """Loads a file in a window of this many CSS pixels."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.messages.clear()
        # the page before may end its own loading late
        loader = self.ask("Page.navigate", url=path.as_uri())["loaderId"]
        while not any(_is_load(message, loader) for message in self.messages):
            self.messages.append(self._next())

    def value(self, expression: str) -> Any:
        """What a JavaScript expression, or its promise, gives."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def screenshot(self) -> bytes:
        """PNG of the whole page, not the window alone."""
        answer = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """The page as printed on A4."""
        answer = self.ask("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
        return base64.b64decode(answer["data"])

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings that the page or the browser wrote on the console."""
        found = []
        for message in self.messages:
            parameters = message.get("params", {})
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                found.append(json.dumps(parameters))
            elif message.get("method") == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
                found.append(json.dumps(parameters["args"]))
        return found

    @property
    def requests(self) -> list[str]:
        """What the page asked for beyond its own file and what is inside it."""
        asked = [m["params"]["request"]["url"] for m in self.messages if m.get("method") == "Network.requestWillBeSent"]
        return [url for url in asked[1:] if not url.startswith("data:")]


def _is_load(message: dict[str, Any], loader: str) -> bool:
    event = message.get("params", {})
    return message.get("method") == "Page.lifecycleEvent" and (event["name"], event["loaderId"]) == ("load", loader)


def _moved(file: int) -> int:
    """The same file under a number from 10 on."""
    moved = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(file)
    return moved


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window, that reaches for nothing by itself."""
    assert CHROMIUM is not None
    commands_end, commands = os.pipe()
    answers, answers_end = os.pipe()
    # It reads commands from file 3 and writes answers to file 4; ours are moved out of the way of these.
    their_commands, their_answers = (_moved(end) for end in (commands_end, answers_end))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                "bash", "-c", f'exec "$0" "$@" 3<&{their_commands} 4>&{their_answers}', CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
                "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--hide-scrollbars",
                "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank",
            ],
            pass_fds=(their_commands, their_answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(their_commands)
        os.close(their_answers)
        try:
            yield Browser(commands, answers)
        finally:
            process.terminate()
            process.wait()
            os.close(commands)
            os.close(answers)
