"""From the Compose screen: launching, queueing, grids, measuring, saving; and being opened by other screens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from composing_story import (
    CONFIG,
    begin,
    draft_of,
    drive,
    line_of,
    make_folder,
    play,
    press,
    screen_of,
    to,
)
from made_checkpoints import write_checkpoint
from terminal import ScriptedCommands, app_of, finish, toasts, words
from textual.pilot import Pilot

from daisy_tui.app import DaisyApp
from daisy_tui.commands import CommandError
from daisy_tui.screens.base import Open
from daisy_tui.screens.compose import ComposeScreen
from daisy_tui.screens.confirm import ConfirmScreen
from daisy_tui.services import Services
from daisy_tui.widgets.form_effect import Effect
from daisy_tui.widgets.form_prompt import Prompt


@pytest.fixture
def folder(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one config and one spec, on a machine that has a CPU."""
    return make_folder(tmp_path, monkeypatch)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The screens that were asked for, in the place of going there."""
    asked: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(DaisyApp, "on_open", lambda app, message: asked.append((message.screen, message.context)))
    return asked


# Launching


def test_launch_asks_runs_the_line_it_showed_and_goes_to_the_run(
    services: Services, folder: Path, said: ScriptedCommands, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    said.answers["train",] = json.dumps({"run": "20260301-120000-small", "path": "runs/20260301-120000-small"})
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=3"])
        await press(pilot, "l")
        assert isinstance(app.screen, ConfirmScreen)
        assert "daisy train small seed=3 --detach --json" in words(app)
        assert "no shard matches" in " ".join(words(app).split()), "what it would meet is said first"
        await press(pilot, "y")

    drive(app, story, (100, 40))
    assert said.said == [["train", "small", "seed=3", "--detach", "--json"]]
    assert opened == [("run", {"run": folder / "runs/20260301-120000-small"})]


def test_a_queued_run_waits_in_the_queue(
    services: Services, folder: Path, said: ScriptedCommands, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    said.answers["train",] = json.dumps({"run": "x", "path": "runs/x"})
    play(services, "w", "y")
    assert said.said == [["train", "small", "--queue", "--detach", "--json"]]
    assert opened[0][0] == "run"


def test_a_launch_that_is_refused_says_why_and_stays(
    services: Services, folder: Path, said: ScriptedCommands, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    said.answers["train",] = CommandError("cpu is in use by run other; --queue waits for it", code=1)
    app = play(services, "l", "y")
    assert "cpu is in use by run other; --queue waits for it" in toasts(app)
    assert opened == []


@pytest.mark.parametrize("key", ["l", "w", "x", "f", "s"])
def test_what_has_a_problem_is_neither_launched_nor_saved(
    services: Services, folder: Path, said: ScriptedCommands, key: str
) -> None:
    app = play(services, key, config="small", overrides=["lr_scale=x"])
    assert any("1 problem; e goes to it" in toast for toast in toasts(app))
    assert app.stack == 1  # type: ignore[attr-defined]
    assert said.said == []


@pytest.mark.parametrize("key", ["l", "w", "x", "f", "s"])
def test_a_read_only_terminal_composes_and_launches_nothing(
    services: Services, folder: Path, said: ScriptedCommands, key: str
) -> None:
    services.readonly = True
    app = play(services, key, config="small", overrides=["seed=3"])
    assert app.stack == 1  # type: ignore[attr-defined]
    assert draft_of(app)[-1] == "seed=3"
    assert said.said == []


def test_a_grid_queues_a_run_for_each_value(
    services: Services, folder: Path, said: ScriptedCommands, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "x", *"lr_scale=0.5,1,2")
        assert isinstance(app.screen, Prompt)
        assert "3 runs" in words(app)
        assert "daisy train small -r small-lr_scale-0.5 lr_scale=0.5 --queue --detach --json" in words(app)
        await press(pilot, "enter")

    drive(app, story, (120, 40))
    assert said.said == [
        ["train", "small", "-r", f"small-lr_scale-{v}", f"lr_scale={v}", "--queue", "--detach", "--json"]
        for v in ("0.5", "1", "2")
    ]
    assert "3 of 3 runs queued" in toasts(app)
    assert opened == [("dashboard", {})]


def test_a_grid_that_means_nothing_is_not_taken(services: Services, folder: Path, said: ScriptedCommands) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "x", *"lr_scale", "enter")
        assert "write key=value,value" in words(app)
        assert isinstance(app.screen, Prompt)

    drive(app, story)
    assert said.said == []


def test_a_grid_with_a_run_that_cannot_be_trained_queues_none(
    services: Services, folder: Path, said: ScriptedCommands
) -> None:
    app = play(services, "x", *"lr_scale=1,x", "enter")
    assert "override 'lr_scale=x'" in app.seen  # type: ignore[attr-defined]
    assert app.stack == 2, "it can be mended"  # type: ignore[attr-defined]
    assert said.said == []


def test_a_grid_that_fails_half_way_says_how_far_it_came(
    services: Services, folder: Path, said: ScriptedCommands, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    said.answers["train", "small", "-r", "small-seed-2"] = CommandError("the disk is full")
    app = play(services, "x", *"seed=1,2,3", "enter")
    assert len(said.said) == 2
    assert "1 of 3 runs queued" in toasts(app)
    assert "the disk is full" in toasts(app)
    assert opened == []


# Measuring and saving

TOOK = {
    "peak_memory": 3 << 30,
    "peak_memory_estimate": 2 << 30,
    "tokens_per_s": 1000.0,
    "eta_s": 100.0,
    "checkpoint_bytes": 5 << 20,
    "steps": 3,
    "device": "cpu",
    "devices": 1,
}


def test_a_preflight_shows_what_it_measured_beside_the_estimate(
    services: Services, folder: Path, said: ScriptedCommands
) -> None:
    said.answers["preflight",] = "step 1 of 3: 0.31 s\n" + json.dumps(TOOK, indent=2)
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=3"])
        await press(pilot, "f")
        shown = words(app)
        assert "3.00 GiB" in shown
        assert "1,000" in shown
        assert "1:40" in shown
        assert "5.00 MiB" in shown
        assert "measured in 3 steps with full windows: 3.00 GiB, 1,000 tokens/s, ETA 1:40" in toasts(app)
        assert "3.00 GiB of 24.00 GiB, 12% measured" in line_of(app), "what a launch is decided by"
        await begin(pilot, config="small", overrides=["seed=3", "target_tokens=400k"])
        assert "3.00 GiB of 24.00 GiB, 12% measured" in line_of(app), "a longer run takes the same memory"
        assert "ETA 6:40" in line_of(app)
        await begin(pilot, config="small", overrides=["num_layers=3"])
        assert "3.00 GiB" not in screen_text(screen_of(app)), "it was of other steps"

    drive(app, story, (120, 40))
    assert said.said == [["preflight", "small", "seed=3", "--json"]]


def screen_text(screen: ComposeScreen) -> str:
    return "\n".join(str(static.render()) for static in screen.query_one(Effect).query("Static"))


def test_a_preflight_that_fails_says_why(services: Services, folder: Path, said: ScriptedCommands) -> None:
    said.answers["preflight",] = CommandError("after 0 steps: out of memory")
    app = play(services, "f")
    assert "after 0 steps: out of memory" in toasts(app)
    assert "391 steps" in app.line  # type: ignore[attr-defined]


def test_saving_says_the_command_and_refuses_a_name_that_is_taken(
    services: Services, folder: Path, said: ScriptedCommands
) -> None:
    said.answers["config", "save"] = "saved: configs/mine.yml; `daisy train mine` trains it"
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=3"])
        await press(pilot, "s", *"small", "enter")
        assert "'small' names a config already" in words(app)
        assert said.said == []
        await press(pilot, "ctrl+u", *"mine")
        assert "daisy config save small mine seed=3" in words(app)
        await press(pilot, "enter")

    drive(app, story, (100, 30))
    assert said.said == [["config", "save", "small", "mine", "seed=3"]]
    assert "saved: configs/mine.yml; `daisy train mine` trains it" in toasts(app)


# Being opened by others


def test_a_parent_is_filled_in_and_the_architecture_follows(services: Services, folder: Path) -> None:
    run = folder / "runs/20260301-110000-before"
    checkpoint = write_checkpoint(run / "checkpoints/step_000000007", tokenizer=None)
    (run / "config.yaml").write_text(CONFIG)
    (run / "run.json").write_text(json.dumps({"config": "configs/small.yml"}))
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, parent=checkpoint, overrides=["window_block_size=32"])
        assert "the checkpoint's max_seq_len=128: training_sequence_length 256 is longer" in line_of(app)
        await begin(pilot, parent=checkpoint, overrides=["window_block_size=32", "training_sequence_length=128"])
        to(app, "num_layers")
        await finish(pilot)
        assert "checkpoint" in words(app)

    drive(app, story, (120, 40))
    length = "training_sequence_length=128"
    parent = "runs/20260301-110000-before/checkpoints/step_000000007"
    assert draft_of(app) == ["train", "configs/small.yml", "-p", parent, "window_block_size=32", length]
    known = screen_of(app).composition
    assert known is not None
    assert known.problems == ()
    assert known.composed is not None
    assert known.composed.config.num_layers == 6


def test_what_it_was_opened_with_can_be_undone(services: Services, folder: Path) -> None:
    app = play(services, "u", config="demo", overrides=["seed=3"])
    assert draft_of(app) == ["train", "small"]


def test_an_override_that_is_none_is_said(services: Services, folder: Path) -> None:
    app = play(services, config="small", overrides=["seed"])
    assert any("'seed' is not an override" in toast for toast in toasts(app))
    assert draft_of(app) == ["train", "small"]


def test_open_brings_it_here(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        screen_of(app).post_message(Open("compose", config="small", overrides=["seed=5"]))
        await finish(pilot)
        await finish(pilot)

    drive(app, story)
    assert draft_of(app) == ["train", "small", "seed=5"]
