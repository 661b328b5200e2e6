"""Runs that belong to no terminal: detached, queued, asked, stopped, gone on with. Real processes and real training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.runs.directory import RunDirectory, find_run, read_records
from core.runs.follow import last_record
from core.runs.heartbeat import heartbeats
from core.runs.leases import Leases, Wanted
from core.runs.status import AFTER_CHECKPOINT, run_status

ROOT = Path(__file__).parents[2]
LONG = "target_tokens=76_800"  # 600 steps: long enough to be asked something in between
ENDLESS = "target_tokens=3B"


@pytest.fixture
def folder(training_folder: Callable[..., Path]) -> Iterator[Path]:
    """A folder to train in, whose runs end with the test."""
    made = training_folder(val_shards="shards/x_val_*.bin", batch_tokens=128, log_every_steps=1)
    yield made
    for process in _processes(made, "core.runs.supervisor"):
        process.kill()


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "daisy_tui", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=environment)


def _daisy(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    process = _start(folder, *arguments)
    out, err = process.communicate()
    assert process.returncode == code, err
    return out, err


def _json(folder: Path, *arguments: str) -> Any:
    return json.loads(_daisy(folder, "runs", *arguments, "--json")[0])


def _run(name: str) -> RunDirectory:
    return find_run(Path("runs"), name)


def _until(holds: Callable[[], object]) -> None:
    """Look until something holds, for five minutes at most."""
    between = threading.Event()
    assert any(holds() or between.wait(0.05) for _ in range(6000))


def _state(name: str, state: str) -> Callable[[], bool]:
    return lambda: run_status(_run(name)).state == state


def _step(name: str) -> int:
    return int(last_record(_run(name).metrics).get("step", 0))


def _processes(folder: Path, what: str = "") -> list[psutil.Process]:
    """The processes that work in this folder, but this one."""
    found = psutil.process_iter(["cmdline", "cwd"])
    here = (process for process in found if process.info["cwd"] == str(folder) and process.pid != os.getpid())
    return [process for process in here if what in " ".join(process.info["cmdline"])]


def _weights(name: str) -> bytes:
    return (_run(name).checkpoints / "latest/model.safetensors").read_bytes()


def test_a_detached_run_is_watched_stopped_and_gone_on_with_while_another_waits_for_its_device(folder: Path) -> None:
    out, err = _daisy(folder, "train", "tiny.yml", "-r", "cut", LONG, "--detach")
    cut = out.strip()
    assert (cut, err) == (_run("cut").path.name, "")
    assert run_status(_run("cut")).alive, "the command has returned, and the run goes on"

    _, err = _daisy(folder, "train", "tiny.yml", "-r", "whole", LONG, code=1)
    owner = json.loads(_run("cut").supervisor.read_text())
    assert err.startswith("error: cpu is in use by run ")
    assert f"/runs/{cut} (process {owner['pid']}, user {owner['user']}); --queue waits for it" in err
    assert len(list((folder / "runs").iterdir())) == 1, "what could not begin left no run"
    whole = _daisy(folder, "train", "tiny.yml", "-r", "whole", LONG, "--queue", "--detach")[0].strip()

    (waiting,) = _json(folder, "queue")["queue"]
    assert (Path(waiting["run"]).name, waiting["waiting"]) == (whole, True)

    (queued, running) = _json(folder, "list")
    assert (queued["name"], queued["state"], queued["alive"]) == ("whole", "queued", True)
    assert (running["name"], running["state"] in ("starting", "running"), running["devices"]) == ("cut", True, ["cpu"])

    _until(lambda: _step("cut") > 2)
    stopped = _json(folder, "stop", "cut")
    assert (stopped["state"], stopped["reason"]) == ("stopped", AFTER_CHECKPOINT)
    assert 2 < stopped["step"] < 600
    shown = _json(folder, "show", "cut")
    assert shown["checkpoints"] == [f"step_{stopped['step']:09}"]
    assert shown["heartbeats"] == []

    _until(_state("whole", "finished"))
    assert _json(folder, "queue") == {"queue": [], "owners": {}, "servers": []}
    out, err = _daisy(folder, "runs", "resume", "cut")
    assert f"resume from step_{stopped['step']:09}: exact\n" in out
    assert "step 600  100%" in out
    assert _weights("cut") == _weights("whole")
    assert _processes(folder) == []


def test_ranks_agree_on_what_is_asked_and_one_that_hangs_is_named(folder: Path) -> None:
    _daisy(folder, "train", "tiny.yml", "-r", "pair", "-n", "2", ENDLESS, "--detach")
    _until(_state("pair", "running"))
    changed = _json(folder, "set", "pair", "lr_scale=0.5")
    assert changed["answer"] == "done: lr_scale=0.5"
    saved = _json(folder, "save", "pair")
    evaluated = _json(folder, "eval", "pair")
    _, err = _daisy(folder, "runs", "set", "pair", "seed=3", code=1)
    assert "refused: seed cannot change while the run trains" in err
    _until(lambda: _step("pair") > evaluated["step"])
    points = [record for record in read_records(_run("pair").metrics) if "train_loss" in record]
    rates = {record["step"]: record["lr"]["hidden_matrix_params"] for record in points}
    at = changed["step"]
    assert rates[at + 1] == pytest.approx(rates[at] / 2), "both ranks, from one step on: their weights are one model's"
    checkpoint = _run("pair").checkpoints / f"step_{saved['step']:09}"
    assert checkpoint.name in _json(folder, "show", "pair")["checkpoints"]
    assert evaluated["step"] in [record["step"] for record in read_records(_run("pair").metrics) if "val" in record]

    beats = _json(folder, "show", "pair")["heartbeats"]
    assert [beat["rank"] for beat in beats] == [0, 1]
    os.kill(beats[1]["pid"], signal.SIGSTOP)
    _until(lambda: run_status(_run("pair")).stalls)
    (line, *_) = [line for line in _daisy(folder, "runs", "show", "pair")[0].splitlines() if "stalled" in line]
    assert "rank 1 is silent (stopped, or its machine hangs) in phase " in line
    log = _run("pair").logs / "rank0.log"
    assert f"rank 0: its stacks are at the end of {log}" in _daisy(folder, "runs", "show", "pair", "--stacks")[0]
    _until(lambda: "in fit" in log.read_text())

    stopped = _json(folder, "stop", "pair", "--now")
    assert stopped["state"] == "stopped"
    assert stopped["reason"].startswith("killed at once, as asked")
    assert _processes(folder) == []


def test_a_terminal_that_is_killed_leaves_its_run_and_ranks_that_are_killed_are_started_again(folder: Path) -> None:
    keys = ("checkpoint_per_n_tokens=1280", "keep_last_checkpoints=2", "max_restarts=1")
    terminal = _start(folder, "train", "tiny.yml", "-r", "left", ENDLESS, *keys)
    assert terminal.stdout is not None
    assert next(line for line in terminal.stdout if line.startswith("step 12 "))
    terminal.kill()
    terminal.communicate()
    following = _start(folder, "runs", "logs", "left", "-f")
    step = _step("left")
    _until(lambda: _step("left") > step)
    _until(_state("left", "running"))
    (listed,) = _json(folder, "list")
    assert (listed["state"], listed["alive"], listed["stalls"]) == ("running", True, [])
    assert listed["step"] > step
    assert listed["eta_s"] > 0

    (beat,) = heartbeats(_run("left"))
    os.kill(beat["pid"], signal.SIGKILL)
    events = _run("left").events
    _until(lambda: [record for record in read_records(events) if record["event"] == "resumed"])
    (again,) = [record for record in read_records(events) if record["event"] == "restarted"]
    assert (again["number"], again["of"]) == (1, 1)
    assert f"rank 0 (process {beat['pid']}) was killed by signal 9" in again["reason"]
    _until(_state("left", "running"))

    stopped = _json(folder, "stop", "left")
    assert (stopped["state"], stopped["reason"]) == ("stopped", AFTER_CHECKPOINT)
    assert json.loads(_run("left").exit.read_text())["restarts"] == 1
    out, err = following.communicate()
    assert (following.returncode, err) == (0, "")
    assert "step 12 " in out, "who follows a log sees all of it, and is let go when the run ends"
    assert _processes(folder) == []
    leases = Leases(Path(os.environ["DAISY_LEASES"]))
    assert leases.take(Wanted(("cpu",), 1), {})[0] == ["cpu"]
    leases.release()
