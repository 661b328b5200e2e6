"""Finding a field of the form: by words, and by what is wrong with it; and what is said of it there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from composing_story import begin, draft_of, drive, line_of, make_folder, press, row_of, screen_of
from terminal import app_of, toasts, words
from textual.pilot import Pilot

from core.config.errors import Problem
from daisy_tui.app import DaisyApp
from daisy_tui.services import Services
from daisy_tui.widgets.form_effect import Effect
from daisy_tui.widgets.form_list import FieldList


@pytest.fixture
def app(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DaisyApp:
    """A form on one config and one spec, on a machine that has a CPU."""
    make_folder(tmp_path, monkeypatch)
    return app_of(services, "compose")


def under_the_cursor(app: DaisyApp) -> str:
    row = screen_of(app).query_one(FieldList).row
    return row.key if row is not None else ""


@pytest.mark.parametrize("filters", [["slash", *"seed", "enter"], ["slash", *"no such field"], ["t"]])
def test_e_shows_a_field_with_a_problem_that_was_not_asked_for(app: DaisyApp, filters: list[str]) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        # longer than max_seq_len, which is not touched
        await begin(pilot, config="small", overrides=["training_sequence_length=2048"])
        everything = len(screen_of(app).query_one(FieldList).rows)
        await press(pilot, *filters)
        screen_of(app).set_focus(screen_of(app).query_one(FieldList))
        await press(pilot, "e")
        row = screen_of(app).query_one(FieldList).row
        assert row is not None
        assert row.problems
        if filters != ["t"]:
            assert len(screen_of(app).query_one(FieldList).rows) == everything
            assert "only those with" not in words(app)
        assert toasts(app) == []

    drive(app, story)


def test_e_says_a_problem_that_belongs_to_no_field(app: DaisyApp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        known = screen_of(app).composition
        assert known is not None
        object.__setattr__(known, "problems", (Problem("", "the shards are on the moon"),))
        await press(pilot, "e")
        assert toasts(app) == ["the shards are on the moon"]

    drive(app, story)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("batch_tokens", "batch_tokens"),
        ("batch tokens", "batch_tokens"),
        ("lr", "optimizers.Muon.hidden_matrix_params.lr"),
        ("seed", "seed"),
        ("target_tok", "target_tokens"),
        ("tokens chunk", "loss_chunk_tokens"),
    ],
)
def test_enter_leaves_the_cursor_on_the_best_match(app: DaisyApp, typed: str, meant: str) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "end", "slash", *typed)
        assert under_the_cursor(app) == meant
        await press(pilot, "enter")
        assert under_the_cursor(app) == meant
        await press(pilot, "escape")
        assert under_the_cursor(app) == meant

    drive(app, story)


def test_what_is_typed_behind_a_search_is_for_the_field_that_was_searched_for(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "slash", *"batch_tokens", "enter", "enter", "ctrl+u", *"2048", "enter")

    drive(app, story)
    assert draft_of(app) == ["train", "small", "batch_tokens=2048"]


def test_steps_are_searched_for_and_tokens_found(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "slash", *"steps")
        assert row_of(app, "target_tokens").field.unit == "tokens"

    drive(app, story)


def test_on_a_narrow_terminal_the_whole_of_a_problem_is_said_below_the_list(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["batch_tokens=3000"])
        await press(pilot, "e")
        row = row_of(app, "batch_tokens")
        assert len(row.said[0]) > 80, "else this test claims nothing"
        assert row.said[0] in " ".join(words(app).split())
        assert "batch_tokens = 3000" in words(app)

    drive(app, story)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_what_is_wrong_counts_as_changed(app: DaisyApp, size: tuple[int, int]) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["target_tokens=3 B", "seed=3"])
        if size[0] < 100:
            await press(pilot, "v")
        shown = [" ".join(line.split()) for line in effect_text(app).splitlines()]
        assert "target_tokens: 100000 → 3 B" in shown
        assert "seed: 1337 → 3" in shown
        assert line_of(app).startswith("✗ 1 problem")

    drive(app, story, size)


def effect_text(app: DaisyApp) -> str:
    return str(screen_of(app).query_one(Effect).query_one("#effect-difference").render())
