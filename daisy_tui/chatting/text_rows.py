"""Text laid out in rows of a width, growing at its end: what was laid out stays as it is, but for the last row.

For texts that are too long for a widget a paragraph, and for one to be laid out anew whenever it grows.
"""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len

_TAB = "    "


class TextRows:
    """Rows of at most `width` cells, broken behind spaces where there are any."""

    def __init__(self, width: int) -> None:
        self.width = max(1, width)
        self._done: list[str] = []
        self._last = ""

    def add(self, text: str) -> None:
        """Lay out more of the text."""
        *ended, last = (self._last + text.replace("\t", _TAB)).split("\n")
        for line in ended:
            self._done += _rows(line, self.width)
        *full, self._last = _rows(last, self.width)
        self._done += full

    def __len__(self) -> int:
        return len(self._done) + 1

    def __getitem__(self, row: int) -> str:
        return self._done[row] if row < len(self._done) else self._last


def _rows(line: str, width: int) -> list[str]:
    rows, begin = [], 0
    while (end := _end(line, begin, width)) < len(line):
        rows.append(line[begin:end])
        begin = end
    return [*rows, line[begin:]]


def _end(line: str, begin: int, width: int) -> int:
    """Where the row that begins at a place ends; a space that a row ends with may stand beyond its width."""
    edge = begin + width if line.isascii() else _edge(line, begin, width)
    if edge >= len(line):
        return len(line)
    space = line.rfind(" ", begin, edge + 1)
    return space + 1 if space >= begin else max(edge, begin + 1)


def _edge(line: str, begin: int, width: int) -> int:
    """The first character that is beyond the width."""
    used = 0
    for place in range(begin, len(line)):
        # What has no width of its own, as an accent that follows its letter, stays where it is.
        used += 0 if unicodedata.combining(line[place]) else cell_len(line[place])
        if used > width:
            return place
    return len(line)
