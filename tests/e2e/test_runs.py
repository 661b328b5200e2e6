"""Runs that belong to no terminal: detached, queued, asked, stopped, gone on with. Real processes and real training."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import processes, run_daisy, run_named, start_daisy, until, weights

from core.runs.directory import read_records
from core.runs.follow import records_backwards
from core.runs.heartbeat import heartbeats
from core.runs.leases import Leases, Wanted
from core.runs.status import AFTER_CHECKPOINT, run_status

LONG = "target_tokens=76_800"  # 600 steps: long enough to be asked something in between
ENDLESS = "target_tokens=3B"


@pytest.fixture
def folder(watched_folder: Callable[..., Path]) -> Path:
    return watched_folder()


def _json(folder: Path, *arguments: str) -> Any:
    return json.loads(run_daisy(folder, "runs", *arguments, "--json")[0])


def _state(name: str, state: str) -> Callable[[], bool]:
    return lambda: run_status(run_named(name)).state == state


def _step(name: str) -> int:
    return int(next(records_backwards(run_named(name).metrics), {}).get("step", 0))


def test_a_detached_run_is_watched_stopped_and_gone_on_with_while_another_waits_for_its_device(folder: Path) -> None:
    out, err = run_daisy(folder, "train", "tiny.yml", "-r", "cut", LONG, "--detach")
    cut = out.strip()
    assert (cut, err) == (run_named("cut").path.name, "")
    assert run_status(run_named("cut")).alive, "the command has returned, and the run goes on"

    _, err = run_daisy(folder, "train", "tiny.yml", "-r", "whole", LONG, code=1)
    owner = json.loads(run_named("cut").supervisor.read_text())
    assert err.startswith("error: cpu is in use by run ")
    assert f"/runs/{cut} (process {owner['pid']}, user {owner['user']}); --queue waits for it" in err
    assert len(list((folder / "runs").iterdir())) == 1, "what could not begin left no run"
    whole = run_daisy(folder, "train", "tiny.yml", "-r", "whole", LONG, "--queue", "--detach")[0].strip()

    (waiting,) = _json(folder, "queue")["queue"]
    assert (Path(waiting["run"]).name, waiting["waiting"]) == (whole, True)

    (queued, running) = _json(folder, "list")
    assert (queued["name"], queued["state"], queued["alive"]) == ("whole", "queued", True)
    assert (running["name"], running["state"] in ("starting", "running"), running["devices"]) == ("cut", True, ["cpu"])

    until(lambda: _step("cut") > 2)
    stopped = _json(folder, "stop", "cut")
    assert (stopped["state"], stopped["reason"]) == ("stopped", AFTER_CHECKPOINT)
    assert 2 < stopped["step"] < 600
    shown = _json(folder, "show", "cut")
    assert shown["checkpoints"] == [f"step_{stopped['step']:09}"]
    assert shown["heartbeats"] == []

    until(_state("whole", "finished"))
    assert _json(folder, "queue") == {"queue": [], "owners": {}, "servers": []}
    out, err = run_daisy(folder, "runs", "resume", "cut")
    assert f"resume from step_{stopped['step']:09}: exact (" in out
    assert "step 600  100%" in out
    assert weights("cut") == weights("whole")
    assert processes(folder) == []


def test_ranks_agree_on_what_is_asked_and_one_that_hangs_is_named(folder: Path) -> None:
    run_daisy(folder, "train", "tiny.yml", "-r", "pair", "-n", "2", ENDLESS, "--detach")
    until(_state("pair", "running"))
    changed = _json(folder, "set", "pair", "lr_scale=0.5")
    assert changed["answer"] == "done: lr_scale=0.5"
    saved = _json(folder, "save", "pair")
    evaluated = _json(folder, "eval", "pair")
    _, err = run_daisy(folder, "runs", "set", "pair", "seed=3", code=2)
    assert "refused: seed cannot change while the run trains" in err
    until(lambda: _step("pair") > evaluated["step"])
    points = [record for record in read_records(run_named("pair").metrics) if "train_loss" in record]
    rates = {record["step"]: record["lr"]["hidden_matrix_params"] for record in points}
    at = changed["step"]
    assert rates[at + 1] == pytest.approx(rates[at] / 2), "both ranks, from one step on: their weights are one model's"
    checkpoint = run_named("pair").checkpoints / f"step_{saved['step']:09}"
    assert checkpoint.name in _json(folder, "show", "pair")["checkpoints"]
    assert evaluated["step"] in [
        record["step"] for record in read_records(run_named("pair").metrics) if "val" in record
    ]

    beats = _json(folder, "show", "pair")["heartbeats"]
    assert [beat["rank"] for beat in beats] == [0, 1]
    os.kill(beats[1]["pid"], signal.SIGSTOP)
    until(lambda: run_status(run_named("pair")).stalls)
    (line, *_) = [line for line in run_daisy(folder, "runs", "show", "pair")[0].splitlines() if "stalled" in line]
    assert "rank 1 is silent (stopped, or its machine hangs) in phase " in line
    log = run_named("pair").logs / "rank0.log"
    assert f"rank 0: its stacks are at the end of {log}" in run_daisy(folder, "runs", "show", "pair", "--stacks")[0]
    until(lambda: "in fit" in log.read_text())

    stopped = _json(folder, "stop", "pair", "--now")
    assert stopped["state"] == "stopped"
    assert stopped["reason"].startswith("killed at once, as asked")
    assert processes(folder) == []


def test_a_terminal_that_is_killed_leaves_its_run_and_ranks_that_are_killed_are_started_again(folder: Path) -> None:
    keys = ("checkpoint_per_n_tokens=1280", "keep_last_checkpoints=2", "max_restarts=1")
    terminal = start_daisy(folder, "train", "tiny.yml", "-r", "left", ENDLESS, *keys)
    assert terminal.stdout is not None
    assert next(line for line in terminal.stdout if line.startswith("step 12 "))
    terminal.kill()
    terminal.communicate()
    following = start_daisy(folder, "runs", "logs", "left", "-f")
    step = _step("left")
    until(lambda: _step("left") > step)
    until(_state("left", "running"))
    (listed,) = _json(folder, "list")
    assert (listed["state"], listed["alive"], listed["stalls"]) == ("running", True, [])
    assert listed["step"] > step
    assert listed["eta_s"] > 0

    (beat,) = heartbeats(run_named("left"))
    os.kill(beat["pid"], signal.SIGKILL)
    events = run_named("left").events
    until(lambda: [record for record in read_records(events) if record["event"] == "resumed"])
    (again,) = [record for record in read_records(events) if record["event"] == "restarted"]
    assert (again["number"], again["of"]) == (1, 1)
    assert f"rank 0 (process {beat['pid']}) was killed by signal 9" in again["reason"]
    until(_state("left", "running"))

    stopped = _json(folder, "stop", "left")
    assert (stopped["state"], stopped["reason"]) == ("stopped", AFTER_CHECKPOINT)
    assert json.loads(run_named("left").exit.read_text())["restarts"] == 1
    out, err = following.communicate()
    assert (following.returncode, err) == (0, "")
    assert "step 12 " in out, "who follows a log sees all of it, and is let go when the run ends"
    assert processes(folder) == []
    leases = Leases(Path(os.environ["DAISY_LEASES"]))
    assert leases.take(Wanted(("cpu",), 1), {})[0] == ["cpu"]
    leases.release()
