from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.runs.directory import RunDirectory, read_records
from core.runs.follow import RecordTail
from daisy_tui.cli.live import LiveRun

STEP = {
    "time": 1.0,
    "step": 20,
    "tokens": 2560,
    "train_loss": 4.4321,
    "tokens_per_s": 9000.4,
    "mfu": 0.41,
    "eta_s": 12.0,
}
LINE = "step 20  100%  loss 4.4321  ETA 0:12  9,000 tokens/s  2,560 tokens  MFU 41%"


def test_a_record_is_read_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    tail, whole = RecordTail(path), RecordTail(path, from_start=True)
    assert tail.new() == []
    with path.open("a") as file:
        file.write('{"step": 2}\n{"st')
    assert tail.new() == [{"step": 2}]
    with path.open("a") as file:
        file.write('ep": 3}\n')
    assert tail.new() == [{"step": 3}]
    assert tail.new() == []
    assert [record["step"] for record in whole.new()] == [1, 2, 3]
    assert RecordTail(tmp_path / "none").new() == []


def test_a_torn_record_tears_no_other(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    tail = RecordTail(run.metrics)
    run.append(run.metrics, {"step": 1})
    with run.metrics.open("a") as file:
        file.write('{"step": 2, "lo')  # and killed
    run.append(run.metrics, {"step": 3})
    run.append(run.metrics, {"step": 4})
    assert [record["step"] for record in read_records(run.metrics)] == [1, 3, 4]
    assert [record["step"] for record in tail.new()] == [1, 3, 4]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def _append(path: Path, *records: dict[str, object]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def test_without_a_terminal_each_log_point_is_a_line(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    live = LiveRun(run, 2560)
    _append(run.metrics, STEP, {"time": 2.0, "step": 20, "val": {"val": {"loss": 4.5, "ppl": 90.017, "bpb": 1.5}}})
    checkpoint = {"event": "checkpoint", "step": 20, "path": "step_000000020", "removed": ["step_000000010"]}
    _append(run.events, {"time": 1.5, **checkpoint})
    live.update()
    live.update()
    live.close()
    assert capsys.readouterr().out.splitlines() == [
        LINE,
        "step 20  checkpoint step_000000020, removed step_000000010",
        "step 20  val: loss 4.5000  ppl 90.02  bpb 1.5000",
    ]


def test_on_a_terminal_one_line_changes_and_others_stand_above_it(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    live = LiveRun(run, 2560)
    _append(run.metrics, STEP, STEP)
    live.update()
    _append(run.events, {"time": 3.0, "event": "warning", "message": "the disk is \x1b[31mfull"})
    live.update()
    live.close()
    shown = "\r\x1b[2K" + LINE[:39]
    assert capsys.readouterr().out == f"{shown}{shown}\nwarning: the disk is \\x1b[31mfull\n"


def test_what_several_ranks_say_about_one_failure_is_kept_once(run: RunDirectory) -> None:
    live = LiveRun(run, 2560)
    _append(
        run.events, *({"time": rank, "event": "failed", "rank": rank, "message": "no such shard"} for rank in (0, 1))
    )
    live.update()
    assert live.failures == ["no such shard"]
