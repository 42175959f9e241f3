"""A browser for tests: chromedriver's HTTP, spoken with the standard library. Clicks and keys
are real ones.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs Chromium and its driver: apt-get install chromium chromium-driver",
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
CONTROL = "\ue009"
KEYS = {
    "ArrowLeft": "\ue012",
    "ArrowRight": "\ue014",
    "ArrowUp": "\ue013",
    "ArrowDown": "\ue015",
    "Escape": "\ue00c",
}


class Browser:
    """One tab."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, url: str) -> None:
        self.call("/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What the script returns."""
        return self.call("/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def click(self, selector: str) -> None:
        found = self.call("/element", {"using": "css selector", "value": selector})[ELEMENT]
        self.call(f"/element/{found}/click", {})

    def choose(self, selector: str, value: str) -> None:
        self.click(f'{selector} option[value="{value}"]')

    def press(self, *keys: str) -> None:
        """To what has the focus."""
        ups = ("keyDown", "keyUp")
        actions = [{"type": up, "value": KEYS.get(key, key)} for key in keys for up in ups]
        self.call("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def clipboard(self) -> str:
        """What Ctrl+V inserts."""
        self.run(
            "const area = document.createElement('textarea'); area.id = 'pasted';"
            "document.body.append(area); area.focus()"
        )
        keys = [("keyDown", CONTROL), ("keyDown", "v"), ("keyUp", "v"), ("keyUp", CONTROL)]
        actions = [{"type": type, "value": value} for type, value in keys]
        self.call("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})
        return self.run(
            "const area = document.querySelector('#pasted'); area.remove(); return area.value"
        )

    def point(self, selector: str, x: int, y: int, kind: str = "mouse") -> None:
        """Moves the mouse to (x, y) from an element's middle, or puts a finger there."""
        found = self.call("/element", {"using": "css selector", "value": selector})
        self.run("arguments[0].scrollIntoView({block: 'center'})", found)
        moves: list[dict[str, Any]] = [
            {"type": "pointerMove", "duration": 0, "x": x, "y": y, "origin": found}
        ]
        if kind == "touch":
            moves += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        source = {
            "type": "pointer",
            "id": kind,
            "parameters": {"pointerType": kind},
            "actions": moves,
        }
        self.call("/actions", {"actions": [source]})

    def look(self, width: int, height: int, dark: bool = False, density: int = 1) -> None:
        """A screen of this size in CSS pixels, in light or dark."""
        size = {"width": width, "height": height, "mobile": width < 500}
        size["deviceScaleFactor"] = density
        self._protocol("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._protocol("Emulation.setEmulatedMedia", {"features": [scheme]})

    def _protocol(self, name: str, parameters: dict[str, Any]) -> Any:
        return self.call("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("/screenshot")))

    def problems(self) -> list[str]:
        """What the console complained of since the last time."""
        return [entry["message"] for entry in self.call("/se/log", {"type": "browser"})]


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser, ended afterwards with all its processes."""
    process = subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = next(
            found[1]
            for line in process.stdout
            if (found := re.search(r"successfully on port (\d+)", line))
        )
        server = Browser(f"http://127.0.0.1:{port}")
        options = {"binary": CHROMIUM, "args": [*FLAGS.split(), f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = server.call("/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        browser = Browser(f"{server.url}/session/{session}")
        try:
            yield browser
        finally:
            urllib.request.urlopen(
                urllib.request.Request(browser.url, method="DELETE"), timeout=60
            ).close()
    finally:
        process.terminate()
        process.wait(10)
