"""The live chart: what it shows at any size, its cursor and zoom by keys and mouse, and that it draws only changes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.events import MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Input

from core.runs.curves import Curve, Mark
from daisy_tui.lines import ANSI, DARK, DASHES, LIGHT, MARKS, Line, colours_for, held, look, smoothed
from daisy_tui.widgets.chart import BrailleChart

Story = Callable[[Pilot[Any], BrailleChart], Awaitable[None]]

STEPS = Curve(np.arange(1.0, 101.0), 10 / np.arange(1.0, 101.0))
SPARSE = Curve(np.array([20.0, 40, 60, 80, 100]), np.array([7.0, 6.6, 6.4, 6.3, 6.25]))


class ChartApp(App[None]):
    """A chart above a field, and what it said."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.chart = BrailleChart("loss", "nats", **options)
        self.said: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self.chart
        yield Input()

    def on_braille_chart_cursor_moved(self, message: BrailleChart.CursorMoved) -> None:
        self.said.append(message)

    def on_braille_chart_zoomed(self, message: BrailleChart.Zoomed) -> None:
        self.said.append(message)


def play(story: Story, size: tuple[int, int] = (80, 24), app: ChartApp | None = None, **options: Any) -> ChartApp:
    app = app or ChartApp(**options)

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            app.chart.focus()
            await pilot.pause()
            await story(pilot, app.chart)

    asyncio.run(run())
    return app


def rows(chart: BrailleChart) -> list[str]:
    return [chart.render_line(y).text for y in range(chart.size.height)]


def cursor_column(chart: BrailleChart) -> int:
    """Where the cursor stands on the plot, in some row that shows it; the axis is left of column 0."""
    left = chart._made().left
    return next(row.index("│", left) - left for row in rows(chart)[1:-2] if "│" in row[left:])


# What it shows


@pytest.mark.parametrize("size", [(40, 11), (60, 15), (80, 24), (120, 40), (200, 53)])
def test_at_any_size_it_fills_its_cells_exactly(size: tuple[int, int]) -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0), Line("val", SPARSE, 1)])
        assert chart.size == (size[0], size[1] - 3)
        lines = [chart.render_line(y) for y in range(chart.size.height)]
        assert all(line.cell_length <= size[0] for line in lines)
        text = rows(chart)
        assert text[0].startswith(" loss ")
        assert "train 0.1" in text[0]
        assert "val 6.25" in text[0]
        assert "└" in text[-2]
        assert text[-1].split()[0] == "0"
        assert sum("┤" in row for row in text) >= 2
        assert any(0x2800 < ord(character) < 0x2900 for row in text for character in row)
        for mark in "●▲":
            assert sum(mark in row for row in text[1:]) == 1, "a line ends in its mark"

    play(story, size)


@pytest.mark.parametrize("size", [(10, 10), (80, 5), (16, 6), (1, 4)])
def test_in_a_few_cells_it_says_so_or_draws_what_it_can(size: tuple[int, int]) -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        assert all(chart.render_line(y).cell_length <= size[0] for y in range(chart.size.height))
        await pilot.press("right", "plus", "end", "minus", "escape")

    play(story, size)


def test_a_resize_draws_it_anew() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        for size in ((120, 40), (40, 11), (200, 53)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert len(rows(chart)) == size[1] - 3
            assert max(len(row) for row in rows(chart)) == size[0]

    play(story)


@pytest.mark.parametrize(
    ("lines", "why", "said"),
    [
        ([], "", "nothing chosen to draw"),
        ([Line("a", Curve(np.array([]), np.array([])), 0)], "", "no points yet"),
        ([Line("a", Curve(np.array([]), np.array([])), 0)], "this run was never evaluated", "never evaluated"),
        ([Line("a", Curve(np.array([1.0]), np.array([math.nan])), 0)], "", "no finite value in 1 point"),
    ],
)
def test_an_empty_chart_says_why(lines: list[Line], why: str, said: str) -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show(lines, why=why)
        assert said in "\n".join(rows(chart))
        await pilot.press("right", "shift+left", "home", "plus", "minus", "0", "escape")
        await pilot.hover(chart, (30, 5))
        await pilot.click(chart, (30, 5))
        assert chart.cursor is None

    play(story)


def test_a_logarithmic_axis_without_anything_above_zero_says_so() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("a", Curve(np.array([1.0, 2.0]), np.array([0.0, -1.0])), 0)])
        chart.log_y = True
        assert "no value is above zero" in "\n".join(rows(chart))

    play(story)


def test_a_view_without_points_says_how_to_come_back() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("a", STEPS, 0)])
        chart.view = (200.0, 300.0)
        assert "no points from step 200 to step 300; 0 shows all" in "\n".join(rows(chart))
        await pilot.press("0")
        assert chart.view is None
        assert "train" not in "\n".join(rows(chart))
        assert "└" in rows(chart)[-2]

    play(story)


def test_one_point_is_a_mark_that_is_seen() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("a", Curve(np.array([7.0]), np.array([10.8])), 0)])
        assert "●" in "\n".join(rows(chart)[1:])
        assert rows(chart)[-1].split() == ["7"]

    play(story)


def test_a_gap_is_left_and_marked_on_the_axis() -> None:
    y = STEPS.y.copy()
    y[40:60] = np.nan

    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("a", Curve(STEPS.x, y), 0)])
        frame = chart._made()
        plot = [row[frame.left :] for row in rows(chart)[1:-2]]
        inside = range(frame.column(43), frame.column(57))
        assert all(row[column] in " ┈" for row in plot for column in inside)
        assert set(rows(chart)[-2][frame.left + inside[0] : frame.left + inside[-1]]) == {"×"}

    play(story)


def test_events_stand_on_the_axis_and_say_what_they_are_at_the_cursor() -> None:
    marks = [
        Mark(50, 50_000, 1050.0, "checkpoint", "checkpoints/step_50\x1b[31m"),
        Mark(50, 50_000, 1050.0, "eval", "val 3.2"),
        Mark(80, None, None, "warning", "the disk is nearly full"),
        Mark(None, None, None, "request", "save: done"),
    ]

    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("a", STEPS, 0)], marks)
        axis = rows(chart)[-2]
        assert (axis.count("◆"), axis.count("!"), axis.count("▸")) == (1, 1, 0)
        assert sum("┊" in row for row in rows(chart)) > 10, "a warning is drawn upward"
        chart.cursor = 50.0
        assert r"checkpoint checkpoints/step_50\x1b[31m; eval val 3.2  step 50 " in rows(chart)[-1]
        chart.cursor = 80.0
        assert "warning the disk is nearly full" in rows(chart)[-1]
        chart.cursor = 100.0
        assert rows(chart)[-1].rstrip().endswith("step 100")

    play(story, (120, 24))


def test_what_matters_most_stands_where_two_events_meet() -> None:
    both = [Mark(50, None, None, kind, "") for kind in ("warning", "checkpoint", "eval")]

    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        for marks in (both, both[::-1]):
            chart.show([Line("a", STEPS, 0)], marks)
            assert "!" in rows(chart)[-2]
            assert "◆" not in rows(chart)[-2]

    play(story)


def test_time_is_told_from_its_origin() -> None:
    at = Curve(1.7e9 + STEPS.x * 36, STEPS.y)

    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("a", at, 0)], [Mark(None, None, 1.7e9 + 1800, "checkpoint", "")], origin=1.7e9)
        assert rows(chart)[-1].split()[:3] == ["0", "10m", "20m"]
        assert "◆" in rows(chart)[-2]
        chart.cursor = 1.7e9 + 1800
        assert "30:00  checkpoint" in rows(chart)[-1]
        chart.show([Line("a", at, 0)])
        assert "29:24" in rows(chart)[-1], "without one from the first point"

    play(story, x="time")


def test_a_logarithmic_axis_has_ticks_at_powers() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("a", Curve(STEPS.x, 10.0 ** (STEPS.x / 25)), 0)])
        labels = [row.split("┤")[0].strip() for row in rows(chart) if "┤" in row]
        assert labels == ["10k", "1000", "100", "10", "1"]
        assert "log" in rows(chart)[0]

    play(story, log_y=True)


def test_many_lines_are_named_as_far_as_there_is_room_and_the_rest_is_counted() -> None:
    lines = [Line(f"run number {number}", STEPS, number) for number in range(30)]

    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show(lines)
        heading = rows(chart)[:3]
        named = sum(row.count("──") + row.count("╌╌") + row.count("┈┈") + row.count("─·") for row in heading)
        assert heading[-1].rstrip().endswith(f"+{30 - named}")
        assert named > 6

    play(story, (120, 40))


def test_names_cannot_act_on_the_terminal_or_be_markup() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("[red]a\x1b[2J\nb", STEPS, 0)])
        assert r"[red]a\x1b[2J b" in rows(chart)[0]

    play(story)


def test_a_faint_line_is_drawn_below_and_in_no_legend() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", smoothed(STEPS, 0.5), 0), Line("raw", STEPS, 0, faint=True)])
        assert "raw" not in rows(chart)[0]
        dim = [
            segment for y in range(24 - 3) for segment in chart.render_line(y) if segment.style and segment.style.dim
        ]
        assert any(ord(character) > 0x2800 for segment in dim for character in segment.text)

    play(story)


# Cursor and zoom


def test_the_legend_tells_the_values_at_the_cursor() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0), Line("val", SPARSE, 1)])
        chart.cursor = 50.0
        assert "train 0.2 " in rows(chart)[0]
        assert "val 6.6" in rows(chart)[0] or "val 6.4" in rows(chart)[0], "the nearest that there is"
        chart.cursor = 5.0
        assert "val –" in rows(chart)[0], "and none where the line has not begun"
        chart.cursor = None
        assert "train 0.1 " in rows(chart)[0]

    play(story)


def test_keys_move_the_cursor_from_point_to_point() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        await pilot.press("right")
        begin = chart.cursor
        assert begin in STEPS.x, "it stands on a point"
        column = cursor_column(chart)
        await pilot.press("right")
        assert cursor_column(chart) == column + 1
        await pilot.press("shift+left")
        assert cursor_column(chart) == column - 9
        await pilot.press("end")
        assert chart.cursor == 100.0
        await pilot.press("right")
        assert chart.cursor == 100.0
        await pilot.press("home", "left")
        assert cursor_column(chart) <= 1
        assert chart.cursor == 1.0
        await pilot.press("escape")
        assert chart.cursor is None

    app = play(story)
    assert all(isinstance(message, BrailleChart.CursorMoved) for message in app.said)
    assert app.said[-1].x is None


def test_a_cursor_among_few_points_jumps_from_one_to_the_next() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", SPARSE, 0)])
        await pilot.press("home")
        seen = [chart.cursor]
        for _ in range(5):
            await pilot.press("right")
            seen.append(chart.cursor)
        assert seen == [20.0, 40.0, 60.0, 80.0, 100.0, 100.0]
        for _ in range(5):
            await pilot.press("left")
        assert chart.cursor == 20.0
        await pilot.hover(chart, (40, 5))
        await pilot.press("escape")
        await pilot.hover(chart, (30, 5))
        assert chart.cursor in SPARSE.x
        chart.cursor, chart.view = 40.0, (30.0, 50.0)
        await pilot.press("right")
        assert chart.cursor == 60.0
        assert chart.view is not None
        assert chart.view[0] <= 60.0 <= chart.view[1], "the view comes along"
        await pilot.press("left")
        assert chart.cursor == 40.0
        assert chart.view[0] <= 40.0 <= chart.view[1]

    play(story)


def test_a_value_of_another_step_than_the_cursors_says_its_own() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0), Line("val", SPARSE, 1)])
        chart.cursor = 47.0
        assert "val 6.6 @40" in rows(chart)[0]
        assert "train 0.21277  " in rows(chart)[0]
        chart.cursor = 40.0
        assert "@" not in rows(chart)[0]
        chart.x = "time"
        chart.show([Line("train", STEPS, 0), Line("val", SPARSE, 1)], origin=0.0)
        chart.cursor = 47.0
        assert "val 6.6 @0:40" in rows(chart)[0]

    play(story)


def test_escape_without_a_cursor_is_somebody_elses() -> None:
    pressed = []

    class Stepping(ChartApp):
        BINDINGS: ClassVar[list[BindingType]] = [("escape", "step_out", "")]

        def action_step_out(self) -> None:
            pressed.append(True)

    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        await pilot.press("right", "escape")
        assert pressed == []
        await pilot.press("escape")
        assert pressed == [True]

    play(story, app=Stepping())


def test_keys_zoom_at_the_cursor_and_back() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        chart.cursor = 40.0
        await pilot.press("plus")
        assert chart.view == pytest.approx((20, 70), abs=0.6), "half as much, and 40 where it was"
        assert "zoomed" in rows(chart)[0]
        await pilot.press("equals_sign")
        assert chart.view is not None
        assert chart.view[1] - chart.view[0] == pytest.approx(25, abs=0.3)
        await pilot.press("0")
        assert chart.view is None
        await pilot.press("minus")
        assert chart.view is None, "there is no more than all"
        for _ in range(30):
            await pilot.press("plus")
        assert chart.view is not None
        assert chart.view[1] - chart.view[0] == 2.0, "and no less than two steps"

    app = play(story)
    assert [m.view for m in app.said if isinstance(m, BrailleChart.Zoomed)].count(None) == 1


def test_a_cursor_that_leaves_the_view_takes_it_along() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        chart.view = (20.0, 40.0)
        chart.cursor = 39.9
        await pilot.press("shift+right")
        assert chart.view[0] > 20.0
        assert chart.cursor > 40.0
        assert chart.view[1] - chart.view[0] == pytest.approx(20)
        await pilot.press("end")
        assert (chart.view, chart.cursor) == ((80.0, 100.0), 100.0)
        await pilot.press("home")
        assert chart.view[1] - chart.view[0] == pytest.approx(20)
        assert chart.view[0] <= 1.0

    play(story)


def test_what_is_set_from_outside_is_not_said_again() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        chart.cursor, chart.view, chart.log_y, chart.x = 40.0, (20.0, 70.0), True, "tokens"
        await pilot.pause()

    assert play(story).said == []


def test_the_mouse_moves_the_cursor_and_takes_it_away() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        left = chart._made().left
        await pilot.hover(chart, (left + 30, 5))
        assert cursor_column(chart) == 30
        await pilot.hover(Input, (3, 1))
        assert chart.cursor is None
        await pilot.click(chart, (left + 40, 5))
        assert cursor_column(chart) == 40
        await pilot.hover(chart, (left + 50, 5))
        assert cursor_column(chart) == 40, "a click keeps it where it is"
        await pilot.hover(Input, (3, 1))
        assert cursor_column(chart) == 40
        await pilot.click(chart, (left + 40, 5))
        await pilot.hover(chart, (left + 50, 5))
        assert cursor_column(chart) == 50, "and another one lets it go"

    play(story)


def test_dragging_zooms_to_what_was_chosen() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        frame = chart._made()
        await pilot.mouse_down(chart, (frame.left + 60, 5))
        await pilot.hover(chart, (frame.left + 20, 5))
        assert f"step {frame.centre(19.5):,.0f} to step" in rows(chart)[-1]
        await pilot.mouse_up(chart, (frame.left + 20, 5))
        assert chart.view == pytest.approx((frame.centre(19.5), frame.centre(60.5)))

    app = play(story)
    assert isinstance(app.said[-1], BrailleChart.Zoomed)


def test_escape_ends_a_drag_without_zooming() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        await pilot.mouse_down(chart, (20, 5))
        await pilot.hover(chart, (50, 5))
        await pilot.press("escape")
        await pilot.mouse_up(chart, (50, 5))
        assert chart.view is None

    play(story)


def test_the_wheel_zooms_where_the_mouse_is() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        frame = chart._made()
        at = frame.centre(18)
        await pilot._post_mouse_events([MouseScrollUp], chart, (frame.left + 18, 5), button=0)
        assert chart.view is not None
        assert chart._made().column(at) == 18
        await pilot._post_mouse_events([MouseScrollDown], chart, (frame.left + 18, 5), button=0)
        await pilot._post_mouse_events([MouseScrollDown], chart, (frame.left + 18, 5), button=0)
        assert chart.view is None

    play(story)


# What it costs


def test_the_same_again_draws_nothing() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        marks = [Mark(50, None, None, "checkpoint", "")]
        chart.show([Line("train", STEPS, 0)], marks)
        await pilot.pause()
        made = chart.pictures
        chart.show([Line("train", held(STEPS), 0)], list(marks))
        chart.cursor = 20.0
        await pilot.pause()
        rows(chart)
        assert chart.pictures == made
        longer = Curve(np.append(STEPS.x, 101.0), np.append(STEPS.y, 1.0))
        for change in ([Line("train", longer, 0)], [Line("train", longer, 1)], [Line("other", longer, 1)]):
            chart.show(change, marks)
            await pilot.pause()
            made += 1
            assert chart.pictures == made
        chart.show(change)
        await pilot.pause()
        assert chart.pictures == made + 1

    play(story)


def test_smoothing_is_a_change_although_only_values_differ() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.show([Line("train", STEPS, 0)])
        made = chart.pictures
        chart.show([Line("train", smoothed(STEPS, 0.9), 0)])
        await pilot.pause()
        assert chart.pictures > made

    play(story)


def test_out_of_sight_nothing_is_drawn() -> None:
    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        chart.display = False
        await pilot.pause()
        made = chart.pictures
        for end in range(50, 60):
            chart.show([Line("train", Curve(STEPS.x[:end], STEPS.y[:end]), 0)])
            await pilot.pause()
        assert chart.pictures == made

    play(story)


# Without colour


def test_neighbours_differ_in_colour_dashes_and_mark() -> None:
    looks = [look(style) for style in range(40)]
    for one, other in pairwise(looks):
        assert all(a != b for a, b in zip(one, other, strict=True))
    assert len({(one.dashes, one.mark) for one in looks[: len(DASHES) * len(MARKS)]}) == len(DASHES) * len(MARKS)
    assert len(DARK) == len(LIGHT) == len(ANSI) == 7


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark", "ansi-light"])
@pytest.mark.parametrize("no_color", [False, True])
def test_in_every_theme_lines_have_the_theme_s_colours_and_the_focus_shows(
    theme: str, no_color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")

    async def story(pilot: Pilot[Any], chart: BrailleChart) -> None:
        pilot.app.theme = theme
        chart.show([Line(f"run {number}", STEPS, number) for number in range(3)])
        await pilot.pause()
        colours = colours_for(dark=theme == "textual-dark", ansi=theme.startswith("ansi"))
        sample = next(segment for segment in chart.render_line(0) if segment.text == look(1).sample)
        assert sample.style is not None
        assert sample.style.color is not None
        assert sample.style.color.name == look(1, colours).colour.removeprefix("ansi_")
        focused = chart.render_line(0)._segments[0].style
        pilot.app.query_one(Input).focus()
        await pilot.pause()
        blurred = chart.render_line(0)._segments[0].style
        assert focused is not None
        assert blurred is not None
        if theme.startswith("ansi"):
            assert focused.reverse and not blurred.reverse
        else:
            assert focused.bgcolor != blurred.bgcolor

    play(story)


# Smoothing


def test_smoothing_is_the_moving_average_without_the_bias_of_its_beginning() -> None:
    values = np.random.default_rng(0).standard_normal(1000)
    average, expected = 0.0, []
    for number, value in enumerate(values, 1):
        average = 0.9 * average + 0.1 * value
        expected.append(average / (1 - 0.9**number))
    curve = smoothed(Curve(np.arange(1000.0), values), 0.9)
    assert curve.y == pytest.approx(np.array(expected))


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.99, 0.999])
def test_smoothing_leaves_constants_and_gaps(factor: float) -> None:
    y = np.full(500, 3.0)
    y[[0, 100, 101, 499]] = np.nan
    curve = smoothed(Curve(np.arange(500.0), y), factor)
    assert np.isnan(curve.y).tolist() == np.isnan(y).tolist()
    assert curve.y[np.isfinite(y)] == pytest.approx(3.0)
    assert len(smoothed(Curve(np.array([]), np.array([])), factor).y) == 0
    assert np.isnan(smoothed(Curve(np.array([1.0]), np.array([np.nan])), factor).y).all()
