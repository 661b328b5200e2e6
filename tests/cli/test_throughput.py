from __future__ import annotations

import json
import platform
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.config.compose import Composed, compose
from core.config.train_config import TrainConfig
from core.runs.create import create_run
from core.runs.devices import Device
from core.runs.directory import RunDirectory, write_object
from daisy_tui.composing.throughput import RECORDS_FILE, last_measured, measured, note

Compose = Callable[..., Composed]
STEP_TOKENS = 256


@pytest.fixture
def config(compose_text: Compose) -> TrainConfig:
    return compose_text("batch_tokens: 256\n").config


def _run(
    folder: Path,
    config: TrainConfig,
    rates: list[float],
    *,
    second: int = 0,
    devices: tuple[str, ...] = ("cpu",),
    nproc: int = 1,
    host: str = platform.node(),
) -> RunDirectory:
    """A run that has logged these rates, from step 1 on, each ten seconds after the one before."""
    made = datetime(2026, 1, 1, 12, 0, second)
    run = create_run(folder / "runs", "r", config, {"host": host}, made)
    began = 1_000.0 * (1 + second)
    write_object(run.launch, {"nproc": nproc, "machines": {"number": 1, "rank": 0, "endpoint": None}, "attempt": 1})
    write_object(run.supervisor, {"devices": list(devices), "started": began, "attempt": 1})
    for step, rate in enumerate(rates, 1):
        place = {"time": began + 10 * step, "step": step, "tokens": step * STEP_TOKENS}
        run.append(run.metrics, place | {"train_loss": 4.0, "tokens_per_s": rate})
    return run


def test_a_run_of_the_same_shape_says_how_fast_without_its_first_step(workspace: Path, config: TrainConfig) -> None:
    _run(workspace, config, [1.0, 500.0, 700.0, 600.0])
    assert measured(config, "cpu", workspace) == 600.0
    other = config.model_copy(update={"target_tokens": 10**9, "lr_scale": 3.0, "seed": 1, "max_seq_len": 4096})
    assert measured(other, "cpu", workspace) == 600.0, "what makes no step slower is no part of the shape"


@pytest.mark.parametrize(
    "change", [{"model_dim": 32, "head_dim": 16}, {"training_sequence_length": 128}, {"batch_tokens": 512}]
)
def test_another_shape_says_nothing(workspace: Path, config: TrainConfig, change: dict[str, int]) -> None:
    _run(workspace, config, [1.0, 500.0])
    note(config, "cpu", workspace, 400.0)
    assert measured(config.model_copy(update=change), "cpu", workspace) is None


def test_the_same_tokens_a_step_are_one_shape_however_they_are_written(workspace: Path, config: TrainConfig) -> None:
    _run(workspace, config, [1.0, 500.0])
    otherwise = compose("small", ["batch_tokens=null", "grad_acc_steps=1"]).config
    assert measured(otherwise, "cpu", workspace) == 500.0


def test_other_devices_and_other_machines_say_nothing(
    workspace: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "daisy_tui.composing.throughput.gpus", lambda: [Device("GPU-1", "0", "H100"), Device("GPU-2", "1", "L4")]
    )
    _run(workspace, config, [1.0, 500.0], host="elsewhere")
    _run(workspace, config, [1.0, 900.0], second=1, nproc=2)
    _run(workspace, config, [1.0, 7000.0], second=2, devices=("GPU-1",))
    assert measured(config, "cpu", workspace) is None
    assert measured(config, "cpu", workspace, devices=2) == 900.0
    assert measured(config, "H100", workspace) == 7000.0
    assert measured(config, "L4", workspace) is None


def test_the_newest_counts_whether_run_or_preflight(workspace: Path, config: TrainConfig) -> None:
    old = _run(workspace, config, [1.0, 500.0])
    new = _run(workspace, config, [1.0, 550.0], second=5)
    found = last_measured(config, "cpu", workspace)
    assert found is not None
    assert (found.tokens_per_s, found.source) == (550.0, new.path.name)
    note(config, "cpu", workspace, 400.0, now=found.time + 1)
    found = last_measured(config, "cpu", workspace)
    assert found is not None
    assert (found.tokens_per_s, found.source) == (400.0, "preflight")
    assert old.path.exists()


def test_steps_before_the_last_start_do_not_count(workspace: Path, config: TrainConfig) -> None:
    run = _run(workspace, config, [1.0, 500.0, 500.0])
    write_object(run.supervisor, {"devices": ["cpu"], "started": 1_025.0, "attempt": 2})
    run.append(run.metrics, {"time": 1_060.0, "step": 4, "tokens": 4 * STEP_TOKENS, "tokens_per_s": 900.0})
    assert measured(config, "cpu", workspace) == 700.0


def test_damaged_and_unfinished_runs_are_passed_over(workspace: Path, config: TrainConfig) -> None:
    _run(workspace, config, [1.0, 500.0])
    for second, damage in enumerate(("launch.json", "supervisor.json", "run.json", "config.yaml", "metrics.jsonl"), 1):
        run = _run(workspace, config, [1.0, 900.0], second=second)
        (run.path / damage).write_bytes(b"\xff{")
    _run(workspace, config, [900.0], second=9)
    (workspace / "runs" / RECORDS_FILE).write_text('{"tokens_per_s": 3}\n{"torn')
    assert measured(config, "cpu", workspace) == 500.0


def test_nothing_was_measured_where_there_is_no_folder(tmp_path: Path, config: TrainConfig) -> None:
    assert measured(config, "cpu", tmp_path / "none") is None


def test_a_preflight_is_noted_for_its_machine_alone(
    workspace: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(config, "cpu", workspace, 321.0, devices=2)
    assert measured(config, "cpu", workspace) is None
    assert measured(config, "cpu", workspace, devices=2) == 321.0
    record: dict[str, Any] = json.loads((workspace / "runs" / RECORDS_FILE).read_text())
    assert (record["host"], record["device"], record["devices"]) == (platform.node(), "cpu", 2)
    monkeypatch.setattr("daisy_tui.composing.throughput.platform", SimpleNamespace(node=lambda: "elsewhere"))
    assert measured(config, "cpu", workspace, devices=2) is None
