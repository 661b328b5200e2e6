"""Screens empty, busy and failing, at 80×24 and 120×40, dark, light and without colours.

Dashboard, Run and Chat have files of their own, for what makes them busy takes more than a few lines.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from composing_story import begin, make_folder
from made_checkpoints import write_checkpoints
from snapshots import check_picture
from terminal import ScriptedCommands, app_of, drive, finish, settle
from textual.pilot import Pilot

from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer
from core.runs.directory import RunDirectory, write_object
from daisy_tui.commands import CommandError
from daisy_tui.machine import Finding
from daisy_tui.runs.compare_look import CompareReader
from daisy_tui.services import Services

NARROW, NORMAL = (80, 24), (120, 40)
MakeRun = Callable[..., Path]


class Shot(NamedTuple):
    """One picture: what goes on, the size of the terminal, and its colours."""

    what: str
    size: tuple[int, int]
    look: str = "dark"

    def __str__(self) -> str:
        colours = "" if self.look == "dark" else f"-{self.look}"
        return f"{self.what}-{self.size[0]}x{self.size[1]}{colours}"


SHOTS = [
    *(Shot(what, size) for what in ("empty", "busy", "failing") for size in (NARROW, NORMAL)),
    Shot("busy", NARROW, "light"),
    Shot("busy", NORMAL, "no-colour"),
    Shot("failing", NORMAL, "light"),
    Shot("failing", NARROW, "no-colour"),
]
each = pytest.mark.parametrize("shot", SHOTS, ids=str)


@each
def test_checkpoints(services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, shot: Shot) -> None:
    if shot.what != "empty":
        base, tuned = make_run("base", steps=0), "step_000000020"
        write_checkpoints(base, 10, 20, 30)
        write_checkpoints(make_run("tuned", steps=0, day=2, parent=str(base / "checkpoints" / tuned)), 5)
    if shot.what == "failing":
        (base / "checkpoints/step_000000010/manifest.json").unlink()
        (base / "checkpoints/step_000000030/model.safetensors").write_bytes(b"short")
    keys = {"empty": (), "busy": ("down", "down", "right_square_bracket"), "failing": ("end", "i", "enter")}
    _check(services, monkeypatch, "checkpoints", shot, *keys[shot.what])


@each
def test_compare(services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, shot: Shot) -> None:
    if shot.what != "empty":
        make_run("base", day=1, steps=60, model_dim=16, tags=["a"])
        make_run("wide", day=2, steps=40, model_dim=32, tags=["a"])
        make_run("tiny", "stopped", day=3, steps=20, model_dim=8, tags=["b"])

    def broken(*_: object) -> None:
        raise OSError("disk gone")

    async def fail(pilot: Pilot[Any]) -> None:
        min(services.runs.iterdir()).rename(services.runs / ".elsewhere")
        await settle(pilot)
        services.monotonic = lambda: 112.0
        monkeypatch.setattr(CompareReader, "look", broken)
        await settle(pilot)

    _check(services, monkeypatch, "compare", shot, then=fail if shot.what == "failing" else None)


@each
def test_compose(services: Services, monkeypatch: pytest.MonkeyPatch, shot: Shot) -> None:
    make_folder(services.folder, monkeypatch)

    async def fill(pilot: Pilot[Any]) -> None:
        if shot.what != "empty":
            wrong = ["lr_scale=x", "num_heads=3", "seed=4"]
            touched = ["lr_scale=0.5", "num_layers=4"]
            await begin(pilot, config="small", overrides=wrong if shot.what == "failing" else touched)
            await settle(pilot)

    if shot.what == "empty":
        (services.folder / "configs/small.yml").unlink()
    _check(services, monkeypatch, "compose", shot, then=fill)


@each
def test_data(services: Services, monkeypatch: pytest.MonkeyPatch, shot: Shot) -> None:
    def make(name: str) -> Path:
        texts = ["one [bold]two", "three\nfour \x1b[2J", "five ☃ six", "seven " * 400]
        prepare(TextSource("t", texts), ByteTokenizer(), services.folder / "data" / name, PrepareOptions(name))
        return services.folder / "data" / name

    if shot.what != "empty":
        make("mine")
        shard = make("bad") / "bad_train_000000.bin"
        if shot.what == "failing":
            shard.write_bytes(shard.read_bytes()[:-2])
    _check(services, monkeypatch, "data", shot, *(("n",) if shot.what == "busy" else ()))


@each
def test_first_steps(services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, shot: Shot) -> None:
    found = [
        Finding("torch", "ok", "2.13.0"),
        Finding("GPU 0", "ok", "NVIDIA H100"),
        Finding("memory", "ok", "100 GiB free of 128 GiB, 16 cores"),
        Finding("disk", "note", "3.00 GiB free here", "`daisy runs prune` frees checkpoints"),
    ]
    if shot.what == "failing":
        found.append(Finding("tiktoken", "problem", "not installed", "pip install tiktoken"))
        commands = services.commands
        assert isinstance(commands, ScriptedCommands)
        commands.answers["data", "demo"] = CommandError("data/demo: no space left on the device")
    if shot.what == "busy":
        novels = services.folder / "data/demo"
        prepare(TextSource("t", ["a", "b"]), ByteTokenizer(), novels, PrepareOptions("demo", val_fraction=0))
        run = RunDirectory(make_run("demo", "running", steps=10, target_steps=40))
        write_object(run.run, run.facts() | {"config": "configs/demo.yml"})
    monkeypatch.setattr("daisy_tui.machine.examine", lambda: iter(found))
    _check(services, monkeypatch, "start", shot, *(("enter",) if shot.what == "failing" else ()))


def _check(
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    screen: str,
    shot: Shot,
    *keys: str,
    then: Callable[[Pilot[Any]], Any] | None = None,
) -> None:
    if shot.look == "no-colour":
        monkeypatch.setenv("NO_COLOR", "1")
    app = app_of(services, screen)

    async def story(pilot: Pilot[Any]) -> None:
        if shot.look == "light":
            app.theme = "textual-light"
        await settle(pilot)
        if then is not None:
            await then(pilot)
        for key in keys:
            await pilot.press(key)
            await finish(pilot)
        check_picture(app, f"{screen}-{shot}")

    drive(app, story, shot.size)
