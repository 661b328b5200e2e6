from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from core.config.compose import compose
from core.config.estimate import flops_per_token
from core.model.daisy_core import DaisyCore, initialize
from core.runs.directory import RunDirectory
from core.training import device_peak as peaks
from core.training.device_peak import Peak, best_peak, device_peak
from core.training.metrics import Meter, Movement, StepTimes
from core.training.optimizers import build_optimizers
from core.training.wandb_log import WandbLog, wandb_names


def test_figures_are_those_of_the_steps_since_the_last_log_point() -> None:
    config = compose("demo").config
    meter = Meter(config, 1e12, None)
    seconds = [0.5, 0.1, 0.2, 0.1, 0.1]
    for step in seconds:
        meter.step(StepTimes(step, 0.05))
    figures = meter.figures(4096, 100_000, 256)
    total = sum(seconds) + 5 * 0.05
    assert figures["tokens_per_s"] == pytest.approx(5 * 4096 / total)
    assert figures["data_wait"] == pytest.approx(0.25 / total)
    assert figures["eta_s"] == pytest.approx((800_000 - 100_000) * total / (5 * 4096))
    whole = [1e3 * (step + 0.05) for step in seconds]
    assert figures["step_ms"] == pytest.approx({"p50": np.quantile(whole, 0.5), "p95": np.quantile(whole, 0.95)})
    flops = flops_per_token(config, config.training_sequence_length, 256)
    assert figures["mfu"] == pytest.approx(figures["tokens_per_s"] * flops / 1e12)
    meter.step(StepTimes(1.0, 0.0))
    assert meter.figures(4096, 104_096, 256)["tokens_per_s"] == pytest.approx(4096)


def test_movement_is_the_change_of_one_step_by_group() -> None:
    config = compose("demo").config
    model = DaisyCore(config.spec)
    initialize(model, 1)
    optimizers = build_optimizers(model, config)
    movement = Movement(optimizers)
    with torch.no_grad():
        model.head.weight += 0.25
        model.gates.residual *= 1.5
    figures = movement.figures()
    assert figures["update_rms"]["head_params"] == pytest.approx(0.25)
    assert figures["update_rms"]["embed_params"] == 0
    assert figures["weight_rms"]["embed_params"] == pytest.approx(1, rel=0.01)
    # Half of the scalars are residual gates, which were 1 and moved by a half; the others are 0.
    assert figures["weight_rms"]["scalar_params"] == pytest.approx(0.5**0.5)
    assert figures["update_rms"]["scalar_params"] == pytest.approx(0.5 * 0.5**0.5)
    bound = 0.5 * config.model_dim**-0.5  # the standard deviation of three in four hidden matrices' rows
    assert 0.3 * bound < figures["weight_rms"]["hidden_matrix_params"] < bound


def test_a_sample_meets_every_column_of_a_large_tensor() -> None:
    weight = torch.nn.Parameter(torch.zeros(4096, 128))
    movement = Movement([torch.optim.SGD([{"params": [weight], "name": "x"}], lr=1.0)])
    with torch.no_grad():
        weight[:, 5] = 8.0
    assert movement.figures()["update_rms"]["x"] == pytest.approx(8 / 128**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA L40S", 362)],
)
def test_the_peak_of_a_known_gpu_is_stated(monkeypatch: pytest.MonkeyPatch, name: str, teraflops: float) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: name)
    assert device_peak(torch.device("cuda", 0)) == Peak(teraflops * 1e12, "stated")


def test_the_peak_of_another_device_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr(peaks, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    assert device_peak(torch.device("cpu")) == Peak(2 * 1024**3 / 0.5, "measured")


def test_runs_of_a_machine_share_the_best_peak_that_any_start_measured(tmp_path: Path) -> None:
    for name, peak, device, devices in (
        ("a", 90e9, "box cpu", 1),
        ("b", 200e9, "box cpu", 2),
        ("c", 300e9, "other", 1),
    ):
        run = RunDirectory(tmp_path / name)
        run.path.mkdir()
        run.append(run.events, {"event": "started", "peak_flops": peak, "peak_device": device, "devices": devices})
    runs = [RunDirectory(tmp_path / name) for name in ("a", "b", "c", "gone")]
    assert best_peak(46e9, runs, "box cpu", 1) == 90e9, "a start beside other work measured less"
    assert best_peak(95e9, runs, "box cpu", 1) == 95e9
    assert best_peak(1e9, runs, "new cpu", 1) == 1e9


SCORE = {"loss": 2.0, "ppl": 7.4, "bpb": 1.1}


def test_names_at_weights_and_biases_are_those_of_the_readme() -> None:
    record = {"time": 1.0, "step": 3, "tokens": 99, "train_loss": 4.5, "lr": {"head_params": 0.1}}
    assert wandb_names(record) == {"tokens": 99, "train/loss": 4.5, "lr/head_params": 0.1}
    assert wandb_names({"step": 3, "val": {"val": SCORE}}) == {"val/loss": 2.0, "val/ppl": 7.4, "val/bpb": 1.1}
    two = wandb_names({"step": 3, "val": {"a": SCORE, "b": SCORE}})
    assert two["val/a/loss"] == 2.0
    assert "val/loss" not in two


class _Failing:
    """A client whose network goes away after the first record."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def log(self, record: dict[str, Any], step: int) -> None:
        if self.records:
            raise ConnectionError("network is unreachable")
        self.records.append({"step": step, **record})

    def finish(self) -> None:
        raise AssertionError("nothing is sent after a failure")


def test_a_failing_network_ends_the_log_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client, asked, warnings = _Failing(), {}, []

    def init(**settings: Any) -> _Failing:
        asked.update(settings)
        return client

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    config = compose("demo", ["wandb_log=true", "wandb_project=novels"]).config
    log = WandbLog(config, tmp_path / "run-1", warnings.append)
    for step in (1, 2, 3):
        log.log({"step": step, "train_loss": 1.0})
    log.close()
    assert (asked["project"], asked["name"], asked["id"], asked["tags"]) == ("novels", "run-1", "run-1", ["demo"])
    assert client.records == [{"step": 1, "train/loss": 1.0}]
    assert warnings == ["Weights & Biases: network is unreachable; logging there ends"]

    def refuse(**_: Any) -> None:
        raise RuntimeError("not logged in")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=refuse))
    WandbLog(config, tmp_path, warnings.append).log({"step": 1})
    assert warnings[1:] == ["Weights & Biases: not logged in; logging there ends"]
