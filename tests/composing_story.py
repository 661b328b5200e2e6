"""Driving the Compose screen: a folder with a small config, and what a test looks at once the app has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import terminal
from terminal import app_of, finish, words
from textual.pilot import Pilot
from textual.widgets import Static

from core.runs.devices import Device
from daisy_tui.app import DaisyApp
from daisy_tui.composing.form_rows import Row
from daisy_tui.composing.targets import Machine
from daisy_tui.screens import compose
from daisy_tui.screens.compose import ComposeScreen
from daisy_tui.services import Services
from daisy_tui.widgets.form_list import FieldList

SPEC = """\
num_layers: 2
num_heads: 2
head_dim: 8
model_dim: 16
vocab_size: 300
eos_token_id: 256
max_seq_len: 1024
attention_window_len: 128
"""
CONFIG = """\
# A small one.
model_spec: tiny
train_shards: shards/*_train_*.bin
training_sequence_length: 256
target_tokens: 1e5
"""
CPU = Machine(memory={"cpu": 24 << 30})
GPUS = Machine(
    gpus=(Device("GPU-a", "0", "H100"), Device("GPU-b", "1", "H100")),
    memory={"cpu": 24 << 30, "GPU-a": 80 << 30, "GPU-b": 80 << 30},
    owners={"GPU-b": "run 20260301-110000-other"},
)
Story = Callable[[Pilot[Any]], Awaitable[None]]


def make_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put one config and one spec into a folder, on a machine that has a CPU."""
    for name, text in (("configs/small.yml", CONFIG), ("model_specs/tiny.yml", SPEC)):
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)
    monkeypatch.setattr(compose, "look_at_machine", lambda: CPU)
    return folder


def screen_of(app: Any) -> ComposeScreen:
    """The screen of an app, also when that has ended."""
    place = getattr(app, "kept", None) or app.place
    assert isinstance(place, ComposeScreen)
    return place


def drive(app: DaisyApp, story: Story, size: tuple[int, int] = (80, 24)) -> None:
    """Tell an app a story, and keep its screen and what stood on it in the end."""

    async def whole(pilot: Pilot[Any]) -> None:
        app.kept = screen_of(app)  # type: ignore[attr-defined]
        await story(pilot)
        app.seen, app.line, app.stack = words(app), line_of(app), len(app.screen_stack)  # type: ignore[attr-defined]

    terminal.drive(app, whole, size)


def play(services: Services, *keys: str, size: tuple[int, int] = (80, 24), **context: Any) -> DaisyApp:
    """Open the screen with a context and press keys, each when the last one has had its effect."""
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        await begin(pilot, **context)
        await press(pilot, *keys)

    drive(app, story, size)
    return app


async def begin(pilot: Pilot[Any], **context: Any) -> None:
    if context:
        screen_of(pilot.app).context(**context)  # type: ignore[arg-type]
        await finish(pilot)


async def press(pilot: Pilot[Any], *keys: str) -> None:
    for at, key in enumerate(keys):
        await pilot.press(key)
        if len(key) > 1 or len(keys[at + 1 : at + 2] or "") != 1 or len(keys[at + 1]) > 1:  # a word is typed at one go
            await finish(pilot)


def to(app: DaisyApp, key: str) -> None:
    """Put the cursor on a field."""
    fields = screen_of(app).query_one(FieldList)
    line = fields.line_of(key)
    assert line is not None, key
    fields.go_to(line)


def line_of(app: DaisyApp) -> str:
    """The line that sums everything up, which toasts cover."""
    return str(screen_of(app).query_one("#form-line", Static).render())


def row_of(app: DaisyApp, key: str) -> Row:
    return next(row for row in screen_of(app).query_one(FieldList).rows if row.key == key)


def draft_of(app: DaisyApp) -> list[str]:
    return screen_of(app).draft.train_arguments()
