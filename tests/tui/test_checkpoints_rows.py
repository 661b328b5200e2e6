"""The list of checkpoints as lines: orders, filters and widths, and the commands behind its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from daisy_tui.checkpoints.catalog import Found, Listed, ListedRun
from daisy_tui.checkpoints.checkpoint_commands import command, copy_name, newest, place_of, run_of
from daisy_tui.checkpoints.checkpoint_rows import ORDERS, Line, arranged, heading, lines, name_of
from daisy_tui.checkpoints.lineage import Row

BASE, TUNED = Path("/x/runs/20260101-000000-base"), Path("/x/runs/20260201-000000-tuned")
BY = {order.name: order for order in ORDERS}


def _saved(run: Path | None, name: str, **facts: Any) -> Listed:
    folder = run / "checkpoints" if run is not None else Path("/x/checkpoints")
    return Listed(folder / name, run, **{"complete": True, "bytes": 2048, **facts})


FIRST = _saved(BASE, "step_000000100", step=100, tokens=25600, val_loss=3.5, written=1.0, bytes=4096)
LAST = _saved(BASE, "step_000000200", step=200, tokens=51200, val_loss=3.0, written=2.0, links=("latest", "best"))
BROKEN = _saved(BASE, "step_000000300", complete=False, problem="manifest.json: missing", written=3.0)
HALF = _saved(BASE, ".step_000000400.partial", complete=False, problem="being written, or …", written=4.0)
OWN = _saved(TUNED, "step_000000005", step=5, tokens=1280, val_loss=2.5, written=5.0, links=("latest",))
OLD = _saved(None, "old", step=900, origin="imported", parent="/old.pt", written=0.5)
FOUND = Found((ListedRun(TUNED, str(LAST.path)), ListedRun(BASE, None)), (OWN, FIRST, LAST, BROKEN, HALF, OLD))


def _names(rows: list[Row]) -> list[str]:
    return [row.path.name for row in rows]


def _text(line: Line) -> str:
    return "".join(text for text, _ in line)


def _lines(rows: list[Row], width: int, order: str = "lineage", marked: tuple[Path, ...] = ()) -> list[str]:
    line = lines(rows, width, BY[order], marked)
    return [_text(line(index)) for index in range(len(rows))]


def test_orders_without_a_tree_are_flat_and_sorted_by_their_figure() -> None:
    by = {name: _names(arranged(FOUND, Path("/x"), BY[name])) for name in ("newest", "loss", "size")}
    assert by["newest"] == [entry.name for entry in (OWN, HALF, BROKEN, LAST, FIRST, OLD)]
    assert by["loss"][:3] == [OWN.name, LAST.name, FIRST.name]
    assert by["size"][0] == FIRST.name


def test_by_descent_a_run_stands_below_what_it_began_from_and_by_run_it_does_not() -> None:
    descent = arranged(FOUND, Path("/x"), BY["lineage"])
    assert _names(descent)[:4] == [BASE.name, FIRST.name, LAST.name, TUNED.name]
    assert [row.depth for row in descent][:5] == [0, 1, 1, 2, 3]
    assert _names(arranged(FOUND, Path("/x"), BY["runs"]))[:3] == [TUNED.name, OWN.name, BASE.name]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("tuned", [BASE.name, LAST.name, TUNED.name, OWN.name]),
        ("best", [BASE.name, LAST.name]),
        ("INCOMPLETE", [BASE.name, BROKEN.name, HALF.name]),
        ("step 100", [BASE.name, FIRST.name]),
        ("latest -base", [BASE.name, LAST.name, TUNED.name, OWN.name]),
        ("imported", [OLD.name]),
        ("nothing has this", []),
    ],
)
def test_a_filter_keeps_what_has_every_word_and_what_stands_above_it(words: str, names: list[str]) -> None:
    assert _names(arranged(FOUND, Path("/x"), BY["lineage"], words)) == names


@pytest.mark.parametrize("width", [24, 40, 56, 78, 120])
@pytest.mark.parametrize("order", ["lineage", "newest"])
def test_every_line_has_the_width_of_the_list(width: int, order: str) -> None:
    rows = arranged(FOUND, Path("/x"), BY[order])
    assert {cell_len(text) for text in _lines(rows, width, order)} == {width}
    assert cell_len(heading(width)) == width


def test_a_line_says_step_marks_figures_and_what_is_wrong() -> None:
    rows = arranged(FOUND, Path("/x"), BY["lineage"])
    text = dict(zip(_names(rows), _lines(rows, 78, marked=(FIRST.path,)), strict=True))
    assert text[FIRST.name].split() == ["◆", "├─", "step", "100", "25.6k", "3.5000", "4.00", "KiB"]
    assert "step 200 ★ best ▸ latest" in text[LAST.name]
    assert "step 300  ✗ incomplete" in text[BROKEN.name]
    assert "step 400  ⋯ unfinished" in text[HALF.name]
    assert text[OLD.name].startswith("  old  imported ")
    assert "manifest.json: missing" in _lines(rows, 120)[_names(rows).index(BROKEN.name)]


def test_of_a_run_with_a_long_name_the_end_is_seen() -> None:
    rows = arranged(
        Found((ListedRun(Path("/x/runs/20260301-110000-my_demo-lr_scale-0.5"), None),), ()), Path("/x"), BY["lineage"]
    )
    assert _lines(rows, 40)[0].split()[0].endswith("my_demo-lr_scale-0.5")


def test_marks_keep_their_signs_where_their_words_have_no_room() -> None:
    rows = arranged(FOUND, Path("/x"), BY["lineage"])
    text = dict(zip(_names(rows), _lines(rows, 48), strict=True))
    assert "step 200 ★ ▸ " in text[LAST.name]
    assert "…" not in text[LAST.name]


def test_a_list_without_its_tree_names_the_run() -> None:
    rows = arranged(FOUND, Path("/x"), BY["newest"])
    assert _lines(rows, 60, "newest")[0].startswith("  tuned step 5 ▸ latest")
    assert name_of(Row(LAST.path, "checkpoint", checkpoint=LAST)) == "base step 200 ★ best ▸ latest"
    assert name_of(None) == ""


def test_names_of_strangers_stay_on_their_line() -> None:
    evil = _saved(None, "a\x1b[2J\nb\u202e", problem="\x1b[31m", complete=False)
    found = Found((ListedRun(Path("/x/runs/\x1b\n"), "/gone/\x1b\n"),), (evil,))
    for width in (40, 120):
        for text in _lines(arranged(found, Path("/x"), BY["lineage"]), width):
            assert text.isprintable()


def test_commands_are_those_of_the_row() -> None:
    rows = {row.path.name: row for row in arranged(FOUND, Path("/x"), BY["lineage"])}
    first, run, old = rows[FIRST.name], rows[TUNED.name], rows[OLD.name]
    path = str(FIRST.path)
    assert command("inspect", first, FOUND) == ["inspect", path]
    assert command("read", first, FOUND) == ["inspect", path, "--stats"]
    assert command("verify", run, FOUND) == ["inspect", TUNED.name, "--verify"]
    assert command("differ", first, FOUND) is None
    assert command("differ", first, FOUND, LAST.path) == ["inspect", str(LAST.path), "--diff", path, "--stats"]
    assert command("histogram", first, FOUND, tensor="a.b") == ["inspect", path, "--histogram", "a.b"]
    assert command("histogram", first, FOUND) is None
    assert command("prune", first, FOUND) == command("prune", rows[BASE.name], FOUND) == ["runs", "prune", BASE.name]
    assert command("resume", run, FOUND) == ["runs", "resume", TUNED.name]
    assert command("resume", old, FOUND) is None
    assert command("chat", old, FOUND) == ["chat", str(OLD.path)]
    assert command("export", first, FOUND) == ["export", path, "--out", "checkpoints/base-step_000000100"]
    assert command("chat", None, FOUND) is None
    assert command("inspect", Row(Path("/gone"), "gone"), FOUND) is None


def test_a_copy_is_named_after_its_run_and_never_as_one_that_is_there() -> None:
    row = Row(OLD.path, "checkpoint", checkpoint=OLD)
    assert copy_name(row, FOUND) == "checkpoints/old-copy"
    taken = Found((), (_saved(None, "old-copy"), _saved(None, "old-copy-2")))
    assert copy_name(row, taken) == "checkpoints/old-copy-3"


def test_a_run_goes_on_from_its_last_whole_checkpoint() -> None:
    assert newest(BASE, FOUND) == LAST.name
    assert newest(Path("/x/runs/none"), FOUND) is None
    assert run_of(None) is None


def test_what_is_asked_for_is_found_behind_links(tmp_path: Path) -> None:
    (tmp_path / "step_1").mkdir()
    (tmp_path / "latest").symlink_to("step_1")
    rows = [Row(tmp_path, "elsewhere"), Row(tmp_path / "step_1", "elsewhere")]
    assert place_of(rows, tmp_path / "latest") == 1
    assert place_of(rows, tmp_path / "other") is None
    assert place_of(rows, None) is None
