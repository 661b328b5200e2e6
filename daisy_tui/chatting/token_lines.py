"""Tokens laid out in lines of a width: where each of them stands, so that it can be marked, clicked on and gone to."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.cells import cell_len

# What a token brings that is not seen; what belongs to no token is laid out as it is.
_SEEN = {"\n": "⏎", "\t": "⇥"}
_PART = "·"  # a token that ends inside a character
_TAB = "    "
_BREAKS = (" ", _SEEN["\t"])


class Span(NamedTuple):
    """Cells of one token in a line; `token` is its number, None for text that nobody chose."""

    text: str
    token: int | None


Line = list[Span]
_Cell = tuple[str, int | None, int]  # a character, its token, and its width


class TokenLines:
    """Lines of at most `width` cells, broken behind spaces where there are any. What was laid out stays as it is."""

    def __init__(self, width: int) -> None:
        self.width = max(1, width)
        self._done: list[Line] = []
        self._line: list[_Cell] = []
        self._used = self._after_space = 0  # cells of the line, and how many of its characters stand before a break

    def add(self, pieces: Iterable[tuple[str, int | None]]) -> None:
        """Lay out more pieces: text and its token."""
        for text, token, size, ends in _cells(pieces):
            if self._used + size > self.width and self._line:
                self._break()
            if text:
                self._line.append((text, token, size))
                self._used += size
            if text in _BREAKS:
                self._after_space = len(self._line)
            if ends:
                self._done.append(_spans(self._line))
                self._line, self._used, self._after_space = [], 0, 0

    @property
    def lines(self) -> list[Line]:
        return [*self._done, _spans(self._line)]

    def __len__(self) -> int:
        return len(self._done) + 1

    def __getitem__(self, row: int) -> Line:
        return self._done[row] if row < len(self._done) else _spans(self._line)

    def _break(self) -> None:
        end = self._after_space or len(self._line)
        self._done.append(_spans(self._line[:end]))
        self._line = self._line[end:]
        self._used, self._after_space = sum(cell[2] for cell in self._line), 0


def shown(text: str) -> str:
    """Text that does nothing to the terminal: what is neither seen nor a line's end or a tab becomes U+FFFD."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def place_of(lines: TokenLines, token: int) -> tuple[int, int] | None:
    """Line and column of a token's first cell."""
    for row in range(len(lines)):
        column = 0
        for span in lines[row]:
            if span.token == token:
                return row, column
            column += cell_len(span.text)
    return None


def token_at(line: Line, column: int) -> int | None:
    """The token in a column, or the last one before it; None where there is none."""
    found, begin = None, 0
    for span in line:
        if begin > column:
            break
        found = span.token if span.token is not None else found
        begin += cell_len(span.text)
    return found


def _cells(pieces: Iterable[tuple[str, int | None]]) -> Iterable[tuple[str, int | None, int, bool]]:
    """Characters with their tokens and widths, and whether a line ends with them."""
    for text, token in pieces:
        if token is not None and not text:
            yield _PART, token, 1, False
        for character in shown(text).replace("\t", _SEEN["\t"] if token is not None else _TAB):
            if character == "\n":
                yield (_SEEN["\n"], token, 1, True) if token is not None else ("", None, 0, True)
            else:
                size = cell_len(character)
                # What has no width of its own, as an accent that follows its letter, stays where it is.
                yield character, token, 0 if unicodedata.combining(character) else size, False


def _spans(cells: Sequence[_Cell]) -> Line:
    line: Line = []
    text, token = "", None
    for character, own, _ in cells:
        if own != token and text:
            line.append(Span(text, token))
            text = ""
        text, token = text + character, own
    return [*line, Span(text, token)] if text else line
