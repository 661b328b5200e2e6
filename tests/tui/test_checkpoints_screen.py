"""The Checkpoints screen: what is listed and shown, reading weights, and every action by its key."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import write_checkpoint, write_checkpoints
from snapshots import check_picture
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Button, Input, Select

from core.checkpoint.format import CheckpointError
from daisy_tui.app import DaisyApp
from daisy_tui.checkpoints.weights import Reading, Weights
from daisy_tui.commands import CommandError
from daisy_tui.screens.base import Open
from daisy_tui.screens.checkpoints import CheckpointsScreen
from daisy_tui.screens.help import CommandsScreen
from daisy_tui.services import Services
from daisy_tui.widgets.checkpoint_forms import CopyForm, PruneForm
from daisy_tui.widgets.run_forms import ResumeForm

MakeRun = Callable[..., Path]
Opened = list[tuple[str, dict[str, Any]]]
BASE, TUNED = "20260301-110000-base", "20260302-110000-tuned"
NARROW, NORMAL, WIDE = (80, 24), (120, 40), (200, 60)
PLAN = {"going": ["step_000000010", "step_000000020"], "frees": 4_080_218_931, "kept_for_others": ["step_000000030"]}


@pytest.fixture
def two(make_run: MakeRun) -> Path:
    """The run base with the steps 10, 20 and 30, and tuned, which began from 20 and has step 5. Returns base."""
    base = make_run("base", steps=0)
    write_checkpoints(base, 10, 20, 30)
    tuned = make_run("tuned", steps=0, day=2, parent=str(base / "checkpoints/step_000000020"))
    write_checkpoints(tuned, 5)
    return base


def _app(services: Services) -> DaisyApp:
    return app_of(services, "checkpoints")


def _screen(app: DaisyApp) -> CheckpointsScreen:
    screen = app.screen_stack[0]
    assert isinstance(screen, CheckpointsScreen)
    return screen


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


def _tell(
    services: Services, *keys: str, size: tuple[int, int] = NORMAL, then: Callable[[DaisyApp], None] | None = None
) -> DaisyApp:
    """Press keys, and look at the screen then."""
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, *keys)
        if then is not None:
            then(app)

    drive(app, story, size=size)
    return app


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """The screens that would be gone to, and with what."""
    found: Opened = []
    monkeypatch.setattr(DaisyApp, "on_open", lambda _, message: found.append((message.screen, message.context)))
    return found


# The list


def test_all_checkpoints_stand_below_their_runs_and_what_those_began_from(services: Services, two: Path) -> None:
    def look(app: DaisyApp) -> None:
        lines = [line.split("│  Checkpoint")[0].rstrip() for line in words(app).splitlines()]
        shown = "\n".join(lines)
        assert "4 checkpoints, " in shown
        order = [shown.index(text) for text in (BASE, "step 10", "step 20", TUNED, "step 5", "step 30 ★ best")]
        assert order == sorted(order)
        assert "by descent" in shown

    _tell(services, then=look)


def test_an_empty_folder_says_how_checkpoints_come_about(services: Services) -> None:
    _tell(services, then=lambda app: _has(app, "No checkpoints yet"), size=NARROW)


def _has(app: DaisyApp, *texts: str) -> None:
    shown = words(app)
    for text in texts:
        assert text in shown, shown


def test_orders_go_round_from_descent_to_size(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        for title in ("by run", "newest first", "lowest loss first", "largest first", "by descent"):
            await _press(pilot, "o")
            _has(app, title)

    drive(app, story, size=NORMAL)


def test_a_filter_is_typed_and_left_and_taken_back_by_escape(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "slash", *"tuned")
        assert "step 10" not in words(app)
        _has(app, "step 5", BASE, "step 20")
        await _press(pilot, "enter")
        assert not isinstance(app.focused, Input)
        await _press(pilot, "escape")
        _has(app, "step 10")
        await _press(pilot, "slash", *"xyz")
        _has(app, "Nothing here has 'xyz'.")

    drive(app, story, size=NARROW)


def test_the_cursor_stays_on_its_checkpoint_when_others_come_and_go(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "end")
        before = _screen(app).row
        assert before is not None
        write_checkpoint(two / "checkpoints/step_000000025", 25)
        shutil.rmtree(two / "checkpoints/step_000000010")
        await settle(pilot)
        row = _screen(app).row
        assert row is not None
        assert row.path == before.path
        _has(app, "step 25")
        assert "step 10" not in words(app)

    drive(app, story, size=NORMAL)


def test_the_checkpoint_under_the_cursor_may_vanish(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "end")
        shutil.rmtree(two / "checkpoints/step_000000030")
        await settle(pilot)
        row = _screen(app).row
        assert row is not None
        assert row.path.name == "step_000000005"
        shutil.rmtree(services.folder / "runs")
        await settle(pilot)
        assert _screen(app).row is None
        _has(app, "No checkpoints yet", "nothing is chosen")

    drive(app, story, size=NORMAL)


def test_incomplete_ones_and_folders_of_others_are_shown_as_what_they_are(services: Services, two: Path) -> None:
    (two / "checkpoints/step_000000030/manifest.json").write_text("{")
    (services.folder / "checkpoints/wandb").mkdir(parents=True)
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        _has(app, "step 30  ✗ incomplete", "1 incomplete")
        assert "wandb" not in words(app)
        await _press(pilot, "end")
        _has(app, "✗ manifest.json: cannot be read; the checkpoint is", "never loaded")
        for key in ("m", "t", "b", "r", "X", "s", "v"):
            await _press(pilot, key)
        assert len(toasts(app)) == 7
        assert not isinstance(app.screen, (CopyForm, ResumeForm))

    drive(app, story, size=NORMAL)


def test_a_look_that_fails_is_said_in_the_bar(services: Services, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        monkeypatch.setattr(_screen(app)._catalog, "look", _raising(OSError("disk gone")))
        await settle(pilot)
        _has(app, "stale", "disk gone", "step 10")

    drive(app, story, size=WIDE)


def _raising(error: Exception) -> Callable[..., Any]:
    def work(*_: Any, **__: Any) -> Any:
        raise error

    return work


# The pane


def test_headers_are_there_at_once_and_every_part_by_its_key(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down")
        _has(app, "base step 10", "tokens           2,560 of 3,584", "What can be done with it")
        await _press(pilot, "right_square_bracket")
        _has(app, "embed.weight", "blocks.5.feedforward.down", "NaN, inf")
        await _press(pilot, "right_square_bracket")
        _has(app, "gate residual", "norm of blocks.*.attention.qkvo")
        await _press(pilot, "right_square_bracket")
        _has(app, "num_layers", "model_dim")
        await _press(pilot, "right_square_bracket")
        _has(app, "m marks a checkpoint")
        await _press(pilot, "right_square_bracket")
        _has(app, "What can be done with it")
        await _press(pilot, "left_square_bracket")
        _has(app, "m marks a checkpoint")

    drive(app, story, size=NORMAL)


def test_a_narrow_terminal_shows_list_or_pane_and_escape_goes_back(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down")
        assert "What can be done with it" not in words(app)
        await _press(pilot, "enter")
        _has(app, "What can be done with it", "base step 10")
        assert "step 20" not in words(app)
        await _press(pilot, "escape")
        _has(app, "step 20")
        assert "What can be done with it" not in words(app)
        await pilot.resize_terminal(120, 40)
        await finish(pilot)
        _has(app, "step 20", "What can be done with it")

    drive(app, story, size=NARROW)


def test_the_keys_go_along_from_part_to_part_and_stay_in_the_list_otherwise(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        def focused() -> str | None:
            return app.focused.id if app.focused is not None else None

        await _press(pilot, "down", "right_square_bracket")
        assert focused() == "checkpoint-list"
        await _press(pilot, "i")
        assert focused() == "tensors-lines"
        await _press(pilot, "right_square_bracket")
        assert focused() == "layers-lines"
        await _press(pilot, "escape", "m", "down", "d")
        assert focused() == "difference-lines"
        await _press(pilot, "s", "left_square_bracket")
        assert focused() == "settings-lines"
        await _press(pilot, "escape")
        assert focused() == "checkpoint-list"

    drive(app, story, size=NORMAL)


def test_a_run_in_the_list_is_told_and_opened(services: Services, two: Path, opened: Opened) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        _has(app, f"Run {BASE}", "3 complete", "best         step 30, validation loss 3.0000")
        await _press(pilot, "enter")

    drive(app, story, size=NORMAL)
    assert opened == [("run", {"run": two})]


def test_values_that_are_not_finite_are_named(services: Services, make_run: MakeRun) -> None:
    run = make_run("bad", steps=0)
    write_checkpoint(run / "checkpoints/step_000000001", 1, bad=["head.weight", "gates.x0"])
    app = _tell(services, "down", "right_square_bracket", then=lambda app: _has(app, "! 1"))
    assert toasts(app) == []


def test_a_histogram_of_the_tensor_under_the_cursor(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "h")
        assert "Choose a tensor, and press h or Enter." in toasts(app)
        await _press(pilot, "enter")
        _has(app, "Histogram of embed.weight", "█")
        assert _screen(app).command_for("histogram") is not None
        await _press(pilot, "escape", "down")
        assert "Histogram of" not in words(app)

    drive(app, story, size=NORMAL)


def test_two_are_compared_once_one_is_marked(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "d")
        assert "Mark one with m, go to another, and press d." in toasts(app)
        await _press(pilot, "down", "m", "down")
        _has(app, "◆ ├─ step 10", "◆ base step 10")
        await _press(pilot, "d")
        _has(app, f"A  runs/{BASE}/checkpoints/step_000000010", "step      10 → 20", "What moved most", "100%")
        command = _screen(app).command_for("differ")
        assert command == [
            "inspect",
            f"runs/{BASE}/checkpoints/step_000000010",
            "--diff",
            f"runs/{BASE}/checkpoints/step_000000020",
            "--stats",
        ]
        await _press(pilot, "escape", "escape")
        assert "◆" not in words(app)

    drive(app, story, size=NORMAL)


def test_every_row_says_how_it_differs_from_the_marked_one_or_why_that_cannot_be_shown(
    services: Services, two: Path
) -> None:
    (two / "checkpoints/step_000000030/manifest.json").write_text("{")
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "m", "d")
        _has(app, "◆ It is the marked one", "validation loss")
        await _press(pilot, "escape", "up")
        _has(app, f"Run {BASE}", "A run: each of its checkpoints shows here how it differs from ◆ base step 10")
        await _press(pilot, "down", "down")
        _has(app, "step      10 → 20")
        await _press(pilot, "end")
        _has(app, "Not to be compared with ◆ base step 10:", "✗ manifest.json: cannot be read")
        await _press(pilot, "home", "down", "m")
        _has(app, "m marks a checkpoint; how another one differs from it is then shown here")

    drive(app, story, size=WIDE)


@pytest.mark.parametrize("size", [NARROW, NORMAL, WIDE])
def test_the_marked_one_is_named_shortly_and_whole(services: Services, two: Path, size: tuple[int, int]) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "down", "m")
        _has(app, "◆ base step 20   by descent")

    drive(app, story, size=size)


def test_marked_ones_of_runs_of_one_name_are_told_apart(services: Services, make_run: MakeRun) -> None:
    for day in (1, 2):
        write_checkpoints(make_run("demo", steps=0, day=day), 10)
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "m")
        _has(app, "◆ demo 03-02 step 10")

    drive(app, story)


def test_a_marked_one_that_vanishes_is_said(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "m", "down", "d")
        shutil.rmtree(two / "checkpoints/step_000000010")
        await settle(pilot)
        _has(app, "the marked one: no such checkpoint")

    drive(app, story, size=NORMAL)


# Reading weights


class Slow(Weights):
    """Weights that are read when they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.reading: Reading | None = None

    def read_statistics(self, of: Any, reading: Reading) -> None:
        self.reading = reading
        reading.report(1 << 30, 4 << 30)
        self.begun.set()
        assert any(self.go.wait(0.01) or reading._is_stopped for _ in range(3000))
        super().read_statistics(of, reading)


def _slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr("daisy_tui.screens.checkpoints.Weights", lambda: slow)
    return slow


async def _until(pilot: Pilot[Any], holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await pilot.pause(0.01)
    raise AssertionError("it never came")


def test_a_reading_is_shown_and_can_be_stopped(services: Services, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, app = _slow(monkeypatch), _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("down")
        await finish(pilot)
        await pilot.press("s")
        await _until(pilot, slow.begun.is_set)
        _screen(app)._reader.tick()
        await pilot.pause()
        _has(app, "25%  1.00 GiB of 4.00 GiB  x stops")
        await pilot.press("x")
        slow.go.set()
        await finish(pilot)
        assert "x stops" not in words(app)
        assert toasts(app) == []
        assert slow.statistics(_screen(app).inspection) is None  # type: ignore[arg-type]
        await settle(pilot)
        assert slow.statistics(_screen(app).inspection) is None  # type: ignore[arg-type]
        await _press(pilot, "s")
        assert slow.statistics(_screen(app).inspection) is not None  # type: ignore[arg-type]

    drive(app, story, size=NORMAL)


def test_closing_the_terminal_ends_a_reading(services: Services, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, app = _slow(monkeypatch), _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("down")
        await finish(pilot)
        await pilot.press("s")
        await _until(pilot, slow.begun.is_set)

    drive(app, story, size=NORMAL)
    assert slow.reading is not None
    assert slow.reading._is_stopped
    assert slow._known == {}


def test_large_weights_are_read_only_when_asked_for(
    services: Services, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daisy_tui.screens.weights_reader._UNASKED", 100)
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "right_square_bracket", "right_square_bracket")
        _has(app, "norms by layer: s reads the weights")
        await _press(pilot, "s")
        _has(app, "norm of blocks.*.attention.qkvo")

    drive(app, story, size=NORMAL)


def test_weights_that_cannot_be_read_are_said_once(
    services: Services, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = _app(services)
    error = CheckpointError("x/model.safetensors: ends within tensor [a]; it is damaged")
    monkeypatch.setattr(Weights, "read_statistics", _raising(error))

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "right_square_bracket")
        assert toasts(app) == [str(error)]
        await settle(pilot)
        assert toasts(app) == [str(error)]
        await _press(pilot, "s")
        assert toasts(app) == [str(error)] * 2

    drive(app, story, size=NORMAL)


def test_a_defect_in_a_reading_is_said(services: Services, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weights, "read_statistics", _raising(KeyError("lost")))
    app = _tell(services, "down", "s")
    assert any("KeyError: 'lost'" in text for text in toasts(app))


# Acting


def test_verifying_runs_the_command_and_keeps_its_verdict(
    services: Services, two: Path, said: ScriptedCommands
) -> None:
    path = f"runs/{BASE}/checkpoints/step_000000010"
    progress = {"what": "verifying", "done": 1, "total": 2, "detail": "", "rate": 1.0, "eta_s": 1.0}
    said.answers["inspect", path] = [json.dumps({"progress": progress}), "", "all 3 files match their hashes"]
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "v")
        _has(app, "  all 3 files match their hashes")
        assert f"{path}: all 3 files match their hashes" in toasts(app)
        await _press(pilot, "down", "up")
        _has(app, "  all 3 files match their hashes")
        await _press(pilot, "down")
        _has(app, "not verified since this was opened")

    drive(app, story, size=NORMAL)
    assert said.said == [["inspect", path, "--progress-json", "--verify"]]


def test_a_damaged_file_is_said_and_stays_said(services: Services, two: Path, said: ScriptedCommands) -> None:
    problem = "model.safetensors: its content differs from the manifest's hash; it is damaged"
    said.answers["inspect",] = CommandError(problem)
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "v")
        assert toasts(app) == [problem]
        _has(app, "  model.safetensors: its content differs from the manifest's")

    drive(app, story, size=NORMAL)


def test_an_export_is_filled_in_and_runs_with_its_progress(
    services: Services, two: Path, said: ScriptedCommands
) -> None:
    said.answers["export",] = ["checkpoints/mine: 771.5 KiB of 3.01 MiB"]
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "X")
        form = app.screen
        assert isinstance(form, CopyForm)
        assert form.query_one("#out", Input).value == "checkpoints/base-step_000000010"
        _has(app, "$ daisy export", "no optimizer state")
        form.query_one("#out", Input).value = ""
        await finish(pilot)
        _has(app, "Name the folder that it becomes.")
        form.query_one("#out", Input).value = "runs"
        await finish(pilot)
        _has(app, "runs: already there; name a folder that does not exist or is empty")
        form.query_one("#out", Input).value = "checkpoints/mine"
        form.query_one("#dtype", Select).value = "bfloat16"
        await finish(pilot)
        await pilot.click("#confirm")
        await finish(pilot)
        assert not isinstance(app.screen, CopyForm)
        assert toasts(app) == ["checkpoints/mine: 771.5 KiB of 3.01 MiB"]

    drive(app, story, size=NORMAL)
    path = f"runs/{BASE}/checkpoints/step_000000010"
    assert said.said == [["export", path, "--progress-json", "--out", "checkpoints/mine", "--dtype", "bfloat16"]]


def test_a_disk_without_room_is_said_before_anything_is_written(
    services: Services, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    _tell(services, "down", "X", then=lambda app: _has(app, "170.5 KiB are wanted and 10 B free; name a"))


def test_pruning_says_what_goes_before_it_goes(services: Services, two: Path, said: ScriptedCommands) -> None:
    said.answers["runs", "prune"] = json.dumps(PLAN)
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "p")
        form = app.screen
        assert isinstance(form, PruneForm)
        _has(app, "Frees 3.80 GiB; the last and the best stay.", "Goes: step_000000010, step_000000020")
        _has(app, "Stays, for another run began from it: step_000000030", "Remove 2 checkpoints")
        await _press(pilot, "enter")
        assert isinstance(app.screen, PruneForm), "leaving a field removes nothing"
        assert len(said.said) == 1
        form.query_one("#keep-last", Input).value = "5"
        form.query_one("#keep-every", Input).value = "100M"
        await finish(pilot)
        said.answers["runs", "prune"] = "2 checkpoints may go\nremoved 2 checkpoints"
        form.query_one("#keep-every").focus()
        await _press(pilot, "enter", "enter")
        assert toasts(app) == ["removed 2 checkpoints"]

    drive(app, story, size=NORMAL)
    assert said.said[0] == ["runs", "prune", BASE, "--dry-run", "--json"]
    assert said.said[-1] == ["runs", "prune", BASE, "--keep-last", "5", "--keep-every", "100M", "--yes"]
    assert said.said[-2] == [*said.said[-1][:-1], "--dry-run", "--json"]


def test_pruning_what_cannot_be_pruned_is_said_in_the_form(
    services: Services, two: Path, said: ScriptedCommands
) -> None:
    said.answers["runs", "prune"] = CommandError("runs/x: trains; stop it first [/]")
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "p")
        _has(app, "runs/x: trains; stop it first [/]")
        assert app.screen.query_one("#confirm", Button).disabled
        app.screen.query_one("#keep-best", Input).value = "0"
        await finish(pilot)
        _has(app, "keep best: a whole number from 1")
        await _press(pilot, "escape")
        assert isinstance(app.screen, CheckpointsScreen)

    drive(app, story, size=NORMAL)


def test_nothing_to_prune_leaves_nothing_to_press(services: Services, two: Path, said: ScriptedCommands) -> None:
    said.answers["runs", "prune"] = json.dumps({"going": [], "frees": 0, "kept_for_others": []})
    app = _tell(services, "p", then=lambda app: _has(app, "Nothing would go.", "Nothing to remove"))
    assert toasts(app) == []


def test_the_newest_is_resumed_and_the_others_say_why_not(
    services: Services, two: Path, said: ScriptedCommands, opened: Opened
) -> None:
    said.answers["runs", "resume", BASE, "--dry-run"] = json.dumps({"kind": "exact", "differs": []})
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "r")
        why = "No run goes on from it: its run goes on from step_000000030; b begins a new one from its weights."
        assert toasts(app) == [why]
        await _press(pilot, "end", "r")
        assert isinstance(app.screen, ResumeForm)
        _has(app, "It goes on from step_000000030, exactly")
        await pilot.click("#confirm")
        await finish(pilot)

    drive(app, story, size=NORMAL)
    assert said.said[-1][:3] == ["runs", "resume", BASE]
    assert "--detach" in said.said[-1]
    assert opened == [("run", {"run": two})]


def test_chat_and_a_new_run_begin_from_the_checkpoint(services: Services, two: Path, opened: Opened) -> None:
    write_checkpoint(services.folder / "checkpoints/mute", tokenizer=None)
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "t", "b", "down", "t", "b", "end", "t")

    drive(app, story, size=NORMAL)
    path = f"runs/{BASE}/checkpoints/step_000000010"
    assert opened[:2] == [("chat", {"source": BASE}), ("chat", {"source": path})]
    assert opened[2][0] == "compose"
    assert opened[2][1]["parent"].resolve() == (services.folder / path).resolve()
    assert "No run begins from it: it is no whole checkpoint." in toasts(app)
    assert "It cannot be served: its meta.json names no tokenizer." in toasts(app)


def test_a_read_only_terminal_reads_and_changes_nothing(services: Services, two: Path, said: ScriptedCommands) -> None:
    services.readonly = True
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "X", "p", "r")
        assert isinstance(app.screen, CheckpointsScreen)
        await _press(pilot, "s")
        _has(app, "embed.weight", "read-only")

    drive(app, story, size=NORMAL)
    assert said.said == []


def test_one_command_at_a_time(services: Services, two: Path, said: ScriptedCommands) -> None:
    app = _app(services)
    go = threading.Event()

    async def slow(*arguments: str) -> Any:
        while not go.is_set():
            await pilot_pause()
            yield ""
        yield "all 3 files match their hashes"

    async def pilot_pause() -> None:
        import asyncio

        await asyncio.sleep(0.01)

    said.lines = slow  # type: ignore[method-assign,assignment]

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down")
        await pilot.press("v")
        await _until(pilot, lambda: "x cancels" in words(app))
        await pilot.press("v")
        await _until(pilot, lambda: "One thing at a time: x ends what is under way." in toasts(app))
        await pilot.press("x")
        await _until(pilot, lambda: "x cancels" not in words(app))
        go.set()
        await finish(pilot)
        _has(app, "not verified since this was opened")

    drive(app, story, size=NORMAL)


def test_the_commands_of_a_row_can_be_copied(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "exclamation_mark")
        assert isinstance(app.screen, CommandsScreen)
        path = f"runs/{BASE}/checkpoints/step_000000010"
        _has(app, f"daisy inspect {path} --stats", f"daisy runs prune {BASE}", f"daisy chat {path}")

    drive(app, story, size=WIDE)


# Opened from elsewhere


def test_it_opens_on_what_was_asked_for(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "o", "o", "slash", *"10", "enter")
        for what, name in (
            ({"checkpoint": two / "checkpoints/latest"}, "step_000000030"),
            ({"run": services.folder / "runs" / TUNED}, TUNED),
            ({"checkpoint": two / "checkpoints/step_000000010", "run": two}, "step_000000010"),
        ):
            _screen(app).context(**what)
            await finish(pilot)
            row = _screen(app).row
            assert row is not None
            assert row.path.name == name

    drive(app, story, size=NORMAL)


def test_a_checkpoint_from_elsewhere_is_shown_beside_the_others(services: Services, two: Path) -> None:
    write_checkpoint(services.folder / "models/big", 99)
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        _screen(app).context(checkpoint=Path("models/big"))
        await finish(pilot)
        _has(app, "models/big  elsewhere", "step             99")
        _screen(app).context(checkpoint=Path("models/none"))
        await finish(pilot)
        assert "models/none is not there any more" in toasts(app)

    drive(app, story, size=NORMAL)


def test_an_open_message_brings_it_there(services: Services, two: Path) -> None:
    app = app_of(services, "checkpoints")

    async def story(pilot: Pilot[Any]) -> None:
        message: Message = Open("checkpoints", checkpoint=two / "checkpoints/step_000000020")
        _screen(app).post_message(message)
        await finish(pilot)
        await settle(pilot)
        row = _screen(app).row
        assert row is not None
        assert row.path.name == "step_000000020"

    drive(app, story, size=NORMAL)


def test_names_of_strangers_are_shown_as_text(services: Services) -> None:
    write_checkpoint(services.folder / "checkpoints/[red]x[b]\x1b", 1, parent="[bold]\x1b", versions={"[/]": "\x1b"})
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        _has(app, "[red]x[b]\\x1b", '"[bold]\\e"', "[/] \\x1b")
        await _press(pilot, "right_square_bracket", "m", "v", "X")

    drive(app, story, size=NORMAL)
    assert "\x1b" not in "".join(toasts(app))


def test_clicking_a_row_chooses_it(services: Services, two: Path) -> None:
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.click("#checkpoint-list", offset=(8, 2))
        await finish(pilot)
        row = _screen(app).row
        assert row is not None
        assert row.path.name == "step_000000020"

    drive(app, story, size=NORMAL)


def test_three_thousand_checkpoints_paint_only_what_is_in_sight(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daisy_tui.checkpoints.catalog import Found, Listed, ListedRun

    runs = tuple(ListedRun(Path(f"/x/runs/{number:06d}"), None) for number in range(300))
    found = tuple(
        Listed(run.path / f"checkpoints/step_{step}", run.path, True, step=step) for run in runs for step in range(10)
    )
    painted: list[int] = []
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        screen = _screen(app)
        monkeypatch.setattr(screen._catalog, "look", lambda: Found(runs, found))
        await settle(pilot)
        lines = screen.side.lines
        assert lines.number == 3300
        made = lines._row
        monkeypatch.setattr(lines, "_row", lambda index: painted.append(index) or made(index))
        await _press(pilot, "end")
        assert max(painted) == 3299
        assert len(painted) < 500

    drive(app, story, size=NORMAL)


# Pictures


def test_picture_of_a_wide_terminal(services: Services, make_run: MakeRun) -> None:
    base = make_run("base", steps=0)
    write_checkpoints(base, 10, 20, 30)
    write_checkpoint(services.folder / "checkpoints/old", 900, state=False, imported={"layout": "daisy-wee"})
    (base / "checkpoints/step_000000010/manifest.json").unlink()
    keys = ("down", "down", "down", "right_square_bracket")
    _tell(services, *keys, size=WIDE, then=lambda app: check_picture(app, "checkpoints-200"))


def test_picture_of_a_difference(services: Services, two: Path) -> None:
    _tell(services, "down", "m", "down", "d", then=lambda app: check_picture(app, "checkpoints-difference-120"))


def test_picture_of_the_layers_on_a_narrow_terminal(services: Services, two: Path) -> None:
    keys = ("down", "enter", "right_square_bracket", "right_square_bracket")
    _tell(services, *keys, size=NARROW, then=lambda app: check_picture(app, "checkpoints-layers-80"))


def test_picture_of_pruning(services: Services, two: Path, said: ScriptedCommands) -> None:
    said.answers["runs", "prune"] = json.dumps(PLAN)
    _tell(services, "p", size=NARROW, then=lambda app: check_picture(app, "checkpoints-prune-80"))


def test_picture_in_the_colours_of_the_terminal(services: Services, two: Path) -> None:
    (two / "checkpoints/step_000000010/manifest.json").unlink()
    app = _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        app.theme = "ansi-dark"
        await _press(pilot, "down", "down", "m", "right_square_bracket", "i", "enter")
        check_picture(app, "checkpoints-ansi-120")

    drive(app, story, size=NORMAL)


def test_picture_of_reading(services: Services, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, app = _slow(monkeypatch), _app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "enter")
        await pilot.press("s")
        await _until(pilot, slow.begun.is_set)
        _screen(app)._reader.tick()
        await pilot.pause()
        check_picture(app, "checkpoints-reading-80")
        slow.go.set()
        await finish(pilot)

    drive(app, story, size=NARROW)
