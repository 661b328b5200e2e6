"""What the Data screen is made of, without a screen: lines of tokens, the form's command, and progress read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len

from core.data.preview import Preview, TokenView
from daisy_tui.child_progress import told
from daisy_tui.data.documents import Page, Place
from daisy_tui.data.lengths import Bar, LengthHistogram
from daisy_tui.data.prepare_form import PrepareForm
from daisy_tui.widgets.dataset_text import histogram, verdict
from daisy_tui.widgets.document_view import document_head, document_lines


def _page(tokens: Sequence[bytes], first: int = 0, length: int | None = None) -> Page:
    views = [TokenView(100 + first + at, at, data) for at, data in enumerate(tokens)]
    shown = Preview(Path("d/x_train_000000.bin"), "gpt2", 3, views, first, length or len(tokens))
    return Page(Place(Path("d"), "train", 3), shown, frozenset({7}))


def _text(page: Page, width: int, *, marks: bool = True) -> list[str]:
    return ["".join(piece.text for piece in line) for line in document_lines(page, width, marks=marks)]


def test_tokens_lie_on_grounds_that_alternate_with_a_mark_between() -> None:
    (line,) = document_lines(_page([b"The", b" cat", b"."]), 40)
    assert [(piece.text, piece.kind) for piece in line] == [
        *(("│", "mark"), ("The", "even"), ("│", "mark"), (" cat", "odd"), ("│", "mark"), (".", "even")),
    ]
    assert _text(_page([b"The", b" cat"]), 40, marks=False) == ["The cat"]


def test_lines_break_between_tokens_and_inside_one_only_where_it_is_longer() -> None:
    assert _text(_page([b"abcd", b"efgh", b"ij"]), 9) == ["│abcd", "│efgh│ij"]
    assert _text(_page([b"ab", b"c" * 25]), 10) == ["│ab", "│", "c" * 10, "c" * 10, "c" * 5]


@pytest.mark.parametrize("width", [8, 11, 40])
def test_no_line_is_wider_than_there_is_room_whatever_stands_there(width: int) -> None:
    tokens = ["世界" * 9, "☃", "a\u0301" * 30, "\t\x00", "é" * 50, "\n\n"]
    page = _page([token.encode() for token in tokens] + [b"\xe4", b"\xb8\x96" * 9])
    for line in _text(page, width):
        assert cell_len(line) <= width
        assert all(character.isprintable() for character in line)


def test_newlines_end_lines_and_are_seen() -> None:
    assert _text(_page([b"a\n", b"\n\nb", b"c"]), 20) == ["│a↵", "│↵", "↵", "b│c"]


def test_special_tokens_are_named_and_text_that_looks_like_them_is_not() -> None:
    page = _page([b"<|endoftext|>"] * 8)
    (*text, special) = [piece for line in document_lines(page, 20) for piece in line if piece.kind != "mark"]
    assert special.text == "⟨<|endoftext|> 7⟩"
    assert {piece.kind for piece in text} == {"even", "odd"}


def test_the_head_says_where_a_page_stands() -> None:
    assert document_head(_page([b"a", b"b"]), 9) == "train document 3 of 0–8 · 2 tokens · at 100 in x_train_000000.bin"
    head = document_head(_page([b"a"], first=1024, length=2500), None)
    assert head.startswith("train document 3 · 2,500 tokens · page 1/3: tokens 1,024–1,024 · at 100 in ")


def test_bars_are_as_long_as_their_counts_and_what_is_there_is_seen() -> None:
    bars = (Bar(1, 1, 1, 1), Bar(2, 3, 0, 0), Bar(4, 7, 1000, 5000))
    lines = histogram(LengthHistogram(1001, 5.0, 5.0, 7, bars), "train", 60).plain.split("\n")
    assert lines[0] == "1,001 documents in train: median 5 tokens, mean 5, longest 7"
    assert "▏ 1 " in lines[1]
    assert not set(lines[2]) & set("█▏▎▍▌▋▊▉")
    assert lines[3].count("█") == 60 - 17 - 16
    assert all(len(line) <= 60 for line in lines[1:])
    assert histogram(LengthHistogram(0, 0, 0, 0, ()), "val", 60).plain == "val: no documents"


def test_a_verdict_names_every_problem() -> None:
    assert verdict({"problems": ["a: torn", "b: torn"]}).plain == "✗ 2 problems\n  a: torn\n  b: torn"
    assert "lengths and tokens checked" in verdict({"problems": [], "hashes_checked": False}).plain


def test_the_form_names_only_what_was_filled_in() -> None:
    assert PrepareForm("t", "data/t").arguments() == ["data", "prepare", "--out", "data/t", "t"]
    form = PrepareForm(
        *("-odd", " data/t ", "bytes", "n", "0", "1M", "body", "jsonl"), replace_errors=True, overwrite=True
    )
    assert form.arguments() == [
        *("data", "prepare", "--out", "data/t", "--tokenizer", "bytes", "--name", "n", "--val-fraction", "0"),
        *("--shard-tokens", "1M", "--text-key", "body", "--format", "jsonl", "--errors", "replace", "--overwrite"),
        *("--", "-odd"),
    ]
    assert PrepareForm("~/t", "~/d").arguments()[-1] == str(Path.home() / "t")


def test_the_form_knows_what_cannot_work(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    assert {*PrepareForm().problems(tmp_path)} == {"source", "out"}
    good = PrepareForm("a.txt", "data/a", val_fraction="0.5", shard_tokens="1e6")
    assert good.problems(tmp_path) == {}
    assert PrepareForm("*.txt", "d").problems(tmp_path) == {}
    bad = PrepareForm("*.md", "a.txt", val_fraction="1", shard_tokens="1.5")
    assert {*bad.problems(tmp_path)} == {"source", "out", "val_fraction", "shard_tokens"}
    assert PrepareForm("x" * 5000, "\0").problems(tmp_path)


def test_progress_is_read_back_and_other_lines_are_none() -> None:
    values = {"what": "preparing", "done": 512, "total": 1024, "detail": "9 docs", "rate": 10.0, "eta_s": 51.2}
    found = told(json.dumps({"progress": values}))
    assert found is not None
    assert (found.share, found.words) == (0.5, "ETA 0:51, 512 B of 1.00 KiB, 10 B/s, 9 docs")
    endless = told(json.dumps({"progress": values | {"total": None, "eta_s": None, "detail": ""}}))
    assert endless is not None
    assert (endless.share, endless.words) == (None, "512 B, 10 B/s")
    for line in ("data/demo: 'demo'", '{"progress": 3}', '{"progress": {"done": ', '{"ok": true}', ""):
        assert told(line) is None
