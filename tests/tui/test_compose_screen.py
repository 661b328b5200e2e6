"""The Compose screen: what it shows, editing, searching, undo, and the table of optimizers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from composing_story import (
    CONFIG,
    CPU,
    GPUS,
    begin,
    draft_of,
    drive,
    line_of,
    make_folder,
    play,
    press,
    row_of,
    screen_of,
    to,
)
from terminal import app_of, finish, toasts, words
from textual import events
from textual.pilot import Pilot

from daisy_tui.screens import compose as module
from daisy_tui.screens.pick import PickScreen
from daisy_tui.services import Services
from daisy_tui.widgets.form_editor import FieldEditor
from daisy_tui.widgets.form_effect import Effect
from daisy_tui.widgets.form_list import FieldList
from daisy_tui.widgets.form_optimizers import OptimizerTable


@pytest.fixture
def folder(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one config and one spec, on a machine that has a CPU."""
    return make_folder(tmp_path, monkeypatch)


# What is shown


def test_it_opens_with_the_folders_own_config_every_field_and_its_figures(services: Services, folder: Path) -> None:
    app = play(services)
    shown = app.seen  # type: ignore[attr-defined]
    assert " small   nothing touched" in shown
    assert "model_spec" in shown
    assert "configs/small.yml:2" in shown
    assert "391 steps" in app.line  # type: ignore[attr-defined]


def test_an_empty_folder_begins_with_the_demo(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "look_at_machine", lambda: CPU)
    app = play(services, size=(120, 40))
    shown = app.seen  # type: ignore[attr-defined]
    assert draft_of(app) == ["train", "demo"]
    assert "`daisy data demo` makes it" in " ".join(shown.split())


def test_on_a_wide_terminal_what_it_comes_to_stands_beside_the_fields(services: Services, folder: Path) -> None:
    shown = play(services, size=(120, 40)).seen  # type: ignore[attr-defined]
    for part in ("estimate", "tokens per step", "memory", "learning rate", "daisy train small"):
        assert part in shown, part


def test_on_a_narrow_one_v_shows_it_in_their_place_and_escape_goes_back(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        assert "estimate" not in words(app)
        await press(pilot, "v")
        assert "estimate" in words(app)
        assert "model_spec" not in words(app)
        assert isinstance(app.focused, Effect)
        await press(pilot, "escape")
        assert "model_spec" in words(app)
        assert isinstance(app.focused, FieldList)

    drive(app, story)


def test_a_terminal_that_is_resized_shows_what_it_has_room_for(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.resize_terminal(200, 60)
        await finish(pilot)
        assert "estimate" in words(app)
        assert "not measured on this device yet" in words(app)
        await pilot.resize_terminal(80, 24)
        await finish(pilot)
        assert "estimate" not in words(app)

    drive(app, story)


# Editing


def test_what_is_typed_holds_at_once_and_enter_keeps_it(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        to(app, "target_tokens")
        await press(pilot, "enter", "ctrl+u", "5", "0", "k")
        assert draft_of(app) == ["train", "small", "target_tokens=50k"]
        assert "196 steps" in line_of(app)
        await press(pilot, "enter")
        assert isinstance(app.focused, FieldList)
        assert "50000" in words(app)

    drive(app, story)
    assert draft_of(app) == ["train", "small", "target_tokens=50k"]


def test_escape_takes_back_what_was_typed(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        to(app, "seed")
        await press(pilot, "enter", "7", "8", "escape")
        assert isinstance(app.focused, FieldList)

    drive(app, story)
    assert draft_of(app) == ["train", "small"]


def test_a_problem_stands_beside_its_field_and_no_figures_are_made_up(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        to(app, "lr_scale")
        await press(pilot, "enter", "ctrl+u", "x")
        shown = words(app)
        assert "✗ expected a number, such as 0.02 or 1e-3; got 'x'" in shown
        assert "✗ lr_scale" in shown
        assert line_of(app).startswith("✗ 1 problem")
        assert "steps" not in line_of(app)
        await press(pilot, "ctrl+u", "2")
        assert "✗" not in words(app)

    drive(app, story)


def test_an_emptied_field_is_untouched_or_null(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=3", "grad_clip_norm=1"])
        for key in ("seed", "grad_clip_norm"):
            to(app, key)
            await press(pilot, "enter", "ctrl+u", "enter")

    drive(app, story)
    assert draft_of(app) == ["train", "small"], "null is what grad_clip_norm is anyway"


def test_flags_turn_over_choices_step_and_back_at_the_start_nothing_is_touched(
    services: Services, folder: Path
) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        to(app, "full_windows")
        await press(pilot, "space")
        assert draft_of(app) == ["train", "small", "full_windows=true"]
        await press(pilot, "left")
        assert draft_of(app) == ["train", "small"]
        to(app, "learning_rate_schedule")
        await press(pilot, "right", "right")
        assert draft_of(app) == ["train", "small", "learning_rate_schedule=constant_with_cosine_decay"]
        await press(pilot, "right")
        assert draft_of(app) == ["train", "small"]

    drive(app, story)


def test_a_click_chooses_a_field_and_another_edits_it(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        fields = screen_of(app).query_one(FieldList)
        await pilot.click(fields, offset=(5, 4))
        await finish(pilot)
        assert fields.row is not None
        assert fields.row.key == "name"
        await pilot.click(fields, offset=(5, 4))
        await finish(pilot)
        assert screen_of(app).query_one(FieldEditor).edited is not None
        await press(pilot, "a", "b")
        await pilot.click(fields, offset=(5, 2))  # which leaves the line, and keeps it
        await finish(pilot)

    drive(app, story)
    assert draft_of(app) == ["train", "small", "-r", "ab"]


def test_specs_are_picked_by_some_of_their_letters(services: Services, folder: Path) -> None:
    (folder / "model_specs/broken.yml").write_text("colour: red\n")
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "m")
        assert isinstance(app.screen, PickScreen)
        assert "Model spec" in words(app)
        assert "broken: model_specs/broken.yml:1: unknown key 'colour'" in words(app)
        await press(pilot, *"d35m", "enter")

    drive(app, story, (120, 40))
    assert draft_of(app) == ["train", "small", "model_spec=daisy_350m"]


def test_a_path_can_be_typed_where_a_name_is_picked(services: Services, folder: Path) -> None:
    (folder / "other.yml").write_text(CONFIG)
    app = play(services, "o", *"./other.yml", "enter")
    assert draft_of(app) == ["train", "./other.yml"]


def test_escape_picks_nothing(services: Services, folder: Path) -> None:
    assert draft_of(play(services, "o", "d", "escape")) == ["train", "small"]


def test_devices_say_whose_they_are(services: Services, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "look_at_machine", lambda: GPUS)
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        to(app, "devices")
        await press(pilot, "enter")
        assert "H100, 80.00 GiB, free" in words(app)
        assert "run 20260301-110000-other" in words(app)
        await press(pilot, *"0,1", "enter")
        assert row_of(app, "devices").note == "2 x H100"
        await press(pilot, "l")
        assert "its devices are in use by run 20260301-110000-other" in " ".join(words(app).split())

    drive(app, story, (120, 40))
    assert draft_of(app) == ["train", "small", "--devices", "0,1"]


def test_backspace_resets_a_field(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=3", "optimizers[1].eps=1e-8"])
        to(app, "optimizers.AdamW.eps")
        await press(pilot, "backspace")

    drive(app, story)
    assert draft_of(app) == ["train", "small", "seed=3"]


def test_undo_and_redo_go_change_by_change(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        to(app, "full_windows")
        await press(pilot, "space")
        to(app, "seed")
        await press(pilot, "enter", "ctrl+u", "1", "2", "enter")
        await press(pilot, "u")
        assert draft_of(app) == ["train", "small", "full_windows=true"], "a word is one change"
        await press(pilot, "u", "u")
        assert draft_of(app) == ["train", "small"]
        await press(pilot, "r", "r", "r")
        assert "seed" in words(app)

    drive(app, story)
    assert draft_of(app) == ["train", "small", "full_windows=true", "seed=12"]


def test_search_narrows_to_the_fields_with_the_words_and_escape_shows_all(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        fields = screen_of(app).query_one(FieldList)
        everything = len(fields.rows)
        await press(pilot, "slash", *"cooldown")
        assert [row.key for row in fields.rows] == ["learning_rate_schedule", "cooldown_frac"]
        await press(pilot, *" xyz")
        assert "no field has these words" in words(app)
        await press(pilot, "escape")
        assert len(fields.rows) == everything

    drive(app, story)


def test_what_was_found_stays_in_sight_when_all_is_shown_again(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "slash", *"wandb_log", "enter")
        assert screen_of(app).query_one(FieldList).row == row_of(app, "wandb_log")
        await press(pilot, "escape")
        assert re.search("wandb_log +false", words(app))

    drive(app, story)


def test_what_was_touched_is_shown_in_the_place_of_what_it_comes_to(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "v", "t")
        assert "nothing touched; t shows all fields" in words(app)

    drive(app, story)


def test_only_what_was_touched_can_be_shown(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        fields = screen_of(app).query_one(FieldList)
        await press(pilot, "t")
        assert "nothing touched; t shows all fields" in words(app)
        await begin(pilot, config="small", overrides=["seed=3"])
        assert [row.key for row in fields.rows] == ["seed"]
        await press(pilot, "escape")
        assert len(fields.rows) > 60

    drive(app, story)


def test_e_goes_from_problem_to_problem(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "e")
        assert "no field has a problem" in toasts(app)
        await begin(pilot, config="small", overrides=["lr_scale=x", "num_layers=y"])
        seen = []
        for _ in range(3):
            await press(pilot, "e")
            row = screen_of(app).query_one(FieldList).row
            seen.append(row and row.key)
        assert seen == ["num_layers", "lr_scale", "num_layers"]

    drive(app, story)


def test_the_line_is_copied_as_it_would_be_typed(services: Services, folder: Path) -> None:
    app = play(services, "y", config="small", overrides=["tags=[a, b c]"])
    assert app.clipboard == "daisy train small 'tags=[a, b c]'"


# Optimizers


def test_optimizers_are_edited_as_a_table(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "p")
        assert isinstance(app.screen, OptimizerTable)
        await press(pilot, "down", "enter", "ctrl+u", "0", ".", "5", "enter")
        assert draft_of(app) == ["train", "small", "optimizers.AdamW.embed_params.lr=0.5"]
        await press(pilot, "right", "enter")  # the schedule steps
        assert draft_of(app)[-1] == "optimizers.AdamW.schedule=constant"
        await press(pilot, "up", "left", "enter", "ctrl+u", "x")
        assert "expected a number" in words(app)
        await press(pilot, "escape")
        assert "expected a number" not in words(app)
        await press(pilot, "escape")
        assert app.screen is app.place

    drive(app, story, (120, 40))
    assert draft_of(app)[2:] == ["optimizers.AdamW.embed_params.lr=0.5", "optimizers.AdamW.schedule=constant"]


def test_a_group_can_be_given_to_the_other_optimizer_removed_and_added_again(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    def groups() -> list[tuple[str, list[str]]]:
        known = screen_of(app).composition
        assert known is not None
        assert known.shown is not None
        return [(o.type, [p.group for p in o.params]) for o in known.shown.config.optimizers]

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "p", "o")
        assert groups() == [
            ("AdamW", ["embed_params", "value_embed_params", "head_params", "scalar_params", "hidden_matrix_params"])
        ]
        await press(pilot, "o")
        assert "Muon updates matrices only; embed_params stays" in toasts(app)
        await press(pilot, "down", "delete")
        assert "value_embed_params" not in str(groups()), "which this model has none of"
        await press(pilot, "delete")
        assert "no optimizer names head_params" in words(app)
        await press(pilot, "a")
        assert "no optimizer names" not in words(app)
        await press(pilot, "escape", "u", "u")
        assert "head_params" in str(groups())

    drive(app, story, (120, 40))


# Keys in a burst


def test_a_value_typed_in_one_burst_is_what_was_typed(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        to(app, "target_tokens")
        await press(pilot, "up")
        for key in ("down", "enter", "ctrl+u", *"40OK", "backspace", "backspace", *"0K", "enter", "t"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await finish(pilot)
        assert draft_of(app) == ["train", "small", "target_tokens=400K"]
        assert "only touched" in words(app), "the last letter was a key again"

    drive(app, story)
