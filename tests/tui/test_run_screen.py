"""The Run screen: which run it shows and what of it, how charts are gone through, and what reading that fails does."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_checkpoints import write_checkpoints
from made_runs import CONFIG, NOW, STEP_TOKENS, log_point
from terminal import app_of, drive, finish, settle, toasts, words
from textual.pilot import Pilot
from textual.widget import Widget

from core.config.model_spec import ModelSpec
from daisy_tui.app import DaisyApp
from daisy_tui.runs.log_look import LogReader
from daisy_tui.runs.run_look import RunReader
from daisy_tui.screens import run_view
from daisy_tui.screens.help import HelpScreen
from daisy_tui.screens.pick import PickScreen
from daisy_tui.screens.run import RunScreen
from daisy_tui.services import Services
from daisy_tui.settings import Settings
from daisy_tui.widgets.chart import BrailleChart
from daisy_tui.widgets.run_banner import AdviceScreen

MakeRun = Callable[..., Path]
Story = Callable[[Pilot[Any], RunScreen], Any]
WIDE = (200, 60)


def tell(services: Services, story: Story, size: tuple[int, int] = (80, 24)) -> DaisyApp:
    """Open the screen, and tell it a story."""
    app = app_of(services, "run")

    async def told(pilot: Pilot[Any]) -> None:
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await finish(pilot)
        await story(pilot, screen)

    drive(app, told, size)
    return app


async def press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


def charts_in_sight(screen: RunScreen) -> list[str]:
    return [str(chart.id).removeprefix("chart-") for chart in screen.query(BrailleChart) if chart.display]


def test_without_a_context_it_shows_the_run_that_was_started_last(services: Services, make_run: MakeRun) -> None:
    make_run("old", "finished", steps=60)
    make_run("new", "running", steps=40, target_steps=80)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        shown = words(pilot.app)
        assert "● running  20260301-110000-new" in shown
        assert "50%  41k of 81.9k tokens" in shown
        assert "step 40" in shown
        assert "ETA 1:20" in shown
        assert "train 2.1800" in shown

    tell(services, story)


def test_an_empty_folder_says_what_starts_a_run_and_the_first_run_appears_by_itself(
    services: Services, make_run: MakeRun
) -> None:
    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "No runs here yet" in words(pilot.app)
        await press(pilot, "L", "E", "O", "P", "C", "h", "escape", "T", "r", "b", "x", "X", "less_than_sign")
        make_run("first", "starting", steps=0)
        await settle(pilot)
        await press(pilot, "C")
        assert "◐ starting  20260301-110000-first" in words(pilot.app)
        assert "its first step is to come" in words(pilot.app)

    tell(services, story, (100, 60))


def test_it_is_opened_with_a_run_and_goes_to_older_and_newer_ones(services: Services, make_run: MakeRun) -> None:
    paths = [make_run(f"r{day}", "stopped", day=day, steps=10 * day) for day in (1, 2, 3)]

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        screen.context(run=paths[1], tab="events")
        await finish(pilot)
        assert "20260302-110000-r2" in words(pilot.app)
        assert screen.tabs.active == "events"
        await press(pilot, "less_than_sign")
        assert "20260301-110000-r1" in words(pilot.app)
        await press(pilot, "less_than_sign")
        assert "There is no older run." in toasts(screen.daisy)
        await press(pilot, "greater_than_sign", "greater_than_sign")
        assert "20260303-110000-r3" in words(pilot.app)

    tell(services, story)


def test_a_run_is_picked_by_a_few_letters(services: Services, make_run: MakeRun) -> None:
    make_run("baseline", "finished", day=2)
    make_run("sweep-wide", "failed", day=1)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "p")
        assert isinstance(pilot.app.screen, PickScreen)
        assert "Which run?" in words(pilot.app)
        assert "2 of 2 runs" in words(pilot.app)
        await press(pilot, *"swp")
        assert "1 of 2 runs" in words(pilot.app)
        await press(pilot, "enter")
        assert "✗ failed  20260301-110000-sweep-wide" in words(pilot.app)
        await press(pilot, "p", "down", "up", "enter")
        assert "20260302-110000-baseline" in words(pilot.app)
        await press(pilot, "p", "escape")
        assert "20260302-110000-baseline" in words(pilot.app)

    tell(services, story)


def test_what_is_wrong_is_said_with_the_key_that_helps(services: Services, make_run: MakeRun) -> None:
    make_run("x", "running", stalled_s=95.0)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        shown = " ".join(words(pilot.app).split())
        assert "● running, stalled" in shown
        assert "✗ rank 0 makes no progress in phase train for 95 s." in shown
        assert "d Stacks" in shown
        await press(pilot, "h")
        assert isinstance(pilot.app.screen, AdviceScreen)
        await press(pilot, "escape")
        await pilot.click("#run-banner")
        await finish(pilot)
        assert isinstance(pilot.app.screen, AdviceScreen)

    tell(services, story)


def test_what_is_well_again_is_not_said_any_more(services: Services, make_run: MakeRun) -> None:
    path = make_run("x", "running")
    bad = {"time": NOW, "event": "warning", "message": "checkpoint of step 40 not saved: disk [full]"}
    events = path / "events.jsonl"

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        events.write_text(events.read_text() + json.dumps(bad) + "\n")
        await settle(pilot)
        assert "✗ checkpoint of step 40 not saved: disk [full]." in words(pilot.app)
        events.write_text(events.read_text() + json.dumps(bad | {"event": "checkpoint", "path": "step_50"}) + "\n")
        await settle(pilot)
        assert not screen.query_one("#run-banner").display

    tell(services, story)


def test_a_folder_that_vanishes_is_said_and_another_run_can_be_shown(services: Services, make_run: MakeRun) -> None:
    other, path = make_run("other", day=1, steps=90), make_run("x", "finished", day=2)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        for tab in ("charts", "log", "events", "config", "checkpoints"):
            screen.context(run=path, tab=tab)
        await finish(pilot)
        shutil.rmtree(path)
        for tab in ("charts", "log", "events", "config", "checkpoints"):
            screen.context(tab=tab)
            await settle(pilot)
            assert "The folder of 20260302-110000-x is gone" in words(pilot.app)
        await press(pilot, "T", "s", "b", "x", "X", "h", "escape")
        screen.context(run=other)
        await finish(pilot)
        assert "✓ finished  20260301-110000-other" in words(pilot.app)

    tell(services, story)


def test_torn_and_foreign_lines_of_metrics_are_no_points(services: Services, make_run: MakeRun) -> None:
    path = make_run("x", "running", nan_at=20)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('[1]\n{"step": "x", "train_loss": {}}\n\x00\xff\n{"time": 1.0, "step": 41, "train_l')

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "train 2.1800" in words(pilot.app)
        with (path / "metrics.jsonl").open("a") as file:
            file.write("\n" + json.dumps(log_point(41, NOW - 82, 1 << 20) | {"train_loss": 1.2345}) + "\n")
        await settle(pilot)
        assert "train 1.2345" in words(pilot.app)

    tell(services, story)


def test_where_there_is_little_room_one_chart_is_shown_at_a_time(services: Services, make_run: MakeRun) -> None:
    make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert charts_in_sight(screen) == ["loss"]
        await press(pilot, "n")
        assert charts_in_sight(screen) == ["lr"]
        assert "head_params" in words(pilot.app)
        await press(pilot, "N", "N")
        assert charts_in_sight(screen) == ["memory"]
        await press(pilot, "down", "up", "up")
        assert charts_in_sight(screen) == ["mfu"]
        await pilot.click(screen.query(".chart-name")[3])
        await finish(pilot)
        assert charts_in_sight(screen) == ["tokens_per_s"]
        assert "512" in words(pilot.app)

    tell(services, story)


def test_a_large_terminal_shows_all_charts_and_one_can_have_the_room(services: Services, make_run: MakeRun) -> None:
    make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert charts_in_sight(screen) == ["loss", "lr", "grad_norm", "tokens_per_s", "mfu", "memory"]
        screen.query_one("#chart-mfu").focus()
        await press(pilot, "z")
        assert charts_in_sight(screen) == ["mfu"]
        await press(pilot, "z")
        assert len(charts_in_sight(screen)) == 6
        await pilot.resize_terminal(80, 24)
        await finish(pilot)
        assert charts_in_sight(screen) == ["mfu"]
        assert "MFU" in words(pilot.app)
        await pilot.resize_terminal(*WIDE)
        await finish(pilot)
        assert len(charts_in_sight(screen)) == 6
        await pilot.resize_terminal(20, 8)
        await finish(pilot)
        await pilot.resize_terminal(80, 24)
        await finish(pilot)
        assert charts_in_sight(screen) == ["mfu"]

    tell(services, story, WIDE)


def test_charts_share_cursor_and_zoom(services: Services, make_run: MakeRun) -> None:
    make_run("x", "running", steps=400)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        screen.query_one("#chart-lr").focus()
        await press(pilot, "left", "left")
        cursors = {chart.cursor for chart in screen.query(BrailleChart)}
        assert len(cursors) == 1
        assert None not in cursors
        await press(pilot, "plus")
        views = {chart.view for chart in screen.query(BrailleChart)}
        assert len(views) == 1
        assert None not in views
        assert "zoomed in" in words(pilot.app)
        await press(pilot, "0", "escape")
        assert {chart.view for chart in screen.query(BrailleChart)} == {None}
        assert {chart.cursor for chart in screen.query(BrailleChart)} == {None}

    tell(services, story, WIDE)


def test_charts_are_smoothed_logarithmic_and_over_another_axis_by_key(services: Services, make_run: MakeRun) -> None:
    make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "over step · linear y" in words(pilot.app)
        await press(pilot, "y", "m", "m", "M", "a")
        assert "over tokens · log y · smoothed 0.3" in words(pilot.app)
        assert all(chart.log_y and chart.x == "tokens" for chart in screen.query(BrailleChart))
        lines = screen.query_one("#chart-loss", BrailleChart)._lines
        assert [line.faint for line in lines] == [True, False, False]
        assert lines[0].curve.x[-1] == 40 * STEP_TOKENS
        await press(pilot, "a")
        assert "over time" in words(pilot.app)
        await press(pilot, "a", "M", "M", "y")
        assert "over step · linear y" in words(pilot.app)
        assert "smoothed" not in words(pilot.app)

    tell(services, story, WIDE)


def test_how_much_a_line_is_smoothed_stands_beside_its_figure_and_nowhere_cut(
    services: Services, make_run: MakeRun
) -> None:
    make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "a", "y", "m", "m", "m", "m")
        assert re.search(r"● train ~0\.9 \d\.\d+", words(pilot.app))
        assert re.search(r"▲ val \d\.\d+", words(pilot.app)), "what is not smoothed says nothing"
        assert "over tokens · log y" in words(pilot.app)
        assert "smoothed" not in words(pilot.app)
        await press(pilot, "n")
        assert "~0.9" not in words(pilot.app), "learning rates are not smoothed"

    tell(services, story)


def test_the_help_explains_the_signs_of_the_charts(services: Services, make_run: MakeRun) -> None:
    make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "question_mark")
        assert isinstance(pilot.app.screen, HelpScreen)
        for sign in ("◆  ", "┴  ", "▸  ", "↻  ", "┊  ", "×  ", "process RAM  "):
            assert sign in words(pilot.app)

    tell(services, story, (120, 90))


def test_the_help_names_the_keys_of_the_focus_and_of_all_that_it_is_made_of(
    services: Services, make_run: MakeRun
) -> None:
    make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "L", "question_mark")
        _, _, there = words(pilot.app).partition("Where the focus is")
        there = there.partition("Signs and words")[0]
        for key in ("↑ k        Up", "pagedown   Page down", "←          Left", "⏎          Choose"):
            assert key in there
        assert "Scroll" not in there, "what Textual's own classes bind is not Daisy's to tell"

    tell(services, story, (120, 90))


@pytest.mark.parametrize(("size", "is_said"), [((80, 24), False), ((80, 40), True), (WIDE, True)])
def test_signs_that_are_on_the_charts_are_explained_below_them_where_there_is_room(
    services: Services, make_run: MakeRun, size: tuple[int, int], is_said: bool
) -> None:
    path = make_run("x", "running")
    happened = [("checkpoint", {"path": "step_000000010"}), ("resumed", {}), ("resumed", {})]

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "checkpoint" not in words(pilot.app).splitlines()[-2]
        with (path / "events.jsonl").open("a") as file:
            for step, (kind, more) in enumerate(happened, 10):
                record = {"time": NOW - 80 + 2 * step, "event": kind, "step": step, "tokens": step * STEP_TOKENS}
                file.write(json.dumps(record | more) + "\n")
        await settle(pilot)
        below = words(pilot.app).splitlines()[-2].split("   ")
        assert ([word.strip() for word in below][:2] == ["◆ checkpoint", "↻ resumed"]) is is_said
        other = make_run("y", "queued", steps=0, day=2)
        screen.context(run=other)
        await finish(pilot)
        assert "◆ checkpoint" not in words(pilot.app), "of another run other things are told"

    tell(services, story, size)


def test_of_a_path_in_the_config_the_end_is_seen_and_the_spec_that_was_chosen(
    services: Services, make_run: MakeRun
) -> None:
    far = Path("specs", *(10 * ["far-away"]), "and-deep")
    far.mkdir(parents=True)
    spec = {key: value for key, value in CONFIG.items() if key in ModelSpec.model_fields}
    (far / "pico.yml").write_text(yaml.safe_dump(spec))
    Path("configs").mkdir()
    rest = {key: value for key, value in CONFIG.items() if key not in spec} | {"target_tokens": 81_920}
    Path("configs/tiny.yml").write_text(yaml.safe_dump(rest | {"model_spec": str(far / "pico.yml")}))
    path = make_run("x", "finished", target_steps=80)
    facts = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(facts | {"spec": str(far / "pico.yml")}))

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "O", "slash", *"num_", "enter")
        lines = words(pilot.app).splitlines()
        (line,) = [line.rstrip() for line in lines if line.lstrip().startswith("num_layers")]
        assert re.search(r" …\S*/and-deep/pico\.yml:\d+$", line)
        assert len(line) <= 80
        await pilot.resize_terminal(200, 24)
        await finish(pilot)
        assert re.search(rf"num_layers +2 +{far}/pico\.yml:\d+", words(pilot.app))
        await pilot.resize_terminal(80, 24)
        await press(pilot, "escape", "slash", *"model_spec", "enter")
        assert re.search(r"model_spec +specs/far-away/", words(pilot.app)), "what was chosen"
        assert "stands for itself" not in words(pilot.app)

    tell(services, story)


def test_charts_begin_as_the_settings_say(
    services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("x", "running")
    chosen = Settings(smoothing=0.6, x="tokens", log_y=True)
    monkeypatch.setattr(services.settings, "read", lambda: chosen)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "over tokens · log y · smoothed 0.6" in words(pilot.app)

    tell(services, story, WIDE)


def test_another_run_begins_with_empty_charts_and_drops_what_was_read_of_the_one_before(
    services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_run("old", "finished"), make_run("new", "queued", steps=0)
    look = RunReader.look

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        screen.context(run=old)
        await finish(pilot)

        def late(reader: RunReader, *arguments: Any) -> Any:
            found = look(reader, *arguments)
            if reader.run.path == old:
                pilot.app.call_from_thread(screen.context, run=new)
            return found

        monkeypatch.setattr(RunReader, "look", late)
        await settle(pilot)
        assert "○ queued  20260301-110000-new" in words(pilot.app)
        assert "the run waits for its devices" in words(pilot.app)
        assert "old" not in words(pilot.app)

    tell(services, story)


def test_tabs_are_reached_by_their_letters_by_brackets_and_by_the_mouse(services: Services, make_run: MakeRun) -> None:
    path = make_run("x", "finished")
    write_checkpoints(path, 20, 40)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        for key, name, shown in (
            ("L", "log", "step 40  loss 2.1800"),
            ("E", "events", "finished"),
            ("O", "config", "num_layers"),
            ("P", "checkpoints", "step_000000040"),
            ("C", "charts", "over step"),
        ):
            await press(pilot, key)
            assert screen.tabs.active == name
            assert shown in words(pilot.app)
        await press(pilot, "right_square_bracket")
        assert screen.tabs.active == "log"
        await press(pilot, "left_square_bracket", "left_square_bracket")
        assert screen.tabs.active == "checkpoints"
        await pilot.click("#--content-tab-events")
        await finish(pilot)
        assert screen.tabs.active == "events"

    tell(services, story)


@pytest.mark.parametrize(("first", "then"), [("charts", "E"), ("events", "L"), ("log", "E")])
def test_a_tab_stays_where_one_goes_to_even_before_anything_in_it_takes_the_keys(
    services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, first: str, then: str
) -> None:
    path = make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        screen.context(run=path, tab=first)
        await settle(pilot)
        before = screen.tabs.active_pane
        assert before is not None and screen.focused is not None and before in screen.focused.ancestors
        with monkeypatch.context() as patched:  # as where the loop is busy
            patched.setattr(Widget, "focus", lambda self, *_: self)
            await press(pilot, then)
            assert screen.tabs.active == {"E": "events", "L": "log"}[then]

    tell(services, story, (160, 40))


def test_config_and_events_are_searched(services: Services, make_run: MakeRun) -> None:
    make_run("x", "finished")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "O", "slash", *"WINDOW")
        assert "attention_window_len" in words(pilot.app)
        assert "num_layers" not in words(pilot.app)
        await press(pilot, "enter", "escape")
        assert "num_layers" in words(pilot.app)
        await press(pilot, "E", "slash", *"nothing like it", "enter")
        assert "No event holds 'nothing like it'." in words(pilot.app)
        await press(pilot, "escape")
        assert "after 41k tokens" in words(pilot.app)

    tell(services, story)


def test_what_a_tab_cannot_do_is_not_offered_there(services: Services, make_run: MakeRun) -> None:
    make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "Log y" in words(pilot.app)
        assert "Follow" not in words(pilot.app)
        await press(pilot, "L")
        assert "Log y" not in words(pilot.app)
        assert "Follow" in words(pilot.app)

    tell(services, story)


@pytest.mark.parametrize(
    ("tab", "where", "what"),
    [("C", RunReader, "look"), ("L", LogReader, "look"), ("O", run_view, "provenance"), ("O", run_view, "stamp")],
)
def test_a_look_that_fails_is_said_and_the_screen_goes_on(
    services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tab: str, where: Any, what: str
) -> None:
    path = make_run("x", "running")
    works = getattr(where, what)

    def broken(*arguments: Any, **options: Any) -> None:
        raise OSError("disk [gone]")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, tab)
        monkeypatch.setattr(where, what, broken)
        (path / "config.yaml").touch()
        screen._subject.config.clear()  # type: ignore[union-attr]
        await settle(pilot)
        assert "disk [gone]" in words(pilot.app)
        monkeypatch.setattr(where, what, works)
        await settle(pilot)
        assert "disk [gone]" not in words(pilot.app)
        assert "20260301-110000-x" in words(pilot.app)

    tell(services, story, (140, 30))


def test_a_config_that_cannot_be_read_is_said_in_its_tab(services: Services, make_run: MakeRun) -> None:
    path = make_run("x", "finished")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        (path / "config.yaml").write_text("target_tokens: [\n")
        await press(pilot, "O")
        assert "not valid YAML" in words(pilot.app)
        (path / "config.yaml").write_text("seed: 1\nunknown: 2\n")
        await settle(pilot)
        assert "unknown key" in words(pilot.app)

    tell(services, story, (140, 30))


@pytest.mark.parametrize("key", ["p", "less_than_sign"])
def test_picking_that_fails_is_said(
    services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    make_run("x", "finished")

    def broken(*arguments: Any) -> None:
        raise OSError("disk [gone]")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        monkeypatch.setattr(services.watch, "look", broken)
        monkeypatch.setattr("daisy_tui.screens.run.all_runs", broken)
        await press(pilot, key)
        assert any("disk [gone]" in said for said in toasts(screen.daisy))

    tell(services, story)


def test_names_of_runs_and_reasons_are_never_markup(services: Services, make_run: MakeRun) -> None:
    make_run("[red]x[b]", "failed", reason="ValueError: [/bold] \x1b[31m")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "[red]x[b]" in words(pilot.app)
        assert "ValueError: [/bold] \\x1b[31m" in words(pilot.app)
        await press(pilot, "h", "escape", "p", "escape", "X", "escape")

    tell(services, story)


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl"])
def test_a_file_that_cannot_be_read_is_named_in_sight_and_when_it_can_the_run_is_shown(
    services: Services, make_run: MakeRun, name: str
) -> None:
    path = make_run("x", "running")
    (path / name).rename(path / "kept")
    (path / name).mkdir()

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await settle(pilot)
        assert "✗ 20260301-110000-x cannot be read." in words(pilot.app)
        assert f"✗ {name}: Is a directory." in words(pilot.app)
        await press(pilot, "h")
        assert "Is a directory" in words(pilot.app)
        await press(pilot, "escape")
        (path / name).rmdir()
        (path / "kept").rename(path / name)
        await settle(pilot)
        assert "● running  20260301-110000-x" in words(pilot.app)
        assert "cannot be read" not in words(pilot.app)
        assert "Is a directory" not in words(pilot.app)

    tell(services, story)


def test_a_run_that_was_shown_stays_where_its_files_cannot_be_read_any_more(
    services: Services, make_run: MakeRun
) -> None:
    path = make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        (path / "events.jsonl").unlink()
        (path / "events.jsonl").mkdir()
        await settle(pilot)
        assert "● running  20260301-110000-x" in words(pilot.app)
        assert "Is a directory" in words(pilot.app)

    tell(services, story, WIDE)
