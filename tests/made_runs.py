"""Run directories made up on disk, in every state that a run can be in, as trainer and supervisor write them."""

from __future__ import annotations

import json
import math
import os
import platform
from pathlib import Path
from typing import Any

import yaml

from core.runs.directory import RunDirectory, write_object
from core.runs.lock import hold
from core.runs.processes import identity

# The time of day that tests of the terminal live in: 2026-03-01 12:00:00 UTC.
NOW = 1_772_366_400.0
STEP_TOKENS, EVERY_S = 1024, 2.0
CONFIG = {
    "model_class": "DaisyCore",
    "num_layers": 2,
    "num_heads": 2,
    "head_dim": 8,
    "model_dim": 16,
    "vocab_size": 257,
    "eos_token_id": 256,
    "max_seq_len": 128,
    "attention_window_len": 32,
    "train_shards": "shards/x_train_*.bin",
    "val_shards": "shards/x_val_*.bin",
    "training_sequence_length": 64,
    "window_block_size": 16,
    "tot_val_tokens": 256,
    "model_spec": None,
}


def write_run(
    root: Path,
    name: str,
    state: str = "finished",
    *,
    steps: int = 40,
    target_steps: int | None = None,
    day: int = 1,
    reason: str | None = None,
    parent: str | None = None,
    devices: tuple[str, ...] = ("cpu",),
    stalled_s: float = 0.0,
    nan_at: int | None = None,
    **config: Any,
) -> tuple[Path, int | None]:
    """Make `root/202603DD-110000-NAME` with `steps` log points, one every 2 s until NOW. Returns it, and the lock.

    In the states queued, starting, running and stopping this process is its supervisor and its rank, so it must keep
    the lock, which is a file descriptor.
    """
    run = RunDirectory(root / f"202603{day:02}-110000-{name}")
    run.path.mkdir(parents=True)
    run.logs.mkdir()
    run.checkpoints.mkdir()
    target = (target_steps or max(steps, 1)) * STEP_TOKENS
    values = {**CONFIG, "target_tokens": target, **config}
    run.config.write_text(yaml.safe_dump(values, sort_keys=False))
    facts = {"argv": ["daisy", "train", "tiny"], "host": "box", "devices": len(devices), "config": "configs/tiny.yml"}
    versions = {"daisy-tui": "0.1.0", "torch": "2.13.0", "numpy": "2.1.0", "python": "3.11.2"}
    write_object(run.run, {"id": run.path.name, "name": name, **facts, "parent": parent, "versions": versions})
    launch = {"nproc": len(devices), "devices": list(devices), "number": len(devices), "machines": {"number": 1}}
    write_object(run.launch, {**launch, "attempt": 1})
    began = NOW - steps * EVERY_S
    os.utime(run.launch, (began, began))
    with run.metrics.open("w") as file:
        for step in range(1, steps + 1):
            file.write(json.dumps(log_point(step, began, target, nan_at)) + "\n")
    events: list[dict[str, Any]] = [{"time": began, "event": "started", "step": 0, "devices": len(devices)}]
    if state in ("finished", "stopped"):
        events.append({"time": NOW, "event": state, "step": steps, "tokens": steps * STEP_TOKENS})
    run.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    (run.logs / "rank0.log").write_text(
        "".join(f"step {step}  loss {loss(step):.4f}\n" for step in range(1, steps + 1))
    )
    return run.path, _process(run, state, steps, devices, reason, stalled_s)


def _process(
    run: RunDirectory, state: str, steps: int, devices: tuple[str, ...], reason: str | None, stalled_s: float
) -> int | None:
    """What proves the state: a supervisor that lives, one that does not, or how it ended."""
    me = {"pid": os.getpid(), "identity": identity(os.getpid())}
    alive = state in ("queued", "starting", "running", "stopping")
    process = me if alive else {"pid": 1 << 22, "identity": "gone"}
    facts = {"attempt": 1, "host": platform.node(), "devices": list(devices), "started": NOW - steps * EVERY_S}
    phase = {"starting": "running"}.get(state, state)
    write_object(run.supervisor, {**process, **facts, "phase": phase, "restarts": 0})
    if state in ("running", "stopping"):
        beat = {"rank": 0, **me, "phase": "train", "step": steps, "median_step_s": EVERY_S}
        write_object(run.path / "heartbeat-0.json", beat | {"time": NOW, "progress": NOW - stalled_s})
    if state in ("finished", "stopped", "failed"):
        said = {"finished": "reached its target", "stopped": "stopped on request, after a checkpoint"}
        ended = {"attempt": 1, "outcome": state, "reason": reason or said.get(state, "rank 0 ended with exit code 1")}
        write_object(run.exit, {**ended, "code": 0, "step": steps, "time": NOW})
    return hold(run) if alive else None


def loss(step: int) -> float:
    """The training loss of a made-up run."""
    return 2.0 + 4.0 * math.exp(-step / 12) + 0.05 * math.sin(step)


def log_point(step: int, began: float, target: int, nan_at: int | None = None) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    value: float | str = "nan" if step == nan_at else loss(step)
    point: dict[str, Any] = {
        "time": began + step * EVERY_S,
        "step": step,
        "tokens": step * STEP_TOKENS,
        "target_tokens": target,
        "train_loss": value,
        "lr": {"hidden_matrix_params": 0.02 * (1 - step / 1000), "head_params": 0.004},
        "grad_norm": 1.0 / step,
        "tokens_per_s": STEP_TOKENS / EVERY_S,
        "mfu": 0.41,
        "data_wait": 0.01,
        "eta_s": max(0.0, (target - step * STEP_TOKENS) / STEP_TOKENS * EVERY_S),
        "memory": 300 << 20,
    }
    if step % 10 == 0:
        point["val"] = {"val": {"loss": loss(step) + 0.1, "ppl": math.exp(loss(step) + 0.1), "bpb": loss(step) / 2}}
    return point
