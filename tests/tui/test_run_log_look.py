"""The logs of a run as a screen wants them: which one, what of it, around which place."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.runs.directory import RunDirectory
from daisy_tui.runs import log_lines
from daisy_tui.runs.log_lines import ERROR, Wanted
from daisy_tui.runs.log_look import EARLIER, LATER, LogLook, LogReader, LogWish


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "logs").mkdir()
    return RunDirectory(tmp_path)


def write(run: RunDirectory, name: str, text: str) -> None:
    with (run.logs / f"{name}.log").open("a") as file:
        file.write(text)


def seen(look: LogLook | None) -> LogLook:
    assert look is not None
    return look


def texts(look: LogLook | None) -> list[str]:
    return [line.text for line in seen(look).lines]


def test_the_first_log_is_shown_until_another_is_wished(run: RunDirectory) -> None:
    reader = LogReader(run)
    assert seen(reader.look(LogWish())).name is None, "there are none yet"
    write(run, "rank1", "one\n")
    assert texts(reader.look(LogWish())) == ["one"]
    write(run, "rank0", "zero\n")
    look = seen(reader.look(LogWish()))
    assert (look.name, look.names) == ("rank0", ("rank0", "rank1"))
    assert texts(reader.look(LogWish("rank1"))) == ["one"]
    assert texts(reader.look(LogWish("rank7"))) == ["zero"], "which is not there"


def test_a_look_that_brings_nothing_says_so(run: RunDirectory) -> None:
    write(run, "rank0", "one\n")
    reader = LogReader(run)
    assert reader.look(LogWish()) is not None
    assert reader.look(LogWish()) is None
    write(run, "rank0", "two\n")
    assert texts(reader.look(LogWish())) == ["one", "two"]
    assert texts(reader.look(LogWish(number=1))) == ["one", "two"], "another wish is answered whatever it is"
    write(run, "rank1", "")
    assert seen(reader.look(LogWish(number=1))).names == ("rank0", "rank1")


def test_a_search_goes_on_until_it_has_found_enough(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", 1 << 10)
    monkeypatch.setattr(log_lines, "_BUDGET", 1 << 12)
    write(run, "rank0", "error: first\n" + "step\n" * 3_000 + "error: last\n")
    reader = LogReader(run)
    wish = LogWish(wanted=Wanted(level=ERROR))
    look = seen(reader.look(wish))
    assert look.searches
    while look.searches:
        look = seen(reader.look(wish, EARLIER))
    assert texts(look) == ["error: first", "error: last"]


def test_a_line_is_found_again_in_a_window_that_moved(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", 1 << 9)
    monkeypatch.setattr(log_lines, "_PAGE", 20)
    write(run, "rank0", "".join(f"step {n}\n" for n in range(2_000)))
    reader = LogReader(run)
    look = seen(reader.look(LogWish()))
    line = look.lines[3]
    moved = seen(reader.look(LogWish(), EARLIER))
    assert moved.line_at(line.begin) > 3
    assert moved.lines[moved.line_at(line.begin)] == line
    around = LogWish(at=look.lines[0].begin - 5_000 + 1, number=1)
    begin = (run.logs / "rank0.log").read_bytes().index(b"step 1000\n")
    around = around._replace(at=begin)
    look = seen(reader.look(around))
    assert look.lines[look.line_at(begin)].text == "step 1000"
    assert look.end < look.size
    later = seen(reader.look(around, LATER))
    assert later.end > look.end


def test_a_width_counts_cells(run: RunDirectory) -> None:
    write(run, "rank0", "abc\n界界界\n")
    assert seen(LogReader(run).look(LogWish())).width == 6


def test_a_log_that_may_not_be_read_is_an_error(run: RunDirectory) -> None:
    (run.logs / "rank0.log").mkdir()
    with pytest.raises(OSError, match="directory"):
        LogReader(run).look(LogWish())
