from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import write_checkpoint, write_checkpoints
from made_runs import write_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run, one that began from its second checkpoint, and one that began from what is gone."""
    monkeypatch.chdir(tmp_path)
    base, _ = write_run(tmp_path / "runs", "base", steps=0)
    _, second = write_checkpoints(base, 10, 20)
    tuned, _ = write_run(tmp_path / "runs", "tuned", steps=0, day=2, parent=str(second))
    write_checkpoints(tuned, 5)
    write_run(tmp_path / "runs", "orphan", steps=0, day=3, parent="/nowhere/step_1")
    return tmp_path / "runs"


def test_checkpoints_are_listed_below_their_runs(runs: Path, daisy: Any) -> None:
    ran = daisy("runs", "checkpoints")
    assert (ran.code, ran.err) == (0, "")
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[0].split() == ["step", "tokens", "val", "size"]
    assert lines[1] == "20260302-110000-tuned"
    assert lines[2].split() == ["└─", "step_000000005", "5", "1,280", "4.0000", "171.7", "KiB", "latest,", "best"]
    assert [line.split()[0] for line in lines[3:-1]] == ["20260301-110000-base", "├─", "└─"]
    assert lines[-1].startswith("3 complete, ")
    assert max(map(len, lines)) <= 80


def test_the_tree_has_runs_below_what_they_began_from(runs: Path, daisy: Any) -> None:
    lines = daisy("runs", "checkpoints", "--tree").out.splitlines()
    assert [line[: line.index("0") + 1] for line in lines if "-tuned" in line] == ["   └─ 20"]
    assert [line.split() for line in lines if "nowhere" in line] == [["/nowhere/step_1", "gone"]]


def test_one_run_is_listed_by_its_name(runs: Path, daisy: Any) -> None:
    found = json.loads(daisy("runs", "checkpoints", "tuned", "--json").out)
    (one,) = found
    assert (one["step"], one["tokens"], one["val_loss"], one["links"]) == (5, 1280, 4.0, ["latest", "best"])
    assert (one["run"], one["path"]) == (
        "20260302-110000-tuned",
        "runs/20260302-110000-tuned/checkpoints/step_000000005",
    )
    assert (one["complete"], one["problem"], one["optimizer"]) == (True, None, True)
    ran = daisy("runs", "checkpoints", "nothing")
    assert (ran.code, ran.out) == (1, "")
    assert "'nothing' names no run" in ran.err
    assert daisy("runs", "checkpoints", "orphan").out.startswith("orphan has no checkpoints yet; ")


def test_json_of_the_tree_says_depth_and_kind(runs: Path, daisy: Any) -> None:
    rows = json.loads(daisy("runs", "checkpoints", "--tree", "--json").out)
    assert [(row["depth"], row["kind"]) for row in rows] == [
        (0, "run"),
        (1, "checkpoint"),
        (1, "checkpoint"),
        (2, "run"),
        (3, "checkpoint"),
        (0, "gone"),
        (1, "run"),
    ]
    assert all(row.get("run") for row in rows if row["kind"] == "checkpoint")


def test_nothing_there_is_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, daisy: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert daisy("runs", "checkpoints").out.startswith("no checkpoints in runs or in checkpoints yet; `daisy train`")
    assert json.loads(daisy("runs", "checkpoints", "--json").out) == []


def test_names_and_origins_of_strangers_do_not_act_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, daisy: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = "\x1b[2J\nfake\u202e"
    write_checkpoint(tmp_path / "checkpoints" / evil, exported={"from": f"/x/{evil}"})
    for arguments in ((), ("--tree",)):
        ran = daisy("runs", "checkpoints", *arguments)
        assert ran.code == 0
        assert "\x1b" not in ran.out
        assert "\u202e" not in ran.out
        assert not any(line.startswith("fake") for line in ran.out.splitlines())
