"""A run that is watched from a real terminal: what Ctrl-C asks, and what each answer does."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT, run_daisy, run_named, until

from core.runs.status import AFTER_CHECKPOINT, run_status

ENDLESS = "target_tokens=3B"


class Terminal:
    """`daisy ARGUMENTS` on a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._screen, end = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "dumb"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "daisy_tui", *arguments],
            cwd=folder,
            env=environment,
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(end)
        self._text = ""

    def reads(self, what: str) -> None:
        """Wait until this is on the screen, and forget it with all before."""
        while what not in self._text:
            data = os.read(self._screen, 65536)
            assert data, self._text
            self._text += data.decode(errors="replace")
        self._text = self._text.partition(what)[2]

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def close(self) -> None:
        os.close(self._screen)


@pytest.fixture
def folder(watched_folder: Callable[..., Path]) -> Path:
    return watched_folder()


def test_ctrl_c_asks_and_does_what_is_answered(folder: Path) -> None:
    terminal = Terminal(folder, "train", "tiny.yml", "-r", "a", ENDLESS)
    terminal.reads("step 3 ")
    terminal.type("\x03")
    terminal.reads("or go on watching (w)? ")
    terminal.type("x\n")  # no answer
    terminal.reads("leave it running (l), or go on watching (w)? ")
    terminal.type("w\n")
    terminal.reads("step ")
    assert run_status(run_named("a")).state == "running"
    terminal.type("\x03")
    terminal.reads("(w)? ")
    terminal.type("l\n")
    terminal.reads("left running: daisy runs show ")
    assert terminal.process.wait(60) == 0
    terminal.close()
    assert run_status(run_named("a")).state == "running"

    waiting = Terminal(folder, "train", "tiny.yml", "-r", "b", "--queue", ENDLESS)
    waiting.reads("queued, place 1 of 1: waits for cpu; held: cpu by ")
    waiting.type("\x03")
    waiting.reads("Take the run out of the queue (Enter), leave it waiting (l)")
    waiting.type("\n")
    assert waiting.process.wait(60) == 3
    waiting.close()
    assert run_status(run_named("b")).state == "stopped"
    run_daisy(folder, "runs", "stop", "a")


def test_enter_stops_with_a_checkpoint_and_a_closed_terminal_stops_nothing(folder: Path) -> None:
    terminal = Terminal(folder, "train", "tiny.yml", "-r", "a", ENDLESS)
    terminal.reads("step 3 ")
    terminal.type("\x03")
    terminal.reads("(w)? ")
    terminal.type("\n")
    terminal.reads("stopping: a checkpoint at the next step")
    assert terminal.process.wait(120) == 3
    terminal.close()
    assert run_status(run_named("a")).reason == AFTER_CHECKPOINT

    closed = Terminal(folder, "train", "--resume", "a")
    closed.reads("resumed at step")
    closed.close()
    closed.process.wait(60)
    until(lambda: run_status(run_named("a")).state == "running")
    run_daisy(folder, "runs", "stop", "a")


def test_a_control_center_ends_with_its_terminal_without_a_signal(folder: Path) -> None:
    screen, end = pty.openpty()  # nobody's controlling terminal, so that no SIGHUP comes
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "daisy_tui", "tui"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=end, stdout=end, stderr=end, start_new_session=True
    ) as process:
        os.close(end)
        shown = b""
        while b"Compose" not in shown:
            shown += os.read(screen, 65536)
        os.close(screen)
        assert process.wait(60) == 1


def test_a_control_center_that_is_told_to_end_leaves_its_terminal_as_it_was(folder: Path) -> None:
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(end)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "daisy_tui", "tui"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=end, stdout=end, stderr=end, start_new_session=True
    ) as process:
        shown = b""
        while b"Compose" not in shown:
            shown += os.read(screen, 65536)
        process.terminate()
        while b"\x1b[?1049l" not in shown:  # the other screen is left
            shown += os.read(screen, 65536)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert termios.tcgetattr(end) == before
    os.close(screen)
    os.close(end)
