"""Runs end to end on tiny models: exact resume, ranks, stopping, and what is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.checkpoint.format import complete_checkpoints, read_meta
from core.checkpoint.save import load_tensors
from core.config.compose import compose
from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer
from core.runs import control
from core.runs.create import create_run
from core.runs.directory import RunDirectory, find_run, read_records
from core.training.distributed import Ranks
from core.training.rank import build_trainer
from core.training.requests import RefusedError, changed_config
from core.training.step import Stepper
from core.training.trainer import Trainer, TrainingError

ROOT = Path(__file__).parents[2]
ALONE = Ranks(0, 1, torch.device("cpu"))
MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def folder(training_folder: Callable[..., Path]) -> Path:
    return training_folder(
        num_layers=3,
        depth_skips=True,
        val_shards="shards/x_val_*.bin",
        batch_tokens=256,
        target_tokens=5120,
        checkpoint_per_n_tokens=1024,
        val_loss_every_tokens=2048,
        log_every_steps=5,
    )


@pytest.fixture
def make(folder: Path) -> MakeTrainer:
    def run(name: str, *overrides: str, asked: list[int] | None = None) -> Trainer:
        config = compose("tiny.yml", overrides).config
        directory = create_run(Path("runs"), name, config, {}, datetime(2026, 1, 1))
        return build_trainer(directory, ALONE, asked if asked is not None else [])

    return run


def _weights(run: RunDirectory) -> dict[str, Tensor]:
    return load_tensors(list(complete_checkpoints(run.checkpoints))[-1])


def _stepper(trainer: Trainer) -> Stepper:
    return Stepper(trainer.model, trainer.optimizers, trainer.config, trainer.ranks)


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_learns_and_writes_what_happened(make: MakeTrainer) -> None:
    trainer = make("a")
    assert trainer.fit() == "finished"
    assert (trainer.state.step, trainer.state.tokens) == (20, 5120)
    records = list(read_records(trainer.run.metrics))
    losses = [record["train_loss"] for record in records if "train_loss" in record]
    assert [record["step"] for record in records if "train_loss" in record] == [1, 5, 10, 15, 20]
    assert losses[0] == pytest.approx(torch.tensor(257.0).log().item(), abs=1e-3)
    assert losses[-1] < losses[0] - 0.3
    scores = [record["val"]["val"] for record in records if "val" in record]
    assert len(scores) == 3  # at 2,048, at 4,096, and at the end
    assert scores[-1]["bpb"] == pytest.approx(scores[-1]["loss"] / torch.tensor(2.0).log().item(), rel=0.02)
    events = [record["event"] for record in read_records(trainer.run.events)]
    assert (events[0], events[-1]) == ("started", "finished")
    assert {name: events.count(name) for name in events[1:-1]} == {"memory": 1, "eval": 3, "checkpoint": 5}
    last = read_meta(trainer.run.checkpoints / "latest")
    assert last["val_loss"] == scores[-1]["loss"], "the last checkpoint knows the last evaluation"
    assert last["best_val"] == min(score["loss"] for score in scores)
    assert (trainer.run.checkpoints / "best").is_symlink()
    figures = [record for record in records if "train_loss" in record][-1]
    assert figures["max_rank_loss"] == pytest.approx(figures["train_loss"])
    groups = {"hidden_matrix_params", "embed_params", "head_params", "scalar_params"}
    assert figures["lr"].keys() == figures["update_rms"].keys() == figures["weight_rms"].keys() == groups
    assert all(figures["update_rms"][name] > 0 for name in groups)
    assert figures["memory"] > 0
    assert figures["eta_s"] == 0
    assert 0 < figures["mfu"] < 1
    assert 0 <= figures["data_wait"] < 1
    assert 0 < figures["step_ms"]["p50"] <= figures["step_ms"]["p95"]
    assert (trainer.run.checkpoints / "latest").resolve().name == "step_000000020"


@pytest.mark.parametrize("stop_after", [4, 7, 13, 19])
def test_n_plus_m_steps_are_n_then_m_bit_for_bit(make: MakeTrainer, stop_after: int) -> None:
    whole = make("whole")
    whole.fit()
    assert whole.data.stream.position(whole.state.cursor)[0] > 0, "the run never wrapped around its epoch"
    asked: list[int] = []
    first = make("cut", asked=asked)
    after_step = first._after_step
    first._after_step = lambda *a: (after_step(*a), asked.append(1) if first.state.step == stop_after else None)  # type: ignore[method-assign, assignment, misc, func-returns-value]
    assert first.fit() == "stopped"
    assert first.state.step == stop_after
    second = build_trainer(first.run, ALONE, [])
    assert second.resume()
    assert second.state.step == stop_after
    assert second.fit() == "finished"
    assert _same(_weights(second.run), _weights(whole.run))


def test_a_kill_between_checkpoints_goes_on_from_the_last_one(make: MakeTrainer) -> None:
    whole = make("whole")
    whole.fit()
    first = make("killed")
    after_step = first._after_step

    def die(*arguments: Any) -> None:
        after_step(*arguments)
        if first.state.step == 11:
            raise KeyboardInterrupt

    first._after_step = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    second = build_trainer(first.run, ALONE, [])
    assert second.resume()
    assert second.state.step == 8
    second.fit()
    assert _same(_weights(second.run), _weights(whole.run))


@pytest.mark.parametrize("name", ["model.safetensors", "state-rank0.safetensors"])
def test_a_flipped_byte_is_passed_over_and_the_checkpoint_before_is_used(make: MakeTrainer, name: str) -> None:
    whole = make("whole")
    whole.fit()
    first = make("damaged")
    first.fit()
    damaged = first.run.checkpoints / "step_000000020" / name
    content = bytearray(damaged.read_bytes())
    content[-3] ^= 1
    damaged.write_bytes(content)
    second = build_trainer(first.run, ALONE, [])
    assert second.resume()
    assert second.state.step == 16
    warnings = [record["message"] for record in read_records(first.run.events) if record["event"] == "warning"]
    assert len(warnings) == 1
    assert f"step_000000020/{name}: its content differs from the manifest's hash" in warnings[0]
    second.fit()
    assert _same(_weights(second.run), _weights(whole.run))
    # The damaged one was put aside and not deleted: it is its owner's.
    kept = first.run.checkpoints / "step_000000020.damaged" / name
    assert kept.read_bytes() == bytes(content)


def test_changed_shards_refuse_to_resume(make: MakeTrainer, folder: Path) -> None:
    trainer = make("a", "target_tokens=1024")
    trainer.fit()
    texts = [f"something else {n} " * 9 for n in range(18)]
    options = PrepareOptions("x", val_fraction=0.15, overwrite=True)
    prepare(TextSource("t", texts), ByteTokenizer(), folder / "shards", options)
    with pytest.raises(TrainingError, match="the training shards are not those that this run read"):
        build_trainer(trainer.run, ALONE, []).resume()


def test_a_warm_start_takes_the_weights_and_begins_anew(make: MakeTrainer) -> None:
    first = make("first")
    first.fit()
    latest = load_tensors(first.run.checkpoints / "latest")
    second = make("second", "target_tokens=512")
    second.warm_start(latest)
    assert _same({n: p.detach() for n, p in second.model.named_parameters()}, _weights(first.run))
    assert second.state.step == 0
    with pytest.raises(TrainingError, match="do not fit this model"):
        make("third", "num_layers=2").warm_start(latest)


def test_a_step_of_another_size_is_no_exact_resume(make: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make("first", "batch_tokens=null", "grad_acc_steps=2", "target_tokens=512")
    first.fit()
    again = build_trainer(first.run, Ranks(0, 2, torch.device("cpu")), [])
    for agree in ("max", "from_first"):
        monkeypatch.setattr(Ranks, agree, lambda self, values: values)  # the other rank agrees on the checkpoint
    with pytest.raises(TrainingError, match="a step had 128 tokens and would have 256 on 2 devices"):
        again.resume()


def test_a_validation_loss_that_is_not_finite_stops_in_one_line(make: MakeTrainer) -> None:
    trainer = make("a")
    with torch.no_grad():
        trainer.model.head.weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="the validation loss at step 0 is nan"):
        trainer._evaluate()
    assert [record["event"] for record in read_records(trainer.run.events)] == ["not_finite"]


def test_a_loss_that_is_not_finite_stops_and_names_what_happened(make: MakeTrainer) -> None:
    trainer = make("a")
    after_step = trainer._after_step

    def poison(*arguments: Any) -> None:
        after_step(*arguments)
        if trainer.state.step == 9:
            with torch.no_grad():
                trainer.model.blocks[1].feedforward.up[0, 0] = float("nan")  # type: ignore[union-attr, index, operator]

    trainer._after_step = poison  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="at step 10: training stopped"):
        trainer.fit()
    (event,) = [record for record in read_records(trainer.run.events) if record["event"] == "not_finite"]
    assert event["cursor"] == 9 * 4
    assert "blocks.1.feedforward.up" in event["parameters"]
    assert len(event["sample"]) == 64
    assert "jumps over the lazy dog" in event["text"]
    assert event["grad_norms"]["blocks.1.feedforward.up"] == "nan"
    assert event["grad_norms"].keys() == {name for name, _ in trainer.model.named_parameters()}
    assert [path.name for path in complete_checkpoints(trainer.run.checkpoints)][-1] == "step_000000008"


def test_a_disk_that_is_full_costs_a_checkpoint_and_not_the_run(
    make: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make("a")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.checkpoint.staging.write_atomic", full)
    # Training stays alive to its end; what it ends with is lost, and that is no success.
    with pytest.raises(TrainingError, match="the last checkpoint, of step 20, could not be saved: No space left"):
        trainer.fit()
    assert trainer.state.step == 20
    warnings = [record for record in read_records(trainer.run.events) if record["event"] == "warning"]
    assert len(warnings) == 5
    assert "No space left on device" in warnings[0]["message"]
    assert not [path for path in trainer.run.checkpoints.iterdir() if not path.name.startswith(".")]


def test_requests_are_carried_out_between_two_steps_and_answered(make: MakeTrainer) -> None:
    trainer = make("a", "target_tokens=1024", "checkpoint_per_n_tokens=0", "val_loss_every_tokens=0")
    asked = [
        control.ask(trainer.run, "save"),
        control.ask(trainer.run, "eval"),
        control.ask(trainer.run, "set", {"lr_scale": "0.5", "log_every_steps": "1"}),
        control.ask(trainer.run, "set", {"seed": "3"}),
        control.ask(trainer.run, "set", {"target_tokens": "256"}),
        control.ask(trainer.run, "set", {"lr_scale": "much"}),
        control.ask(trainer.run, "dance"),
    ]
    assert trainer.fit() == "finished"
    events = [record for record in read_records(trainer.run.events) if record["event"] == "request"]
    answers = [record["answer"] for record in events]
    assert [record["id"] for record in events] == [request.id for request in asked]
    assert {record["step"] for record in events} == {1}
    begun = "begun; the event checkpoint tells that it is whole"
    assert answers[:3] == [begun, "done", "done: lr_scale=0.5, log_every_steps=1"]
    assert answers[3].startswith("refused: seed cannot change while the run trains; these can: checkpoint_per_n_tokens")
    assert answers[4].startswith("refused: target_tokens=256: 256 are trained already")
    assert answers[5].startswith("refused: ")
    assert "lr_scale" in answers[5]
    assert answers[6].startswith("refused: 'dance'")
    assert not list(control.pending(trainer.run))
    assert [path.name for path in complete_checkpoints(trainer.run.checkpoints)] == ["step_000000001", "step_000000004"]
    logged = [record for record in read_records(trainer.run.metrics) if "train_loss" in record]
    assert [record["step"] for record in logged] == [1, 2, 3, 4]
    rates = [record["lr"]["hidden_matrix_params"] for record in logged[:2]]
    assert rates[1] == pytest.approx(rates[0] / 2), "Muon's rate is constant here"


def test_a_cooldown_begins_when_it_is_asked_for(make: MakeTrainer) -> None:
    trainer = make("a", "cooldown_frac=0.1", "learning_rate_schedule=linear_decay")
    control.ask(trainer.run, "set", {"cooldown": "now"})
    trainer.fit()
    assert trainer.config.cooldown_frac == pytest.approx(0.95)  # from step 1 of 20 on
    control.ask(trainer.run, "set", {"cooldown": "now"})
    late = build_trainer(trainer.run, ALONE, [])
    assert late.resume()
    with pytest.raises(RefusedError, match="the cooldown has begun already"):
        changed_config(late.run, late.config, ["target_tokens=10_000"], {"cooldown": "now"}, 9_990, 1)


@pytest.mark.parametrize("killed_at", [6, 10, 14])
def test_what_was_set_in_flight_is_met_again_at_the_same_step(make: MakeTrainer, killed_at: int) -> None:
    def set_after_seven(trainer: Trainer, end: int | None) -> None:
        after_step = trainer._after_step

        def and_ask(*arguments: Any) -> None:
            after_step(*arguments)
            if trainer.state.step == 7:
                control.ask(trainer.run, "set", {"lr_scale": "0.25", "target_tokens": "4096"})
            if trainer.state.step == end:
                raise KeyboardInterrupt  # as good as a kill: nothing is saved after it

        trainer._after_step = and_ask  # type: ignore[method-assign]

    whole = make("whole")
    set_after_seven(whole, None)
    whole.fit()
    assert whole.state.step == 16
    first = make("cut")
    set_after_seven(first, killed_at)
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    second = build_trainer(first.run, ALONE, [])
    assert second.resume()
    assert second.state.step == killed_at - killed_at % 4
    if killed_at < 7:
        set_after_seven(second, None)
    second.fit()
    assert second.state.step == 16
    assert _same(_weights(second.run), _weights(whole.run))


def test_accumulation_and_one_batch_are_one_step(make: MakeTrainer) -> None:
    # Four sequences accumulated are the mean over all their targets, whatever their order.
    trainer = make("a", "target_tokens=256")
    batch = trainer.data.stream.read(range(4))
    one = _stepper(trainer).step(batch, 0.0)
    other = _stepper(make("b", "target_tokens=256")).step(batch[::-1].copy(), 0.0)
    assert (other.loss, other.grad_norm) == pytest.approx((one.loss, one.grad_norm), rel=1e-5)


def test_a_gradient_is_clipped_to_its_norm_and_reported_as_it_was(make: MakeTrainer) -> None:
    def after_one_step(*overrides: str) -> tuple[float, Tensor]:
        trainer = make("a", "target_tokens=256", "optimizers.Muon.momentum=0", *overrides)
        seen: list[Tensor] = []
        optimizer = trainer.optimizers[1]
        step = optimizer.step
        optimizer.step = lambda: (seen.append(trainer.model.head.weight.grad.clone()), step())[1]  # type: ignore[method-assign, union-attr, func-returns-value, assignment, misc]
        norm = _stepper(trainer).step(trainer.data.stream.read(range(4)), 0.0).grad_norm
        return norm, seen[0]

    norm, whole = after_one_step()
    clipped_norm, clipped = after_one_step(f"grad_clip_norm={norm / 4}")
    assert clipped_norm == norm
    torch.testing.assert_close(clipped, whole / 4)
    torch.testing.assert_close(after_one_step(f"grad_clip_norm={norm * 4}")[1], whole)


def _torchrun(folder: Path, run: RunDirectory, world: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world}"]
    command += ["-m", "core.training.main", "--run-dir", str(run.path), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)


def test_two_ranks_are_one_and_a_run_goes_on_at_another_number(make: MakeTrainer, folder: Path) -> None:
    one = make("one")
    one.fit()
    config = compose("tiny.yml").config
    two = create_run(Path("runs"), "two", config, {}, datetime(2026, 1, 1))
    done = _torchrun(folder, two, 2)
    assert done.returncode == 0, done.stderr
    _assert_same_figures(one.run, two)
    # The same run, taken up by one rank where two left it. Sums in another order move the last bits, and
    # orthogonalising enlarges them where a gradient has little rank, so figures and not weights are compared.
    for path in list(complete_checkpoints(two.checkpoints)):
        if path.name > "step_000000008":
            shutil.rmtree(path)
    two.metrics.write_text("".join(f"{json.dumps(r)}\n" for r in read_records(two.metrics) if r["step"] <= 8))
    again = build_trainer(two, ALONE, [])
    assert again.resume()
    assert again.state.step == 8
    again.fit()
    _assert_same_figures(one.run, two)


def _assert_same_figures(one: RunDirectory, other: RunDirectory) -> None:
    """Training and validation losses, step by step, to 1 in 10,000."""
    losses = [[r["train_loss"] for r in read_records(run.metrics) if "train_loss" in r] for run in (one, other)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    scores = [[r["val"]["val"]["loss"] for r in read_records(run.metrics) if "val" in r] for run in (one, other)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)


def test_runs_are_found_by_what_people_call_them(folder: Path) -> None:
    config = compose("tiny.yml").config
    runs = [
        create_run(Path("runs"), name, config, {}, datetime(2026, 1, day))
        for day, name in ((1, "one"), (2, "two"), (3, "other"))
    ]
    assert find_run(Path("runs"), "latest").path == runs[2].path
    assert find_run(Path("runs"), "two").path == runs[1].path
    assert find_run(Path("runs"), "20260101").path == runs[0].path
    assert find_run(Path("runs"), str(runs[0].path)).path == runs[0].path
    for name, said in (("o", "names several runs"), ("nope", "names no run")):
        with pytest.raises(Exception, match=said):
            find_run(Path("runs"), name)
    again = create_run(Path("runs"), "one", config, {}, datetime(2026, 1, 1))
    assert again.path.name == "20260101-000000-one-2"
    assert json.loads(again.run.read_text())["id"] == again.path.name
    assert compose(again.config).config == config.model_copy(update={"model_spec": None})


def test_a_torn_last_record_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [record["step"] for record in read_records(tmp_path / "metrics.jsonl")] == [1, 2]
