"""Measuring from the Compose screen: what is said meanwhile, cancelling, and for which drafts a measurement holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from composing_story import begin, drive, line_of, make_folder, press, screen_of, to
from terminal import ScriptedCommands, app_of, finish, toasts, words
from textual.pilot import Pilot

from core.config.compose import compose
from daisy_tui.app import DaisyApp
from daisy_tui.composing.throughput import note
from daisy_tui.services import Services
from daisy_tui.widgets.form_list import FieldList

TOOK = {
    "peak_memory": 3 << 30,
    "memory_before": 1 << 30,
    "tokens_per_s": 1000.0,
    "eta_s": 100.0,
    "checkpoint_bytes": 5 << 20,
    "steps": 3,
}


class Endless(ScriptedCommands):
    """A preflight that takes a step and never ends; `stopped` counts those that nobody listens to any more."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0

    async def lines(self, *arguments: str) -> AsyncGenerator[str, None]:
        self.said.append(list(arguments))
        try:
            yield f"step 1 of 3: 0.31 s {'and so on ' * 20}"
            await asyncio.Event().wait()
        finally:
            self.stopped += 1


@pytest.fixture
def app(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DaisyApp:
    """A form on one config and one spec, on a machine that has a CPU."""
    make_folder(tmp_path, monkeypatch)
    return app_of(services, "compose")


@pytest.fixture
def endless(services: Services) -> Endless:
    services.commands = Endless()
    return services.commands


async def until(pilot: Pilot[Any], is_so: Callable[[], bool]) -> None:
    """Wait for what an endless preflight lets happen, which `finish` would wait for to end."""
    for _ in range(500):
        await pilot.pause()
        if is_so():
            return
    raise AssertionError("it did not come to be")


@pytest.mark.parametrize("key", ["f", "escape"])
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_a_preflight_says_all_the_time_how_it_is_cancelled_and_is(
    app: DaisyApp, endless: Endless, size: tuple[int, int], key: str
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("f")
        await until(pilot, lambda: "step 1 of 3" in words(app))
        assert "⋯ esc or f cancels the preflight: step 1 of 3" in words(app)
        to(app, "full_windows")
        await pilot.press("space")
        await until(pilot, lambda: screen_of(app).composition is not None)
        assert "⋯ esc or f cancels the preflight: step 1 of 3" in words(app), "also when something was changed"
        await pilot.press("v")
        await pilot.pause()
        assert "esc or f cancels" in words(app)
        await pilot.press("v")
        await pilot.press(key)
        await until(pilot, lambda: endless.stopped == 1)
        await finish(pilot)
        assert toasts(app) == ["preflight cancelled"]
        assert "391 steps" in line_of(app)

    drive(app, story, size)


def test_escape_steps_out_of_what_is_above_before_it_cancels(app: DaisyApp, endless: Endless) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        everything = len(screen_of(app).query_one(FieldList).rows)
        await pilot.press("f")
        await until(pilot, lambda: "step 1 of 3" in words(app))
        await pilot.press("slash", *"seed")
        await pilot.press("escape")
        await pilot.pause()
        assert len(screen_of(app).query_one(FieldList).rows) == everything
        assert endless.stopped == 0
        await pilot.press("escape")
        await until(pilot, lambda: endless.stopped == 1)

    drive(app, story)


def test_a_measurement_holds_for_all_that_has_the_same_steps_and_for_nothing_else(
    app: DaisyApp, services: Services
) -> None:
    commands = services.commands
    assert isinstance(commands, ScriptedCommands)
    commands.answers["preflight",] = json.dumps(TOOK, indent=2)

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "f")
        for same in (["target_tokens=400k"], ["seed=4", "lr_scale=0.5"], ["wandb_project=x"], []):
            await begin(pilot, config="small", overrides=same)
            assert "3.00 GiB of 24.00 GiB, 12% measured" in line_of(app), same
        for other in ("num_layers=3", "batch_tokens=2048", "activation_checkpointing=true", "attention_window_len=256"):
            await begin(pilot, config="small", overrides=[other])
            assert "measured" not in line_of(app).replace("ETA not measured", ""), other
        await begin(pilot, config="small")
        to(app, "nproc")
        await press(pilot, "enter", "ctrl+u", "2", "enter")
        assert "GiB of 24.00 GiB, " not in line_of(app).replace("<1%", ""), "as many ranks"

    drive(app, story)


def test_what_is_measured_and_what_estimated_is_told_apart(app: DaisyApp, services: Services) -> None:
    commands = services.commands
    assert isinstance(commands, ScriptedCommands)
    commands.answers["preflight",] = json.dumps(TOOK, indent=2)

    async def story(pilot: Pilot[Any]) -> None:
        assert "estimated: the tensors; Python and torch are not in it" in pane_text(app)
        await press(pilot, "f")
        assert "the peak of the whole process, Python and torch too, 1.00 GiB of it before the model" in pane_text(app)

    drive(app, story, (120, 40))


def pane_text(app: DaisyApp) -> str:
    return " ".join(str(screen_of(app).query_one("#effect-memory").render()).split())


def test_it_is_said_where_a_speed_comes_from_before_a_launch(app: DaisyApp, services: Services, tmp_path: Path) -> None:
    commands = services.commands
    assert isinstance(commands, ScriptedCommands)
    commands.answers["preflight",] = json.dumps(TOOK, indent=2)

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "l")
        assert "ETA by" not in words(app), "nobody measured it"
        await press(pilot, "escape", "f")
        assert "measured in 3 steps with full windows: 3.00 GiB, 1,000 tokens/s, ETA 1:40" in toasts(app)
        await press(pilot, "l")
        assert "ETA by 1,000 tokens/s: preflight, full windows" in words(app)
        await press(pilot, "escape")
        note(compose("small").config, "cpu", tmp_path, 500.0, now=services.clock() + 60)
        await begin(pilot, config="small", overrides=["seed=3"])
        await press(pilot, "l")
        assert "ETA by 500 tokens/s" in words(app), "what was measured last"
        assert "ETA 3:20" in line_of(app)

    drive(app, story, (120, 40))
