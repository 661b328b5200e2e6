"""A preflight: three real steps of a config, to measure what the estimate can only compute.

The steps are those of a run like any other, with its supervisor, torchrun, ranks and device lease, in a temporary
folder that is removed afterwards, or by the next preflight where this one was killed. Its config differs in what does
not make a step: it ends after three, evaluates and saves nothing, and has the full windows from the beginning, so that
memory and speed are those of the run's dearest steps. The run ends with the process that began it, even if that is
killed. Rejected: steps in a program of their own, which would measure itself.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from statistics import median
from typing import Any

from core.config.compose import Composed
from core.config.estimate import estimate
from core.config.train_config import TrainConfig
from core.data.survey import Survey
from core.errors import DaisyError, StoppedError
from core.runs import control
from core.runs.create import create_run
from core.runs.devices import CPU, gpus
from core.runs.directory import RunDirectory, RunError, read_object, read_records
from core.runs.follow import RecordTail
from core.runs.launch import Launch, start
from core.runs.leases import Wanted
from core.runs.scratch import scratch_folder
from core.runs.status import run_status
from core.text import plural

STEPS = 3
_LOOK_EVERY_S, _ENDS_WITHIN_S = 0.1, 15.0
_GRACE_S = 5.0

Start = Callable[[RunDirectory, Launch], "subprocess.Popen[bytes]"]


class PreflightError(DaisyError):
    """Steps that could not be taken, and what would work."""


@dataclass(frozen=True)
class Preflight:
    """What three steps took, beside what was estimated. Memory in bytes, of the rank that has most.

    On CUDA `peak_memory` is that of all tensors, on a CPU the resident memory of the whole process; `memory_before` is
    the same before there was a model. `step_s` are the seconds of each step, of which the first one also compiles and
    warms up, and `tokens_per_s` the rate of the median of the others. `eta_s` is for target_tokens at this rate,
    without evaluations and checkpoints. `checkpoint_bytes` are those of the tensors that a checkpoint would hold.
    """

    peak_memory: int
    peak_memory_estimate: int
    memory_before: int
    tokens_per_s: float
    eta_s: float
    checkpoint_bytes: int
    checkpoint_bytes_estimate: int
    steps: int
    step_s: list[float]
    device: str
    devices: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def short_config(config: TrainConfig, devices: int) -> TrainConfig:
    """The config that a preflight trains by."""
    return config.model_copy(
        update={
            "target_tokens": STEPS * config.tokens_per_step(devices),
            "val_shards": {},
            "save_checkpoint": False,
            "full_windows": True,
            "log_every_steps": 1,
            "max_restarts": 0,
            "wandb_log": False,
        }
    )


def preflight(
    composed: Composed,
    found: Survey,
    nproc: int,
    wanted: Wanted,
    *,
    queue: bool = False,
    report: Callable[[str], None] = lambda line: None,
    stop: Callable[[], bool] = lambda: False,
    launch: Start = lambda run, how: start(run, how, parent=os.getpid()),
) -> Preflight:
    """Take three steps of a composed config on the devices wanted; with `queue`, once they are free.

    `report` gets a line for people now and then, and `stop` is asked ten times a second. Raises PreflightError where
    the steps fail, StoppedError where `stop` says so. Whatever ends it, none of its processes stay.
    """
    config = composed.config
    how = Launch(nproc, *wanted, queue=queue, grace_s=_GRACE_S)
    with scratch_folder("daisy-preflight-") as folder:
        run = create_run(folder, composed.config_path.stem, short_config(config, nproc), {}, datetime.now())
        supervisor = launch(run, how)
        try:
            _watch(run, supervisor, report, stop)
        finally:
            _end(run, supervisor)
        return _measured(run, config, found, nproc)


def _watch(
    run: RunDirectory,
    supervisor: subprocess.Popen[bytes],
    report: Callable[[str], None],
    stop: Callable[[], bool],
) -> None:
    points, waiting = RecordTail(run.metrics, from_start=True), False
    while supervisor.poll() is None:
        if stop():
            raise StoppedError("stopped; a preflight keeps nothing")
        with suppress(subprocess.TimeoutExpired):
            supervisor.wait(_LOOK_EVERY_S)
        if not waiting and run_status(run).state == "queued":
            waiting = True
            report("waits for its devices; `daisy runs queue` shows whose they are")
        for record in _steps(points.new()):
            report(f"step {record['step']} of {STEPS}: {_seconds(record):.2f} s")


def _end(run: RunDirectory, supervisor: subprocess.Popen[bytes]) -> None:
    """See the run's processes to their end, by force where they would rather not."""
    if supervisor.poll() is None:
        with suppress(OSError):
            control.ask_stop(run, now=True)
        with suppress(subprocess.TimeoutExpired):
            supervisor.wait(_ENDS_WITHIN_S)
        supervisor.kill()  # and the kernel all that it has begun
    supervisor.wait()


def _measured(run: RunDirectory, config: TrainConfig, found: Survey, nproc: int) -> Preflight:
    """What the records of a run that has ended say."""
    try:
        ended, supervisor = read_object(run.exit), read_object(run.supervisor)
    except RunError:
        raise PreflightError("the run's supervisor was killed before its end") from None
    if ended["outcome"] != "finished":
        raise PreflightError(_reason(run, str(ended["reason"])))
    points = _steps(read_records(run.metrics))
    memory = next((record for record in read_records(run.events) if record.get("event") == "memory"), None)
    if len(points) != STEPS or memory is None:
        raise PreflightError(f"{plural(len(points), 'step')} of {STEPS} left a record; is the disk full?")
    keys = supervisor["devices"]
    figures = estimate(
        config,
        world_size=nproc,
        precision="fp32" if keys == [CPU] else "bf16",
        train_tokens=found.train_tokens,
        document_tokens=found.document_tokens,
    )
    seconds = [_seconds(point) for point in points]
    rate = config.tokens_per_step(nproc) / median(seconds[1:])
    return Preflight(
        peak_memory=max(int(point["memory"]) for point in points),
        peak_memory_estimate=figures.memory.total,
        memory_before=int(memory["before"]),
        tokens_per_s=rate,
        eta_s=config.target_tokens / rate,
        checkpoint_bytes=int(memory["checkpoint"]),
        checkpoint_bytes_estimate=figures.checkpoint_bytes,
        steps=STEPS,
        step_s=seconds,
        device=next((device.name for device in gpus() if device.key == keys[0]), CPU) if keys != [CPU] else CPU,
        devices=nproc,
    )


def _reason(run: RunDirectory, reason: str) -> str:
    """Why a run failed, without the paths of logs that are about to go."""
    for log in run.logs.glob("*.log"):
        reason = reason.replace(f"; the traceback is in {log}", "")
    reason = reason.replace(f"; its log is in {run.logs}", "")
    return f"after {plural(len(_steps(read_records(run.metrics))), 'step')}: {reason}"


def _steps(records: Any) -> list[dict[str, Any]]:
    return [record for record in records if "train_loss" in record]


def _seconds(point: dict[str, Any]) -> float:
    """How long the one step of a log point took."""
    return float(point["step_ms"]["p50"]) / 1e3
