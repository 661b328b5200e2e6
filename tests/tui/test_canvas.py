"""Strokes and braille: nothing that is finite is lost, nothing is drawn through a gap, and dashes tell lines apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.runs.curves import Curve, Mark
from daisy_tui.lines import DASHES, Line
from daisy_tui.widgets.canvas import BLANK, Canvas, Stroke, stroke
from daisy_tui.widgets.legend import footing, heading_rows
from daisy_tui.widgets.legend import heading as legend_heading
from daisy_tui.widgets.plot import Chart, picture


def curve(*y: float, x: list[float] | None = None) -> Curve:
    return Curve(np.array(x if x is not None else range(len(y)), float), np.array(y, float))


def text(canvas: Canvas) -> list[str]:
    return ["".join(piece for piece, _ in row) for row in canvas.rows()]


def dots(canvas: Canvas) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """The dots of a canvas, by row and column."""
    found = np.zeros((canvas.height * 4, canvas.width * 2), bool)
    bits = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
    for row, line in enumerate(text(canvas)):
        for column, character in enumerate(line):
            code = ord(character) - 0x2800 if character != " " else 0
            for down in range(4):
                for across in range(2):
                    found[row * 4 + down, column * 2 + across] = bool(code & bits[down][across])
    return found


def drawn(one: Stroke, width: int, height: int, low: float, high: float, dashes: tuple[int, ...] = ()) -> Canvas:
    canvas = Canvas(width, height)
    canvas.draw(one, low, high, 0, dashes)
    return canvas


def test_a_rising_line_is_drawn_dot_by_dot() -> None:
    canvas = drawn(stroke(curve(0, 1, 2, 3), 4, 0, 3), 2, 1, -0.5, 3.5)
    assert text(canvas) == ["⡠⠊"]


def test_a_jump_is_joined_without_a_hole() -> None:
    found = dots(drawn(stroke(curve(0, 0, 7, 7), 4, 0, 3), 2, 2, -0.5, 7.5))
    assert found[:, 1:3].any(axis=1).all(), "some dot in every row between the two values"
    assert found.sum() == 10, "and no dot twice"


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=400), st.integers(1, 60), st.integers(1, 20))
@settings(max_examples=60)
def test_every_value_of_a_curve_has_its_dot(values: list[float], width: int, height: int) -> None:
    one = curve(*values)
    high = float(len(values) - 1) or 1.0
    found = dots(drawn(stroke(one, 2 * width, 0, high), width, height, -101, 101))
    columns = np.minimum((one.x / high * 2 * width).astype(int), 2 * width - 1)
    rows = np.clip(np.floor((101 - one.y) / 202 * 4 * height), 0, 4 * height - 1).astype(int)
    near = found[rows, columns] | found[rows, np.maximum(columns - 1, 0)]  # a bin's edge may round to either side
    near |= found[rows, np.minimum(columns + 1, 2 * width - 1)]
    assert near.all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_line_is_drawn_through_what_is_not_finite(bad: float) -> None:
    one = stroke(curve(1, 1, bad, 1, 1), 10, 0, 4)
    assert one.gap[5]
    assert np.isnan(one.least[3:6]).all(), "nothing between the points beside it"
    assert not np.isnan(one.least[[0, 1, 2, 7, 8, 9]]).any()


def test_a_gap_among_many_points_of_a_column_hides_none_of_them_and_breaks_the_line() -> None:
    y = np.ones(1000)
    y[500] = np.nan
    one = stroke(Curve(np.arange(1000.0), y), 10, 0, 999)
    assert one.gap.sum() == 1
    assert not np.isnan(one.least).any()
    assert one.joined.tolist().count(False) == 3, "before it, behind it, and at the end"


def test_points_far_apart_are_joined_straight() -> None:
    one = stroke(curve(0, 10, x=[0, 100]), 11, 0, 100)
    assert one.first.tolist() == pytest.approx(range(11), abs=0.01)


def test_a_part_between_two_points_shows_the_line_that_leads_through_it() -> None:
    one = stroke(curve(0, 100, x=[0, 1000]), 10, 400, 500)
    assert one.first[0] == pytest.approx(40.5, abs=0.01)
    assert one.last[-1] == pytest.approx(49.5, abs=0.01)
    assert one.joined[:-1].all()


def test_a_part_shows_how_the_line_comes_in_and_goes_out() -> None:
    one = stroke(curve(0, 50, 100, x=[0, 50, 100]), 10, 25, 75)
    assert not np.isnan(one.least).any()
    assert one.least[0] == pytest.approx(27.5, abs=2.5)  # half a column
    broken = stroke(curve(0, math.nan, 50, 100, x=[0, 26, 50, 100]), 10, 25, 75)
    assert np.isnan(broken.least[:5]).all(), "but not through a gap"


def test_outside_its_points_a_curve_is_nothing() -> None:
    assert stroke(curve(1, 2, 3), 10, 10, 20).is_empty
    assert stroke(curve(), 10, 0, 1).is_empty


def test_a_logarithmic_axis_shows_logarithms_and_leaves_a_gap_where_there_are_none() -> None:
    one = stroke(curve(1, 10, 0, 100, -5, 1000), 6, 0, 5, log=True)
    assert one.first.tolist() == pytest.approx([0, 1, np.nan, 2, np.nan, 3], nan_ok=True)
    assert one.gap.tolist() == [False, False, True, False, True, False]


def test_of_a_column_with_some_values_above_zero_a_logarithmic_axis_shows_those() -> None:
    one = stroke(Curve(np.arange(6.0), np.array([10, -1, 1000, 10, 10, 10.0])), 2, 0, 5, log=True)
    assert (one.least[0], one.most[0]) == (1.0, 3.0)
    assert one.gap.tolist() == [True, False]


@pytest.mark.parametrize("dashes", DASHES[1:])
def test_dashes_leave_dots_out_and_keep_to_the_line(dashes: tuple[int, ...]) -> None:
    one = stroke(Curve(np.arange(100.0), np.sin(np.arange(100) / 10)), 100, 0, 99)
    solid, dashed = dots(drawn(one, 50, 10, -1, 1)), dots(drawn(one, 50, 10, -1, 1, dashes))
    assert not (dashed & ~solid).any()
    share = sum(dashes[::2]) / sum(dashes)
    assert dashed.sum() / solid.sum() == pytest.approx(share, abs=0.12)


def test_the_kinds_of_dashes_look_different() -> None:
    one = stroke(curve(*[1.0] * 60), 60, 0, 59)
    assert len({"".join(text(drawn(one, 30, 1, 0, 2, dashes))) for dashes in DASHES}) == len(DASHES)


def test_a_dashed_line_that_leaps_is_seen() -> None:
    y = np.ones(50)
    y[25] = 100
    for dashes in DASHES:
        found = dots(drawn(stroke(Curve(np.arange(50.0), y), 50, 0, 49), 25, 10, 0, 100, dashes))
        assert found[4:30, 23:28].any()


def test_a_line_above_takes_whole_cells_and_leaves_the_others() -> None:
    canvas = Canvas(2, 1)
    canvas.draw(stroke(curve(0, 3, 0, 3), 4, 0, 3), 0, 3, 0)
    below = text(canvas)[0]
    canvas.draw(stroke(curve(3, x=[0.0]), 4, 0, 3), 0, 3, 7)
    assert [*canvas.rows()] == [[("⠁", 7), (below[1], 0)]]


def test_what_is_filled_in_covers_nothing() -> None:
    canvas = Canvas(3, 1)
    canvas.draw(stroke(curve(1, x=[0.0]), 6, 0, 5), 0, 2, 4)
    canvas.put(1, 0, "●", 5)
    canvas.fill(slice(None), slice(None), "┈", 6)
    assert [*canvas.rows()] == [[(text(canvas)[0][0], 4), ("●", 5), ("┈", 6)]]
    assert text(canvas)[0][0] not in " ┈"


def test_what_is_put_beyond_the_edges_is_left_out() -> None:
    canvas = Canvas(3, 1)
    canvas.put(-1, 0, "abcde", 1)
    canvas.put(0, 7, "x", 1)
    assert text(canvas) == ["bcd"]


def test_blanks_count_to_the_piece_before_them() -> None:
    canvas = Canvas(4, 2)
    canvas.put(1, 0, "a", 3)
    assert [*canvas.rows()] == [[(" ", BLANK), ("a  ", 3)], [("    ", BLANK)]]


@given(
    st.lists(st.floats(), min_size=1, max_size=50),
    st.integers(1, 70),
    st.integers(1, 30),
    st.booleans(),
    st.sampled_from(["step", "tokens", "time"]),
    st.one_of(st.none(), st.tuples(st.floats(-10, 60), st.floats(0.001, 60))),
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_finite_or_not_can_be_drawn_at_any_size(
    values: list[float], width: int, height: int, log: bool, x: str, part: tuple[float, float] | None
) -> None:
    lines = [Line("a", curve(*values), 0), Line("b", curve(*values[::-1]), 1, faint=True)]
    view = None if part is None else (part[0], part[0] + part[1])
    chart = Chart(lines, [Mark(3, 3, 3.0, "checkpoint", "")], "loss", "", x, log, view, 0.0)
    heading = heading_rows(chart, width, height)
    made = picture(chart, width, height, heading)
    assert len(made.rows) + made.heading_rows + made.footing_rows == height
    assert all(sum(len(text) for text, _ in row) <= width for row in made.rows)
    if not made.is_empty:
        cursor = made.centre(made.width // 2)
        above, below = legend_heading(chart, made, width, cursor), footing(chart, made, cursor)
        assert len(above) == made.heading_rows
        assert sum(len(text) for text, _ in below) == width
