"""The supervisor as it is started, over a torchrun of the test's own: a package `torch` that is found first."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import ROOT, until

from core.runs import control
from core.runs.directory import RunDirectory, RunError, read_object, read_records, write_object
from core.runs.heartbeat import heartbeats
from core.runs.launch import Launch, start
from core.runs.leases import Leases, Wanted
from core.runs.lock import is_held
from core.runs.peaks import read_peaks
from core.runs.processes import is_alive
from core.runs.status import AFTER_CHECKPOINT, run_status

CPU = Wanted(("cpu",), 1)
OTHER = {"run": "runs/other", "pid": 4242, "user": "somebody"}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel kills and inherits orphans on Linux only")

# What torchrun and its ranks have in common. `process` starts another one, in a session of its own as torchrun does.
COMMON = """
import json, os, signal, subprocess, sys
from pathlib import Path
from core.runs.directory import RunDirectory, write_object
from core.runs.processes import die_with_parent, identity

run = RunDirectory(Path(sys.argv[sys.argv.index("--run-dir") + 1]))
tries = run.path / "tries.jsonl"
me = {"pid": os.getpid(), "identity": identity(os.getpid())}
run.append(run.path / "processes.jsonl", me)

def note(event, **more):
    run.append(run.events, {"event": event, **more})

def process(code):
    command = [sys.executable, "-c", os.environ["COMMON"] + code, "--run-dir", str(run.path)]
    child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    return child

def ready(phase="step"):
    beat = {"rank": 0, "phase": phase, "step": 1, "time": 0.0, "progress": 0.0, "median_step_s": None}
    write_object(run.path / "heartbeat-0.json", beat | me)
    print("ready", flush=True)

def waits(): ready(); signal.pause()
def saves(): p = run.checkpoints / "step_000000004"; p.mkdir(parents=True); (p / "manifest.json").touch()
def stops(*_): saves(); note("stopped"); os._exit(0)
def ignore(): signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""
TORCHRUN = f"""{COMMON}
run.append(tries, {{"arguments": sys.argv[1:], "environment": dict(os.environ)}})
number = tries.read_text().count(chr(10))
"""
RANK = "die_with_parent(int(os.environ['DAISY_PARENT']))\n"
TRAINS = "sys.exit(process({rank!r}).wait())"
STOPS = TRAINS.format(rank=RANK + "signal.signal(signal.SIGTERM, stops); waits()")
HANGS = TRAINS.format(rank=RANK + "ignore(); waits()")
FINISHES = "note('finished')"

Begin = Callable[..., tuple[RunDirectory, subprocess.Popen[bytes]]]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Start the supervisor of a run whose torchrun does what a piece of code says."""
    fake = tmp_path / "path/torch/distributed"
    fake.mkdir(parents=True)
    for folder in (fake, fake.parent):
        (folder / "__init__.py").touch()
    monkeypatch.setenv("COMMON", COMMON)
    monkeypatch.setenv("PYTHONPATH", f"{fake.parents[1]}{os.pathsep}{ROOT}")
    started: list[subprocess.Popen[bytes]] = []

    def begun(behaviour: str, name: str = "a", **how: Any) -> tuple[RunDirectory, subprocess.Popen[bytes]]:
        (fake / "run.py").write_text(TORCHRUN + behaviour)
        run = RunDirectory(tmp_path / "runs" / name)
        run.path.mkdir(parents=True, exist_ok=True)
        started.append(start(run, Launch(**{"nproc": 1} | how)))
        return run, started[-1]

    yield begun
    for process in started:
        process.kill()
        process.wait()


def _state(run: RunDirectory, state: str) -> Callable[[], bool]:
    return lambda: run_status(run).state == state


def _ended(run: RunDirectory, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for a supervisor's end. What exit.json says, after it was seen that nothing is left of the run."""
    code = process.wait(60)
    log = (run.logs / "supervisor.log").read_text()
    assert run.exit.exists(), log
    ended = read_object(run.exit)
    assert (code, log) == (ended["code"], "")
    assert _left(run) == []
    assert _is_free()
    status = run_status(run)
    assert (status.state, status.alive, status.reason) == (ended["outcome"], False, ended["reason"])
    return ended


def _left(run: RunDirectory) -> list[int]:
    """The processes of a run that live, torchrun included, and whoever was started with its name."""
    found = read_records(run.path / "processes.jsonl")
    own = {record["pid"] for record in found if is_alive(record["pid"], record["identity"])}
    named = (p.info for p in psutil.process_iter(["pid", "cmdline"]))
    return sorted(own | {info["pid"] for info in named if str(run.path) in (info["cmdline"] or [])})


def _is_free() -> bool:
    """Whether the CPU could be had, for which neither an owner nor a user may be left."""
    leases = Leases(Path(os.environ["DAISY_LEASES"]))
    taken, _ = leases.take(CPU, {})
    leases.release()
    return taken == ["cpu"]


def _tries(run: RunDirectory) -> list[dict[str, Any]]:
    return list(read_records(run.path / "tries.jsonl"))


def _events(run: RunDirectory, event: str) -> list[dict[str, Any]]:
    return [record for record in read_records(run.events) if record["event"] == event]


@pytest.fixture
def owner() -> Iterator[Leases]:
    """Somebody else, who has the CPU."""
    leases = Leases(Path(os.environ["DAISY_LEASES"]))
    assert leases.take(CPU, OTHER)[0] == ["cpu"]
    yield leases
    leases.release()


def test_what_a_run_has_done_is_written_when_torchrun_has_ended(begin: Begin) -> None:
    point = {"step": 7, "tokens": 896, "train_loss": 1.0}
    run, process = begin(f"run.append(run.metrics, {point}); {FINISHES}")
    ended = _ended(run, process)
    facts = {"attempt": 1, "outcome": "finished", "code": 0, "reason": "reached its target", "restarts": 0}
    assert ended == facts | {"step": 7, "tokens": 896, "time": ended["time"]}


@LINUX
def test_nothing_is_left_of_a_run_not_even_what_has_a_session_of_its_own(begin: Begin) -> None:
    # torchrun ends; a rank hangs and ignores signals, and the orphan of a process that has ended is stopped.
    orphan = "ignore(); ready(); os.kill(os.getpid(), signal.SIGSTOP)"
    leaves_it = f"process({orphan!r}); ready()"
    run, process = begin(f"process('ignore(); waits()'); process({leaves_it!r}).wait(); {FINISHES}")
    assert _ended(run, process)["outcome"] == "finished"
    assert len(list(read_records(run.path / "processes.jsonl"))) == 4


@LINUX
def test_a_supervisor_that_is_killed_takes_its_run_with_it_and_the_run_is_lost(begin: Begin) -> None:
    run, process = begin(HANGS)
    until(_state(run, "running"))
    assert len(_left(run)) == 4, "the supervisor, torchrun, a rank, and who keeps the peaks"
    process.kill()
    process.wait()
    until(lambda: not _left(run))
    assert _is_free()
    assert run_status(run).state == "lost"
    assert not run.exit.exists()
    run, process = begin(FINISHES)
    ended = _ended(run, process)
    assert (ended["outcome"], ended["attempt"]) == ("finished", 2)


def test_ranks_are_told_their_devices_and_nothing_of_a_start_before(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run, process = begin(FINISHES)
    _ended(run, process)
    write_object(run.path / "heartbeat-7.json", {})
    begin("sys.exit(any(run.path.glob('heartbeat-*')))", nproc=2, resume=True)[1].wait()
    run, process = begin(FINISHES, devices=("GPU-a", "GPU-b"), number=2, nproc=2, accept_new_data=True)
    ended = _ended(run, process)
    assert ended["attempt"] == 3
    first, second, third = _tries(run)
    place = ["-m", "core.training.main", "--run-dir", str(run.path)]
    assert first["arguments"] == ["--standalone", "--nproc_per_node=1", "--max-restarts=0", *place]
    assert second["arguments"][1:] == ["--nproc_per_node=2", "--max-restarts=0", *place, "--resume"]
    assert third["arguments"][-1] == "--accept-new-data"
    on_cpu, on_gpus = first["environment"], third["environment"]
    assert (on_cpu["DAISY_DEVICES"], on_cpu["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")
    assert on_gpus["DAISY_DEVICES"] == on_gpus["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    assert on_cpu["DAISY_LEASES"] == os.environ["DAISY_LEASES"]
    cores = os.cpu_count() or 1
    assert (on_cpu["OMP_NUM_THREADS"], on_gpus["OMP_NUM_THREADS"]) == (str(cores), str(max(1, cores // 2)))


def test_what_a_run_takes_of_the_machine_at_most_is_kept(begin: Begin) -> None:
    run, supervisor = begin(STOPS)
    until(lambda: read_peaks(run))
    control.ask_stop(run)
    _ended(run, supervisor)
    peak = read_peaks(run)["host_memory"]
    assert peak["value"] > 4e6, "of an interpreter at least"
    assert peak["time"] >= read_object(run.supervisor)["started"]


def test_a_stop_reaches_the_ranks_and_ends_with_their_checkpoint(begin: Begin) -> None:
    run, process = begin(STOPS)
    until(_state(run, "running"))
    control.ask_stop(run)
    ended = _ended(run, process)
    assert (ended["outcome"], ended["code"], ended["reason"]) == ("stopped", 3, AFTER_CHECKPOINT)


def test_a_stop_before_a_rank_could_hear_it_is_a_stop_and_not_a_failure(begin: Begin) -> None:
    run, process = begin(TRAINS.format(rank=RANK + "ready('start'); signal.pause()"), max_restarts=3)
    until((run.path / "heartbeat-0.json").exists)
    assert run_status(run).state == "starting"
    control.ask_stop(run)
    ended = _ended(run, process)
    assert (ended["outcome"], ended["reason"]) == ("stopped", "stopped on request, before there was anything to save")
    assert len(_tries(run)) == 1


def test_a_stop_that_is_repeated_kills_at_once(begin: Begin) -> None:
    run, process = begin(HANGS)
    until(_state(run, "running"))
    control.ask_stop(run)
    until(_state(run, "stopping"))
    control.ask_stop(run, now=True)
    ended = _ended(run, process)
    assert (ended["outcome"], ended["code"]) == ("stopped", 3)
    assert ended["reason"].startswith("killed at once, as asked")


@pytest.mark.parametrize(("started_with", "asked_with"), [(0.1, None), (300.0, 0.1)])
def test_ranks_that_do_not_stop_are_killed_after_the_grace_time(
    begin: Begin, started_with: float, asked_with: float | None
) -> None:
    run, process = begin(HANGS, grace_s=started_with)
    until(_state(run, "running"))
    control.ask_stop(run, grace_s=asked_with)
    ended = _ended(run, process)
    assert (ended["outcome"], ended["code"]) == ("stopped", 3)
    assert ended["reason"].startswith("killed after its grace time")


def test_a_later_stop_may_leave_less_time(begin: Begin) -> None:
    run, supervisor = begin(HANGS, grace_s=600.0)
    until(_state(run, "running"))
    control.ask_stop(run)
    until(_state(run, "stopping"))
    control.ask_stop(run, grace_s=1.0)
    assert _ended(run, supervisor)["reason"] == "killed after its grace time"


@pytest.mark.parametrize("content", ["", "[]", '{"grace_s": "soon"}', '{"grace_s": null}'])
def test_a_stop_counts_however_it_was_written(begin: Begin, content: str) -> None:
    run, process = begin(STOPS)
    until(_state(run, "running"))
    run.control.mkdir()
    (run.control / "stop.json").write_text(content)
    assert _ended(run, process)["reason"] == AFTER_CHECKPOINT


def test_a_signal_to_the_supervisor_is_a_stop_and_the_second_one_kills(begin: Begin) -> None:
    run, process = begin(STOPS)
    until(_state(run, "running"))
    process.send_signal(signal.SIGHUP)  # as when a terminal is closed: it belongs to none
    process.send_signal(signal.SIGTERM)
    assert _ended(run, process)["reason"] == AFTER_CHECKPOINT
    run, process = begin(HANGS)
    until(_state(run, "running"))
    process.send_signal(signal.SIGINT)
    until(_state(run, "stopping"))
    process.send_signal(signal.SIGTERM)
    assert _ended(run, process)["reason"].startswith("killed at once, as asked")


def test_a_busy_device_is_refused_and_its_owner_named(begin: Begin, owner: Leases) -> None:
    run, process = begin(FINISHES)
    assert process.wait(60) == 1
    assert read_object(run.exit)["outcome"] == "failed"
    reason = read_object(run.exit)["reason"]
    assert reason == "cpu is in use by run runs/other (process 4242, user somebody); --queue waits for it"
    assert _tries(run) == []
    assert owner.owner("cpu") == OTHER


def test_a_queued_run_waits_and_begins_when_its_device_is_free(begin: Begin, owner: Leases) -> None:
    run, process = begin(FINISHES, queue=True)
    until(_state(run, "queued"))
    (ticket,) = owner.tickets()
    assert ticket.waiting
    assert ticket.details["run"] == str(run.path)
    assert run_status(run)[:2] == ("queued", True)
    assert _tries(run) == []
    owner.release()
    assert _ended(run, process)["outcome"] == "finished"
    assert owner.tickets() == []


def test_a_queued_run_can_be_cancelled(begin: Begin, owner: Leases) -> None:
    run, process = begin(FINISHES, queue=True)
    until(_state(run, "queued"))
    control.ask_stop(run)
    assert process.wait(60) == 3
    ended = read_object(run.exit)
    assert (ended["outcome"], ended["reason"]) == ("stopped", "cancelled while it waited for its devices")
    assert owner.tickets() == []
    assert _tries(run) == []


def test_a_queued_run_whose_supervisor_was_killed_can_take_a_new_place(begin: Begin, owner: Leases) -> None:
    run, process = begin(FINISHES, queue=True)
    until(_state(run, "queued"))
    process.kill()
    process.wait()
    assert run_status(run)[:2] == ("queued", False)
    run, process = begin(FINISHES, queue=True)
    until(lambda: run_status(run)[:2] == ("queued", True) and any(ticket.waiting for ticket in owner.tickets()))
    assert len(owner.tickets()) == 1, "a run has one place"
    owner.release()
    assert _ended(run, process)["outcome"] == "finished"
    assert owner.tickets() == []


def test_ranks_that_died_are_started_again_and_it_is_told(begin: Begin) -> None:
    fails_twice = (
        f"if number == 3: {FINISHES}\nelse: note('failed', message=f'number {{number}}', explained=False); sys.exit(1)"
    )
    run, process = begin(fails_twice, max_restarts=2)
    ended = _ended(run, process)
    assert (ended["outcome"], ended["restarts"]) == ("finished", 2)
    restarts = [(event["number"], event["of"], event["reason"]) for event in _events(run, "restarted")]
    assert restarts == [(1, 2, "number 1"), (2, 2, "number 2")]
    resumed = ["--resume" in attempt["arguments"] for attempt in _tries(run)]
    assert resumed == [False, True, True], "a try goes on with what the one before has left"


def test_nothing_of_a_try_is_left_when_the_next_one_begins(begin: Begin) -> None:
    run, process = begin(
        "from core.runs.directory import read_records\n"
        "from core.runs.processes import is_alive\n"
        "others = [other for other in read_records(run.path / 'processes.jsonl') if other != me]\n"
        "if number == 1: process('ignore(); waits()'); sys.exit(1)\n"
        "assert len(others) == 2 and not any(is_alive(*other.values()) for other in others)\n"
        f"{FINISHES}",
        max_restarts=1,
    )
    assert _ended(run, process)["outcome"] == "finished"


def test_a_run_is_started_again_no_more_often_than_it_may(begin: Begin) -> None:
    run, process = begin("sys.exit(1)", max_restarts=2)
    ended = _ended(run, process)
    assert (ended["outcome"], ended["code"], ended["restarts"]) == ("failed", 1, 2)
    assert ended["reason"].startswith("torchrun ended with 1 before any rank said why")
    assert len(_tries(run)) == 3


def test_a_failure_that_a_rank_explained_is_not_tried_again(begin: Begin) -> None:
    run, process = begin("note('failed', message='the loss is nan', explained=True); sys.exit(1)", max_restarts=2)
    ended = _ended(run, process)
    assert (ended["outcome"], ended["reason"], ended["restarts"]) == ("failed", "the loss is nan", 0)
    assert len(_tries(run)) == 1


def test_a_torchrun_that_was_killed_is_a_failure_and_takes_its_ranks_with_it(begin: Begin) -> None:
    run, process = begin(HANGS)
    until(_state(run, "running"))
    os.kill(int(read_object(run.supervisor)["torchrun"]), signal.SIGKILL)
    ended = _ended(run, process)
    assert (ended["outcome"], ended["code"]) == ("failed", 1)
    assert ended["reason"].startswith("torchrun ended with -9")


def test_a_failure_is_not_blamed_on_what_the_logs_say_of_an_earlier_one(begin: Begin) -> None:
    text = "torch.OutOfMemoryError: CUDA out of memory\n"
    run, process = begin(f"(run.logs / 'rank0.log').write_text({text!r}); sys.exit(1)")
    assert "out of memory" in _ended(run, process)["reason"]
    run, process = begin("os._exit(1)")
    assert _ended(run, process)["reason"].startswith("torchrun ended with 1 before any rank said why")


def test_a_run_has_one_supervisor_and_a_second_start_changes_nothing(begin: Begin) -> None:
    run, process = begin(STOPS)
    until(_state(run, "running"))
    with pytest.raises(RunError, match="is running already"):
        begin(STOPS)
    assert run_status(run)[:2] == ("running", True)
    control.ask_stop(run)
    assert process.wait(60) == 3
    assert run_status(run)[:3] == ("stopped", False, AFTER_CHECKPOINT)


def test_a_run_whose_supervisor_was_killed_before_it_wrote_anything_is_lost_and_can_be_started(begin: Begin) -> None:
    run, process = begin(FINISHES)
    assert _ended(run, process)["attempt"] == 1
    run.supervisor.unlink()  # as if the second start had been killed at once
    write_object(run.launch, {**read_object(run.launch), "attempt": 2})
    assert run_status(run)[:2] == ("lost", False)
    run, process = begin(FINISHES)
    assert _ended(run, process)["attempt"] == 3


def test_what_a_start_prepares_is_not_done_by_who_comes_second(begin: Begin) -> None:
    run, process = begin(STOPS)
    until(_state(run, "running"))
    done: list[str] = []
    with pytest.raises(RunError, match="already"):
        start(run, Launch(nproc=1), lambda: done.append("prepared"))
    assert done == []
    control.ask_stop(run)
    assert process.wait(60) == 3
    second = start(run, Launch(nproc=1), lambda: done.append("prepared"))
    assert done == ["prepared"]
    until(_state(run, "running"))
    control.ask_stop(run)
    assert second.wait(60) == 3


def test_the_lock_is_held_though_standard_input_was_closed(begin: Begin) -> None:
    kept = os.dup(0)
    os.close(0)
    try:
        run, process = begin(STOPS)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    until(_state(run, "running"))
    assert is_held(run)
    control.ask_stop(run)
    _ended(run, process)


def test_a_run_whose_directory_was_removed_ends(begin: Begin, tmp_path: Path) -> None:
    run, process = begin(HANGS)
    until(_state(run, "running"))
    known = list(read_records(run.path / "processes.jsonl"))
    while run.path.exists():  # what still writes there may put a file into a folder that was just emptied
        shutil.rmtree(run.path, ignore_errors=True)
    assert process.wait(60) == 3
    assert not any(is_alive(record["pid"], record["identity"]) for record in known)
    assert _is_free()


def test_a_supervisor_that_fails_itself_says_so_and_leaves_nothing_behind(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "runs/a/logs/torchrun.log").mkdir(parents=True)
    run, process = begin(FINISHES)
    assert process.wait(60) == 1
    assert read_object(run.exit)["outcome"] == "failed"
    assert "logs/supervisor.log says why" in read_object(run.exit)["reason"]
    assert "IsADirectoryError" in (run.logs / "supervisor.log").read_text()
    assert _is_free()


def test_leases_that_cannot_be_used_are_the_reason_of_a_failure(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("DAISY_LEASES", str(tmp_path / "a file/leases"))
    run, process = begin(FINISHES, queue=True)
    assert process.wait(60) == 1
    status = run_status(run)
    assert (status.state, status.alive) == ("failed", False)
    assert "for the leases of devices" in str(status.reason)
    assert json.loads(run.exit.read_text())["code"] == 1


def test_ranks_that_die_under_a_stopped_supervisor_are_told_and_once_woken_it_writes_how(begin: Begin) -> None:
    run, supervisor = begin(HANGS)
    until(_state(run, "running"))
    os.kill(supervisor.pid, signal.SIGSTOP)
    (beat,) = heartbeats(run)
    os.kill(beat["pid"], signal.SIGKILL)
    until(lambda: heartbeats(run) == [])
    assert not run_status(run).stalls, "it may just be about to write it"
    status = run_status(run, time.time() + 60)
    assert (status.state, status.alive, status.ranks_ended) == ("running", True, True)
    os.kill(supervisor.pid, signal.SIGCONT)
    assert _ended(run, supervisor)["outcome"] == "failed"
