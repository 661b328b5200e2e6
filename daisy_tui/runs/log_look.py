"""The logs of a run as a screen wants them: one of them, around a place, with what is wanted of it; look after look.

A screen says what it wishes; a `LogReader` moves its window there in a thread and hands out what is in it.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from rich.cells import cell_len

from core.runs.directory import RunDirectory
from daisy_tui.runs.log_lines import ALL, LogLine, LogView, Wanted, logs_of

EARLIER, LATER = "earlier", "later"
_ENOUGH = 200  # lines that a search goes on for by itself


class LogWish(NamedTuple):
    """What a screen wants to see: the log of a `name` (rank0, ...; None: the first), what of it, and around which byte
    (None: its end). `number` tells a wish from the same one before it."""

    name: str | None = None
    wanted: Wanted = ALL
    at: int | None = None
    number: int = 0


class LogLook(NamedTuple):
    """What is in the window: `lines` of the log `name`, one of `names`, none wider than `width` cells.

    They lie between the bytes `begin` and `end` of `size`. `searches` says that the beginning is not reached and that
    few lines were found: another look goes on.
    """

    wish: LogWish
    names: tuple[str, ...]
    name: str | None
    lines: tuple[LogLine, ...]
    width: int
    begin: int
    end: int
    size: int
    searches: bool

    def line_at(self, place: int) -> int:
        """The line at a byte of the file, or the next one that is in the window."""
        return min(bisect_left(self.lines, place, key=lambda line: line.begin), max(0, len(self.lines) - 1))


class LogReader:
    """Reads the logs of one run; one thread at a time."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._view: LogView | None = None
        self._wish: LogWish | None = None
        self._last: LogLook | None = None

    def look(self, wish: LogWish, more: str = "", *, ended: bool = False) -> LogLook | None:
        """The log as it is wished, with `more` lines EARLIER or LATER; None where nothing has changed.

        `ended`: nobody writes it any more. Raises OSError for a log that cannot be read.
        """
        paths = {path.stem: path for path in logs_of(self._run)}
        name = wish.name if wish.name in paths else next(iter(paths), None)
        changed = wish != self._wish or self._view is None or name != self._name
        if name is None:
            self._view = None
        elif changed:
            self._view = LogView(paths[name], wish.wanted, wish.at)
        self._wish = wish
        if self._view is not None:
            changed |= self._view.refresh(ended=ended)
            changed |= bool(more) and (self._view.earlier() if more == EARLIER else self._view.later(ended=ended))
        look = self._made(wish, tuple(paths), name)
        is_same = not changed and self._last is not None and look._replace(lines=()) == self._last._replace(lines=())
        self._last = look
        return None if is_same else look

    @property
    def _name(self) -> str | None:
        return self._view.path.stem if self._view is not None else None

    def _made(self, wish: LogWish, names: tuple[str, ...], name: str | None) -> LogLook:
        view = self._view
        if view is None:
            return LogLook(wish, names, name, (), 0, 0, 0, 0, False)
        lines = tuple(view.lines)
        few = wish.wanted != ALL and len(lines) < _ENOUGH and not view.begins_at_start
        width = max(map(_width, lines), default=0)
        size = view.path.stat().st_size if view.path.exists() else 0
        return LogLook(wish, names, name, lines, width, view.begin, view.end, size, few)


def _width(line: LogLine) -> int:
    return len(line.text) if line.text.isascii() else cell_len(line.text)
