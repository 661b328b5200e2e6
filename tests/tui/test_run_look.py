"""What a screen shows of one run: state, figures, events, charts and checkpoints, look after look."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_checkpoints import write_checkpoints
from made_runs import NOW, STEP_TOKENS, log_point

from core.runs.directory import RunDirectory
from daisy_tui.runs import run_look
from daisy_tui.runs.run_charts import CHART_IDS
from daisy_tui.runs.run_look import RunLook, RunReader, View

MakeRun = Callable[..., Path]
ALL = View(charts=CHART_IDS)


def reader_of(path: Path) -> RunReader:
    return RunReader(RunDirectory(path), path.parents[1])


def look_at(reader: RunReader, view: View = ALL) -> RunLook:
    found = reader.look(NOW, view)
    assert found is not None
    return found


def append(path: Path, *records: dict[str, Any] | str) -> None:
    with path.open("a") as file:
        for record in records:
            file.write(record if isinstance(record, str) else json.dumps(record) + "\n")


def test_a_look_has_state_figures_and_all_charts(make_run: MakeRun) -> None:
    look = look_at(reader_of(make_run("x", "running", target_steps=80)))
    assert (look.facts["state"], look.facts["step"], look.point["mfu"]) == ("running", 40, 0.41)
    assert look.advice == ()
    assert [beat["rank"] for beat in look.beats] == [0]
    assert look.drawn is not None
    assert list(look.drawn.lines) == list(CHART_IDS)
    labels = {name: [line.label for line in lines] for name, lines in look.drawn.lines.items()}
    assert labels["loss"] == ["train", "val"]
    assert labels["lr"] == ["head_params", "hidden_matrix_params"]
    assert look.drawn.lines["mfu"][0].curve.y[-1] == pytest.approx(41.0)
    assert look.drawn.lines["memory"][0].curve.y[-1] == pytest.approx(300 / 1024)


def test_charts_are_drawn_again_only_when_something_changed(make_run: MakeRun) -> None:
    path = make_run("x", "running")
    reader = reader_of(path)
    first = look_at(reader).drawn
    assert first is not None
    assert look_at(reader).drawn is None
    append(path / "metrics.jsonl", log_point(41, NOW - 80, 100 * STEP_TOKENS))
    second = look_at(reader).drawn
    assert second is not None
    assert second.lines["loss"][0].curve.x[-1] == 41
    assert first.lines["loss"][0].curve.x[-1] == 40, "what is shown stays as it is"
    assert look_at(reader, ALL._replace(x="tokens")).drawn is not None
    assert look_at(reader, ALL._replace(x="tokens")).drawn is None


def test_of_a_long_run_the_first_chart_comes_at_once_and_the_others_with_the_look_after(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_look, "_LONG", 1)
    path = make_run("x", "running")
    reader = reader_of(path)
    first, second = look_at(reader).drawn, look_at(reader).drawn
    assert first is not None
    assert second is not None
    assert (list(first.lines), first.goes_on) == (["loss"], True)
    assert (list(second.lines), second.goes_on) == (list(CHART_IDS[1:]), False)
    assert look_at(reader).drawn is None
    append(path / "metrics.jsonl", log_point(41, NOW - 80, 1 << 20))
    drawn = look_at(reader).drawn
    assert drawn is not None
    assert tuple(drawn.lines) == CHART_IDS


def test_charts_go_over_tokens_and_time_and_only_those_wanted_are_read(make_run: MakeRun) -> None:
    reader = reader_of(make_run("x"))
    tokens = look_at(reader, View("tokens", charts=("loss",))).drawn
    assert tokens is not None
    assert list(tokens.lines) == ["loss"]
    assert tokens.lines["loss"][0].curve.x[-1] == 40 * STEP_TOKENS
    time = look_at(reader, View("time", charts=("loss",))).drawn
    assert time is not None
    assert time.origin == NOW - 78
    assert time.lines["loss"][0].curve.x[-1] == NOW


def test_a_smoothed_line_has_the_measured_one_behind_it_and_validation_is_not_smoothed(make_run: MakeRun) -> None:
    drawn = look_at(reader_of(make_run("x")), View(smoothing=0.9, charts=("loss", "lr"))).drawn
    assert drawn is not None
    assert [(line.label, line.faint) for line in drawn.lines["loss"]] == [
        ("train", True),
        ("train", False),
        ("val", False),
    ]
    raw, smooth, _ = drawn.lines["loss"]
    assert np.abs(np.diff(smooth.curve.y)).max() < np.abs(np.diff(raw.curve.y)).max()
    assert not any(line.faint for line in drawn.lines["lr"])


def test_a_loss_that_is_no_number_is_a_gap_and_a_torn_line_is_skipped(make_run: MakeRun) -> None:
    path = make_run("x", "running", nan_at=20)
    append(path / "metrics.jsonl", '{"time": 1.0, "step": 41, "train_l')
    drawn = look_at(reader_of(path)).drawn
    assert drawn is not None
    curve = drawn.lines["loss"][0].curve
    assert [int(x) for x in curve.x[np.isnan(curve.y)]] == [20]
    assert curve.x[-1] == 40


@pytest.mark.parametrize("x", ["step", "tokens", "time"])
def test_events_and_spikes_are_marks_and_a_lasting_spike_is_advice(make_run: MakeRun, x: str) -> None:
    path = make_run("x", "running", steps=60)
    high = [log_point(n, NOW - 120, 1 << 20) | {"train_loss": 7.0} for n in (61, 62)]
    append(path / "metrics.jsonl", *high)
    append(path / "events.jsonl", {"time": NOW, "event": "checkpoint", "step": 60, "tokens": 1, "path": "step_60"})
    bad = {"time": NOW, "event": "not_finite", "step": 61, "tokens": 61 * STEP_TOKENS, "loss": "nan"}
    append(path / "events.jsonl", bad)
    look = look_at(reader_of(path), ALL._replace(x=x))
    assert look.drawn is not None
    marks = {mark.text.split(" from")[0]: mark for mark in look.drawn.marks}
    assert set(marks) == {"step_60", "the loss was no number", "the loss jumped"}
    jump = marks["the loss jumped"]
    place = {"step": jump.step, "tokens": jump.tokens, "time": jump.time}[x]
    assert place == {"step": 61, "tokens": 61 * STEP_TOKENS, "time": NOW + 2.0}[x]
    assert [one.what.split(";")[0] for one in look.advice] == ["The loss jumped to 7 after step 61"]


def test_a_stalled_rank_and_a_full_disk_become_advice(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run("x", "running", stalled_s=95.0)
    write_checkpoints(path, 10, 20)
    monkeypatch.setattr(run_look.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    look = look_at(reader_of(path))
    assert [one.action for one in look.advice] == ["stacks", "checkpoints"]
    assert "rank 0 makes no progress in phase train for 95 s" in look.advice[0].what


def test_only_the_last_events_are_kept_and_it_is_counted_how_many_were_before(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_look, "KEEP_EVENTS", 10)
    path = make_run("x", "running")
    reader = reader_of(path)
    append(path / "events.jsonl", *({"time": NOW, "event": "warning", "message": f"{n}"} for n in range(15)))
    look = look_at(reader)
    assert (len(look.events), look.earlier_events) == (10, 6)
    append(path / "events.jsonl", {"time": NOW, "event": "warning", "message": "last"})
    look = look_at(reader)
    assert (len(look.events), look.earlier_events, look.events[-1].text) == (10, 7, "last")


def test_checkpoints_come_with_the_last_whole_one(make_run: MakeRun) -> None:
    path = make_run("x")
    assert look_at(reader_of(path)).last_checkpoint is None
    write_checkpoints(path, 7)
    (path / "checkpoints" / "step_000000009").mkdir()
    look = look_at(reader_of(path))
    assert [(one.name, one.complete) for one in look.checkpoints] == [
        ("step_000000007", True),
        ("step_000000009", False),
    ]
    assert look.last_checkpoint is not None
    assert look.last_checkpoint.step == 7


def test_a_run_that_is_gone_is_told_apart_from_one_that_cannot_be_read(make_run: MakeRun) -> None:
    path = make_run("x")
    reader = reader_of(path)
    look_at(reader)
    shutil.rmtree(path)
    assert reader.look(NOW, ALL) is None


def test_a_run_that_has_not_begun_has_empty_charts(make_run: MakeRun) -> None:
    path = make_run("x", "queued", steps=0)
    (path / "metrics.jsonl").unlink()
    (path / "events.jsonl").unlink()
    look = look_at(reader_of(path))
    assert look.facts["state"] == "queued"
    assert look.drawn is not None
    assert all(not lines for lines in look.drawn.lines.values())
    assert look.point == {}
    assert math.isfinite(look.time)
