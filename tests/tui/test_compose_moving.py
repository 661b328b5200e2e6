"""Going from one config to another: by saving, and by picking one. What is touched is what the config does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from composing_story import CONFIG, SPEC, begin, draft_of, drive, make_folder, press, to
from terminal import ScriptedCommands, app_of, words
from textual.pilot import Pilot

from core.config.compose import compose
from daisy_tui.app import DaisyApp
from daisy_tui.commands import CommandError, Done
from daisy_tui.composing.saving import save_config
from daisy_tui.screens.confirm import ConfirmScreen
from daisy_tui.services import Services


class Saving(ScriptedCommands):
    """`daisy config save CONFIG NEW KEY=VALUE…`, done here."""

    async def run(self, *arguments: str, **more: Any) -> Done:
        done = await super().run(*arguments, **more)
        save_config(arguments[3], compose(arguments[2], [word for word in arguments[4:] if "=" in word]))
        return done


@pytest.fixture
def folder(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_folder(tmp_path, monkeypatch)


@pytest.fixture
def app(services: Services, folder: Path) -> DaisyApp:
    services.commands = Saving()
    return app_of(services, "compose")


@pytest.mark.parametrize("name", ["mine", "mine.yml"])
def test_saving_goes_on_with_what_was_saved_and_undo_goes_back(app: DaisyApp, name: str) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=3", "optimizers.Muon.momentum=0.9"])
        await press(pilot, "s", *name, "enter")
        assert draft_of(app) == ["train", "mine"]
        assert " mine   nothing touched   u undoes" in words(app)
        await press(pilot, "l")
        assert isinstance(app.screen, ConfirmScreen)
        assert "daisy train mine --detach --json" in words(app)
        await press(pilot, "escape", "u")

    drive(app, story)
    assert draft_of(app) == ["train", "small", "seed=3", "optimizers.Muon.momentum=0.9"]


def test_what_a_config_does_not_keep_stays_touched(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=3"])
        to(app, "nproc")
        await press(pilot, "enter", "ctrl+u", "2", "enter", "s", *"mine", "enter")

    drive(app, story)
    assert draft_of(app) == ["train", "mine", "-n", "2"]


def test_what_cannot_be_saved_is_gone_on_with_as_it_was(app: DaisyApp) -> None:
    commands = app.services.commands
    assert isinstance(commands, Saving)
    commands.answers["config", "save"] = CommandError("the disk is full")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=3"])
        await press(pilot, "s", *"mine", "enter")

    drive(app, story)
    assert draft_of(app) == ["train", "small", "seed=3"]


def test_what_the_config_that_is_picked_says_itself_is_not_touched(app: DaisyApp, folder: Path) -> None:
    (folder / "configs/other.yml").write_text(CONFIG + "seed: 3\nlr_scale: 0.5\n")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=3", "lr_scale=5e-1", "cooldown_frac=0.2"])
        await press(pilot, "o", *"other", "enter")
        assert draft_of(app) == ["train", "other", "cooldown_frac=0.2"]
        assert " other   1 touched" in words(app)
        await press(pilot, "u")
        assert draft_of(app) == ["train", "small", "seed=3", "lr_scale=5e-1", "cooldown_frac=0.2"], "in one step"
        await press(pilot, "r")
        assert draft_of(app) == ["train", "other", "cooldown_frac=0.2"]

    drive(app, story)


def test_a_spec_of_its_own_is_known_again_with_what_differs_from_it(app: DaisyApp, folder: Path) -> None:
    (folder / "model_specs/deep.yml").write_text(SPEC.replace("num_layers: 2", "num_layers: 4"))
    (folder / "configs/other.yml").write_text(CONFIG.replace("tiny", "deep") + "num_layers: 3\n")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["model_spec=deep", "num_layers=3"])
        await press(pilot, "o", *"other", "enter")

    drive(app, story)
    assert draft_of(app) == ["train", "other"]


def test_what_was_touched_stays_so_while_its_config_stays(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, config="small", overrides=["seed=1337"])
        await press(pilot, "m", *"tiny", "enter")

    drive(app, story)
    assert "seed=1337" in draft_of(app)
