"""The state of a run, from directories made by hand: every state has its proof, and a pid alone proves nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.runs.directory import RunDirectory, write_object
from core.runs.lock import hold, is_held
from core.runs.processes import identity
from core.runs.status import run_status


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run that was started once, and whose supervisor has written nothing yet."""
    made = RunDirectory(tmp_path)
    write_object(made.launch, {"attempt": 1})
    return made


@pytest.fixture(scope="module")
def dead() -> tuple[int, str]:
    """The pid and the identity of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        known = identity(child.pid)
    assert known is not None
    return child.pid, known


def _watch(run: RunDirectory, phase: str, process: tuple[int, str] | None = None, **facts: Any) -> None:
    """Let this process, which has the lock, or another one, be the supervisor of the first attempt."""
    if process is None and not is_held(run):
        hold(run)
    pid, known = process or (os.getpid(), identity(os.getpid()))
    facts = {"attempt": 1, "host": platform.node(), "devices": ["cpu"]} | facts
    write_object(run.supervisor, {"pid": pid, "identity": known, "phase": phase, **facts})


def _beat(run: RunDirectory, phase: str, process: tuple[int, str] | None = None, rank: int = 0) -> None:
    pid, known = process or (os.getpid(), identity(os.getpid()))
    facts = {"rank": rank, "pid": pid, "identity": known, "phase": phase, "step": 3}
    now = _now(run)
    write_object(run.path / f"heartbeat-{rank}.json", facts | {"time": now, "progress": now, "median_step_s": 0.1})


def _end(run: RunDirectory, outcome: str, attempt: int = 1) -> None:
    write_object(run.exit, {"attempt": attempt, "outcome": outcome, "reason": "its reason"})


def _now(run: RunDirectory) -> float:
    return run.launch.stat().st_mtime


def test_a_directory_that_nothing_was_started_for_is_lost(tmp_path: Path) -> None:
    status = run_status(RunDirectory(tmp_path))
    assert (status.state, status.alive, status.reason) == ("lost", False, "it was never started by a supervisor")


def test_a_run_starts_while_somebody_holds_its_lock(run: RunDirectory) -> None:
    lock = hold(run)
    assert lock is not None
    assert run_status(run, _now(run) + 1000)[:2] == ("starting", True)
    os.close(lock)
    status = run_status(run, _now(run))
    assert (status.state, status.alive) == ("lost", False)
    assert "logs/supervisor.log" in str(status.reason)


def test_where_there_are_no_locks_a_supervisor_has_some_time_to_begin(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refused)
    assert hold(run) is not None
    assert run_status(run, _now(run) + 19)[:2] == ("starting", True)
    assert run_status(run, _now(run) + 21)[:2] == ("lost", False)


def test_a_queued_run_that_nobody_waits_for_any_more_is_queued_and_not_alive(
    run: RunDirectory, dead: tuple[int, str]
) -> None:
    _watch(run, "queued")
    assert run_status(run)[:2] == ("queued", True)
    _watch(run, "queued", dead)
    assert run_status(run)[:3] == ("queued", False, "not waiting: its supervisor is gone")


def test_a_run_is_running_once_a_rank_has_left_its_start(run: RunDirectory) -> None:
    _watch(run, "starting")
    assert run_status(run).state == "starting"
    _watch(run, "running")
    assert run_status(run).state == "starting", "no rank has said anything"
    _beat(run, "start")
    assert run_status(run).state == "starting"
    _beat(run, "step", rank=1)
    assert run_status(run)[:3] == ("running", True, None)


@pytest.mark.parametrize("phase", ["stopping", "ended"])
def test_a_run_is_stopping_until_its_outcome_is_written(run: RunDirectory, phase: str) -> None:
    _watch(run, phase)
    _beat(run, "step")
    assert run_status(run)[:3] == ("stopping", True, None)


@pytest.mark.parametrize("outcome", ["finished", "stopped", "failed"])
def test_an_outcome_that_was_written_counts_whether_its_supervisor_lives_or_not(
    run: RunDirectory, dead: tuple[int, str], outcome: str
) -> None:
    _end(run, outcome)
    for process in (None, dead):
        _watch(run, "ended", process)
        status = run_status(run)
        assert (status.state, status.alive, status.reason) == (outcome, False, "its reason")
        assert status.supervisor is not None
        assert status.supervisor["devices"] == ["cpu"]


@pytest.mark.parametrize("phase", ["starting", "running", "stopping", "ended"])
def test_a_supervisor_that_is_gone_without_an_outcome_is_a_lost_run(
    run: RunDirectory, dead: tuple[int, str], phase: str
) -> None:
    _watch(run, phase, dead)
    _beat(run, "step", dead)
    status = run_status(run)
    assert (status.state, status.alive, status.stalls) == ("lost", False, ())
    assert "was killed" in str(status.reason)


def test_a_copy_of_a_run_that_lives_does_not(run: RunDirectory, tmp_path: Path) -> None:
    _watch(run, "running")
    assert run_status(run).alive
    copy = RunDirectory(tmp_path.with_name(tmp_path.name + "-copy"))
    shutil.copytree(run.path, copy.path)
    assert run_status(copy)[:2] == ("lost", False)
    assert run_status(run).alive


def test_a_run_lives_though_its_launch_was_lost_or_damaged(run: RunDirectory) -> None:
    _watch(run, "running")
    run.launch.write_text("")
    assert run_status(run).alive
    run.launch.unlink()
    assert run_status(run).alive


def test_a_rank_that_has_ended_has_begun(run: RunDirectory, dead: tuple[int, str]) -> None:
    _watch(run, "running")
    _beat(run, "end", dead)
    assert run_status(run).state == "running"


def test_a_pid_that_is_used_again_is_not_the_supervisor(run: RunDirectory, dead: tuple[int, str]) -> None:
    _watch(run, "running", (os.getpid(), dead[1]))
    assert run_status(run).state == "lost", "this process lives, and began at another time"
    boot, _, began = str(identity(os.getpid())).partition(":")
    if began:
        _watch(run, "running", (os.getpid(), f"{boot[::-1]}:{began}"))
        assert run_status(run).state == "lost", "before the machine was started again"


def test_the_outcome_of_an_earlier_attempt_does_not_count(run: RunDirectory, dead: tuple[int, str]) -> None:
    _watch(run, "ended", dead)
    _end(run, "failed")
    assert run_status(run).state == "failed"
    write_object(run.launch, {"attempt": 2})
    assert run_status(run, _now(run))[:2] == ("lost", False)
    _watch(run, "running", attempt=2)
    _beat(run, "step")
    assert run_status(run)[:2] == ("running", True)
    _watch(run, "running", dead, attempt=2)
    assert run_status(run).state == "lost"
    _end(run, "finished", attempt=2)
    assert run_status(run).state == "finished"


def test_an_outcome_that_cannot_be_read_proves_nothing(run: RunDirectory, dead: tuple[int, str]) -> None:
    _watch(run, "running", dead)
    run.exit.write_text('{"attempt": 1, "outc')
    assert run_status(run).state == "lost"


def test_a_run_of_another_machine_lives_as_long_as_something_is_written(
    run: RunDirectory, dead: tuple[int, str]
) -> None:
    _watch(run, "running", dead, host="elsewhere")
    written = run.supervisor.stat().st_mtime
    assert run_status(run, written + 59)[:2] == ("starting", True)
    assert run_status(run, written + 61)[:2] == ("lost", False)
    _beat(run, "step", dead)
    os.utime(run.path / "heartbeat-0.json", (written + 100, written + 100))
    assert run_status(run, written + 159).alive


def test_what_is_stalled_is_part_of_the_state_of_a_run_that_lives(run: RunDirectory) -> None:
    _watch(run, "running")
    _beat(run, "step")
    assert run_status(run, _now(run) + 10).stalls == ()
    (stall,) = run_status(run, _now(run) + 40).stalls
    assert (stall.rank, stall.phase, stall.silent) == (0, "step", True)


@pytest.mark.parametrize("phase", ["running", "stopping", "ended"])
def test_a_supervisor_that_lives_without_a_rank_has_a_run_that_is_stalled(
    run: RunDirectory, dead: tuple[int, str], phase: str
) -> None:
    _watch(run, phase)
    _beat(run, "step", dead)
    _beat(run, "step", dead, rank=1)
    written = run.supervisor.stat().st_mtime
    soon, late = run_status(run, written + 14), run_status(run, written + 58)
    assert (soon.state, soon.stalls, soon.ranks_ended) == (late.state, (), False), "it may just be about to write it"
    assert (late.alive, late.ranks_ended) == (True, True)
    said = "its ranks have ended and its supervisor has not written how (nothing was heard for 58 s)"
    assert [str(stall) for stall in late.stalls] == [said]
    _end(run, "failed")
    assert run_status(run, written + 58)[:2] == ("failed", False)


def test_one_rank_that_lives_is_heard_for_all(run: RunDirectory, dead: tuple[int, str]) -> None:
    _watch(run, "running")
    _beat(run, "step", dead)
    _beat(run, "step", rank=1)
    status = run_status(run, run.supervisor.stat().st_mtime + 58)
    assert (status.ranks_ended, [stall.rank for stall in status.stalls]) == (False, [1])


@pytest.mark.parametrize("phase", ["queued", "starting"])
def test_ranks_of_the_attempt_before_say_nothing_of_this_one(
    run: RunDirectory, dead: tuple[int, str], phase: str
) -> None:
    _beat(run, "step", dead)
    _watch(run, phase)
    assert run_status(run, run.supervisor.stat().st_mtime + 1000)[:5:4] == (phase, ())


def test_without_a_heartbeat_torchrun_tells_whether_ranks_live(run: RunDirectory, dead: tuple[int, str]) -> None:
    for torchrun, ended in ((dead[0], True), (os.getpid(), False), (None, False)):
        _watch(run, "running", torchrun=torchrun)
        written = run.supervisor.stat().st_mtime
        assert not run_status(run, written + 14).stalls
        assert run_status(run, written + 58).ranks_ended is ended


def test_ranks_of_another_machine_are_not_said_to_have_ended(run: RunDirectory, dead: tuple[int, str]) -> None:
    _watch(run, "running", dead, host="elsewhere")
    _beat(run, "step", dead)
    assert run_status(run, run.supervisor.stat().st_mtime + 50)[:5:4] == ("running", ())


def test_what_is_damaged_is_named_where_it_would_tell_how_a_run_is(run: RunDirectory, dead: tuple[int, str]) -> None:
    _watch(run, "running", dead)
    run.exit.write_text("{")
    assert run_status(run).reason == "how it ended is not known: exit.json cannot be read"
    run.supervisor.write_text("[]")
    assert run_status(run).reason == "how it ended is not known: supervisor.json cannot be read"
    for path in (run.run, run.launch, run.supervisor, run.exit):
        path.write_text("garbage")
    names = "run.json and launch.json and supervisor.json and exit.json"
    assert run_status(run).reason == f"how it ended is not known: {names} cannot be read"
    assert run_status(run)[:2] == ("lost", False)
