"""A window onto a log: the lines around a place of the file, read in blocks from there in both directions.

A log of any size opens at once, from its end, and no more of it is held than a person can look through. What a line
tells of its level is guessed from what loggers, Python, torch and Daisy write; a line that says none has none. A search
looks for words, and not for a regular expression: one of those can hold the whole terminal up for hours.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import NamedTuple

from core.runs.directory import RunDirectory
from core.text import printable

ERROR, WARNING, PLAIN = "error", "warning", ""
LEVELS = (PLAIN, WARNING, ERROR)  # each lets itself and those behind it pass

KEEP_LINES = 20_000
_PAGE = 2_000  # lines that one call adds at least, where there are as many
_BLOCK, _BUDGET = 1 << 18, 1 << 22  # bytes: of one read, and of one call
_LONGEST = 2_000  # characters of a line that are kept

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# What stands before the level: a rank or a time in brackets, a date, a clock.
_BEFORE = r"^(?:\[[^\]]{1,60}\]:? ?|[\d:.,/TZ+-]{6,35} )*"
_ERROR = re.compile(
    _BEFORE + r"(?:\[?[EF]\d{4} \d\d:\d\d|(?:error|fatal|critical): |Traceback \(most recent call last\)"
    r"|[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)(?::|$)|Fatal Python error|Segmentation fault)"
    r"|\b(?:ERROR|FATAL|CRITICAL)\b"
)
_WARNING = re.compile(
    _BEFORE + r"(?:\[?W\d{4} \d\d:\d\d|warning: )|\b(?:WARN|WARNING)\b|\b[A-Za-z]*Warning: |\bwarnings\.warn\("
)


# What faulthandler writes of all threads of a process.
_STACKS = re.compile(
    rb"(?:^(?:Thread|Current thread) 0x[0-9a-f]+[^\n]*\(most recent call first\):\n(?:  [^\n]*\n)*\n?)+", re.MULTILINE
)


class LogLine(NamedTuple):
    """One line, safe to print: its `text`, its `level` (one of LEVELS), and where it begins and ends in the file."""

    begin: int
    end: int
    text: str
    level: str


class Wanted(NamedTuple):
    """Which lines to show: those that hold `text`, in whatever case, and are of `level` or worse."""

    text: str = ""
    level: str = PLAIN

    def admits(self, line: LogLine) -> bool:
        is_bad_enough = LEVELS.index(line.level) >= LEVELS.index(self.level)
        return is_bad_enough and (not self.text or self.text.lower() in line.text.lower())


ALL = Wanted()


def logs_of(run: RunDirectory) -> list[Path]:
    """The logs of a run: those of its ranks by number, then torchrun's, the supervisor's and others."""

    def place(path: Path) -> tuple[int, int, str]:
        rank = re.fullmatch(r"rank(\d+)", path.stem)
        others = {"torchrun": 1, "supervisor": 2}
        return (0, int(rank[1]), "") if rank else (others.get(path.stem, 3), 0, path.stem)

    return sorted(run.logs.glob("*.log"), key=place)


def last_stacks(path: Path) -> int | None:
    """Where in a log the last stacks begin that a process wrote of its threads; None where its end has none."""
    try:
        with path.open("rb") as file:
            begin = max(0, file.seek(0, 2) - _BUDGET)
            file.seek(begin)
            found = [match.start() for match in _STACKS.finditer(file.read())]
    except FileNotFoundError:
        return None
    return begin + found[-1] if found else None


class LogView:
    """The lines that are wanted between the places `begin` and `end` of a file, at first none, at its end.

    With `at`, the window opens at that place, where a line begins. Raises OSError for a file that is there and cannot
    be read; a file that is not there has no lines.
    """

    def __init__(self, path: Path, wanted: Wanted = ALL, at: int | None = None) -> None:
        self.path, self.wanted = path, wanted
        self.lines: deque[LogLine] = deque()
        self.begin, self.end = 0, 0
        self._at = at
        self._reset()

    @property
    def begins_at_start(self) -> bool:
        """Whether nothing of the file lies before the window."""
        return self.begin == 0

    @property
    def is_at_end(self) -> bool:
        """Whether nothing whole lies behind the window, as of the last call."""
        return self._is_at_end

    def refresh(self, *, ended: bool = False) -> bool:
        """Open the window, or take up what the file has gained where the window reaches its end; whether that changed
        the lines. `ended`: nobody writes any more, so that a torn line counts.
        """
        if self._is_open and self._size() < self.end:  # another file, or it was emptied
            self._at = None
            self._reset()
            self.refresh(ended=ended)
            return True
        if self._is_open:
            return self._is_at_end and self.later(ended=ended)
        return self._open() and any([self.earlier(), self.later(ended=ended)])

    def earlier(self) -> bool:
        """Take up a page of lines before the window; whether any came. It may have to be asked again: a call reads no
        more than a few megabytes."""
        found: list[LogLine] = []
        budget = _BUDGET
        while self.begin > 0 and budget > 0 and len(found) < _PAGE:
            start = max(0, self.begin - _BLOCK)
            data = self._read(start, self.begin - start)
            if not data:
                break
            skipped = _first_line(data) if start else 0
            lines, level = _lines(data[skipped:], start + skipped, PLAIN)
            if not self.lines and not found:
                self._level = level
            found = [line for line in lines if self.wanted.admits(line)] + found
            self.begin = start + skipped
            budget -= len(data)
        self.lines.extendleft(reversed(found))
        while len(self.lines) > KEEP_LINES:
            self.lines.pop()
            self.end, self._level, self._is_at_end = self.lines[-1].end, PLAIN, False
        return bool(found)

    def later(self, *, ended: bool = False) -> bool:
        """Take up a page of lines behind the window; whether any came."""
        added, budget = 0, _BUDGET
        while budget > 0 and added < _PAGE:
            data = self._read(self.end, _BLOCK)
            whole = data.rfind(b"\n") + 1 or (len(data) if len(data) == _BLOCK or ended else 0)
            self._is_at_end = len(data) < _BLOCK
            if not whole:
                break
            lines, self._level = _lines(data[:whole], self.end, self._level)
            self.end += whole
            budget -= whole
            wanted = [line for line in lines if self.wanted.admits(line)]
            self.lines += wanted
            added += len(wanted)
        while len(self.lines) > KEEP_LINES:
            self.lines.popleft()
            self.begin = self.lines[0].begin
        return added > 0

    def _open(self) -> bool:
        size = self._size()
        if size < 0:
            return False
        place = size if self._at is None else min(self._at, size)
        if self._at is None:  # behind the last whole line
            start = max(0, size - _BLOCK)
            place = start + (self._read(start, size - start).rfind(b"\n") + 1)
        self.begin = self.end = place
        self._is_open = True
        return True

    def _reset(self) -> None:
        self.lines.clear()
        self.begin = self.end = 0
        self._level = PLAIN
        self._is_open = self._is_at_end = False

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return -1

    def _read(self, begin: int, length: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(begin)
                return file.read(length)
        except FileNotFoundError:
            return b""


def level_of(text: str, before: str = PLAIN) -> str:
    """What a line says of its level. An indented one belongs to the line before, as in a traceback."""
    if text[:1].isspace() and before != PLAIN:
        return before
    if _ERROR.search(text):
        return ERROR
    return WARNING if _WARNING.search(text) else PLAIN


def _first_line(data: bytes) -> int:
    """Where the first line begins that is whole and continues no other one; 0 where there is none."""
    place = data.find(b"\n") + 1
    first = place
    while place and data[place : place + 1].isspace():
        place = data.find(b"\n", place) + 1
    return place if 0 < place < len(data) else first if first < len(data) else 0


def _lines(data: bytes, begin: int, level: str) -> tuple[list[LogLine], str]:
    """Lines of a file from `begin` on, behind one of a level; and the level of the last."""
    found = []
    for raw in data.removesuffix(b"\n").split(b"\n"):
        text = _text(raw)
        level = level_of(text, level)
        found.append(LogLine(begin, begin + len(raw) + 1, text, level))
        begin += len(raw) + 1
    return found, level


def _text(raw: bytes) -> str:
    """A line as a terminal would leave it: what was overwritten is gone, colours too, and nothing can act."""
    text = raw[: 4 * _LONGEST].decode(errors="replace").rstrip("\r").rpartition("\r")[2]
    if not text.isprintable():
        text = printable(_ANSI.sub("", text).expandtabs(4))
    hidden = max(0, len(raw) - 4 * _LONGEST) + max(0, len(text) - _LONGEST)
    return f"{text[:_LONGEST]} … ({hidden:,} more)" if hidden else text
