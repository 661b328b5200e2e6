"""The control center in a browser, for tests: headless Chromium on the page of `daisy tui --web`, driven by Playwright.

The page draws on a canvas, so what stands there is read from what its socket receives, by pyte.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pyte
from real_terminal import RealTerminal
from support import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_KEYS = {"enter": "Enter", "escape": "Escape", "tab": "Tab", "space": "Space", "backspace": "Backspace"}
_KEYS |= {"up": "ArrowUp", "down": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight"}
_CELL = 10, 20  # more than the pixels of a letter


class PageServer:
    """`daisy tui --web` in a folder, until `close`."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment |= {"XDG_CONFIG_HOME": str(folder / "home")}
        command = [sys.executable, "-m", "daisy_tui", "tui", "--web", "--port", str(port)]
        self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "http://127.0.0.1" in line, line
        self.url = f"http://127.0.0.1:{port}"

    def apps(self) -> list[int]:
        """The terminals of the pages that are open, by process id, the oldest first."""
        children = psutil.Process(self._process.pid).children()
        return [child.pid for child in sorted(children, key=lambda child: child.create_time())]

    def close(self) -> None:
        """End it as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        self._process.communicate()


class BrowserTerminal(RealTerminal):
    """One page. `size` is what it should have at least, in columns and rows."""

    def __init__(self, browser: Any, server: PageServer, size: tuple[int, int]) -> None:
        wide, high = size[0] * _CELL[0], size[1] * _CELL[1]
        self._page = browser.new_page(viewport={"width": wide, "height": high})
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        before = set(server.apps())
        self._page.on("websocket", self._watch)
        self._page.goto(server.url)
        while not (new := set(server.apps()) - before):
            self.text()
        (self.pid,) = new
        self._page.locator(".xterm-helper-textarea").focus()

    def text(self) -> str:
        self._page.wait_for_timeout(20)  # Playwright hears of frames only in calls of its own
        return "\n".join(self._screen.display)

    def write(self, text: str) -> None:
        self._page.keyboard.type(text)

    def _key(self, name: str) -> None:
        self._page.keyboard.press(_KEYS.get(name) or f"Control+{name[-1]}")

    def close(self) -> None:
        self._page.close()

    def _watch(self, connection: Any) -> None:
        connection.on("framereceived", self._receive)
        connection.on("framesent", self._sent)

    def _receive(self, data: bytes | str) -> None:
        if isinstance(data, bytes):
            self._stream.feed(data)

    def _sent(self, data: bytes | str) -> None:
        said = json.loads(data)
        if said[0] == "resize":
            self._screen.resize(said[1]["height"], said[1]["width"])
