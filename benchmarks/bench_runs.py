"""What it costs to watch over runs, beside its limits.

    python -m benchmarks.bench_runs

A supervisor that waits in the queue (limit 15 MiB resident), one whose run trains (20 MiB, 1% of a core); heartbeat,
control and logging of one step of the demo, as a share of that step (0.5%); and `daisy runs list` over 1,000 runs
(1 s, start-up included, the median of five). Exit code 1 says that a limit was missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psutil

from core.config.compose import compose
from core.data.demo import DEMO_FOLDER, prepare_demo
from core.data.stream import TokenStream
from core.model.daisy_core import DaisyCore, initialize
from core.runs.control import ask_stop, is_pending
from core.runs.directory import RunDirectory, read_object
from core.runs.heartbeat import Heartbeat
from core.runs.launch import child_environment
from core.runs.status import run_status

MIB = 1 << 20
RUNS, RECORDS = 1000, 200
WATCHED_S = 20.0


def main() -> int:
    missed: list[str] = []

    def say(what: str, value: float, limit: float, unit: str) -> None:
        print(f"{what}: {value:.3g} {unit}, limit {limit:g}", flush=True)
        if value > limit:
            missed.append(what)

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["DAISY_LEASES"] = f"{folder}/leases"
        prepare_demo(DEMO_FOLDER)
        trains = _start("trains")
        _until(lambda: run_status(trains).state == "running")
        waits = _start("waits", "--queue")
        _until(lambda: run_status(waits).state == "queued")
        for run, what, limit in ((waits, "queued supervisor", 15), (trains, "supervisor of a run", 20)):
            process = psutil.Process(read_object(run.supervisor)["pid"])
            before = sum(process.cpu_times()[:2])
            began = time.monotonic()
            time.sleep(WATCHED_S)
            share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
            say(what, process.memory_info().rss / MIB, limit, "MiB resident")
            say(what, 100 * share, 1, "% of a core")
        for run in (waits, trains):
            ask_stop(run, now=True)
        _until(lambda: not run_status(trains).alive and not run_status(waits).alive)
        say("heartbeat, control and logging", 100 * _overhead(trains), 0.5, "% of a step of the demo")
        _many(Path("many/runs"))
        say(f"daisy runs list over {RUNS:,} runs", median(_list_s() for _ in range(5)), 1, "s")
    for what in missed:
        print(f"missed: {what}")
    return int(bool(missed))


def _start(name: str, *arguments: str) -> RunDirectory:
    command = [sys.executable, "-m", "daisy_tui", "train", "demo", "-r", name, "--detach", *arguments]
    printed = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=True).stdout
    return RunDirectory(Path("runs") / printed.split()[-1])


def _list_s() -> float:
    """Seconds of one `daisy runs list`, from its start to its end."""
    command = [sys.executable, "-m", "daisy_tui", "runs", "list", "--json"]
    began = time.monotonic()
    listed = subprocess.run(command, cwd="many", env=child_environment(), capture_output=True, check=True).stdout
    seconds = time.monotonic() - began
    assert len(json.loads(listed)) == RUNS
    return seconds


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.1)


def _overhead(run: RunDirectory) -> float:
    """Seconds that watching adds to a step, over those of a step."""
    import torch

    from core.training.distributed import Ranks
    from core.training.optimizers import build_optimizers
    from core.training.step import Stepper

    config = compose("demo").config
    model = DaisyCore(config.spec)
    initialize(model, 1)
    stepper = Stepper(model, build_optimizers(model, config), config, Ranks(0, 1, torch.device("cpu")))
    stream = TokenStream(sorted(DEMO_FOLDER.glob("*train*.bin")), config.training_sequence_length)
    stepper.step(stream.read(range(2)), 0.5)
    step_s = _seconds(lambda: stepper.step(stream.read(range(2)), 0.5), 5)
    heart = Heartbeat(run, 0)
    record = {"time": 1.0, "step": 1, "tokens": 1, **{f"figure{n}": 0.123456789 for n in range(30)}}
    each = _seconds(lambda: is_pending(run), 1000) + _seconds(lambda: heart.progress("step", 1, 0.5), 1000)
    logged = _seconds(lambda: run.append(run.metrics, record), 200) / config.log_every_steps
    heart.end()
    return (each + logged) / step_s


def _seconds(act: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) / times


def _many(root: Path) -> None:
    """A thousand ended runs."""
    record = {"time": 1.0, "tokens": 4096, "train_loss": 3.2, "lr": {f"group{n}": 0.01 for n in range(4)}, "eta_s": 1.0}
    score = {"time": 1.0, "tokens": 4096, "val": {"val": {"loss": 3.0, "ppl": 20.0, "bpb": 1.5}}}
    lines = [json.dumps({**(score if step % 20 == 10 else record), "step": step}) for step in range(RECORDS)]
    text = "\n".join(lines) + "\n"
    for number in range(RUNS):
        run = RunDirectory(root / f"20260101-000000-run{number}")
        run.path.mkdir(parents=True)
        run.config.write_text("{}")
        run.metrics.write_text(text)
        run.run.write_text(json.dumps({"id": run.path.name, "name": f"run{number}", "config": "demo"}))
        run.launch.write_text(json.dumps({"attempt": 1}))
        run.supervisor.write_text(json.dumps({"attempt": 1, "pid": 1, "identity": "x", "host": "h", "phase": "ended"}))
        run.exit.write_text(json.dumps({"attempt": 1, "outcome": "finished", "reason": "reached its target"}))


if __name__ == "__main__":
    sys.exit(main())
