"""Fixtures of the terminal's tests: a folder with made-up runs, and services without devices, polls or processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_runs import NOW, write_run
from terminal import ScriptedCommands

from core.runs.telemetry import Host, Snapshot, Telemetry
from daisy_tui.services import Services

GIB = 1 << 30
MakeRun = Callable[..., Path]


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Services in an empty folder, which is the current one. Their clock stands at NOW; commands are scripted."""
    monkeypatch.chdir(tmp_path)
    made = Services(tmp_path, clock=lambda: NOW, monotonic=lambda: 100.0, polls=False)
    made.__dict__["commands"] = ScriptedCommands()
    made.__dict__["telemetry"] = Telemetry(lambda: Snapshot(NOW, None, Host(0.25, 6 * GIB, 24 * GIB, GIB, 9 * GIB), {}))
    return made


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
