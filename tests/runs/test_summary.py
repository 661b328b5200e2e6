"""Runs in a line, and records read from either end of a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.runs.directory import RunDirectory, find_run, read_records, write_object
from core.runs.follow import RecordTail, records_backwards
from core.runs.status import Status
from core.runs.summary import all_runs, summaries, summary


def _run(root: Path, name: str, *records: dict[str, Any]) -> RunDirectory:
    run = RunDirectory(root / name)
    run.path.mkdir(parents=True)
    run.config.write_text("target_tokens: 100\n")
    for record in records:
        run.append(run.metrics, record)
    return run


def _point(step: int, **more: Any) -> dict[str, Any]:
    figures = {"train_loss": 5.0 - step / 100, "eta_s": 9.0, "tokens_per_s": 1000.0, "mfu": 0.25}
    return {"time": 1.0, "step": step, "tokens": 128 * step, "target_tokens": 640, **figures, **more}


def _val(step: int, **losses: float) -> dict[str, Any]:
    scores = {name: {"loss": loss, "ppl": 2.0, "bpb": 1.0} for name, loss in losses.items()}
    return {"time": 1.0, "step": step, "tokens": 128 * step, "val": scores}


def test_runs_come_newest_first_and_other_folders_are_none(tmp_path: Path) -> None:
    assert all_runs(tmp_path / "nothing") == []
    _run(tmp_path, "20260101-000000-a")
    _run(tmp_path, "20260301-000000-c")
    _run(tmp_path, "20260201-000000-b")
    (tmp_path / "20260401-000000-no-config").mkdir()
    (tmp_path / "a file").touch()
    assert [run.path.name[16:] for run in all_runs(tmp_path)] == ["c", "b", "a"]
    assert [found["id"] for found in summaries(tmp_path)] == [run.path.name for run in all_runs(tmp_path)]


def test_a_summary_has_the_last_log_point_and_the_mean_of_the_last_evaluation(tmp_path: Path) -> None:
    records = [_point(1), _val(1, a=9.0), _point(2), _val(2, web=3.0, books=5.0), _point(3)]
    run = _run(tmp_path, "20260101-000000-a", *records)
    write_object(run.run, {"name": "a", "config": "configs/a.yml"})
    found = summary(run, Status("running", True, None, {"devices": ["cpu"]}))
    assert found == {
        "id": "20260101-000000-a",
        "name": "a",
        "state": "running",
        "alive": True,
        "reason": None,
        "step": 3,
        "tokens": 384,
        "train_loss": 4.97,
        "val_loss": 4.0,
        "tokens_per_s": 1000.0,
        "mfu": 0.25,
        "eta_s": 9.0,
        "devices": ["cpu"],
        "config": "configs/a.yml",
        "parent": None,
        "started": run.started,
        "target_tokens": 640,
        "stalls": [],
    }


def test_a_run_that_has_ended_has_neither_speed_nor_time_left(tmp_path: Path) -> None:
    run = _run(tmp_path, "20260101-000000-a", _point(3))
    found = summary(run, Status("stopped", False, "on request"))
    assert (found["step"], found["tokens_per_s"], found["mfu"], found["eta_s"]) == (3, None, None, None)


def test_a_run_that_goes_on_has_no_speed_before_its_first_step(tmp_path: Path) -> None:
    run = _run(tmp_path, "20260101-000000-a", _point(3))
    found = summary(run, Status("queued", True, None, {"devices": ["cpu"], "started": 2.0}))
    assert (found["step"], found["tokens_per_s"], found["mfu"], found["eta_s"]) == (3, None, None, None)


def test_what_is_not_known_of_a_run_is_none(tmp_path: Path) -> None:
    run = _run(tmp_path, "20260101-000000-a")
    run.run.write_text("no json")
    (run.path / "metrics.jsonl").write_text('{"torn')
    found = summary(run)
    unknown = ("step", "tokens", "train_loss", "val_loss", "eta_s", "devices", "config")
    assert {key: found[key] for key in unknown} == dict.fromkeys(unknown)
    assert (found["state"], found["name"]) == ("lost", "20260101-000000-a")
    json.dumps(found, allow_nan=False)


def test_torn_lines_are_no_records_and_hide_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "tr\n\n[3]\nnull\n{"step": 4}\n{"step": 5}')
    assert [record["step"] for record in records_backwards(path)] == [4, 1], "the last one has no end yet"
    run = RunDirectory(tmp_path)
    run.append(path, {"step": 6})
    assert [record["step"] for record in records_backwards(path)] == [6, 5, 4, 1]
    assert [*records_backwards(tmp_path / "nothing.jsonl")] == []


def test_records_longer_than_a_block_are_read_whole_from_the_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    run = RunDirectory(tmp_path)
    for step in range(4):
        run.append(path, {"step": step, "text": "é" * 40_000 * (step % 2)})
    with path.open("a") as file:
        file.write('{"step": 4, "text": "' + "x" * 100_000)
    assert [(record["step"], len(record["text"])) for record in records_backwards(path)] == [
        (3, 40_000),
        (2, 0),
        (1, 40_000),
        (0, 0),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lines=st.lists(st.sampled_from(['{"a": 1}', '{"b": "éé"}', "", '{"c"', "{}", "[1]", '{"d": "' + "x" * 50 + '"}'])),
    ends=st.booleans(),
    block=st.integers(1, 40),
)
def test_backwards_is_forwards_turned_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], ends: bool, block: int
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(lines) + "\n" * ends)
    monkeypatch.setattr("core.runs.follow._BLOCK", block)
    assert list(records_backwards(path)) == list(reversed(list(read_records(path))))


def test_a_record_that_is_being_written_comes_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    news, everything = RecordTail(path), RecordTail(path, from_start=True)
    assert (news.new(), everything.new()) == ([], [{"step": 1}])
    with path.open("ab", buffering=0) as file:
        file.write(b'{"step"')
        assert news.new() == []
        file.write(b': 2}\n{"step": 3}\n{"st')
        assert news.new() == everything.new() == [{"step": 2}, {"step": 3}]
        file.write(b'ep": 4}\n')
    assert news.new() == [{"step": 4}]
    assert news.new() == []


def test_a_run_that_was_started_again_is_the_latest(tmp_path: Path) -> None:
    old, new = _run(tmp_path, "20260101-000000-a"), _run(tmp_path, "20260201-000000-b")
    for run, started in ((old, 100), (new, 200)):
        write_object(run.launch, {"attempt": 1})
        os.utime(run.launch, (started, started))
    assert find_run(tmp_path, "latest").path == new.path
    os.utime(old.launch, (300, 300))
    assert find_run(tmp_path, "latest").path == old.path
