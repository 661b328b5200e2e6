"""A window onto a log: what it holds, how it grows and moves, and what a line tells of its level."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.runs.directory import RunDirectory
from daisy_tui.runs import log_lines
from daisy_tui.runs.log_lines import ALL, ERROR, PLAIN, WARNING, LogView, Wanted, last_stacks, level_of, logs_of


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "rank0.log"


def opened(path: Path, wanted: Wanted = ALL, at: int | None = None) -> LogView:
    view = LogView(path, wanted, at)
    view.refresh()
    return view


def texts(view: LogView) -> list[str]:
    return [line.text for line in view.lines]


def append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def test_lines_come_as_they_are_written_and_a_torn_one_when_it_is_whole(log: Path) -> None:
    view = opened(log)
    assert not texts(view), "there is no file yet"
    append(log, "one\ntwo\nthr")
    assert view.refresh()
    assert texts(view) == ["one", "two"]
    assert not view.refresh()
    append(log, "ee\nfour")
    assert view.refresh()
    assert texts(view) == ["one", "two", "three"]
    assert view.refresh(ended=True), "nobody is left to finish it"
    assert texts(view) == ["one", "two", "three", "four"]
    assert not view.refresh(ended=True)


def test_a_huge_log_opens_from_its_end_and_is_read_back_page_by_page(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", 1 << 12)
    monkeypatch.setattr(log_lines, "_PAGE", 100)
    whole = [f"step {number}" for number in range(5_000)]
    append(log, "\n".join(whole) + "\n")
    view = opened(log)
    assert texts(view)[-1] == "step 4999"
    assert view.begin > log.stat().st_size // 2, "the beginning was not read"
    while not view.begins_at_start:
        assert view.earlier()
    assert texts(view) == whole
    assert not view.earlier()


def test_a_window_holds_no_more_lines_than_it_may_and_moves_instead(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", 1 << 10)
    monkeypatch.setattr(log_lines, "_PAGE", 50)
    monkeypatch.setattr(log_lines, "KEEP_LINES", 300)
    whole = [f"step {number}" for number in range(2_000)]
    append(log, "\n".join(whole) + "\n")
    view = opened(log)
    while not view.begins_at_start:
        view.earlier()
        assert len(view.lines) <= 300
    assert texts(view) == whole[:300], "the end was let go"
    assert not view.is_at_end
    append(log, "step 2000\n")
    assert not view.refresh(), "who looks at the beginning stays there"
    while not view.is_at_end:
        view.later()
        assert len(view.lines) <= 300
    assert texts(view) == [*whole[-299:], "step 2000"]
    assert not view.begins_at_start
    view.earlier()
    assert texts(view)[0] != whole[-299], "what was let go comes again"


@pytest.mark.parametrize("block", [64, 100, 257, 1 << 18])
def test_the_size_of_blocks_changes_neither_lines_nor_levels(
    log: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", block)
    said = "step 1\nTraceback (most recent call last):\n" + '  File "x.py"\n    raise\n' + "ValueError: no\nstep 2\n"
    append(log, said * 20)
    view = opened(log)
    while not view.begins_at_start:
        view.earlier()
    assert [line.level for line in view.lines] == [PLAIN, ERROR, ERROR, ERROR, ERROR, PLAIN] * 20
    data = log.read_bytes()
    assert [data[line.begin : line.end].decode() for line in view.lines] == said.splitlines(keepends=True) * 20


def test_only_wanted_lines_are_shown_and_they_are_looked_for_in_the_whole_log(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", 1 << 10)
    monkeypatch.setattr(log_lines, "_BUDGET", 1 << 12)
    append(log, "Warning: Early\n" + "step\n" * 5_000 + "early bird\nwarning: late\n")
    view = opened(log, Wanted(text="EARLY"))
    assert texts(view) == ["early bird"], "one call reads no more than it may"
    calls = 0
    while not view.begins_at_start:
        view.earlier()
        calls += 1
    assert texts(view) == ["Warning: Early", "early bird"]
    assert calls > 3
    assert texts(opened(log, Wanted(level=WARNING))) == ["warning: late"]
    append(log, "step\nan early one\n")
    assert view.refresh()
    assert texts(view)[-1] == "an early one"
    append(log, "step\n")
    assert not view.refresh()


def test_a_window_opens_around_a_place(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", 1 << 9)
    monkeypatch.setattr(log_lines, "_PAGE", 20)
    whole = [f"step {number}" for number in range(3_000)]
    append(log, "\n".join(whole) + "\n")
    place = log.read_bytes().index(b"step 1500\n")
    view = opened(log, at=place)
    shown = texts(view)
    assert "step 1500" in shown
    assert whole.index(shown[0]) < 1490
    assert whole.index(shown[-1]) > 1510
    assert not view.is_at_end
    assert not view.refresh(), "it does not run after the end of the log"


def test_a_log_that_was_replaced_by_a_shorter_one_is_read_anew(log: Path) -> None:
    append(log, "one\ntwo\n")
    view = opened(log)
    log.write_text("new\n")
    assert view.refresh()
    assert texts(view) == ["new"]
    log.unlink()
    assert view.refresh()
    assert not texts(view)
    log.write_text("again\n")
    assert view.refresh()
    assert texts(view) == ["again"]


def test_a_line_without_end_is_cut_and_no_other_is_lost(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", 1 << 14)
    append(log, "before\n" + "x" * 100_000 + "\nafter\n")
    view = opened(log)
    while not view.begins_at_start:
        view.earlier()
    assert texts(view)[0] == "before"
    assert texts(view)[-1] == "after"
    assert all(len(text) < 2_100 for text in texts(view))
    append(log, "y" * 5_000 + "\n")
    view.refresh()
    assert texts(view)[-1] == "y" * 2_000 + " … (3,000 more)"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"loss \xff\n", "loss \ufffd"),
        (b"\x1b[31mred\x1b[0m\n", "red"),
        (b"\x1b]0;title\x07text\n", "text"),
        (b"bell \x07\n", "bell \\x07"),
        (b" 10%\r 50%\r100%\r\n", "100%"),
        (b"a\tb\n", "a   b"),
        (b"[bold]not markup[/]\n", "[bold]not markup[/]"),
    ],
)
def test_no_line_can_act_on_the_terminal(log: Path, written: bytes, shown: str) -> None:
    log.write_bytes(written)
    assert texts(opened(log)) == [shown]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("step 20  100%  loss 4.4321", PLAIN),
        ("the error of the estimate is small", PLAIN),
        ("no warnings so far", PLAIN),
        ("warning: checkpoint of step 20 not saved: No space left on device", WARNING),
        ("error: shards/x_train_*.bin: no such file", ERROR),
        ("/venv/torch/x.py:12: UserWarning: this is slow", WARNING),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", ERROR),
        ("KeyboardInterrupt", ERROR),
        ("[rank1]:[E1123 14:02:27.000000 4000 ProcessGroupNCCL.cpp:633] timeout", ERROR),
        ("[rank1]: Traceback (most recent call last):", ERROR),
        ("E1123 14:02:27.000000 4000 torch/distributed/elastic/api.py:984] failed", ERROR),
        ("W1123 14:02:27.000000 4000 torch/distributed/run.py:774] OMP_NUM_THREADS", WARNING),
        ("2026-11-23 14:02:27,000 ERROR engine: gone", ERROR),
        ("2026-11-23 14:02:27 warning: late", WARNING),
        ("Fatal Python error: Segmentation fault", ERROR),
    ],
)
def test_a_level_is_told_only_where_a_line_tells_it(text: str, level: str) -> None:
    assert level_of(text) == level


def test_logs_are_those_of_the_ranks_by_number_and_then_the_others(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert logs_of(run) == []
    run.logs.mkdir()
    for name in ("supervisor", "rank10", "torchrun", "rank2", "notes"):
        (run.logs / f"{name}.log").touch()
    assert [path.stem for path in logs_of(run)] == ["rank2", "rank10", "torchrun", "supervisor", "notes"]


def test_the_last_stacks_are_found_from_the_first_thread_on(log: Path) -> None:
    assert last_stacks(log) is None
    stacks = 'Thread 0x01 (most recent call first):\n  File "a.py", line 1 in f\n\n'
    stacks += 'Current thread 0x02 (most recent call first):\n  File "b.py", line 2 in g\n'
    append(log, "step 1\n" + stacks + "step 2\n")
    first = last_stacks(log)
    assert first == len("step 1\n")
    append(log, stacks + "step 3\n" * 10)
    assert last_stacks(log) == len("step 1\n" + stacks + "step 2\n")
    log.write_text("step 1\n")
    assert last_stacks(log) is None
