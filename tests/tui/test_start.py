"""The first screen: three steps, taken by Enter, whose states are the folder's."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_runs import write_run
from snapshots import check_picture
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual.pilot import Pilot
from textual.widgets import OptionList

from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer
from core.runs.directory import RunDirectory, write_object
from daisy_tui.app import DaisyApp
from daisy_tui.commands import CommandError
from daisy_tui.machine import Finding
from daisy_tui.services import Services
from daisy_tui.widgets.job_bar import JobBar

Opened = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Where the app was asked to go."""
    asked: Opened = []
    monkeypatch.setattr(DaisyApp, "open", lambda _app, name, **context: asked.append((name, context)))
    return asked


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """A machine that does not change from one picture to the next."""
    found = [
        Finding("python", "ok", "3.12.1"),
        Finding("torch", "ok", "2.13.0"),
        Finding("numpy", "ok", "2.4.6"),
        Finding("GPU 0", "ok", "NVIDIA H100"),
        Finding("memory", "ok", "100 GiB free of 128 GiB, 16 cores"),
        Finding("disk", "note", "3.00 GiB free here", "`daisy runs prune` frees checkpoints"),
    ]
    monkeypatch.setattr("daisy_tui.machine.examine", lambda: iter(found))
    return found


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Make a run of the demo; living ones end with the test."""
    locks: list[int] = []

    def make(state: str, **facts: Any) -> Path:
        path, lock = write_run(tmp_path / "runs", "demo", state, **facts)
        locks.extend([lock] if lock is not None else [])
        write_object(RunDirectory(path).run, RunDirectory(path).facts() | {"config": "configs/demo.yml"})
        return path

    yield make
    for lock in locks:
        os.close(lock)


def _novels(folder: Path) -> None:
    prepare(TextSource("t", ["a", "b"]), ByteTokenizer(), folder / "data/demo", PrepareOptions("demo", val_fraction=0))


def _tell(services: Services, story: Callable[[Pilot[Any]], Any], size: tuple[int, int] = (80, 24)) -> DaisyApp:
    app = app_of(services, "start")
    drive(app, story, size)
    return app


def test_a_new_folder_opens_with_it_and_it_says_what_to_do(services: Services) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        assert pilot.app.current_mode == "start"
        for shown in ("Three steps", "Prepare six novels", "$ daisy data demo", "✓ GPU 0: NVIDIA H100", "· disk 3.00"):
            assert shown in words(pilot.app)
        assert "numpy" not in words(pilot.app), "what is in order and says little is left out"

    drive(DaisyApp(services), story)


def test_enter_prepares_the_novels_and_the_mark_moves_on(
    services: Services, said: ScriptedCommands, tmp_path: Path
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("enter")
        await finish(pilot)
        assert said.said == [["data", "demo", "--progress-json"]]
        assert pilot.app.screen.query_one("#steps", OptionList).highlighted == 0, "the folder has nothing yet"
        _novels(tmp_path)
        await settle(pilot)
        assert "✓ 1  Prepare six novels" in words(pilot.app)
        assert pilot.app.screen.query_one("#steps", OptionList).highlighted == 1
        check_picture(pilot.app, "start-prepared-120")

    _tell(services, story, (120, 40))


def test_enter_trains_the_demo_and_opens_its_run(
    services: Services, said: ScriptedCommands, opened: Opened, tmp_path: Path, train: Callable[..., Path]
) -> None:
    _novels(tmp_path)
    said.answers[("train",)] = json.dumps({"run": "x-demo", "path": "runs/x-demo"})

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("enter")
        await finish(pilot)
        await finish(pilot)
        assert said.said == [["train", "demo", "--detach", "--json"]]
        assert opened == [("run", {"run": tmp_path / "runs/x-demo"})]
        run = train("running", steps=10, target_steps=40)
        await settle(pilot)
        assert "● 2  Train the demo model" in words(pilot.app)
        assert "running: 25%" in words(pilot.app)
        await pilot.press("enter")
        await finish(pilot)
        assert opened[1:] == [("run", {"run": run})], "which is looked at again, and not started twice"

    _tell(services, story)
    assert len(said.said) == 1


def test_a_model_that_was_trained_chats(
    services: Services,
    said: ScriptedCommands,
    opened: Opened,
    tmp_path: Path,
    train: Callable[..., Path],
    save_model: Callable[..., Path],
) -> None:
    _novels(tmp_path)
    save_model(train("finished") / "checkpoints/step_000000040")

    async def story(pilot: Pilot[Any]) -> None:
        assert pilot.app.screen.query_one("#steps", OptionList).highlighted == 2
        await pilot.press("enter")
        await finish(pilot)
        assert opened == [("chat", {"source": "latest"})]

    _tell(services, story)
    assert said.said == []


def test_a_step_out_of_turn_says_what_comes_first(services: Services, said: ScriptedCommands) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("down", "enter", "down", "enter")
        await finish(pilot)

    app = _tell(services, story)
    assert said.said == []
    assert "Train the demo model: the novels come first" in toasts(app)
    assert "Chat with it: a trained model comes first" in toasts(app)


def test_a_step_is_taken_by_a_click(services: Services, said: ScriptedCommands) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await pilot.click("#steps", offset=(10, 1))
        await finish(pilot)

    _tell(services, story)
    assert said.said == [["data", "demo", "--progress-json"]]


@pytest.mark.parametrize("key", ["escape", "s"])
def test_it_can_be_skipped(services: Services, opened: Opened, key: str) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press(key)
        await finish(pilot)

    _tell(services, story)
    assert opened == [("dashboard", {})]


def test_a_failing_step_says_why(services: Services, said: ScriptedCommands, tmp_path: Path) -> None:
    _novels(tmp_path)
    said.answers[("train",)] = CommandError("cpu is in use by run x; --queue waits for it")

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("enter")
        await finish(pilot)

    assert "cpu is in use by run x; --queue waits for it" in toasts(_tell(services, story))


def test_a_machine_with_a_problem_says_what_mends_it(services: Services, machine: list[Finding]) -> None:
    machine.append(Finding("tiktoken", "problem", "not installed", "pip install tiktoken"))

    async def story(pilot: Pilot[Any]) -> None:
        assert "✗ tiktoken: not installed; pip install tiktoken" in " ".join(words(pilot.app).replace("│", " ").split())

    _tell(services, story, (120, 40))


def test_a_read_only_terminal_takes_no_step(services: Services, said: ScriptedCommands, tmp_path: Path) -> None:
    services.readonly = True

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("enter")
        _novels(tmp_path)
        await settle(pilot)
        await pilot.press("enter")
        await finish(pilot)

    _tell(services, story)
    assert said.said == []


def test_preparing_can_be_cancelled(services: Services) -> None:
    class Held(ScriptedCommands):
        ended = False

        async def lines(self, *arguments: str) -> AsyncGenerator[str, None]:
            try:
                yield "reading"
                await asyncio.Event().wait()
            finally:
                self.ended = True

    commands = services.__dict__["commands"] = Held()

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("enter")
        await pilot.pause()
        assert pilot.app.screen.query_one(JobBar).is_busy
        await pilot.press("x")
        await finish(pilot)
        assert commands.ended
        assert not pilot.app.screen.query_one(JobBar).is_busy

    _tell(services, story)


def test_a_folder_that_cannot_be_read_is_said_and_looked_at_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_folder: Path) -> None:
        raise OSError("input/output error")

    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("daisy_tui.first_steps.first_steps", broken)
            await settle(pilot)
            assert "stale" in words(pilot.app)
        await settle(pilot)
        assert "stale" not in words(pilot.app)

    _tell(services, story, (120, 40))
