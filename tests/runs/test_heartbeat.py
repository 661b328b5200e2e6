"""Heartbeats and what they show, with a clock of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from core.runs.directory import RunDirectory, write_object
from core.runs.heartbeat import SILENT_S, Heartbeat, Stall, heartbeats, stalls
from core.runs.processes import identity

NOW = 1000.0


def _beat(rank: int = 0, phase: str = "step", *, quiet: float, silence: float = 0.0, **more: Any) -> dict[str, Any]:
    """A heartbeat of a main thread that has been `quiet`, and of a thread that wrote `silence` seconds ago."""
    return {"rank": rank, "phase": phase, "time": NOW - silence, "progress": NOW - quiet, "median_step_s": None} | more


@pytest.mark.parametrize(
    ("phase", "median", "limit"),
    [
        ("step", None, 30),
        ("step", 0.2, 30),
        ("step", 8.0, 80),
        ("start", None, 600),
        ("compile", None, 1800),
        ("evaluate", None, 1800),
        ("save", None, 1800),
        ("end", None, 600),
    ],
)
def test_a_rank_stalls_when_its_phase_takes_longer_than_it_may(phase: str, median: float | None, limit: float) -> None:
    assert stalls([_beat(phase=phase, quiet=limit - 1, median_step_s=median)], NOW) == []
    (stall,) = stalls([_beat(phase=phase, quiet=limit + 1, median_step_s=median)], NOW)
    assert stall == Stall(0, phase, limit + 1, silent=False)
    assert str(stall) == f"rank 0 makes no progress in phase {phase} for {limit + 1} s"


def test_a_rank_whose_thread_is_silent_stalls_in_every_phase() -> None:
    assert stalls([_beat(phase="save", quiet=14, silence=SILENT_S)], NOW) == []
    (stall,) = stalls([_beat(phase="save", quiet=20, silence=SILENT_S + 1)], NOW)
    assert str(stall).startswith("rank 0 is silent (stopped, or its machine hangs) in phase save")


def test_silent_ranks_are_named_first_because_the_others_only_wait_for_them() -> None:
    beats = [_beat(0, quiet=50), _beat(1, quiet=50), _beat(2, quiet=49, silence=48), _beat(3, quiet=2)]
    assert [(stall.rank, stall.silent) for stall in stalls(beats, NOW)] == [(2, True), (0, False), (1, False)]


def test_only_ranks_that_live_have_a_heartbeat(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        gone = {"pid": child.pid, "identity": identity(child.pid)}
    here = {"pid": os.getpid(), "identity": identity(os.getpid())}
    for rank, who in ((10, here), (2, here), (1, gone), (3, here | {"identity": gone["identity"]})):
        write_object(tmp_path / f"heartbeat-{rank}.json", _beat(rank, quiet=100, silence=100) | who)
    (tmp_path / "heartbeat-4.json").write_text('{"rank": 4, "pi')
    (tmp_path / "heartbeat-5.json").write_text("{}")
    beats = heartbeats(RunDirectory(tmp_path))
    assert [beat["rank"] for beat in beats] == [2, 10]
    assert [stall.rank for stall in stalls(beats, NOW)] == [2, 10], "the dead are no stalls"


def test_a_heart_writes_what_its_rank_does_and_since_when(tmp_path: Path) -> None:
    times = iter(range(100, 10_000))
    heart = Heartbeat(RunDirectory(tmp_path), 3, clock=lambda: float(next(times)))
    heart.progress("step", 17, 0.25)
    heart.end()
    written = json.loads((tmp_path / "heartbeat-3.json").read_text())
    assert written["rank"] == 3
    assert (written["pid"], written["identity"]) == (os.getpid(), identity(os.getpid()))
    assert (written["phase"], written["step"], written["median_step_s"]) == ("step", 17, 0.25)
    assert written["time"] > written["progress"] > 100
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_that_a_rank_has_left_its_start_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    more = threading.Condition()

    def write(path: Path, values: dict[str, Any]) -> None:
        with more:
            written.append(values["phase"])
            more.notify()

    monkeypatch.setattr("core.runs.heartbeat.write_object", write)
    monkeypatch.setattr("core.runs.heartbeat.EVERY_S", 1000.0)
    heart = Heartbeat(RunDirectory(tmp_path), 0)
    with more:
        assert more.wait_for(lambda: written == ["start"], 30)
    heart.progress("step", 1)
    with more:
        assert more.wait_for(lambda: written == ["start", "step"], 30)
    heart.end()


def test_a_heart_that_cannot_write_still_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def full(*_: object) -> None:
        tried.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.runs.heartbeat.write_object", full)
    heart = Heartbeat(RunDirectory(tmp_path), 0)
    assert tried.wait(30)
    ending = threading.Thread(target=heart.end, daemon=True)
    ending.start()
    ending.join(10)
    ended = not ending.is_alive()
    monkeypatch.undo()  # so that one which goes on trying ends now
    ending.join(30)
    assert ended
