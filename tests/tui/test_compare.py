"""The Compare screen: any number of runs over each other, each with a look of its own, and what differs in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import NOW
from rich.style import Style
from terminal import app_of, drive, finish, settle, toasts, words
from textual.content import Content
from textual.pilot import Pilot

from core.runs.directory import RunDirectory
from daisy_tui.app import DaisyApp
from daisy_tui.lines import LIGHT, look
from daisy_tui.runs.compare_look import CompareReader, Wanted, ordered_series, series_label
from daisy_tui.runs.comparing import ComparedRun
from daisy_tui.runs.watching import RunsWatch
from daisy_tui.screens.base import Open
from daisy_tui.screens.compare import CompareScreen
from daisy_tui.services import Services
from daisy_tui.settings import Settings
from daisy_tui.widgets.chart import BrailleChart
from daisy_tui.widgets.compare_list import CompareList
from daisy_tui.widgets.compare_table import CompareTable

MakeRun = Callable[..., Path]
Press = Callable[..., Any]


def screen_of(app: DaisyApp) -> CompareScreen:
    assert isinstance(app.place, CompareScreen)
    return app.place


def chart_of(app: DaisyApp) -> BrailleChart:
    return screen_of(app).query_one(BrailleChart)


def legend(app: DaisyApp) -> list[str]:
    return [line.label for line in chart_of(app)._lines]


def table_of(app: DaisyApp) -> dict[str, list[str]]:
    table = screen_of(app).query_one(CompareTable)
    rows = [[cell.plain for cell in table.get_row_at(place)] for place in range(table.row_count)]
    return {row[0]: row[1:] for row in rows}


def heads(app: DaisyApp) -> list[str]:
    """The heads of the table's columns, that of the figures' names left out."""
    return [str(column.label) for column in screen_of(app).query_one(CompareTable).ordered_columns][1:]


async def press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


@pytest.fixture
def three(make_run: MakeRun) -> list[Path]:
    return [
        make_run("base", day=1, steps=60, model_dim=16, tags=["a"]),
        make_run("wide", day=2, steps=40, model_dim=32, tags=["a"]),
        make_run("tiny", "stopped", day=3, steps=20, model_dim=8, tags=["b"]),
    ]


def test_without_runs_it_says_how_to_get_one(services: Services) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        assert "No runs here yet: Compose (2) starts one" in words(app)
        await press(pilot, "space", "o", "enter", "n", "a", "y", "m", "z", "z", "z", "u")
        await press(pilot, "s")
        assert "The runs have recorded nothing yet." in toasts(app)

    drive(app, story)


def test_it_begins_with_the_newest_runs_over_each_other(
    services: Services, three: list[Path], make_run: MakeRun
) -> None:
    make_run("waiting", "queued", day=4, steps=0)
    make_run("oldest", day=5).rename(three[0].parent / "20250101-000000-oldest")
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        assert legend(app) == ["tiny", "wide", "base"]
        assert "train loss" in words(app)

    drive(app, story)


def test_runs_of_a_sweep_are_told_apart_on_a_narrow_terminal(services: Services, make_run: MakeRun) -> None:
    names = [f"demo-longer-lr_scale-{scale}" for scale in ("0.5", "1", "2")]
    paths = [make_run(name, day=day) for day, name in enumerate(names, 1)]
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        screen_of(app).context(runs=paths)
        await settle(pilot)
        lines = words(app).splitlines()
        chart = " ".join(line.partition("│")[2] for line in lines[:5])
        for end in ("scale-0.5 2.", "scale-1 2.", "scale-2 2."):
            assert f"{end}" in chart
        listed = [line.partition("│")[0].rstrip() for line in lines[1:4]]
        assert [line[-3:] for line in listed] == ["e-2", "e-1", "0.5"]

    drive(app, story)


def test_two_runs_of_one_name_have_the_time_with_it_wherever_they_are_named(
    services: Services, make_run: MakeRun
) -> None:
    paths = [make_run("demo", day=day) for day in (1, 2)]
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        screen_of(app).context(runs=paths)
        await settle(pilot)
        assert legend(app) == ["demo 03-01", "demo 03-02"]
        assert [head.split(" ", 1)[1] for head in heads(app)] == ["demo 03-01", "demo 03-02"]
        assert words(app).count("demo 03-01") == 3, "in the list, the legend and the table"

    drive(app, story)


def test_the_speed_of_compared_runs_is_said_to_be_a_median(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        assert table_of(app)["tokens/s, median"] == ["512", "512", "512"]

    drive(app, story)


def test_space_adds_a_run_and_takes_it_away_and_looks_stay(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        before = {line.label: line.style for line in chart_of(app)._lines}
        assert sorted(before.values()) == [0, 1, 2]
        await press(pilot, "down", "space")
        assert legend(app) == ["tiny", "base"]
        assert list(table_of(app)) != []
        assert look(before["wide"]).sample not in words(app)
        await press(pilot, "space")
        assert legend(app) == ["tiny", "base", "wide"]
        assert {line.label: line.style for line in chart_of(app)._lines} == before
        await press(pilot, "u")
        assert legend(app) == []
        assert "space overlays the run under the cursor" in words(app)
        assert not screen_of(app).query_one(CompareTable).region

    drive(app, story)


def test_a_look_that_another_run_has_by_now_is_not_given_twice(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        screen = screen_of(app)
        screen.context(runs=[three[0]])
        await settle(pilot)
        screen.context(runs=[three[1]])
        await settle(pilot)
        screen.context(runs=three)
        await settle(pilot)
        assert sorted(line.style for line in chart_of(app)._lines) == [0, 1, 2]

    drive(app, story)


def test_a_click_adds_a_run_and_enter_opens_it(
    services: Services, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(services, "compare")
    opened: list[Open] = []
    monkeypatch.setattr(DaisyApp, "on_open", lambda app, message: opened.append(message))

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.click(CompareList, (10, 1))
        await finish(pilot)
        assert legend(app) == ["tiny", "base"]
        await press(pilot, "enter")
        await press(pilot, "o")

    drive(app, story)
    assert [(message.screen, message.context) for message in opened] == [("run", {"run": three[1]})] * 2


def test_it_shows_the_runs_that_it_is_opened_with(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        screen_of(app).context(runs=[three[0], three[2]])
        await settle(pilot)
        assert legend(app) == ["base", "tiny"]
        assert screen_of(app).command_for("overlay") == ["runs", "compare", three[0].name, three[2].name]
        assert screen_of(app).command_for("open") == ["runs", "show", three[2].name]
        await settle(pilot)
        assert legend(app) == ["base", "tiny"], "and stays with them"

    drive(app, story)


def test_the_table_tells_figures_and_only_what_differs(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        screen_of(app).context(runs=three)
        await settle(pilot)
        rows = table_of(app)
        assert rows["state"] == ["✓ finished", "✓ finished", "■ stopped"]
        assert rows["step"] == ["60", "40", "20"]
        assert rows["model_dim"] == ["16", "32", "8"]
        assert rows["tags"] == ["[a]", "[a]", "[b]"]
        assert rows["config"][0].startswith("3 differ, ")
        assert "num_layers" not in rows
        assert sum(cell.endswith("*") for cell in rows["best val loss"]) == 1
        heads = [column.label.plain for column in screen_of(app).query_one(CompareTable).columns.values()]
        assert heads == ["", *(f"{look(line.style).sample} {line.label}" for line in chart_of(app)._lines)]

    drive(app, story, size=(120, 40))


def test_what_a_run_gains_changes_its_cells_and_nothing_else(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        table = screen_of(app).query_one(CompareTable)
        await press(pilot, "tab", "tab", "down", "down")
        cursor, columns, pictures = table.cursor_row, list(table.columns), chart_of(app).pictures
        await settle(pilot)
        assert chart_of(app).pictures == pictures, "nothing new, nothing drawn"
        with (three[2] / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"time": NOW, "step": 21, "tokens": 30_000, "train_loss": 1.25}) + "\n")
        await settle(pilot)
        assert table_of(app)["final train loss"][0] == "1.2500 *"
        assert chart_of(app)._lines[0].curve.y[-1] == 1.25
        assert (table.cursor_row, list(table.columns)) == (cursor, columns)

    drive(app, story, size=(120, 40))


def test_another_theme_gives_lines_list_and_table_its_colours(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        app.theme = "textual-light"
        await finish(pilot)
        screen = screen_of(app)
        sample = screen.query_one(CompareList).options[0].prompt
        assert isinstance(sample, Content)
        assert sample.spans[0].style == LIGHT[0]
        head = list(screen.query_one(CompareTable).columns.values())[1].label
        assert Style(color=LIGHT[0]) in [span.style for span in head.spans]

    drive(app, story)


def test_series_are_gone_through_and_picked(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "n")
        assert chart_of(app).title == "val loss"
        assert [len(line.curve.x) for line in chart_of(app)._lines] == [2, 4, 6]
        await press(pilot, "N", "N")
        assert chart_of(app).title == "data wait"
        await press(pilot, "s")
        assert "lr head_params" in words(app)
        await press(pilot, "tab", "home", "down", "down", "enter")
        assert chart_of(app).title == "gradient norm"
        await press(pilot, "s", *"headp")
        assert "gradient norm" not in words(app).partition("Which series?")[2]
        await press(pilot, "enter")
        assert chart_of(app).title == "lr head_params"
        await press(pilot, "N")
        await press(pilot, "s", "escape")
        assert chart_of(app).title == "gradient norm"

    drive(app, story)


def test_the_axis_goes_through_steps_tokens_and_time_trained(services: Services, three: list[Path]) -> None:
    with (three[0] / "events.jsonl").open("a") as file:
        file.write(json.dumps({"time": NOW + 5000, "event": "resumed", "step": 60}) + "\n")
    with (three[0] / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"time": NOW + 5002, "step": 61, "tokens": 61 * 1024, "train_loss": 2.0}) + "\n")
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        chart = chart_of(app)
        chart.view, chart.cursor = (5.0, 20.0), 10.0
        await press(pilot, "a")
        assert (chart.x, chart.view, chart.cursor) == ("tokens", None, None)
        assert chart._lines[2].curve.x[-1] == 61 * 1024
        assert "over tokens" in words(app)
        await press(pilot, "a")
        assert chart.x == "time"
        ends = [line.curve.x[-1] for line in chart._lines]
        assert ends == pytest.approx([40, 80, 122]), "from each run's own beginning, without the pause"
        await press(pilot, "a")
        assert chart.x == "step"

    drive(app, story)


def test_smoothing_and_log_y_are_stepped_and_begin_as_the_settings_say(services: Services, three: list[Path]) -> None:
    services.settings.read = lambda: Settings(smoothing=0.6, x="tokens", log_y=True)  # type: ignore[method-assign]
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        assert "over tokens, smoothed 0.6, log" in words(app)
        await press(pilot, "m")
        assert "smoothed 0.8" in words(app)
        await press(pilot, "M", "M", "M", "M", "M", "y")
        assert "over tokens  " in words(app)

    drive(app, story, size=(160, 40))


def test_a_filter_narrows_the_list_and_leaves_the_chart(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        listed = screen_of(app).query_one(CompareList)
        await press(pilot, "slash", *"wid", "enter")
        assert listed.option_count == 1
        assert listed.current == three[1]
        assert legend(app) == ["tiny", "wide", "base"]
        assert screen_of(app).command_for("find") == ["runs", "list", "wid"]
        await press(pilot, "slash", "end", "e", "x")
        assert "none of 3 runs is picked by: widex" in words(app)
        await press(pilot, "escape")
        assert listed.option_count == 3
        await press(pilot, "slash", *"stat", "colon", "x")
        assert "'stat' is no field of a run" in words(app)
        assert listed.option_count == 3

    drive(app, story)


def test_the_cursor_of_the_list_stays_on_its_run_when_another_appears(
    services: Services, three: list[Path], make_run: MakeRun
) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "down")
        make_run("newest", "running", day=9)
        await settle(pilot)
        assert "newest" in words(app)
        assert screen_of(app).query_one(CompareList).current == three[1]
        assert legend(app) == ["tiny", "wide", "base"], "and the chart with those that were chosen"

    drive(app, story)


def test_a_run_that_is_gone_or_cannot_be_read_is_said_and_the_others_are_shown(
    services: Services, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(services, "compare")
    refresh = ComparedRun.refresh

    def broken(run: ComparedRun) -> bool:
        if run.run.path == three[1]:
            raise OSError(5, "Input/output error")
        return refresh(run)

    async def story(pilot: Pilot[Any]) -> None:
        three[0].rename(three[0].parent / "elsewhere")
        monkeypatch.setattr(ComparedRun, "refresh", broken)
        await settle(pilot)
        assert f"{three[1].name}: Input/output error" in words(app)
        assert f"{three[0].name}: the run is gone" in words(app)
        assert legend(app) == ["tiny"]
        monkeypatch.setattr(ComparedRun, "refresh", refresh)
        (three[0].parent / "elsewhere").rename(three[0])
        await settle(pilot)
        assert legend(app) == ["tiny", "wide", "base"]
        assert "Input/output error" not in words(app)

    drive(app, story, size=(120, 30))


def test_a_look_that_raises_is_said_in_the_bar_and_the_screen_stays(
    services: Services, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(services, "compare")

    def broken(self: CompareReader, wanted: Wanted, now: float) -> None:
        raise RuntimeError("lost it")

    async def story(pilot: Pilot[Any]) -> None:
        services.monotonic = lambda: 112.0
        monkeypatch.setattr(CompareReader, "look", broken)
        await settle(pilot)
        assert "stale 0:12: runs: lost it" in words(app)
        assert legend(app) == ["tiny", "wide", "base"]

    drive(app, story, size=(160, 30))


def test_layouts_give_all_room_to_the_chart_or_to_the_table(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        table, chart = screen_of(app).query_one(CompareTable), chart_of(app)
        both = chart.size.height
        await press(pilot, "z")
        assert chart.size.height > both
        assert not table.region
        await press(pilot, "z")
        assert table.size.height > 12
        assert app.focused is table
        await press(pilot, "z")
        assert (chart.size.height, bool(table.region)) == (both, True)

    drive(app, story)


def test_a_resize_keeps_everything_in_sight(services: Services, three: list[Path]) -> None:
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        for size in ((200, 60), (80, 24), (120, 40), (60, 15)):
            await pilot.resize_terminal(*size)
            await finish(pilot)
            for widget in (CompareList, BrailleChart, CompareTable):
                region = screen_of(app).query_one(widget).region
                assert region.width > 8
                assert region.height > 2
                assert region.right <= size[0]
                assert region.bottom <= size[1]

    drive(app, story)


def test_names_of_runs_cannot_act_or_be_markup(services: Services, make_run: MakeRun) -> None:
    path = make_run("a", tags=["[red]\x1b[2J"])
    facts = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**facts, "name": "[bold]x\x1b[2J"}))
    make_run("b", day=2)
    app = app_of(services, "compare")

    async def story(pilot: Pilot[Any]) -> None:
        assert r"[bold]x\x1b[2J" in words(app)
        assert "\x1b" not in words(app)

    drive(app, story, size=(160, 40))


def test_series_are_ordered_by_what_is_compared_most() -> None:
    names = ["update_rms.a", "lr.b", "lr.a", "val.books.loss", "step", "val.val.ppl", "memory", "train_loss", "time"]
    assert ordered_series(names) == (
        *("train_loss", "val.books.loss", "lr.a", "lr.b", "memory", "val.val.ppl", "update_rms.a"),
    )
    assert [series_label(name)[0] for name in ("train_loss", "val.val.loss", "val.books.loss", "lr.a")] == [
        *("train loss", "val loss", "val loss books", "lr a"),
    ]


def test_a_second_look_draws_only_what_has_changed(three: list[Path]) -> None:
    reader = CompareReader(RunsWatch(three[0].parent, lambda: NOW))
    wanted = Wanted(tuple(three))
    first, second = reader.look(wanted, NOW), reader.look(wanted, NOW)
    assert all(one is other for one, other in zip(first.curves, second.curves, strict=True))
    with (three[1] / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"time": NOW, "step": 41, "tokens": 42_000, "train_loss": 1.0}) + "\n")
    third = reader.look(wanted, NOW)
    assert [one is other for one, other in zip(first.curves, third.curves, strict=True)] == [True, False, True]
    smooth = reader.look(wanted._replace(smoothing=0.9), NOW)
    assert not any(one is other for one, other in zip(third.curves, smooth.curves, strict=True))


def test_what_is_drawn_does_not_change_when_the_run_is_read_on(three: list[Path]) -> None:
    reader = CompareReader(RunsWatch(three[0].parent, lambda: NOW))
    wanted = Wanted((three[0],))
    curve = reader.look(wanted, NOW).curves[0]
    kept = curve.y.copy()
    with (three[0] / "metrics.jsonl").open("a") as file:  # a resume that overtakes half of it
        for step in range(30, 61):
            file.write(json.dumps({"time": NOW, "step": step, "tokens": step, "train_loss": 9.0}) + "\n")
    assert reader.look(wanted, NOW).curves[0].y[-1] == 9.0
    assert np.array_equal(curve.y, kept)


def test_time_trained_never_falls_and_fits_the_attempts(three: list[Path]) -> None:
    run = ComparedRun(RunDirectory(three[0]))
    with (three[0] / "events.jsonl").open("a") as file:
        for at, event in ((NOW + 100, "resumed"), (NOW + 150, "stopped"), (NOW + 900, "resumed")):
            file.write(json.dumps({"time": at, "event": event, "step": 60}) + "\n")
    run.refresh()
    times = np.array([NOW - 1000, NOW - 120, NOW - 60, NOW, NOW + 50, NOW + 120, NOW + 500, NOW + 950.0])
    assert run.trained(times).tolist() == [0, 0, 60, 120, 120, 140, 170, 170]
    assert run.trained(np.array([])).tolist() == []
