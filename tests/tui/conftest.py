"""Fixtures of the terminal's tests: a folder with made-up runs, and services without devices, polls or processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chatting import Children, serve_from
from made_runs import NOW, write_run
from serving import Running, ScriptedBackend, ScriptedEngine, running
from terminal import ScriptedCommands
from textual.widgets import Button

from core.runs.telemetry import Host, Snapshot, Telemetry
from daisy_tui.services import Services

GIB = 1 << 30
MakeRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def clicks_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A button takes every click: else it drops what comes while it shows the one before, for a fifth of a second."""
    monkeypatch.setattr(Button, "_start_active_affect", lambda self: None)


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Services in an empty folder, which is the current one. Their clock stands at NOW; commands are scripted."""
    monkeypatch.chdir(tmp_path)
    made = Services(tmp_path, clock=lambda: NOW, monotonic=lambda: 100.0, polls=False)
    made.__dict__["commands"] = ScriptedCommands()
    made.__dict__["telemetry"] = Telemetry(lambda: Snapshot(NOW, None, Host(0.25, 6 * GIB, 24 * GIB, GIB, 9 * GIB), {}))
    return made


@pytest.fixture
def said(services: Services) -> ScriptedCommands:
    """The commands of `services`: what was said to them, and what they answer."""
    commands = services.commands
    assert isinstance(commands, ScriptedCommands)
    return commands


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[MakeRun]:
    """Make a run in ./runs, as `made_runs.write_run` does; this process keeps living ones alive until the test ends."""
    locks: list[int] = []

    def make(name: str, state: str = "finished", **facts: Any) -> Path:
        path, lock = write_run(tmp_path / "runs", name, state, **facts)
        locks.extend([lock] if lock is not None else [])
        return path

    yield make
    for lock in locks:
        os.close(lock)


# A server to chat with, whose `engine` a file of tests makes


@pytest.fixture
def backend(engine: ScriptedEngine) -> ScriptedBackend:
    """What the server answers from."""
    return ScriptedBackend(engine, template="plain")


@pytest.fixture
def server(backend: ScriptedBackend) -> Iterator[Running]:
    """A server on loopback."""
    with running(backend) as found:
        yield found


@pytest.fixture
def children(services: Services, server: Running) -> Children:
    """Children that the terminal starts: all of them are that server."""
    return serve_from(services, server.url)
