"""What the Run screen looks like: empty, busy and failing, narrow and wide, dark, light and without colours."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import write_checkpoints
from made_runs import NOW, STEP_TOKENS
from snapshots import check_picture
from terminal import ScriptedCommands, app_of, drive, finish
from textual.pilot import Pilot

from daisy_tui.services import Services

MakeRun = Callable[..., Path]
OUT_OF_MEMORY = (
    "rank 1 (process 4242) ended with exit code 1; out of memory: fewer tokens at once help "
    "(training_sequence_length, loss_chunk_tokens), so does activation_checkpointing=true"
)
LOG = (
    "/venv/torch/x.py:12: UserWarning: this is slow\n  warnings.warn(\nwarning: checkpoint of step 20 not saved\n"
    'Traceback (most recent call last):\n  File "x.py", line 3, in f\ntorch.OutOfMemoryError: CUDA out of memory\n'
)


@pytest.fixture(autouse=True)
def greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clocks on pictures are those of one place."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def made(make_run: MakeRun) -> Callable[[str], None]:
    """Make the runs of a picture."""

    def make(what: str) -> None:
        if what == "empty":
            return
        states = {"busy": "running", "failing": "failed", "stalled": "running"}
        reason = OUT_OF_MEMORY if what == "failing" else None
        stalled_s = 95.0 if what == "stalled" else 0.0
        run = {"steps": 400, "target_steps": 800, "nan_at": 120, "reason": reason, "stalled_s": stalled_s}
        path = make_run("baseline", states[what], log_every_steps=1, **run)
        for saved in write_checkpoints(path, 100, 200):
            for file in saved.iterdir():
                os.utime(file, (NOW - 300, NOW - 300))
        (path.parents[1] / "configs").mkdir()
        (path.parents[1] / "configs/tiny.yml").write_text((path / "config.yaml").read_text())
        with (path / "events.jsonl").open("a") as events:
            for step in (100, 200):
                at = {"time": NOW - 2 * (400 - step), "step": step, "tokens": step * STEP_TOKENS}
                events.write(json.dumps(at | {"event": "eval", "val": {"val": 2.1}}) + "\n")
                events.write(json.dumps(at | {"event": "checkpoint", "path": f"step_{step:09}"}) + "\n")
        for name, text in (("rank0", LOG), ("rank1", "ready\n"), ("torchrun", "ready\n")):
            with (path / f"logs/{name}.log").open("a") as log:
                log.write(text)

    return make


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize(
    ("name", "what", "keys"),
    [
        ("empty", "empty", ""),
        ("busy", "busy", ""),
        ("failing", "failing", ""),
        ("stalled", "stalled", "E"),
        ("log", "busy", "L"),
        ("config", "busy", "O"),
        ("checkpoints", "busy", "P"),
        ("set", "busy", "s"),
        ("resume", "failing", "r"),
    ],
)
def test_the_run_screen_looks_as_it_did(
    services: Services, made: Callable[[str], None], name: str, what: str, keys: str, size: tuple[int, int]
) -> None:
    _check(services, made, f"run-{name}-{size[0]}x{size[1]}", what, keys, size)


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark"])
@pytest.mark.parametrize("what", ["busy", "failing"])
def test_the_run_screen_looks_as_it_did_in_other_themes(
    services: Services, made: Callable[[str], None], what: str, theme: str
) -> None:
    _check(services, made, f"run-{what}-{theme}", what, "", (80, 24), theme)


@pytest.mark.parametrize(
    ("name", "what", "keys"), [("busy", "busy", ""), ("failing", "failing", ""), ("log", "failing", "Ll")]
)
def test_the_run_screen_looks_as_it_did_without_colours(
    services: Services,
    made: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    what: str,
    keys: str,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    _check(services, made, f"run-{name}-no-colour", what, keys, (80, 24))


def _check(
    services: Services,
    made: Callable[[str], None],
    name: str,
    what: str,
    keys: str,
    size: tuple[int, int],
    theme: str = "textual-dark",
) -> None:
    made(what)
    commands = services.commands
    assert isinstance(commands, ScriptedCommands)
    verdict = {"run": "x", "kind": "approximate", "differs": ["it was on 2 devices and would be on 1"]}
    commands.answers["runs", "resume"] = json.dumps(verdict)
    app = app_of(services, "run")

    async def story(pilot: Pilot[Any]) -> None:
        app.theme = theme
        await finish(pilot)
        for key in keys:
            await pilot.press(key)
            await finish(pilot)
        await finish(pilot)
        check_picture(app, name)

    drive(app, story, size)
