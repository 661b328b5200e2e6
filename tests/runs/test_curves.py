"""The curves of a run: points by name, what resumes, torn lines and blocks do to them, and charts of few columns."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.runs import appended, shapes
from core.runs.appended import Appended
from core.runs.curves import WENT_BACK, Curve, Curves
from core.runs.directory import RunDirectory

NAN = math.nan


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks are read as big ones are."""
    monkeypatch.setattr(shapes, "_SMALL", 1)


def write(path: Path, *records: dict[str, Any] | str, mode: str = "a") -> None:
    with path.open(mode) as file:
        for record in records:
            file.write(record if isinstance(record, str) else json.dumps(record) + "\n")


def point(step: int, loss: Any = 1.0, **more: Any) -> dict[str, Any]:
    return {"time": 1e9 + step, "step": step, "tokens": 512 * step, "train_loss": loss, **more}


def points(read: Curves, name: str = "train_loss", x: str = "step") -> list[tuple[float, float]]:
    curve = read.curve(name, x)
    return list(zip(curve.x.tolist(), curve.y.tolist(), strict=True))


def opened(run: RunDirectory, *names: str) -> Curves:
    read = Curves(run, *names)
    read.refresh()
    return read


def test_series_have_dotted_names(run: RunDirectory) -> None:
    write(run.metrics, point(1, 4.5, lr={"embed_params": 0.3, "head_params": 3e-5}), point(2, 4.25, memory=7))
    write(run.metrics, {"time": 5.0, "step": 2, "tokens": 9, "val": {"val": {"loss": 3.5, "ppl": 33, "bpb": None}}})
    read = opened(run)
    assert points(read) == [(1, 4.5), (2, 4.25)]
    assert points(read, "lr.head_params") == [(1, 3e-5)]
    assert points(read, "val.val.ppl") == [(2, 33)]
    assert points(read, "val") == points(read, "nothing") == []
    words = "lr.embed_params lr.head_params memory step time tokens train_loss val.val.bpb val.val.loss val.val.ppl"
    assert read.names() == words.split()


@pytest.mark.parametrize("word", [None, "nan", "NaN", "inf", "-Infinity", NAN, math.inf, 10**400])
def test_a_value_that_is_not_finite_is_a_gap_and_not_a_missing_point(run: RunDirectory, word: Any) -> None:
    write(run.metrics, point(1, 4.5), point(2, word), point(3, 4.0))
    curve = opened(run).curve("train_loss")
    assert curve.x.tolist() == [1, 2, 3]
    assert np.isnan(curve.y).tolist() == [False, True, False]


@pytest.mark.parametrize("value", [True, [1.0], "warm", {"a": 1}])
def test_what_is_no_number_is_no_point(run: RunDirectory, value: Any) -> None:
    write(run.metrics, point(1, 4.5), point(2, value))
    assert points(opened(run)) == [(1, 4.5)]


def test_a_torn_last_line_counts_when_it_is_whole_and_a_torn_line_between_others_never(run: RunDirectory) -> None:
    whole = json.dumps(point(2, 4.0)) + "\n"
    write(run.metrics, point(1, 4.5), whole[:40])
    read = opened(run)
    assert points(read) == [(1, 4.5)]
    assert not read.refresh(), "nothing whole is new"
    write(run.metrics, whole[40:])
    assert read.refresh()
    assert points(read) == [(1, 4.5), (2, 4.0)]
    write(run.metrics, whole[:40] + "\n", "not json\n", "[1]\n", "\n", point(3, 3.0))
    read.refresh()
    assert points(read) == [(1, 4.5), (2, 4.0), (3, 3.0)]


def test_a_run_without_files_has_empty_curves_until_there_are_some(run: RunDirectory) -> None:
    read = Curves(run)
    assert not read.refresh()
    assert (points(read), read.names(), read.marks()) == ([], [], [])
    write(run.metrics, point(1))
    assert read.refresh()
    assert points(read) == [(1, 1.0)]


@pytest.mark.parametrize("replace", ["rename", "rewrite", "shorten", "empty"])
def test_a_file_that_was_replaced_is_read_anew(run: RunDirectory, replace: str) -> None:
    write(run.metrics, point(1, 4.5), point(2, 4.0))
    read = opened(run)
    assert len(points(read)) == len(points(read, x="tokens")) == 2
    other = [point(7, 1.5, mfu=0.5), point(8, 1.25), point(9, 1.0)][: {"shorten": 1, "empty": 0}.get(replace)]
    if replace == "rename":
        write(run.path / "new", *other)
        (run.path / "new").replace(run.metrics)
    else:
        write(run.metrics, *other, mode="w")
    assert read.refresh()
    assert points(read) == [(record["step"], record["train_loss"]) for record in other]
    assert points(read, x="tokens") == [(record["tokens"], record["train_loss"]) for record in other]
    assert ("mfu" in read.names()) == bool(other)


def test_a_series_that_is_first_asked_for_when_the_file_was_replaced_holds_only_the_new_file(run: RunDirectory) -> None:
    write(run.metrics, point(1, mfu=0.5))
    read = opened(run)
    write(run.metrics, point(4, mfu=0.25), point(5, mfu=0.125), mode="w")
    assert points(read, "mfu") == []
    read.refresh()
    assert points(read, "mfu") == [(4, 0.25), (5, 0.125)]


@pytest.mark.parametrize("in_one_go", [True, False])
def test_points_that_a_resume_overtook_leave_the_curve_and_stay_in_the_file(run: RunDirectory, in_one_go: bool) -> None:
    """Of each series by itself: the evaluation of step 3 stands until there is another one at or before it."""
    records = [point(step, step / 8) for step in (1, 2, 3, 4)]
    records.insert(3, {"step": 3, "tokens": 1536, "time": 1e9 + 3, "val": {"val": {"loss": 9.0}}})
    records += [point(3, 5.0), point(4, 6.0)]
    read = Curves(run, "train_loss", "val.val.loss")
    read.curve("train_loss", "tokens")
    for record in records:
        write(run.metrics, record)
        if not in_one_go:
            read.refresh()
    read.refresh()
    assert points(read) == [(1, 0.125), (2, 0.25), (3, 5.0), (4, 6.0)]
    assert points(read, x="tokens") == [(512, 0.125), (1024, 0.25), (1536, 5.0), (2048, 6.0)]
    assert points(read, "val.val.loss") == [(3, 9.0)]
    assert len(run.metrics.read_text().splitlines()) == 7
    write(run.metrics, {"step": 2, "tokens": 1024, "val": {"val": {"loss": 8.0}}})
    read.refresh()
    assert points(read, "val.val.loss") == [(2, 8.0)]


@given(steps=st.lists(st.integers(0, 9), max_size=30), cuts=st.lists(st.integers(1, 5), max_size=8))
def test_a_point_stays_exactly_when_no_later_line_has_its_step_or_an_earlier_one(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], cuts: list[int]
) -> None:
    run = RunDirectory(tmp_path_factory.mktemp("steps"))
    records = [point(step, number) for number, step in enumerate(steps)]
    read, begin = Curves(run, "train_loss"), 0
    for cut in [*cuts, len(records)]:
        write(run.metrics, *records[begin : begin + cut])
        read.refresh()
        begin += cut
    kept = [(step, n) for n, step in enumerate(steps) if all(later > step for later in steps[n + 1 :])]
    assert points(read) == kept


def test_a_series_loaded_late_is_what_it_would_have_been(run: RunDirectory) -> None:
    write(run.metrics, *(point(step, step / 2, mfu=step / 64) for step in (1, 2, 3, 2, 3)))
    early, late = opened(run, "train_loss", "mfu"), opened(run)
    write(run.metrics, point(4, 9.0, mfu=0.5))
    for read in (early, late):
        points(read, "mfu", x="time")
        read.refresh()
    assert points(early, "mfu", "time") == points(late, "mfu", "time")
    assert points(late, "mfu", "time") == [(1e9 + s, m) for s, m in [(1, 1 / 64), (2, 1 / 32), (3, 3 / 64), (4, 0.5)]]


def test_x_never_falls_and_is_that_of_the_point_before_where_no_line_tells(run: RunDirectory) -> None:
    times = [100.0, 160.0, 40.0, None, 170.0]  # the clock is set back
    write(run.metrics, *({"step": s, "train_loss": 0.5} | ({"time": t} if t else {}) for s, t in enumerate(times)))
    write(run.metrics, {"train_loss": 9.0, "time": 180.0})
    read = opened(run)
    assert [x for x, _ in points(read, x="time")] == [100, 160, 160, 160, 170], "a line without a step is no point"
    write(run.metrics, {"step": 5, "train_loss": 0.5, "time": 1.0})
    read.refresh()
    assert points(read, x="time")[-1] == (170, 0.5)
    assert points(read, x="tokens")[0] == (0, 0.5)


def test_a_refresh_reads_only_what_is_new(run: RunDirectory) -> None:
    lines = Appended(run.metrics)
    write(run.metrics, point(1), point(2))
    assert [(block.number, len(block.last)) for block in lines.new()] == [(0, 2)]
    assert list(lines.new()) == []
    write(run.metrics, point(3))
    (block,) = lines.new()
    assert (block.number, [json.loads(block.line(0))["step"]], len(block.last)) == (2, [3], 1)
    assert len(block.data) == len(json.dumps(point(3))) + 1


def test_marks_tell_what_happened(run: RunDirectory) -> None:
    events = [
        {"time": 1.0, "step": 0, "tokens": 0, "event": "started"},
        {"time": 2.0, "step": 5, "tokens": 50, "event": "eval", "val": {"val": 3.5, "code": "nan"}},
        {"time": 3.0, "step": 5, "tokens": 50, "event": "checkpoint", "path": "step_5"},
        {"time": 4.0, "event": "restarted", "number": 1, "of": 2, "reason": "killed by signal 9"},
        {"time": 5.0, "step": 6, "tokens": 60, "event": "warning", "message": "low on disk"},
        {"time": 6.0, "step": 7, "tokens": 70, "event": "request", "what": "save", "answer": "done"},
        {"time": 7.0, "step": 7, "tokens": 70, "event": "resumed"},
    ]
    write(run.events, *events[:4])
    read = opened(run)
    write(run.events, *events[4:], '{"event": "warn')
    assert read.refresh()
    assert [tuple(mark) for mark in read.marks()] == [
        (5, 50, 2.0, "eval", "val 3.5, code nan"),
        (5, 50, 3.0, "checkpoint", "step_5"),
        (None, None, 4.0, "restarted", "killed by signal 9"),
        (6, 60, 5.0, "warning", "low on disk"),
        (7, 70, 6.0, "request", "save: done"),
        (7, 70, 7.0, "resumed", ""),
    ]
    write(run.events, events[2], mode="w")
    read.refresh()
    assert [mark.kind for mark in read.marks()] == ["checkpoint"]


def test_a_step_that_went_back_is_marked_once(run: RunDirectory) -> None:
    """By the event that tells of the resume where there is one, or else by the line itself."""
    write(run.metrics, *(point(step) | {"time": time} for step, time in [(1, 1.0), (2, 2.0), (2, 2.5), (3, 3.0)]))
    read = opened(run)
    assert read.marks() == [], "lines of one step do not go back"
    write(run.metrics, point(2) | {"time": 5.0}, point(3) | {"time": 6.0}, point(1) | {"time": 8.0})
    read.refresh()
    assert [tuple(mark[:4]) for mark in read.marks()] == [(2, 1024, 5.0, WENT_BACK), (1, 512, 8.0, WENT_BACK)]
    write(run.events, {"time": 4.0, "step": 1, "tokens": 512, "event": "resumed"})
    read.refresh()
    assert [(mark.time, mark.kind) for mark in read.marks()] == [(4.0, "resumed"), (8.0, WENT_BACK)]


def plain_envelope(xs: list[float], ys: list[float], width: int, low: float, high: float) -> list[tuple[Any, ...]]:
    """The definition: a column holds what lies from its left edge up to its right one, the last one that too."""
    edges = np.linspace(low, high, width + 1).tolist()
    columns = []
    for left, right, is_last in zip(edges[:-1], edges[1:], [False] * (width - 1) + [True], strict=True):
        inside = [y for x, y in zip(xs, ys, strict=True) if left <= x and (x < right or (is_last and x <= high))]
        finite = [y for y in inside if math.isfinite(y)]
        figures = (min(finite), max(finite), finite[0], finite[-1]) if finite else (NAN,) * 4
        columns.append((*figures, len(finite) < len(inside)))
    return columns


@given(
    steps=st.lists(st.integers(0, 60), unique=True, max_size=40),
    ys=st.lists(st.floats(-9, 9) | st.just(NAN), min_size=40, max_size=40),
    width=st.integers(1, 30),
    view=st.none() | st.tuples(st.integers(-5, 65), st.integers(0, 40)),
)
def test_an_envelope_has_of_every_column_least_most_first_last_and_gap(
    steps: list[int], ys: list[float], width: int, view: tuple[int, int] | None
) -> None:
    xs = [float(step) for step in sorted(steps)]
    curve = Curve(np.array(xs), np.array(ys[: len(xs)]))
    low, high = (None, None) if view is None else (float(view[0]), float(view[0] + view[1]))
    got = curve.envelope(width, low, high)
    first, last = (xs[0], xs[-1]) if xs else (0.0, 1.0)
    want = plain_envelope(xs, ys[: len(xs)], width, first if low is None else low, last if high is None else high)
    for values, expected in zip(got, zip(*want, strict=True), strict=True):
        np.testing.assert_array_equal(values, np.array(expected))


@pytest.mark.usefixtures("fast")
def test_regular_lines_do_not_go_through_json(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(0)
    for step in range(1, 3001):
        write(run.metrics, point(step, chance.random(), lr={"a": chance.random()}, eta_s=chance.random() * 1e4))
        if step % 100 == 0:
            write(run.metrics, {"step": step, "time": 0.5, "tokens": 1, "val": {"val": {"loss": chance.random()}}})
    parsed: list[str | bytes] = []
    loads: Callable[..., Any] = json.loads
    monkeypatch.setattr(json, "loads", lambda text: (parsed.append(text), loads(text))[1])
    read = opened(run, "train_loss", "val.val.loss")
    assert len(parsed) <= 5
    assert (len(points(read)), len(points(read, "val.val.loss"))) == (3000, 30)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("block", [300, 4096, 1 << 22])
def test_blocks_do_not_show(run: RunDirectory, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Not even where a line is longer than one."""
    monkeypatch.setattr(appended, "_BLOCK", block)
    monkeypatch.setattr(appended, "_PIECE", 100)
    steps = [*range(1, 400), *range(200, 500)]
    write(run.metrics, *(point(step, step / 4) for step in steps[:300]), {"long": "x" * 5000})
    write(run.metrics, *(point(step, step / 4) for step in steps[300:]))
    read = opened(run)
    assert points(read, x="tokens") == [(512 * step, step / 4) for step in range(1, 500)]
    assert [mark.step for mark in read.marks()] == [200]


@pytest.mark.usefixtures("fast")
def test_a_name_that_comes_with_a_resume_is_found(run: RunDirectory) -> None:
    write(run.metrics, *(point(step, mfu=0.5, old=step / 2) for step in range(50)))
    write(run.metrics, *(point(step, mfu=0.5, new=step / 4) for step in range(50, 100)))
    read = opened(run, "train_loss")
    assert {"old", "new"} <= set(read.names())
    assert points(read, "new") == [(step, step / 4) for step in range(50, 100)]


@pytest.mark.usefixtures("fast")
def test_the_names_of_a_file_that_was_replaced_by_its_like_are_its_names(run: RunDirectory) -> None:
    write(run.metrics, *(point(step, mfu=0.5) for step in range(50)))
    read = opened(run)
    names = read.names()
    write(run.metrics, *(point(step, mfu=0.25) for step in range(60)), {"step": 60}, mode="w")
    read.refresh()
    assert read.names() == names
