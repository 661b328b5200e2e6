"""All runs of a folder, at the cost of what has changed; whatever lies there is a row, and nothing is raised."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from made_runs import NOW, log_point

from core.runs.directory import write_object
from daisy_tui.runs.query import parse_query
from daisy_tui.runs.watching import UNREADABLE, RunRow, RunsWatch

MakeRun = Callable[..., Path]
STATES = ("queued", "starting", "running", "stopping", "finished", "stopped", "failed", "lost")
_opened: list[str] | None = None


def _note_opened(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event == "open" and not isinstance(arguments[0], int):  # a descriptor, opened before
        _opened.append(str(arguments[0]))


sys.addaudithook(_note_opened)  # which cannot be taken away again, but sleeps


@contextmanager
def opened() -> Iterator[list[str]]:
    """The files that Python opens in here."""
    global _opened
    _opened = []
    try:
        yield _opened
    finally:
        _opened = None


@pytest.fixture
def watch(tmp_path: Path) -> RunsWatch:
    return RunsWatch(tmp_path / "runs", lambda: NOW)


def _append(run: Path, step: int) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(log_point(step, NOW - 80, 102_400)) + "\n")


def _only(watch: RunsWatch, drawn: tuple[str, ...] = ()) -> RunRow:
    (row,) = watch.look(drawn)
    return row


def test_a_folder_that_is_not_there_has_no_runs(watch: RunsWatch) -> None:
    assert watch.look() == ()
    assert watch.supervisors() == {}


def test_runs_of_every_state_come_newest_first(watch: RunsWatch, make_run: MakeRun) -> None:
    for day, state in enumerate(STATES, 1):
        make_run(state, state, day=day, steps=0 if state in ("queued", "starting") else 40)
    rows = watch.look()
    assert [row.state for row in rows] == [*reversed(STATES)]
    assert [row.name for row in rows] == [*reversed(STATES)]
    assert [row.alive for row in rows] == [row.state in STATES[:4] for row in rows]
    assert set(watch.supervisors()) == {os.getpid()}


def test_a_row_tells_of_a_running_run_what_the_listing_tells(watch: RunsWatch, make_run: MakeRun) -> None:
    path = make_run("demo", "running", steps=40, target_steps=80)
    row = _only(watch)
    assert (row.id, row.path, row.step, row.tokens, row.target_tokens) == (path.name, path, 40, 40_960, 81_920)
    assert (row.progress, row.tokens_per_s, row.mfu, row.eta_s) == (0.5, 512.0, 0.41, 80.0)
    assert (row.devices, row.config, row.stalls) == (("cpu",), "configs/tiny.yml", ())
    assert row.train_loss == pytest.approx(2.1799, abs=1e-3)
    assert row.val_loss == pytest.approx(row.train_loss + 0.1)
    assert watch.row(path.name) is row
    assert watch.row("none") is None


def test_a_rank_that_stands_still_is_told(watch: RunsWatch, make_run: MakeRun) -> None:
    make_run("demo", "running", stalled_s=300.0)
    row = _only(watch)
    assert "rank 0 makes no progress" in row.stalls[0]
    assert parse_query("state:stalled").matches(row.value)
    assert parse_query("state=running").matches(row.value)


def test_a_second_look_at_ended_runs_opens_no_file(watch: RunsWatch, make_run: MakeRun) -> None:
    for day in range(1, 21):
        make_run(f"run{day}", ("finished", "stopped", "failed", "lost")[day % 4], day=day)
    drawn = [row.id for row in watch.look()]
    first = watch.look(drawn)
    assert all(row.sparkline for row in first)
    with opened() as files:
        second = watch.look(drawn)
    assert files == []
    assert all(a is b for a, b in zip(first, second, strict=True)), "and gives the same rows"


def test_a_look_reads_only_the_run_that_changed(watch: RunsWatch, make_run: MakeRun) -> None:
    runs = [make_run(f"run{day}", "stopped", day=day) for day in range(1, 6)]
    before = watch.look()
    _append(runs[2], 41)
    with opened() as files:
        after = watch.look()
    assert {Path(file).parent for file in files} == {runs[2]}
    assert [a is b for a, b in zip(before, after, strict=True)] == [True, True, False, True, True]
    assert after[2].step == 41


def test_a_living_run_is_read_on_from_where_it_was_left(
    watch: RunsWatch, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("demo", "running", steps=9)  # it has never been evaluated, so all its records are looked through
    with (run / "metrics.jsonl").open("w") as file:
        file.writelines(json.dumps(log_point(1, NOW - 80, 102_400)) + "\n" for _ in range(1000))
    watch.look()
    looked_at = list[bytes]()
    from core.runs import summary

    lines_backwards = summary.lines_backwards
    noted = lambda path: (looked_at.append(line) or line for line in lines_backwards(path))  # noqa: E731
    monkeypatch.setattr(summary, "lines_backwards", noted)
    _append(run, 2)
    assert _only(watch).step == 2
    assert len(looked_at) == 2, "the new one, and the last that was known"


def test_a_new_evaluation_counts_and_an_old_one_stays(watch: RunsWatch, make_run: MakeRun) -> None:
    run = make_run("demo", "running", steps=40)
    before = _only(watch)
    _append(run, 41)
    assert (_only(watch).step, _only(watch).val_loss) == (41, before.val_loss)
    _append(run, 50)
    assert _only(watch).val_loss == pytest.approx(2.0492, abs=0.1)
    assert _only(watch).val_loss != before.val_loss


def test_an_evaluation_between_two_log_points_leaves_the_last_one(watch: RunsWatch, make_run: MakeRun) -> None:
    run = make_run("demo", "running", steps=40)
    before = _only(watch)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"time": 1.0, "step": 40, "tokens": 1, "val": {"a": {"loss": 1.25}, "b": {"loss": 1.75}}}\n')
    row = _only(watch)
    assert (row.train_loss, row.val_loss, row.target_tokens) == (before.train_loss, 1.5, before.target_tokens)


def test_a_run_that_ends_is_seen_and_then_left_alone(watch: RunsWatch, make_run: MakeRun) -> None:
    run = make_run("demo", "running")
    assert _only(watch).alive
    write_object(run / "exit.json", {"attempt": 1, "outcome": "failed", "reason": "out of memory"})
    row = _only(watch)
    assert (row.state, row.reason, row.alive, row.mfu) == ("failed", "out of memory", False, None)
    assert watch.supervisors() == {}
    with opened() as files:
        assert _only(watch) is row
    assert files == []


def test_a_run_that_ended_and_goes_on_is_seen(watch: RunsWatch, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("demo", "stopped")
    assert _only(watch).state == "stopped"
    living = make_run("other", "running", day=2)
    launch = json.loads((run / "launch.json").read_text())
    write_object(run / "launch.json", {**launch, "attempt": 2})
    supervisor = json.loads((living / "supervisor.json").read_text())
    write_object(run / "supervisor.json", {**supervisor, "attempt": 2})
    (living / "supervisor.lock").rename(run / "supervisor.lock")
    write_object(run / "heartbeat-0.json", json.loads((living / "heartbeat-0.json").read_text()))
    assert watch.look()[1].state == "running"


def test_runs_appear_and_vanish(watch: RunsWatch, make_run: MakeRun) -> None:
    first = make_run("first", day=1)
    assert [row.name for row in watch.look()] == ["first"]
    make_run("second", day=2)
    assert [row.name for row in watch.look()] == ["second", "first"]
    first.rename(first.parents[1] / "elsewhere")
    assert [row.name for row in watch.look()] == ["second"]


def test_a_run_that_is_being_made_is_not_yet_told(tmp_path: Path) -> None:
    now = [0.0]
    watch = RunsWatch(tmp_path / "runs", lambda: now[0])
    made = tmp_path / "runs" / "20260101-000000-new"
    made.mkdir(parents=True)
    now[0] = made.stat().st_mtime + 1
    assert watch.look() == ()
    (made / "config.yaml").write_text("tags: []\n")
    now[0] = made.stat().st_mtime + 1
    assert watch.look() == (), "it has a config, and waits for its supervisor"
    now[0] += 10
    assert _only(watch).state == "lost"


def test_what_is_no_run_is_a_row_behind_the_runs_that_says_so(watch: RunsWatch, make_run: MakeRun) -> None:
    make_run("demo")
    root = watch.folder
    (root / "zz-photos").mkdir()
    (root / ".hidden").mkdir()
    (root / "a file").touch()
    (root / "zz-gone").symlink_to(root / "nowhere")
    rows = watch.look()
    assert [(row.name, row.state) for row in rows] == [("demo", "finished"), ("zz-photos", UNREADABLE)]
    assert rows[1].reason == "no run: there is no config.yaml in it"


@pytest.mark.parametrize("name", ["run.json", "launch.json", "supervisor.json", "exit.json", "heartbeat-0.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": "x"}', '{"attempt": 1, "pid": [], "host": 3}'])
def test_torn_and_foreign_files_raise_nothing(watch: RunsWatch, make_run: MakeRun, name: str, content: str) -> None:
    run = make_run("demo", "running")
    make_run("well", day=2)
    (run / name).write_text(content)
    rows = watch.look([run.name])
    assert sorted(row.id[16:] for row in rows) == ["demo", "well"]


@pytest.mark.parametrize(
    "lines",
    [
        '{"time": "yesterday", "step": "x", "tokens": [], "train_loss": "low", "val": 3}\n',
        '{"time": null, "step": null, "tokens": null, "train_loss": 1e999, "target_tokens": 0}\n',
        '{"time": 1, "step": 1, "tokens": 5, "train_loss": true, "target_tokens": -5, "eta_s": {}, "mfu": "x"}\n',
        "\x00\x00\x00\n\n\n",
        '{"time": 1, "step": 7',
    ],
)
def test_records_that_no_trainer_wrote_raise_nothing(watch: RunsWatch, make_run: MakeRun, lines: str) -> None:
    run = make_run("demo", "running")
    (run / "metrics.jsonl").write_text(lines)
    (run / "events.jsonl").write_text(lines)
    row = _only(watch, (run.name,))
    assert row.progress is None
    assert row.value("best_val") is None
    assert row.state in ("running", "starting", UNREADABLE)


@pytest.mark.parametrize(
    ("hidden", "reason"),
    [("config.yaml", "this user may not read its config.yaml"), ("", "this user may not look into the folder")],
)
def test_what_may_not_be_read_says_so(
    watch: RunsWatch, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, hidden: str, reason: str
) -> None:
    run = make_run("demo")
    if not hidden:  # of a folder that may not be searched not even this can be told
        (run / "config.yaml").unlink()
    access = os.access  # root, who may run this, may read everything
    monkeypatch.setattr(os, "access", lambda path, mode: path != run / hidden and access(path, mode))
    row = _only(watch)
    assert (row.state, row.reason) == (UNREADABLE, reason)


def test_a_sparkline_comes_when_it_is_asked_for_and_ends_with_the_newest_loss(
    watch: RunsWatch, make_run: MakeRun
) -> None:
    run = make_run("demo", "stopped", steps=40)
    assert _only(watch).sparkline == ()
    row = _only(watch, (run.name,))
    assert len(row.sparkline) > 20
    assert row.sparkline[-1] == row.train_loss
    assert row.sparkline[0] == pytest.approx(5.722, abs=1e-2)
    assert _only(watch) is row, "and stays"
    _append(run, 41)
    assert _only(watch, (run.name,)).sparkline[-1] != row.sparkline[-1]


def test_configs_are_read_when_a_query_asks_for_them_and_once(watch: RunsWatch, make_run: MakeRun) -> None:
    make_run("small", model_dim=128, tags=["baseline"])
    large = make_run("large", model_dim=768, day=2)
    query = parse_query("cfg.model_dim>=768")
    with opened() as files:
        rows = watch.look()
    assert not [file for file in files if file.endswith("config.yaml")]
    with opened() as files:
        assert [row.name for row in rows if query.matches(row.value)] == ["large"]
        assert [row.name for row in rows if parse_query("tag:baseline").matches(row.value)] == ["small"]
    assert len([file for file in files if file.endswith("config.yaml")]) == 2
    write_config = "model_dim: 12\n"
    (large / "config.yaml").write_text(write_config)
    assert not [row for row in watch.look() if query.matches(row.value)], "a config that changed is read again"


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: [", "&a [*a]", "\xff", "a: " + "[" * 5000])
def test_a_config_that_is_none_picks_nothing_and_raises_nothing(
    watch: RunsWatch, make_run: MakeRun, content: str
) -> None:
    run = make_run("demo")
    (run / "config.yaml").write_text(content)
    row = _only(watch)
    assert not parse_query("cfg.model_dim>1").matches(row.value)
    assert not parse_query("tag:x").matches(row.value)


def test_the_best_evaluation_is_the_lowest_of_all_and_is_read_on(watch: RunsWatch, make_run: MakeRun) -> None:
    run = make_run("demo", "stopped", steps=5)

    def evaluated(**losses: float) -> None:
        with (run / "events.jsonl").open("a") as file:
            file.write(json.dumps({"time": 1.0, "event": "eval", "step": 1, "tokens": 9, "val": losses}) + "\n")

    assert _only(watch).value("best_val") is None
    evaluated(a=4.0, b=2.0)
    evaluated(a=9.0)
    assert _only(watch).value("best_val") == 3.0
    evaluated(a=2.5)
    assert _only(watch).value("best_val") == 2.5
    assert parse_query("best<2.6").matches(_only(watch).value)
    (run / "events.jsonl").write_text("")
    assert _only(watch).value("best_val") is None
