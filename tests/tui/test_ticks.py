"""Ticks lie at round places within their axis, no two labels say the same, and none runs into the next."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daisy_tui.widgets.ticks import Tick, elapsed, figure, fitting, linear, logarithmic, place, whole

Maker = Callable[[float, float, int], list[Tick]]
finite = st.floats(-1e12, 1e12, allow_nan=False)
length = st.floats(1e-6, 1e12)


def labels(ticks: list[Tick]) -> list[str]:
    return [tick.label for tick in ticks]


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 10, 5, ["0", "2", "4", "6", "8", "10"]),
        (2.31, 3.62, 3, ["2.5", "3.0", "3.5"]),
        (0, 3e-4, 3, ["0", "1e-4", "2e-4", "3e-4"]),
        (0, 1.5e-4, 3, ["0", "0.5e-4", "1.0e-4", "1.5e-4"]),
        (0, 50_000, 5, ["0", "10k", "20k", "30k", "40k", "50k"]),
        (0, 3e9, 3, ["0", "1B", "2B", "3B"]),
        (1_000_100, 1_000_500, 4, ["1,000,100", "1,000,200", "1,000,300", "1,000,400", "1,000,500"]),
        (-1, 1, 2, ["-1", "0", "1"]),
    ],
)
def test_an_axis_shares_its_unit_and_decimals(low: float, high: float, most: int, expected: list[str]) -> None:
    assert labels(linear(low, high, most)) == expected


def test_steps_have_ticks_at_whole_numbers_only() -> None:
    assert labels(whole(1, 4, 10)) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (1e-4, 1e2, 8, ["1e-4", "0.001", "0.01", "0.1", "1", "10", "100"]),
        (1e-8, 1e4, 4, ["1e-8", "1e-4", "1", "10k"]),
        (0.9, 60, 6, ["1", "2", "5", "10", "20", "50"]),
        (2.2, 3.9, 4, ["2.5", "3.0", "3.5"]),
    ],
)
def test_a_logarithmic_axis_has_powers_and_between_them_what_has_room(
    low: float, high: float, most: int, expected: list[str]
) -> None:
    assert labels(logarithmic(low, high, most)) == expected


@pytest.mark.parametrize(
    ("high", "most", "expected"),
    [
        (0.9, 3, ["0s", "0.5s"]),
        (50, 5, ["0", "10s", "20s", "30s", "40s", "50s"]),
        (600, 4, ["0", "5m", "10m"]),
        (5400, 3, ["0", "30m", "1h", "1h30m"]),
        (86400 * 2, 4, ["0", "12h", "1d", "1d12h", "2d"]),
        (86400 * 30, 3, ["0", "10d", "20d", "30d"]),
    ],
)
def test_time_has_ticks_where_clocks_have_them(high: float, most: int, expected: list[str]) -> None:
    assert labels(elapsed(0, high, most)) == expected


@given(finite, length, st.integers(1, 40), st.sampled_from([linear, whole, elapsed]))
def test_ticks_are_few_within_the_axis_and_all_different(low: float, long: float, most: int, make: Maker) -> None:
    high = low + long
    if not high - low > abs(low) * 1e-9:
        return
    ticks = make(low, high, most)
    assert len(ticks) <= most + 1
    slack = long * 1e-6 + abs(low) * 1e-9
    assert all(low - slack <= tick.at <= high + slack for tick in ticks)
    assert len(set(labels(ticks))) == len(ticks)


@given(st.floats(1e-12, 1e12), st.floats(1.0001, 1e12), st.integers(2, 40))
def test_logarithmic_ticks_are_within_the_axis_and_all_different(low: float, times: float, most: int) -> None:
    ticks = logarithmic(low, low * times, most)
    assert all(low * (1 - 1e-6) <= tick.at <= low * times * (1 + 1e-6) for tick in ticks)
    assert len(set(labels(ticks))) == len(ticks)


@given(st.floats(0, 1e9), st.floats(10, 1e9), st.integers(10, 250))
def test_labels_that_fit_leave_room_between_them(low: float, long: float, width: int) -> None:
    ticks = fitting(whole, low, low + long, width)
    for one, other in pairwise(ticks):
        assert (other.at - one.at) / long * width >= len(one.label) / 2 + len(other.label) / 2 + 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.21454, "3.2145"),
        (2.0, "2"),
        (0.0, "0"),
        (0.0003, "3e-4"),
        (5.99884e-8, "5.9988e-8"),
        (12_345.6, "12.346k"),
        (3_221_225_472, "3.2212B"),
        (999_999.9, "1000k"),
        (1e20, "1e20"),
        (-0.5, "-0.5"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_a_figure_is_short_and_exact_enough(value: float, text: str) -> None:
    assert figure(value) == text


@given(st.floats(-1e300, 1e300))
def test_a_figure_is_never_long_and_means_the_value(value: float) -> None:
    text = figure(value)
    assert len(text) <= 12
    scale = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(text[-1], 1.0)
    assert float(text.rstrip("kMBT")) * scale == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(
    ("x", "value", "text"),
    [
        ("step", 1200.4, "step 1,200"),
        ("tokens", 3_145_728, "3,145,728 tokens"),
        ("time", 3723, "1:02:03"),
        ("time", -90, "-1:30"),
    ],
)
def test_a_place_is_told_in_full(x: str, value: float, text: str) -> None:
    assert place(x, value) == text
