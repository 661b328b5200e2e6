"""Tokens in lines: nothing is lost, nothing is too wide, and every token is where it is said to be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from daisy_tui.chatting.token_lines import TokenLines, place_of, shown, token_at

Pieces = list[tuple[str, int | None]]


def laid_out(pieces: Pieces, width: int) -> list[str]:
    lines = TokenLines(width)
    lines.add(pieces)
    return ["".join(span.text for span in line) for line in lines.lines]


def test_lines_end_behind_spaces_and_where_tokens_say_so() -> None:
    assert laid_out([("the ", 0), ("quick ", 1), ("brown", 2)], 11) == ["the quick ", "brown"]
    assert laid_out([("a", 0), ("\n", 1), ("b\n", 2)], 11) == ["a⏎", "b⏎", ""]
    assert laid_out([("typed\nby hand", None)], 20) == ["typed", "by hand"], "what nobody chose has no marks"
    assert laid_out([("abcdefgh", 0)], 3) == ["abc", "def", "gh"]


def test_tokens_that_are_not_seen_have_a_place_too() -> None:
    lines = TokenLines(20)
    lines.add([("a", 0), ("", 1), ("é", 2), ("\t", 3)])
    assert ["".join(span.text for span in line) for line in lines.lines] == ["a·é⇥"]
    assert [place_of(lines, token) for token in range(5)] == [(0, 0), (0, 1), (0, 2), (0, 3), None]


def test_a_click_finds_the_token_under_it_or_before_it() -> None:
    lines = TokenLines(20)
    lines.add([("typed ", None), ("日本", 0), ("x", 1)])
    assert [token_at(lines[0], column) for column in (0, 6, 8, 9, 10, 15)] == [None, 0, 0, 0, 1, 1]


def test_what_acts_on_a_terminal_is_not_laid_out() -> None:
    assert shown("a\x1b[2J\u202e\r\nb\tc") == "a\ufffd[2J\ufffd\ufffd\nb\tc"


pieces = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=6), st.booleans()), max_size=30)


@given(pieces, st.integers(1, 30), st.integers(0, 30))
def test_laying_out_bit_by_bit_gives_the_same_lines_and_loses_nothing(
    parts: list[tuple[str, bool]], width: int, cut: int
) -> None:
    numbered: Pieces = [(text, number if is_token else None) for number, (text, is_token) in enumerate(parts)]
    whole, grown = TokenLines(width), TokenLines(width)
    whole.add(numbered)
    grown.add(numbered[:cut])
    grown.add(numbered[cut:])
    assert whole.lines == grown.lines
    for line in whole.lines:
        texts = [span.text for span in line]
        assert cell_len("".join(texts)) <= max(width, 2), "a wide character may stand alone in a line of one cell"
    kept = "".join(span.text for line in whole.lines for span in line)
    for text, token in numbered:
        for character in shown(text):
            if character not in "\n\t":
                assert character in kept
        if token is not None:
            assert place_of(whole, token) is not None
