"""A real terminal with a program in it, for tests that drive what a person drives: tmux, or where that is missing a
pseudo-terminal read by pyte."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pyte
from support import ROOT

_WAIT_S = 60.0
_KEYS = {"enter": "\r", "escape": "\x1b", "tab": "\t", "space": " ", "backspace": "\x7f", "up": "\x1b[A"}
_KEYS |= {"down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D"}
_KEYS |= {f"ctrl+{letter}": chr(ord(letter) & 31) for letter in "abcdefghijklmnopqrstuvwxyz"}
_GIVEN = ("PYTHONPATH", "OMP_NUM_THREADS", "XDG_CONFIG_HOME", "DAISY_LEASES", "DAISY_CACHE", "COLUMNS", "LINES")
_TMUX = {"enter": "Enter", "escape": "Escape", "tab": "Tab", "space": "Space", "backspace": "BSpace"}
_TMUX |= {"up": "Up", "down": "Down", "right": "Right", "left": "Left"}
_TMUX |= {name: f"C-{name[-1]}" for name in _KEYS if name.startswith("ctrl+")}


class RealTerminal:
    """One terminal of `size` (columns, rows) with `daisy ARGUMENTS` in it. `pid` is that of the program."""

    pid: int

    def text(self) -> str:
        """What stands on the screen."""
        raise NotImplementedError

    def write(self, text: str) -> None:
        """Type text."""
        raise NotImplementedError

    def _key(self, name: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close it, as closing a window does."""
        raise NotImplementedError

    def press(self, *keys: str) -> None:
        """Press keys: names such as `enter` and `ctrl+p`, or single letters."""
        for key in keys:
            self._key(key) if key in _KEYS else self.write(key)

    def until(self, *wanted: str | Callable[[str], object]) -> str:
        """Wait until all of it stands on the screen, and return that. Fails with what stood there instead.

        It must stand there twice in a row: a terminal may be read while it is being drawn.
        """
        between, waited, held = threading.Event(), 0.0, 0
        while True:
            shown = self.text()
            is_there = all(want in shown if isinstance(want, str) else want(shown) for want in wanted)
            held = held + 1 if is_there else 0
            if held == 2:
                return shown
            assert waited < _WAIT_S, f"{wanted} did not appear within {_WAIT_S:.0f} s; there is:\n{shown}"
            between.wait(0.1)
            waited += 0.1

    def kill(self) -> None:
        """Kill the program without a word."""
        os.kill(self.pid, signal.SIGKILL)


def open_terminal(folder: Path, *arguments: str, size: tuple[int, int] = (80, 24)) -> RealTerminal:
    """A terminal in which `daisy ARGUMENTS` has been started."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}
    environment |= {"XDG_CONFIG_HOME": str(folder / "home"), "COLUMNS": str(size[0]), "LINES": str(size[1])}
    for name in ("NO_COLOR", "TMUX"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "daisy_tui", *arguments]
    kind = _TmuxTerminal if shutil.which("tmux") else _PtyTerminal
    return kind(folder, command, size, environment)


class _TmuxTerminal(RealTerminal):
    def __init__(self, folder: Path, command: list[str], size: tuple[int, int], environment: dict[str, str]) -> None:
        self._socket = f"daisy-test-{os.getpid()}-{id(self)}"
        wide, high = map(str, size)
        given = [word for name in _GIVEN
                 if name in environment for word in ("-e", f"{name}={environment[name]}")]  # fmt: skip
        begin = ("new-session", "-d", "-x", wide, "-y", high, "-c", str(folder))
        self._tmux("-f", os.devnull, *begin, *given, *command)
        self._tmux("set-option", "-g", "remain-on-exit", "on")
        self._tmux("set-option", "-g", "window-size", "manual")
        self._tmux("resize-window", "-x", wide, "-y", high)
        self.pid = int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def write(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def _key(self, name: str) -> None:
        self._tmux("send-keys", _TMUX[name])

    def close(self) -> None:
        self._tmux("kill-server", check=False)

    def _tmux(self, *arguments: str, check: bool = True) -> str:
        command = ["tmux", "-L", self._socket, *arguments]
        return subprocess.run(command, check=check, capture_output=True, text=True).stdout


class _PtyTerminal(RealTerminal):
    def __init__(self, folder: Path, command: list[str], size: tuple[int, int], environment: dict[str, str]) -> None:
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        self.pid = self._process.pid
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def text(self) -> str:
        with self._lock:
            return "\n".join(self._screen.display)

    def write(self, text: str) -> None:
        os.write(self._master, text.encode())

    def _key(self, name: str) -> None:
        self.write(_KEYS[name])

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGHUP)
        self._process.wait()
        self._reader.join()
        os.close(self._master)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # the program has ended
                return
            if not data:
                return
            with self._lock:
                self._stream.feed(data)
