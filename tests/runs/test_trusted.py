"""What somebody wrote becomes values to reckon with: of a moderate depth, of their kinds, from regular files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from made_runs import log_point, write_run

from core.runs.changes import read_changes
from core.runs.directory import RunDirectory, RunError, read_object, read_records
from core.runs.follow import record_of, records_backwards
from core.runs.heartbeat import heartbeats
from core.runs.lines import score_line, step_line
from core.runs.lock import is_held
from core.runs.opening import open_regular
from core.runs.status import run_status
from core.runs.summary import summaries
from core.runs.trusted import EVENTS, METRICS, fields_of, is_number, parsed, trusted


def _nested(depth: int, leaf: str = "1") -> bytes:
    return (b"[" * depth + leaf.encode() + b"]" * depth) if depth else leaf.encode()


def test_json_is_read_to_a_moderate_depth() -> None:
    assert parsed(_nested(20)) == json.loads(_nested(20))
    for depth in (21, 500, 100_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parsed(_nested(depth))
    wide = json.dumps([{"a": [1]}] * 30 + ["[{[{[{"] * 9).encode()
    assert parsed(wide) == json.loads(wide), "many brackets are no depth"


def test_what_is_not_finite_is_null_and_a_mark_of_the_byte_order_nothing() -> None:
    assert parsed(b"\xef\xbb\xbf[NaN, Infinity, -Infinity, 1]") == [None, None, None, 1]


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"9" * 10_000, b'{"a": 1} x'])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(data)


def test_a_known_field_has_a_value_of_its_kind_or_is_left_out() -> None:
    point = log_point(10, 0.0, 1000)
    assert trusted(point, METRICS) is point, "what the trainer writes is all of its kind"
    for key in point.keys() & METRICS.keys():
        for odd in ({"a": "x"}, [1], "soon", True, 1e300, 10**400, float("inf")):
            assert trusted(point | {key: odd}, METRICS) == {k: v for k, v in point.items() if k != key}, (key, odd)
    assert trusted({"step": -1, "tokens": 1.5, "time": -1, "mfu": -1, "data_wait": 1.5}, METRICS) == {}
    assert trusted({"mine": [1], "step": "x"}, METRICS) == {"mine": [1]}, "others stay as they are"


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", None])
def test_a_loss_that_is_no_number_keeps_its_word(word: str | None) -> None:
    assert record_of(json.dumps({"train_loss": word}).encode(), METRICS) == {"train_loss": word}


def test_a_file_is_known_by_its_name(tmp_path: Path) -> None:
    assert fields_of(tmp_path / "events.jsonl") is EVENTS
    assert "progress" in fields_of(tmp_path / "heartbeat-12.json")
    assert "grace_s" in fields_of(tmp_path / "control/stop.json")
    assert not fields_of(tmp_path / "chat.jsonl")
    for name in ("metrics.jsonl", "run.json"):
        (tmp_path / name).write_text('{"step": "x", "devices": [], "other": 1}\n')
    assert read_object(tmp_path / "run.json") == {"step": "x", "other": 1}
    kept = {"devices": [], "other": 1}
    assert [*read_records(tmp_path / "metrics.jsonl")] == [*records_backwards(tmp_path / "metrics.jsonl")] == [kept]


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), 10**400, -(2.0**128), [1]])
def test_a_figure_is_a_number_that_can_be_one(value: Any) -> None:
    assert not is_number(value)


def test_a_line_of_a_log_point_has_a_dash_for_what_is_missing() -> None:
    assert "loss -  ETA -  - tokens/s  512 tokens  MFU -" in step_line({"step": 3, "tokens": 512}, 1024)
    assert score_line(3, "val", {"loss": "nan"}) == "step 3  val: loss nan  ppl -  bpb -"  # type: ignore[dict-item]


@pytest.mark.parametrize("what", ["folder", "pipe", "device", "loop"])
def test_only_regular_files_are_opened_and_nothing_is_waited_for(tmp_path: Path, what: str) -> None:
    path = tmp_path / "run.json"
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(path),
    }[what]()
    with pytest.raises(OSError, match=r"run\.json"):
        open_regular(path)
    with pytest.raises(RunError, match=r"run\.json: cannot be read"):
        read_object(path)


@pytest.mark.parametrize(
    "name",
    [
        *("run.json", "launch.json", "supervisor.json", "exit.json", "heartbeat-0.json", "peaks.json"),
        *("metrics.jsonl", "events.jsonl", "supervisor.lock"),
    ],
)
def test_a_pipe_in_the_place_of_a_file_keeps_no_run_from_being_listed(tmp_path: Path, name: str) -> None:
    path, _ = write_run(tmp_path, "a")
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    (facts,) = summaries(tmp_path)
    assert facts["id"] == path.name
    run = RunDirectory(path)
    assert (run_status(run).alive, heartbeats(run)) == (False, [])


def test_a_pipe_in_the_place_of_the_lock_is_held_by_nobody(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    os.mkfifo(run.lock)
    assert not is_held(run)


def test_a_run_that_cannot_be_looked_at_is_listed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, _ = write_run(tmp_path, "bad", day=2)
    write_run(tmp_path, "good", day=1)

    def broken(run: RunDirectory, *others: Any) -> Any:
        if run.path == bad:
            raise PermissionError(13, "Permission denied", str(run.metrics))
        return run_status(run)

    monkeypatch.setattr("core.runs.summary.run_status", broken)
    first, second = summaries(tmp_path)
    assert (first["state"], first["reason"]) == ("unreadable", f"{bad / 'metrics.jsonl'}: Permission denied")
    assert (second["state"], second["step"]) == ("finished", 40)


@pytest.mark.parametrize(
    "line",
    ['{"step": 1}', '{"step": "x", "values": {}}', '{"step": 1, "values": {"lr_scale": 0.5}}', '{"step": 1e999}'],
)
def test_a_change_that_is_none_names_its_file_and_what_would_help(tmp_path: Path, line: str) -> None:
    run = RunDirectory(tmp_path)
    run.changes.write_text(f'{{"step": 1, "values": {{}}}}\n{line}\n')
    with pytest.raises(RunError, match=r"changes\.jsonl: its record 2 is no change.*remove that line"):
        read_changes(run)


def test_changes_that_cannot_be_read_name_their_file(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    os.mkfifo(run.changes)
    with pytest.raises(RunError, match=r"changes\.jsonl: cannot be read: a pipe"):
        read_changes(run)
