"""Whole characters, and stop strings wherever they are split."""

from __future__ import annotations

import pytest

from core.data.tokenizers import ByteTokenizer
from core.inference.text import Detokenizer, StopStrings


def _pieces(data: bytes, before: bytes = b"") -> list[str]:
    text = Detokenizer(ByteTokenizer(), list(before))
    return [piece for piece in (*(text.add(byte) for byte in data), text.end()) if piece]


@pytest.mark.parametrize(
    ("data", "pieces"),
    [
        ("a🙂é".encode(), ["a", "🙂", "é"]),
        ("🙂".encode()[:3], ["\ufffd"]),  # an unfinished tail is flushed
        (b"a\xffb", ["a", "\ufffd", "b"]),
        (b"\xf0\x9fz", ["\ufffdz"]),
        (b" leading", list(" leading")),
    ],
)
def test_a_character_appears_once_and_whole(data: bytes, pieces: list[str]) -> None:
    assert _pieces(data) == pieces
    assert "".join(pieces) == data.decode(errors="replace")


def test_a_character_that_the_prompt_began_is_whole_in_the_answer() -> None:
    smile = "🙂".encode()
    for cut in range(1, 4):
        assert _pieces(smile[cut:] + b"!", before=b"abc" + smile[:cut]) == ["🙂", "!"]


def _stopped(stops: list[str], pieces: list[str]) -> tuple[list[str], str | None]:
    stopping, shown = StopStrings(stops), []
    for piece in pieces:
        text, stop = stopping.add(piece)
        shown.append(text)
        if stop is not None:
            return shown, stop
    return [*shown, stopping.end()], None


@pytest.mark.parametrize(
    ("stops", "pieces", "shown", "stop"),
    [
        (["STOP"], ["a S", "TO", "P b"], ["a ", "", ""], "STOP"),
        (["STOP"], ["a S", "TO", "x"], ["a ", "", "STOx", ""], None),
        (["STOP"], ["a STO"], ["a ", "STO"], None),  # what was held back is given in the end
        (["b", "abc"], ["a", "b", "c"], ["", "a"], "b"),  # the one that is whole first
        (["bc", "abcd"], ["xabcd"], ["x"], "abcd"),  # of those there the one that begins first
        (["aab"], ["a", "a", "a", "b"], ["", "", "a", ""], "aab"),
        (["\n\n"], ["one\n", "two\n", "\nthree"], ["one", "\ntwo", ""], "\n\n"),
        (["", "x"], ["ax"], ["a"], "x"),
        ([], ["a", "b"], ["a", "b", ""], None),
    ],
)
def test_a_text_ends_before_the_first_stop_string(
    stops: list[str], pieces: list[str], shown: list[str], stop: str | None
) -> None:
    assert _stopped(stops, pieces) == (shown, stop)


def test_no_more_is_held_back_than_could_become_a_stop_string() -> None:
    shown, _ = _stopped(["###"], list("a#b##c"))
    assert shown == ["a", "", "#b", "", "", "##c", ""]
