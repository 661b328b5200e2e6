"""The dialogue for a grid: it looks at every run that it promises, in a thread, and never holds up what is typed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from composing_story import drive, make_folder, press
from terminal import ScriptedCommands, app_of, finish, toasts, words
from textual.pilot import Pilot
from textual.widgets import Input

from core.config.errors import ConfigError
from daisy_tui.app import DaisyApp
from daisy_tui.composing.drafts import Draft
from daisy_tui.composing.grids import grid_drafts
from daisy_tui.screens import launching
from daisy_tui.services import Services
from daisy_tui.widgets.form_prompt import Prompt


@pytest.fixture
def app(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DaisyApp:
    """A form on one config and one spec, on a machine that has a CPU."""
    make_folder(tmp_path, monkeypatch)
    return app_of(services, "compose")


@pytest.mark.parametrize(
    ("grid", "why"),
    [
        ("nosuch=1,2", "unknown key 'nosuch'"),
        ("lr_scale=1,nan", "lr_scale"),
        ("target_tokens=4096,-1", "target_tokens"),
        ("model_spec=tiny,nosuch", "nosuch"),
    ],
)
def test_a_run_that_cannot_be_is_not_promised_and_enter_keeps_what_was_typed(
    app: DaisyApp, said: ScriptedCommands, grid: str, why: str
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "x")
        field = app.screen.query_one(Input)
        field.value = grid
        await finish(pilot)
        for keys in ([], ["enter"]):
            await press(pilot, *keys)
            assert isinstance(app.screen, Prompt)
            assert why in words(app)
            assert "2 runs" not in words(app)
            assert "queues them all" not in words(app)
            assert field.value == grid
        await press(pilot, "ctrl+u", *"seed=1,2")
        assert "⏎ queues them all" in words(app), "what was wrong can be mended"
        await press(pilot, "enter")

    drive(app, story)
    assert [run[3] for run in said.said] == ["small-seed-1", "small-seed-2"]


def test_enter_before_the_runs_are_known_waits_for_them(
    app: DaisyApp, said: ScriptedCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, look = threading.Event(), launching._first_problem

    def slow(*arguments: Any) -> str | None:
        may_go_on.wait(60)
        return look(*arguments)

    monkeypatch.setattr(launching, "_first_problem", slow)

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "x")
        for key in (*"seed=1,2", "enter", *"l7"):  # which go to no field, and start nothing
            await pilot.press(key)
        assert isinstance(app.screen, Prompt)
        assert "⋯ looking, esc goes back" in words(app)
        assert said.said == []
        may_go_on.set()
        await finish(pilot)
        await finish(pilot)

    drive(app, story)
    assert len(said.said) == 2
    assert "2 of 2 runs queued" in toasts(app)


def test_what_is_overtaken_is_looked_at_no_further(app: DaisyApp, monkeypatch: pytest.MonkeyPatch) -> None:
    began, may_go_on = threading.Event(), threading.Event()
    looked: list[str] = []

    def slow(draft: Draft, *_: Any) -> None:
        looked.append(draft.overrides[-1])
        began.set()
        may_go_on.wait(60)

    monkeypatch.setattr(launching, "_first_problem", slow)

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "x")
        field = app.screen.query_one(Input)
        field.value = "seed=1,2,3"
        while not began.is_set():
            await pilot.pause()
        field.value = "seed=7"
        await pilot.pause()
        may_go_on.set()
        await finish(pilot)
        assert "1 run, one after" in words(app)

    drive(app, story)
    assert looked == ["seed=1", "seed=7"]


def test_a_long_input_is_answered_in_a_few_lines(app: DaisyApp) -> None:
    long = "seed=" + ",".join(map(str, range(3000)))

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "x")
        field = app.screen.query_one(Input)
        for text, why in ((long, "3,000 runs; a grid has at most 64"), (f"{long},", "write key=value,value")):
            field.value = text
            await finish(pilot)
            assert why in " ".join(words(app).split())
            assert field.region.bottom < app.size.height
            assert app.screen.query_one("#prompt-problem").size.height <= 2
        field.value = "seed=" + "1" * 14_000
        await finish(pilot)
        assert app.screen.query_one("#prompt-problem").size.height <= 6

    drive(app, story)


@pytest.mark.parametrize("text", ["seed=1," + "2" * 500 + ",", "x" * 500, "seed=1," + "2" * 500 + ",1"])
def test_an_error_repeats_little_of_what_was_typed(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        grid_drafts(Draft("small"), text)
    assert len(str(caught.value)) < 120
