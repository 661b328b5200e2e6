"""The Compose screen when something goes wrong or changes by itself, and what it looks like."""

from __future__ import annotations

import threading
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
from snapshots import check_picture
from terminal import app_of, finish, settle, toasts, words
from textual.pilot import Pilot
from textual.widgets import Input

from daisy_tui.composing.targets import Machine
from daisy_tui.screens import compose as module
from daisy_tui.services import Services


@pytest.fixture
def folder(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one config and one spec, on a machine that has a CPU."""
    return make_folder(tmp_path, monkeypatch)


# What goes wrong, and what changes by itself


def test_a_broken_file_is_said_and_the_form_stays(services: Services, folder: Path) -> None:
    (folder / "configs/broken.yml").write_text("a: [")
    app = play(services, config="broken", overrides=["seed=3"])
    shown = app.seen  # type: ignore[attr-defined]
    assert "configs/broken.yml:1:5: not valid YAML" in shown
    assert "✗ config" in shown
    assert draft_of(app) == ["train", "broken", "seed=3"]


def test_a_file_that_is_edited_elsewhere_is_composed_again(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        assert "391 steps" in line_of(app)
        (folder / "configs/small.yml").write_text(CONFIG.replace("1e5", "2_000_000"))
        await settle(pilot)
        assert "7,813 steps" in line_of(app)

    drive(app, story)


def test_a_defect_while_composing_is_said_and_the_next_change_is_composed(
    services: Services, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(services, "compose")
    real = module.compose_draft

    def broken(*_: Any) -> Any:
        raise KeyError("lost")

    async def story(pilot: Pilot[Any]) -> None:
        to(app, "full_windows")
        monkeypatch.setattr(module, "compose_draft", broken)
        await press(pilot, "space")
        assert any("KeyError: 'lost'" in toast for toast in toasts(app))
        assert line_of(app).startswith("✗ KeyError")
        monkeypatch.setattr(module, "compose_draft", real)
        await press(pilot, "u")
        assert "391 steps" in line_of(app)

    drive(app, story)


def test_devices_that_cannot_be_looked_at_are_said_as_stale(
    services: Services, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(services, "compose")

    def broken() -> Machine:
        raise OSError("no such device")

    async def story(pilot: Pilot[Any]) -> None:
        monkeypatch.setattr(module, "look_at_machine", broken)
        services.monotonic = lambda: 112.0
        await settle(pilot)
        assert "stale 0:12" in words(app)
        assert "391 steps" in line_of(app), "and what was composed stays"

    drive(app, story, (160, 40))


def test_what_was_overtaken_while_it_was_composed_is_never_shown(
    services: Services, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(services, "compose")
    real, may_go_on, began = module.compose_draft, threading.Event(), threading.Event()
    composed: list[list[str]] = []

    def slow(draft: Any, machine: Machine, folder: Path) -> Any:
        composed.append(draft.overrides)
        began.set()
        may_go_on.wait(60)
        return real(draft, machine, folder)

    async def story(pilot: Pilot[Any]) -> None:
        shown: list[list[str]] = []
        screen = screen_of(app)
        show = screen._show
        monkeypatch.setattr(screen, "_show", lambda: (shown.append(screen._composition.draft.overrides), show()))
        monkeypatch.setattr(module, "compose_draft", slow)
        for seed in (1, 2, 3):
            screen.context(config="small", overrides=[f"seed={seed}"])
        may_go_on.set()
        await finish(pilot)
        assert composed == [["seed=1"], ["seed=3"]], "one at a time, and the newest next"
        assert shown == [["seed=3"]]

    drive(app, story)


def test_names_with_markup_and_control_characters_are_shown_as_they_are(services: Services, folder: Path) -> None:
    app = play(
        services, config="small", overrides=["wandb_project=[red]x[/red]\x1b[2J", "tags=['[b]']"], size=(120, 40)
    )
    shown = app.seen  # type: ignore[attr-defined]
    assert "[red]x[/red]\\x1b[2J" in shown
    assert "\x1b" not in shown


def test_search_takes_letters_that_are_keys_elsewhere(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "slash", *"lwxq1")
        assert app.screen is app.place
        assert screen_of(app).query_one("#form-search", Input).value == "lwxq1"

    drive(app, story)


# Pictures


@pytest.mark.parametrize(
    ("name", "size", "theme", "no_color", "overrides"),
    [
        ("compose-wide-200x60", (200, 60), "textual-dark", False, ["lr_scale=0.5", "batch_tokens=2048"]),
        ("compose-no-color-80x24", (80, 24), "textual-dark", True, ["lr_scale=x"]),
        ("compose-ansi-80x24", (80, 24), "ansi-dark", False, ["full_windows=true"]),
    ],
)
def test_picture(
    services: Services,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    size: tuple[int, int],
    theme: str,
    no_color: bool,
    overrides: list[str],
) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        app.theme = theme
        await begin(pilot, config="small", overrides=overrides)
        await settle(pilot)
        if "no-color" in name:
            await press(pilot, "e")
        check_picture(app, name)

    drive(app, story, size)


def test_picture_of_what_it_comes_to_on_a_narrow_terminal(services: Services, folder: Path) -> None:
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=3"])
        await press(pilot, "v")
        check_picture(app, "compose-effect-80x24")

    drive(app, story)
