"""`daisy runs` and `daisy doctor` on run directories made by hand; this process supervises those that live."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.checkpoint.format import checkpoint_name
from core.checkpoint.retention import Retention
from core.runs import control
from core.runs.directory import RunDirectory, RunError, read_object, write_object
from core.runs.leases import Leases, Wanted
from core.runs.lock import hold
from core.runs.processes import identity
from core.runs.status import KILLED_AT_ONCE, reason_for, run_status
from daisy_tui.checkpoints.pruning import pruning

Make = Callable[..., RunDirectory]
A, B = "20260101-000000-a", "20260201-000000-b"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a run in a state; `finished` and its like have ended, in `running` and its like this process watches."""
    monkeypatch.chdir(tmp_path)

    def made(name: str, state: str = "finished", records: int = 3, **facts: Any) -> RunDirectory:
        run = RunDirectory(Path("runs") / name)
        run.logs.mkdir(parents=True)
        run.config.write_text("target_tokens: 1000\n")
        write_object(run.run, {"id": name, "name": name[16:], "config": "a.yml", "parent": None, **facts})
        write_object(run.launch, {"attempt": 1})
        me = {"pid": os.getpid(), "identity": identity(os.getpid()), "host": platform.node()}
        supervisor = {"attempt": 1, "phase": state, "devices": ["cpu"], "restarts": 0, **me}
        if state in ("finished", "stopped", "failed"):
            write_object(run.exit, {"attempt": 1, "outcome": state, "reason": f"why it {state}"})
        elif state in ("lost", "not waiting"):
            supervisor |= {"identity": "another's", "phase": "queued" if state == "not waiting" else "running"}
        else:
            hold(run)
        write_object(run.supervisor, supervisor)
        if state == "running":
            _beat(run, time.time(), time.time())
        for step in range(1, records + 1):
            figures = {"train_loss": 5.0 - step, "eta_s": 61.0, "tokens_per_s": 10.0, "lr": {"head_params": 0.5}}
            run.append(run.metrics, {"time": float(step), "step": step, "tokens": 100 * step, **figures})
        if records:
            val = {"val": {"loss": 2.5, "ppl": 12.2, "bpb": 1.0}}
            run.append(run.metrics, {"time": 9.0, "step": records, "tokens": 100 * records, "val": val})
            event = {"time": 1.0, "event": "warning", "step": 1, "tokens": 100, "message": "something is odd"}
            run.append(run.events, event)
        return run

    return made


def _beat(run: RunDirectory, written: float, progress: float, rank: int = 0) -> None:
    me = {"rank": rank, "pid": os.getpid(), "identity": identity(os.getpid())}
    values = {"time": written, "phase": "step", "step": 3, "progress": progress, "median_step_s": 0.1}
    write_object(run.path / f"heartbeat-{rank}.json", me | values)


def _checkpoint(run: RunDirectory, step: int, val_loss: float | None = None) -> Path:
    """A complete checkpoint, as far as anybody can tell who does not load it."""
    folder = run.checkpoints / checkpoint_name(step)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    (folder / "meta.json").write_text(json.dumps({"step": step, "tokens": 100 * step, "val_loss": val_loss}))
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    entries = {n: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for n, data in contents.items()}
    (folder / "manifest.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture
def rank_0() -> Iterator[Callable[[RunDirectory, Callable[[control.Request], None]], None]]:
    """Let a thread take the next request to a run."""
    threads, ended = [], threading.Event()

    def take(run: RunDirectory, answer: Callable[[control.Request], None]) -> None:
        for request in control.pending(run):
            answer(request)
            return
        if not ended.wait(0.01):
            take_later(run, answer)

    def take_later(run: RunDirectory, answer: Callable[[control.Request], None]) -> None:
        threads.append(threading.Timer(0.01, take, (run, answer)))
        threads[-1].start()

    yield take_later
    ended.set()
    for thread in threads:
        thread.join()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_no_runs_are_a_hint_and_an_empty_list(make: Make, daisy: Any) -> None:
    assert "`daisy train demo` makes one" in daisy("runs", "list").out
    assert json.loads(daisy("runs", "list", "--json").out) == []


def test_runs_are_listed_newest_first_with_their_states(make: Make, daisy: Any) -> None:
    make(A)
    make(B, "running")
    make("20260301-000000-c", "not waiting", records=0)
    listed = json.loads(daisy("runs", "list", "--json").out)
    assert [(run["name"], run["state"], run["alive"]) for run in listed] == [
        ("c", "queued", False),
        ("b", "running", True),
        ("a", "finished", False),
    ]
    contract = {"id", "name", "state", "step", "tokens", "train_loss", "val_loss", "eta_s", "devices", "config"}
    assert all(contract <= run.keys() for run in listed)
    assert (listed[1]["step"], listed[1]["train_loss"], listed[1]["val_loss"], listed[1]["eta_s"]) == (3, 2.0, 2.5, 61)
    rows = daisy("runs", "list").out.splitlines()
    assert rows[1].split()[:4] == ["○", "20260301-000000-c", "queued,", "not"]
    assert rows[2].split() == ["●", B, "running", "3", "300", "2.0000", "2.5000", "1:01", "cpu"]
    assert rows[3].split() == ["✓", A, "finished", "3", "300", "2.0000", "2.5000", "-"]


@pytest.mark.parametrize("name", [B, "b", "2026020", "latest", f"runs/{B}"])
def test_a_run_has_many_names(make: Make, daisy: Any, name: str) -> None:
    for run, started in ((make(A), 100), (make(B), 200)):
        os.utime(run.launch, (started, started))
    assert json.loads(daisy("runs", "show", name, "--json").out)["id"] == B


def test_a_name_of_no_run_or_of_several_says_which_there_are(make: Make, daisy: Any) -> None:
    make(A)
    make(B)
    for name, said in (("nope", "names no run"), ("2026", "names several runs")):
        ran = daisy("runs", "show", name)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == f"error: '{name}' {said} in runs; there are: {A}, {B}\n"


def test_show_tells_the_state_its_reason_and_what_to_do_next(make: Make, daisy: Any) -> None:
    run = make(A, "stopped")
    _checkpoint(run, 2)
    shown = daisy("runs", "show", "a").out
    for line in ("stopped: why it stopped", "300", "2.0000", "2.5000", "a.yml", "the last step_000000002"):
        assert line in shown
    assert "warning: something is odd" in shown
    assert shown.rstrip().endswith(f"daisy train --resume {A}")
    facts = json.loads(daisy("runs", "show", "a", "--json").out)
    assert facts["checkpoints"] == ["step_000000002"]
    assert facts["checkpoint_bytes"] > 1000
    assert facts["events"][0]["message"] == "something is odd"
    make(B, "running")
    assert daisy("runs", "show", "b").out.rstrip().endswith(f"daisy runs stop {B}")


def test_show_names_the_rank_that_hangs_before_those_that_wait_for_it(make: Make, daisy: Any) -> None:
    run, now = make(A, "running"), time.time()
    _beat(run, now, now - 100, rank=0)
    _beat(run, now - 90, now - 95, rank=1)
    shown = daisy("runs", "show", "a").out
    stalled = [line for line in shown.splitlines() if "stalled: " in line]
    assert "rank 1 is silent (stopped, or its machine hangs) in phase step for 9" in stalled[0]
    assert "rank 0 makes no progress in phase step for 10" in stalled[1]
    assert "--stacks" in shown
    assert "running, stalled" in daisy("runs", "list").out
    facts = json.loads(daisy("runs", "show", "a", "--json").out)
    assert [beat["rank"] for beat in facts["heartbeats"]] == [0, 1]
    assert facts["stalls"][0].startswith("rank 1 is silent")
    assert json.loads(daisy("runs", "list", "--json").out)[0]["stalls"][0].startswith("rank 1 is silent")


def _ranks_ended(run: RunDirectory) -> None:
    """Have no rank of a run live any more, while its supervisor does."""
    _beat(run, time.time() - 58, time.time() - 58)
    beat = read_object(run.path / "heartbeat-0.json")
    write_object(run.path / "heartbeat-0.json", beat | {"identity": "another's"})
    os.utime(run.supervisor, (time.time() - 58,) * 2)


def test_a_run_whose_ranks_have_ended_is_told_in_the_same_words_everywhere_and_nobody_waits(
    make: Make, daisy: Any
) -> None:
    run = make(A, "running")
    _ranks_ended(run)
    said = "its ranks have ended and its supervisor has not written how (nothing was heard for 58 s)"
    assert "running, stalled" in daisy("runs", "list").out
    (facts,) = json.loads(daisy("runs", "list", "--json").out)
    assert (facts["state"], facts["stalls"]) == ("running", [said])
    assert (facts["eta_s"], facts["tokens_per_s"], facts["mfu"]) == (None, None, None)
    shown = daisy("runs", "show", "a").out
    assert f"stalled: {said}" in shown
    assert "--stacks" not in shown
    assert shown.rstrip().endswith(f"wake its supervisor if that is stopped (kill -CONT {os.getpid()})")
    for command in (("stop", "a", "--now"), ("stop", "a", "--no-wait"), ("save", "a"), ("set", "a", "lr_scale=0.5")):
        ran = daisy("runs", *command)
        assert ran.code == 1, command
        assert said in ran.err
        assert "make room on its disk" in ran.err
    assert control.stop_request(run) is not None, "one that is woken stops"


def test_of_what_is_stalled_no_speed_and_no_eta_is_told(make: Make, daisy: Any) -> None:
    run, now = make(A, "running"), time.time()
    assert json.loads(daisy("runs", "list", "--json").out)[0]["eta_s"] == 61
    _beat(run, now, now - 65)
    assert "ETA" not in daisy("runs", "show", "a").out
    (facts,) = json.loads(daisy("runs", "list", "--json").out)
    assert (facts["eta_s"], facts["tokens_per_s"], len(facts["stalls"])) == (None, None, 1)


def test_a_start_after_the_first_is_said_to_be_the_last_one(make: Make, daisy: Any) -> None:
    run = make(A)
    assert "  started  " in daisy("runs", "show", "a").out
    for path in (run.launch, run.supervisor, run.exit):
        write_object(path, read_object(path) | {"attempt": 2})
    assert "  last started  " in daisy("runs", "show", "a").out


def test_a_folder_that_is_no_run_is_listed_as_one_that_cannot_be_read(make: Make, daisy: Any) -> None:
    make(A)
    for folder in ("runs/photos", "runs/.hidden", "runs/new"):
        Path(folder).mkdir()
    Path("runs/file").touch()
    os.utime("runs/photos", (1.0, 1.0))
    listed = json.loads(daisy("runs", "list", "--json").out)
    why = "no run: there is no config.yaml in it"
    assert [(run["id"], run["state"], run["reason"]) for run in listed[1:]] == [("photos", "unreadable", why)]
    ran = daisy("runs", "list")
    assert "unreadable" in ran.out
    assert ran.err == f"photos: {why}\n"
    assert daisy("runs", "show", "photos").err == f"error: runs/photos: {why}\n"


@pytest.mark.parametrize("kind", ["file", "loop", "nowhere"])
def test_what_is_in_the_place_of_the_runs_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, daisy: Any, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "file":
        Path("runs").touch()
    else:
        Path("runs").symlink_to("runs" if kind == "loop" else "elsewhere")
    for command in (("list",), ("show", "x")):
        ran = daisy("runs", *command)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == "error: runs: it is no folder, and runs are kept in a folder of this name; move it away\n"


def test_a_command_that_cannot_be_typed_is_not_advised(make: Make, daisy: Any) -> None:
    make("20260101-000000-esc\x1b[31m")
    make("20260201-000000-two words")
    shown = daisy("runs", "show", "esc\x1b[31m").out
    assert "daisy " not in shown
    assert "rename its folder" in shown
    assert "daisy sample '20260201-000000-two words'" in daisy("runs", "show", "two words").out


def test_stacks_are_those_of_ranks_that_live(make: Make, daisy: Any) -> None:
    make(A)
    ran = daisy("runs", "show", "a", "--stacks")
    assert (ran.code, ran.err) == (1, f"error: runs/{A}: no rank of it lives on this machine\n")


def test_logs_are_shown_searched_and_cannot_act_on_the_terminal(make: Make, daisy: Any) -> None:
    run = make(A)
    (run.logs / "rank0.log").write_text("step 1\nstep 2 \x1b[31m\n")
    (run.logs / "rank1.log").write_bytes(b"other \xff")
    assert daisy("runs", "logs", "a").out == "step 1\nstep 2 \\x1b[31m\n"
    assert daisy("runs", "logs", "a", "--follow").out == "step 1\nstep 2 \\x1b[31m\n", "it has ended"
    assert daisy("runs", "logs", "a", "--grep", "p 1$").out == "step 1\n"
    assert daisy("runs", "logs", "a", "--rank", "1").out == "other \ufffd\n"
    lines = daisy("runs", "logs", "a", "--json").out.splitlines()
    assert json.loads(lines[0]) == {"rank": 0, "line": "step 1"}
    missing = daisy("runs", "logs", "a", "--rank", "2")
    assert missing.code == 1
    assert f"there are: runs/{A}/logs/rank0.log, runs/{A}/logs/rank1.log" in missing.err
    assert daisy("runs", "logs", "a", "--grep", "(").code == 2


@pytest.mark.parametrize(
    ("options", "now", "grace"), [([], False, None), (["--now"], True, None), (["--grace", "5"], False, 5.0)]
)
def test_a_stop_is_asked_for(make: Make, daisy: Any, options: list[str], now: bool, grace: float | None) -> None:
    run = make(A, "running")
    ran = daisy("runs", "stop", "a", "--no-wait", *options)
    assert (ran.code, ran.out) == (0, f"{A}: asked to stop\n")
    asked = control.stop_request(run)
    assert asked is not None
    assert (asked["now"], asked.get("grace_s")) == (now, grace)


def test_a_run_that_has_ended_answers_nothing(make: Make, daisy: Any) -> None:
    make(A)
    make(B, "stopped")
    for command in (["stop"], ["save"], ["eval"], ["set", "lr_scale=0.5"]):
        ran = daisy("runs", command[0], "a", *command[1:])
        assert (ran.code, ran.out) == (1, "")
        longer = f"`daisy train --resume {A} target_tokens=…` trains it longer"
        assert ran.err == f"error: runs/{A}: has finished; {longer}\n"
        ran = daisy("runs", command[0], "b", *command[1:])
        assert ran.err == f"error: runs/{B}: is stopped, so nobody answers; `daisy runs resume {B}` goes on\n"
    assert not Path("runs", A, "control").exists()
    make("20260301-000000-c", "queued")
    assert "is queued, and save is for a run that trains" in daisy("runs", "save", "c").err


@pytest.mark.parametrize("values", [["lr_scale"], ["=0.5"], ["lr_scale=0.5", "seed"], []])
def test_values_that_are_no_values_are_bad_usage(make: Make, daisy: Any, values: list[str]) -> None:
    run = make(A, "running")
    assert daisy("runs", "set", "a", *values).code == 2
    assert not control.is_pending(run)


def test_a_request_waits_for_its_answer(make: Make, daisy: Any, rank_0: Any) -> None:
    run = make(A, "running")
    asked: list[control.Request] = []

    def says(answer: str) -> Callable[[control.Request], None]:
        def respond(request: control.Request) -> None:
            asked.append(request)
            run.append(run.events, {"time": 1.0, "event": "request", "id": "another's", "step": 1, "answer": "no"})
            event = {"time": 2.0, "event": "request", "id": request.id, "step": 1200, "answer": answer}
            control.answered(run, request)
            run.append(run.events, event)

        return respond

    rank_0(run, says("done: lr_scale=0.5, tags=a=b"))
    ran = daisy("runs", "set", "a", "lr_scale=0.5", "--", "--tags=a=b")
    assert (ran.code, ran.out) == (0, f"{A}: step 1,200: set done: lr_scale=0.5, tags=a=b\n")
    assert (asked[0].what, asked[0].values) == ("set", {"lr_scale": "0.5", "tags": "a=b"})
    rank_0(run, says("done"))
    answer = json.loads(daisy("runs", "eval", "a", "--json").out)
    assert (asked[1].what, answer["step"], answer["answer"]) == ("eval", 1200, "done")
    rank_0(run, says("refused: no validation shards"))
    ran = daisy("runs", "eval", "a")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: {A}: eval refused: no validation shards\n"


def test_a_save_is_done_once_its_checkpoint_is_whole(make: Make, daisy: Any, rank_0: Any) -> None:
    run = make(A, "running")

    def begins(request: control.Request) -> None:
        event = {"time": 2.0, "event": "request", "id": request.id, "step": 12, "answer": "begun"}
        control.answered(run, request)
        run.append(run.events, event)
        run.append(run.events, {"time": 3.0, "event": "checkpoint", "step": 12, "path": "step_000000012"})

    rank_0(run, begins)
    assert daisy("runs", "save", "a").out == f"{A}: step 12: save done: step_000000012\n"

    def fails(request: control.Request) -> None:
        run.append(run.events, {"time": 2.0, "event": "request", "id": request.id, "step": 14, "answer": "begun"})
        run.append(run.events, {"time": 3.0, "event": "warning", "step": 14, "message": "the disk is full"})

    rank_0(run, fails)
    ran = daisy("runs", "save", "a")
    assert (ran.code, ran.err) == (1, f"error: runs/{A}: the disk is full\n")


def test_a_run_that_ends_before_it_answers_is_told_and_the_request_is_taken_back(
    make: Make, daisy: Any, rank_0: Any
) -> None:
    run = make(A, "running")
    rank_0(run, lambda _: write_object(run.exit, {"attempt": 1, "outcome": "finished", "reason": "done"}))
    ran = daisy("runs", "save", "a")
    assert (ran.code, ran.err) == (1, f"error: runs/{A}: ended before it answered\n")
    assert not control.is_pending(run)


def test_a_run_that_somebody_else_killed_was_not_killed_as_this_one_asked(make: Make, daisy: Any) -> None:
    run = make(A, "running")
    write_object(run.exit, {"attempt": 1, "outcome": "stopped", "reason": KILLED_AT_ONCE})
    status = run_status(run)
    assert reason_for(status, asked_to_kill=True) == "killed at once, as asked"
    assert reason_for(status, asked_to_kill=False) == "killed at once, as somebody else asked"
    assert reason_for(status._replace(reason="x"), asked_to_kill=False) == "x"


@pytest.mark.parametrize(("options", "who"), [([], "somebody else asked"), (["--now"], "asked")])
def test_a_stop_says_whether_it_was_the_one_that_killed(
    make: Make, daisy: Any, monkeypatch: pytest.MonkeyPatch, options: list[str], who: str
) -> None:
    run = make(A, "running")
    monkeypatch.setattr(control, "stop", lambda *_, **__: write_object(run.exit, ended))
    ended = {"attempt": 1, "outcome": "stopped", "reason": KILLED_AT_ONCE}
    assert f"{A}: stopped: killed at once, as {who}\n" in daisy("runs", "stop", "a", *options).out


def test_pruning_keeps_the_last_the_best_and_what_another_run_began_from(make: Make, daisy: Any) -> None:
    run = make(A)
    steps = {step: _checkpoint(run, step, val) for step, val in ((1, 4.0), (2, 2.0), (3, 3.0), (4, None), (5, 2.5))}
    make(B, parent=str(steps[3].resolve()))
    unfinished = run.checkpoints / "step_000000006"
    unfinished.mkdir()
    (run.checkpoints / "latest").symlink_to(steps[5].name)
    (run.checkpoints / "best").symlink_to(steps[2].name)
    before = _names(run.checkpoints)
    frees = sum(path.stat().st_size for step in (1, 4) for path in steps[step].iterdir())
    going = {"going": [steps[1].name, steps[4].name], "frees": frees, "kept_for_others": [steps[3].name]}
    assert json.loads(daisy("runs", "prune", "a", "--dry-run", "--json").out) == going
    asked = daisy("runs", "prune", "a")
    assert (asked.code, asked.err) == (1, "error: nothing was removed; --yes removes them without asking\n")
    assert _names(run.checkpoints) == before
    ran = daisy("runs", "prune", "a", "--yes")
    assert ran.code == 0
    assert "2 checkpoints may go, which frees" in ran.out
    assert f"{steps[3].name} stays: another run began from it" in ran.out
    assert f"{unfinished} is no complete checkpoint and is left alone" in ran.out
    assert _names(run.checkpoints) == [name for name in before if name not in (steps[1].name, steps[4].name)]
    assert (run.checkpoints / "latest").exists()
    assert (run.checkpoints / "best").exists()
    assert json.loads(daisy("runs", "prune", "a", "--dry-run", "--json").out)["going"] == []


def test_pruning_keeps_as_many_as_it_is_told(make: Make) -> None:
    run = make(A)
    for step, val in ((1, 1.0), (2, 2.0), (3, None), (4, 3.0), (5, None), (6, None)):
        _checkpoint(run, step, val)

    def kept(**retention: int) -> list[int]:
        going = {saved.step for saved in pruning(run, Retention(**retention), [run]).going}
        return [step for step in range(1, 7) if step not in going]

    assert kept(keep_last=1, keep_best=1) == [1, 6]
    assert kept(keep_last=3, keep_best=2) == [1, 2, 4, 5, 6]
    assert kept(keep_last=1, keep_best=1, keep_every=200) == [1, 2, 4, 6]


def test_a_run_that_trains_is_not_pruned(make: Make, daisy: Any) -> None:
    run = make(A, "running")
    for step in (1, 2):
        _checkpoint(run, step)
    ran = daisy("runs", "prune", "a", "--yes")
    assert (ran.code, ran.out) == (1, "")
    assert "trains; stop it first" in ran.err
    assert daisy("runs", "prune", "a", "--dry-run").code == 0
    assert len(_names(run.checkpoints)) == 2


def test_metrics_become_a_table_or_lines(make: Make, daisy: Any) -> None:
    make(A)
    assert daisy("runs", "export", "a", "--out", "a.csv").code == 0
    with Path("a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["train_loss"] for row in rows] == ["4.0", "3.0", "2.0", ""]
    assert [row["lr.head_params"] for row in rows] == ["0.5", "0.5", "0.5", ""]
    assert rows[3]["val.val.loss"] == "2.5"
    assert json.loads(daisy("runs", "export", "a", "--out", "a.jsonl", "--json").out)["out"] == "a.jsonl"
    records = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3, 3]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("none", []),
        ("latest", ["latest", "step_000000003"]),
        ("best", ["best", "step_000000002"]),
        ("all", ["best", "latest", "step_000000001", "step_000000002", "step_000000003"]),
    ],
)
def test_an_archive_has_the_checkpoints_that_were_named(
    make: Make, daisy: Any, tmp_path: Path, which: str, expected: list[str]
) -> None:
    run = make(A)
    steps = [_checkpoint(run, step) for step in (1, 2, 3)]
    (run.checkpoints / "latest").symlink_to(steps[2].name)
    (run.checkpoints / "best").symlink_to(steps[1].name)
    (run.checkpoints / "step_000000009").mkdir()
    assert daisy("runs", "export", "a", "--out", "a.tar.gz", "--checkpoints", which).code == 0
    with tarfile.open("a.tar.gz") as archive:
        archive.extractall(tmp_path / "out", filter="data")
    there = tmp_path / "out" / A
    assert (there / "metrics.jsonl").read_bytes() == run.metrics.read_bytes()
    found = _names(there / "checkpoints") if (there / "checkpoints").exists() else []
    assert found == expected
    assert all((there / "checkpoints" / name / "manifest.json").exists() for name in found)


def test_an_export_that_cannot_be_written_leaves_nothing_and_overwrites_nothing(make: Make, daisy: Any) -> None:
    make(A)
    Path("there.csv").write_text("mine")
    for out, code, said in (
        ("there.csv", 1, "exists already; name another"),
        ("a.txt", 2, "its name says what it becomes"),
        ("nowhere/a.csv", 1, "cannot be written: No such file or directory"),
    ):
        ran = daisy("runs", "export", "a", "--out", out)
        assert ran.code == code
        assert said in ran.err
    ran = daisy("runs", "export", "a", "--out", "a.tar.gz", "--checkpoints", "best")
    assert (ran.code, ran.err) == (1, f"error: runs/{A}/checkpoints/best: this run has none\n")
    assert Path("there.csv").read_text() == "mine"
    assert sorted(path.name for path in Path().iterdir()) == ["runs", "there.csv"]


@pytest.fixture
def leases() -> Iterator[Leases]:
    found = Leases(Path(os.environ["DAISY_LEASES"]))
    yield found
    found.release()


def _wait(leases: Leases, run: RunDirectory, devices: tuple[str, ...] = ("cpu",)) -> None:
    details = {"run": str(run.path.resolve()), "pid": os.getpid(), "user": "me"}
    leases.wait(f"1-{run.path.name}", Wanted(devices, 1), details)


def _queued(daisy: Any) -> list[str]:
    return [Path(place["run"]).name[16:] for place in json.loads(daisy("runs", "queue", "--json").out)["queue"]]


def test_the_queue_shows_who_waits_for_what_and_who_has_it(make: Make, daisy: Any, leases: Leases) -> None:
    assert daisy("runs", "queue").out == "the queue is empty\n"
    leases.take(Wanted(("cpu",), 1), {"run": "/runs/owner", "pid": 42, "user": "somebody"})
    _wait(leases, make(A, "queued"), ("cpu", "GPU-a"))
    gone = Leases(leases.folder)
    _wait(gone, make(B, "not waiting"))
    gone.release()
    lines = daisy("runs", "queue").out.splitlines()
    assert lines == [
        "cpu: /runs/owner (process 42, user somebody)",
        f"1. {A}  wants 1 of cpu, GPU-a",
        f"2. {B}  wants 1 of cpu  not waiting: `daisy train --resume {B} --queue` starts it again",
    ]
    shown = json.loads(daisy("runs", "queue", "--json").out)
    assert shown["owners"] == {"cpu": {"run": "/runs/owner", "pid": 42, "user": "somebody"}}
    assert [(place["devices"], place["waiting"]) for place in shown["queue"]] == [
        (["cpu", "GPU-a"], True),
        (["cpu"], False),
    ]


def test_runs_move_in_the_queue(make: Make, daisy: Any, leases: Leases) -> None:
    for name in (A, B, "20260301-000000-c"):
        _wait(leases, make(name, "queued"))
    assert daisy("runs", "queue", "--move", "c", "1").code == 0
    assert _queued(daisy) == ["c", "a", "b"]
    for place in ("first", "-1", "²", "0", "4"):
        assert daisy("runs", "queue", "--move", "b", place).code == 2, place
    ran = daisy("runs", "queue", "--move", "nope", "1")
    assert (ran.code, ran.out) == (1, "")
    assert "'nope' names no run in the queue; there are: " in ran.err


@pytest.mark.parametrize("name", [B, "b", "2026020", "latest", f"runs/{B}"])
def test_a_run_in_the_queue_has_its_usual_names(make: Make, daisy: Any, leases: Leases, name: str) -> None:
    for run_id, started in ((A, 100), (B, 200)):
        run = make(run_id, "queued")
        os.utime(run.launch, (started, started))
        _wait(leases, run)
    ran = daisy("runs", "queue", "--move", name, "1")
    assert ran.code == 0, ran.err
    assert _queued(daisy) == ["b", "a"]


def test_a_cancelled_run_leaves_the_queue_and_one_that_is_gone_is_cleared_away(
    make: Make, daisy: Any, leases: Leases
) -> None:
    waiting, gone = make(A, "queued"), Leases(leases.folder)
    _wait(gone, make(B, "not waiting"))
    gone.release()
    _wait(leases, waiting)
    assert daisy("runs", "queue", "--cancel", "b").code == 0
    assert _queued(daisy) == ["a"]
    (cancelled,) = (run for run in json.loads(daisy("runs", "list", "--json").out) if run["name"] == "b")
    assert (cancelled["state"], cancelled["alive"]) == ("stopped", False)
    make("20260301-000000-c", "not waiting")
    assert "stopped: cancelled in the queue" in daisy("runs", "stop", "c").out

    def supervise() -> None:
        if control.stop_request(waiting) is None:
            if not over.is_set():
                threading.Timer(0.01, supervise).start()
            return
        write_object(waiting.exit, {"attempt": 1, "outcome": "stopped", "reason": "cancelled"})

    over = threading.Event()
    supervise()
    try:
        assert daisy("runs", "queue", "--cancel", "a").code == 0
    finally:
        over.set()
    assert _queued(daisy) == []
    assert json.loads(daisy("runs", "list", "--json").out)[1]["state"] == "stopped"


def test_the_doctor_looks_at_everything_and_its_code_says_whether_something_would_fail(daisy: Any) -> None:
    ran = daisy("doctor", "--json")
    findings = json.loads(ran.out)
    assert {"python", "torch", "compiler", "memory", "disk", "leases"} <= {finding["what"] for finding in findings}
    assert all(finding.keys() == {"what", "verdict", "found", "mend"} for finding in findings)
    assert {finding["verdict"] for finding in findings} <= {"ok", "note", "problem"}
    assert ran.code == int(any(finding["verdict"] == "problem" for finding in findings))
    page = daisy("doctor")
    assert page.code == ran.code
    assert len(page.out.splitlines()) == len(findings)


def test_the_doctor_tells_who_has_a_device(daisy: Any, leases: Leases) -> None:
    leases.take(Wanted(("cpu",), 1), {"run": "/runs/owner", "pid": 42, "user": "somebody"})
    findings = {finding["what"].strip(): finding for finding in json.loads(daisy("doctor", "--json").out)}
    assert findings["leases"]["found"].endswith("; 1 devices in use, 0 waiting")
    assert findings["cpu"]["found"] == "/runs/owner (process 42, user somebody)"


def test_the_doctor_finds_what_would_fail_and_says_how_to_mend_it(
    daisy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("DAISY_LEASES", str(tmp_path / "a file/leases"))
    monkeypatch.setattr("daisy_tui.machine._NEEDED", ("torch", "no-such-package"))
    monkeypatch.setattr("daisy_tui.machine._LEAST_DISK", 1 << 62)
    ran = daisy("doctor", "--json")
    found = {finding["what"]: finding for finding in json.loads(ran.out)}
    assert ran.code == 1
    assert (found["leases"]["verdict"], found["no-such-package"]["verdict"]) == ("problem", "problem")
    assert found["no-such-package"]["mend"] == "pip install no-such-package"
    assert (found["disk"]["verdict"], found["disk"]["mend"]) == ("note", "`daisy runs prune` frees checkpoints")


def test_a_run_directory_of_another_program_breaks_no_listing(make: Make, daisy: Any) -> None:
    make(A)
    strange = make(B)
    for path in (strange.run, strange.launch, strange.supervisor, strange.exit, strange.metrics, strange.events):
        path.write_bytes(b"\xff[] 3")
    listed = json.loads(daisy("runs", "list", "--json").out)
    assert [(run["id"], run["state"]) for run in listed] == [(B, "lost"), (A, "finished")]
    assert read_object(RunDirectory(Path("runs") / A).exit)["outcome"] == "finished"


def test_a_run_named_by_a_link_or_as_here_is_exported_whole_without_its_checkpoints(
    make: Make, daisy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(A)
    _checkpoint(run, 1)
    (tmp_path / "link").symlink_to(run.path.resolve())
    monkeypatch.chdir(run.path)
    for name, out in (("../../link", "l.tar.gz"), (".", "h.tar.gz")):
        assert daisy("runs", "export", name, "--out", f"../../{out}").code == 0
        with tarfile.open(tmp_path / out) as archive:
            names = archive.getnames()
        assert f"{A}/metrics.jsonl" in names
        assert not [name for name in names if "safetensors" in name]
    assert daisy("runs", "export", ".", "--out", "x.csv", "--checkpoints", "all").code == 2


def test_steps_that_were_repeated_are_in_a_table_once(make: Make, daisy: Any) -> None:
    run = make(A, records=4)
    for step in (3, 4, 5):
        run.append(run.metrics, {"time": 20.0, "step": step, "tokens": 100 * step, "train_loss": 1.0})
    assert daisy("runs", "export", "a", "--out", "t.csv").code == 0
    with Path("t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["train_loss"] for row in rows][2:] == ["1.0"] * 3


def test_nothing_is_pruned_where_the_checkpoint_that_stays_is_damaged(make: Make, daisy: Any) -> None:
    run = make(A)
    steps = [_checkpoint(run, step) for step in (1, 2, 3)]
    (steps[2] / "model.safetensors").write_bytes(b"y" * 1000)
    ran = daisy("runs", "prune", "a", "--yes")
    assert ran.code == 1
    assert "step_000000003/model.safetensors: its content differs from the manifest's hash" in ran.err
    assert all(step.exists() for step in steps)


def test_a_run_that_is_pruned_from_elsewhere_keeps_what_its_neighbours_began_from(
    make: Make, daisy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(A)
    steps = [_checkpoint(run, step) for step in (1, 2, 3)]
    make(B, parent=str(steps[0].resolve()))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert daisy("runs", "prune", f"../runs/{A}", "--yes").code == 0
    monkeypatch.chdir(tmp_path)
    assert [step.exists() for step in steps] == [True, False, True]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("exit.json", '{"attempt": 1}'),
        ("heartbeat-0.json", "{}"),
        ("metrics.jsonl", '{"train_loss": "x", "val": 3}\n{"val": {"a": 3}}\n'),
        ("events.jsonl", "{}\n"),
        ("run.json", '{"devices": null}'),
        ("supervisor.json", "{}"),
        ("peaks.json", "[]"),
    ],
)
def test_one_damaged_file_keeps_nobody_from_seeing_the_runs(make: Make, daisy: Any, file: str, content: str) -> None:
    run = make(A, "running")
    make(B)
    if file == "heartbeat-0.json":
        content = json.dumps({"pid": os.getpid(), "identity": identity(os.getpid())})
    (run.path / file).write_text(content)
    assert [found["id"] for found in json.loads(daisy("runs", "list", "--json").out)] == [B, A]
    assert daisy("runs", "show", "a").code == 0


@pytest.mark.parametrize("seconds", ["nan", "inf", "0"])
def test_a_grace_time_is_a_number_of_seconds(make: Make, daisy: Any, seconds: str) -> None:
    make(A, "running")
    assert daisy("runs", "stop", "a", "--grace", seconds).code == 2


def test_a_request_that_cannot_be_written_becomes_a_signal(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run, sent = make(A, "running"), []

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(control, "ask_stop", full)
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    control.stop(run)
    control.stop(run, now=True)
    assert sent == [(os.getpid(), signal.SIGTERM)] * 3
    write_object(run.supervisor, {"pid": os.getpid(), "identity": "another's", "host": platform.node()})
    with pytest.raises(RunError, match="control: cannot be written: No space left on device"):
        control.stop(run)
