"""How a run would go on from a checkpoint made by hand: exactly, approximately, differently, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from core.config.compose import compose
from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.stream import TokenStream
from core.data.survey import survey
from core.data.tokenizers import ByteTokenizer
from core.runs.changes import Change, overrides_of, read_changes, record_change
from core.runs.create import create_run
from core.runs.directory import RunDirectory, RunError, write_object
from core.runs.launch import Launch
from core.runs.lock import hold
from core.runs.processes import identity
from daisy_tui.runs.resuming import Resuming, resuming

STEP, STEP_TOKENS = 4, 128
EXACT = "resume from step_000000004: exact (its next batch is the one that was to come)"


@pytest.fixture
def run(training_folder: Callable[..., Path]) -> RunDirectory:
    """A run of 20 steps that was stopped after 4 of them."""
    training_folder(val_shards="shards/x_val_*.bin", batch_tokens=STEP_TOKENS, target_tokens=2560)
    made = _new_run()
    _checkpoint(made, _meta())
    made.metrics.touch()
    return made


def _new_run(*overrides: str) -> RunDirectory:
    return create_run(Path("runs"), "a", compose("tiny.yml", overrides).config, {"devices": 1}, datetime(2026, 1, 1))


def _meta(**more: Any) -> dict[str, Any]:
    """What the trainer would have written after the fourth step."""
    composed = compose("tiny.yml")
    found, cursor = survey(composed), STEP * 2
    assert found.tokenizer is not None
    stream = TokenStream([shard.path for shard in found.train], 64, seed=composed.config.seed)
    return {
        "state": {"step": STEP, "tokens": STEP * STEP_TOKENS, "cursor": cursor, "best_val": None},
        "step": STEP,
        "tokens": STEP * STEP_TOKENS,
        "tokens_per_step": STEP_TOKENS,
        "hparams": composed.config.model_dump(),
        "fingerprint": stream.fingerprint(),
        "next_batch": stream.batch_hash(cursor, 2),
        "tokenizer": asdict(found.tokenizer),
        "versions": {name: version(name) for name in ("daisy-tui", "torch")},
    } | more


def _checkpoint(run: RunDirectory, meta: dict[str, Any]) -> None:
    folder = run.checkpoints / "step_000000004"
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"model.safetensors": b"weights", "meta.json": json.dumps(meta).encode()}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    entries = {n: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for n, data in contents.items()}
    (folder / "manifest.json").write_text(json.dumps(entries))


def _resuming(run: RunDirectory, *overrides: str, devices: int = 1) -> Resuming:
    composed = compose(run.config, [*overrides_of(read_changes(run)), *overrides], world_size=devices)
    return resuming(run, composed.config, survey(composed), devices)


def test_a_run_that_nothing_has_changed_for_goes_on_exactly(run: RunDirectory) -> None:
    kind = _resuming(run)
    assert (kind.kind, kind.differs) == ("exact", ())
    assert str(kind) == EXACT


@pytest.mark.parametrize(
    "neutral",
    [
        "log_every_steps=7",
        "val_loss_every_tokens=256",
        "val_shards=null",
        "checkpoint_per_n_tokens=256",
        "keep_last_checkpoints=2",
        "max_restarts=3",
        "tags=[x]",
        "activation_checkpointing=true",
        "train_shards=./shards/x_train_*.bin",
    ],
)
def test_what_changes_no_step_leaves_a_resume_exact(run: RunDirectory, neutral: str) -> None:
    assert _resuming(run, neutral) == Resuming("exact", run.checkpoints / "step_000000004")


def test_two_devices_with_as_many_tokens_a_step_take_the_same_steps(run: RunDirectory) -> None:
    assert _resuming(run, devices=2).kind == "exact"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["lr_scale=0.5"], ["lr_scale changed"]),
        (["target_tokens=5120"], ["target_tokens changed"]),
        (["cooldown_frac=0.9", "lr_scale=0.5"], ["cooldown_frac changed", "lr_scale changed"]),
        (["optimizers.Muon.momentum=0.9"], ["optimizers changed"]),
    ],
)
def test_what_changes_steps_is_named(run: RunDirectory, overrides: list[str], named: list[str]) -> None:
    kind = _resuming(run, *overrides)
    assert kind.kind == "approximate"
    assert sorted(kind.differs) == named
    assert all(name in str(kind) for name in named)


def test_another_version_is_named_and_another_build_of_the_same_one_is_none(run: RunDirectory) -> None:
    here = version("torch")
    _checkpoint(run, _meta(versions={"torch": "1.0", "daisy-tui": "0.0.1", "numpy": "1.0"}))
    assert _resuming(run).differs == (
        f"daisy-tui was 0.0.1 and is {version('daisy-tui')}",
        f"torch was 1.0 and is {here}",
    )
    _checkpoint(run, _meta(versions={"torch": here.partition("+")[0] + "+other"}))
    assert _resuming(run).kind == "exact"
    _checkpoint(run, _meta(versions=None))
    assert _resuming(run).kind == "exact"


def _prepare_others() -> None:
    texts = [f"something else altogether {n} " * 9 for n in range(18)]
    prepare(
        TextSource("t", texts), ByteTokenizer(), Path("shards"), PrepareOptions("x", val_fraction=0.15, overwrite=True)
    )


def test_other_shards_make_a_different_run(run: RunDirectory) -> None:
    _prepare_others()
    kind = _resuming(run)
    assert kind.kind == "different"
    assert kind.differs == ("the training shards are not those that this run read",)


def test_another_tokenizer_makes_a_different_run(run: RunDirectory) -> None:
    _checkpoint(run, _meta(tokenizer={"name": "gpt2", "fingerprint": "another"}))
    kind = _resuming(run)
    assert kind.kind == "different"
    assert kind.differs == ("the shards' tokenizer 'bytes' is another than its 'gpt2'",)


def test_another_next_batch_makes_a_different_run(run: RunDirectory) -> None:
    _checkpoint(run, _meta(next_batch="another"))
    assert _resuming(run).differs == ("the next batch is not the one that this run would have read",)


def test_steps_of_another_size_make_a_different_run(run: RunDirectory) -> None:
    kind = _resuming(run, "batch_tokens=256")
    assert kind.kind == "different"
    assert "a step had 128 tokens and would have 256 on one device" in kind.differs
    other = _new_run("batch_tokens=null", "grad_acc_steps=2")
    _checkpoint(other, _meta())
    assert _resuming(other).kind == "approximate"
    assert "a step had 128 tokens and would have 256 on 2 devices" in _resuming(other, devices=2).differs


def test_a_run_that_has_reached_its_target_is_finished(run: RunDirectory) -> None:
    kind = _resuming(run, "target_tokens=512")
    assert kind.kind == "finished"
    assert kind.differs == ("512 tokens are trained, and target_tokens is 512; a larger target_tokens=… goes on",)


def test_a_run_without_a_checkpoint_begins_anew(run: RunDirectory) -> None:
    (run.checkpoints / "step_000000004/manifest.json").unlink()
    kind = _resuming(run)
    assert kind.checkpoint is None
    assert str(kind) == "resume: begins anew, for it has no checkpoint"


@pytest.mark.parametrize("lacking", ["state", "tokens", "tokens_per_step", "hparams"])
def test_a_checkpoint_of_no_run_is_one_line(run: RunDirectory, lacking: str) -> None:
    meta = _meta()
    del meta[lacking]
    _checkpoint(run, meta)
    with pytest.raises(RunError, match="no run's checkpoint, so nothing can go on from it"):
        _resuming(run)


def test_what_was_set_before_the_checkpoint_or_after_it_is_met_again_and_changes_nothing(run: RunDirectory) -> None:
    record_change(run, Change(2, {"lr_scale": "0.5"}))
    record_change(run, Change(6, {"cooldown_frac": "0.25"}))
    _checkpoint(run, _meta(hparams=compose("tiny.yml", ["lr_scale=0.5"]).config.model_dump()))
    assert _resuming(run).kind == "exact"
    assert _resuming(run, "optimizers.Muon.momentum=0.9").differs == ("optimizers changed",)


def test_the_command_says_how_a_run_would_go_on_and_starts_nothing(run: RunDirectory, daisy: Any) -> None:
    ran = daisy("runs", "resume", "a", "--dry-run")
    assert (ran.code, ran.out, ran.err) == (0, f"{EXACT}\n", "")
    told = json.loads(daisy("runs", "resume", "a", "lr_scale=0.5", "--dry-run", "--json").out)
    assert told == {"run": run.path.name, "kind": "approximate", "differs": ["lr_scale changed"]}
    assert not run.launch.exists()
    assert daisy("runs", "resume", "a", "num_layers=3", "--dry-run").code == 2
    assert daisy("runs", "resume", "a", "--json").code == 2


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """How runs were started, which does not happen."""
    launches: list[Launch] = []
    monkeypatch.setattr("daisy_tui.cli.train.start", lambda _run, how, prepare: [prepare(), launches.append(how)])
    return launches


def test_a_run_goes_on_as_it_was_started(run: RunDirectory, daisy: Any, started: list[Launch]) -> None:
    before = run.config.read_bytes()
    ran = daisy("runs", "resume", "a", "--detach")
    assert (ran.code, ran.out, ran.err) == (0, f"{run.path.name}\n", f"{EXACT}\n")
    assert started == [Launch(1, resume=True)]
    assert run.config.read_bytes() == before


def test_what_is_typed_becomes_the_config_with_what_was_set_before(
    run: RunDirectory, daisy: Any, started: list[Launch]
) -> None:
    record_change(run, Change(2, {"lr_scale": "0.5"}))
    assert daisy("train", "--resume", "a", "log_every_steps=2", "--detach").code == 0
    config = compose(run.config, overrides_of(read_changes(run))).config
    assert (config.lr_scale, config.log_every_steps) == (0.5, 2)
    assert run.overrides.read_text().split()[-1] == "log_every_steps=2"
    assert len(started) == 1


def test_what_was_set_later_holds_no_sooner_when_something_else_is_typed(
    run: RunDirectory, daisy: Any, started: list[Launch]
) -> None:
    record_change(run, Change(6, {"lr_scale": "0.5"}))
    ran = daisy("train", "--resume", "a", "log_every_steps=2", "--detach")
    assert ran.err == f"{EXACT}\n"
    assert len(started) == 1

    def scale(step: int) -> float:
        return compose(run.config, overrides_of(read_changes(run, up_to=step))).config.lr_scale

    assert (scale(4), scale(6)) == (1.0, 0.5), "the steps 5 and 6 were taken without it"


def test_a_different_run_is_refused_unless_it_is_insisted_on(
    run: RunDirectory, daisy: Any, started: list[Launch]
) -> None:
    _prepare_others()
    ran = daisy("runs", "resume", "a", "--detach")
    assert (ran.code, ran.out) == (1, "")
    why = "the training shards are not those that this run read; --force goes on all the same"
    assert ran.err == f"error: runs/{run.path.name}: {why}\n"
    assert started == []
    ran = daisy("runs", "resume", "a", "--force", "--detach")
    assert ran.code == 0
    assert ran.err.startswith("resume from step_000000004: different (the training shards")
    assert started == [Launch(1, resume=True, accept_new_data=True)]


def test_a_finished_run_is_done_and_takes_no_overrides_but_a_larger_target(
    run: RunDirectory, daisy: Any, started: list[Launch]
) -> None:
    _checkpoint(run, _meta(tokens=2560, state={"cursor": 40}))
    ran = daisy("runs", "resume", "a")
    assert ran.code == 0
    assert "finished (2,560 tokens are trained" in ran.out
    ran = daisy("runs", "resume", "a", "lr_scale=0.5")
    assert (ran.code, ran.out) == (1, "")
    assert "a larger target_tokens=… goes on" in ran.err
    assert started == []


def test_a_run_that_lives_does_not_go_on_twice(run: RunDirectory, daisy: Any, started: list[Launch]) -> None:
    me = {"pid": os.getpid(), "identity": identity(os.getpid()), "host": platform.node(), "user": "me"}
    write_object(run.launch, {"attempt": 1})
    write_object(run.supervisor, {"attempt": 1, "phase": "queued", "devices": [], **me})
    hold(run)
    ran = daisy("runs", "resume", "a", "--detach")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert ran.err.startswith(f"error: runs/{run.path.name}: is queued already; ")
    assert daisy("runs", "resume", "a", "--dry-run").code == 1
    assert started == []
