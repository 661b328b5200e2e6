"""The whole lines that a file has gained, in blocks of bytes in which colons and newlines are found.

`Appended` notices that another file lies in the place of the one it read, and then begins anew. It knows nothing of
what stands in the lines, whereas core/runs/follow.py gives records parsed, at ten seconds for a million of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.runs.opening import regular_descriptor

MARGIN = 256  # bytes before a block's first line: the text before a mark can be looked at wherever it is

_BLOCK, _PIECE = 1 << 22, 1 << 18  # bytes: what is made of them stays in the third cache, and in the second
_TAIL = 64  # bytes by which a file is known again
_COLON, _NEWLINE = b":\n"


class Block(NamedTuple):
    """Whole lines of a file, good until the next block: `number` is that of the first one in the file.

    `room` is their bytes behind a margin, `marks` the places of colons and newlines in the bytes, and `last` the places
    of the newlines among the marks.
    """

    room: NDArray[np.uint8]
    number: int
    marks: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, room: NDArray[np.uint8], number: int) -> Block:
        """The block of these bytes."""
        data, found = room[MARGIN:], [np.empty(0, np.int64)]
        for begin in range(0, len(data), _PIECE):
            part = data[begin : begin + _PIECE]
            is_mark = part == _COLON
            is_mark |= part == _NEWLINE
            places = np.flatnonzero(is_mark)
            places += begin
            found.append(places)
        marks = np.concatenate(found)
        return cls(room, number, marks, np.flatnonzero(data[marks] == _NEWLINE))

    @property
    def data(self) -> NDArray[np.uint8]:
        """The bytes of the lines."""
        return self.room[MARGIN:]

    def line(self, place: int) -> bytes:
        """One line, by its place in this block, without its newline."""
        begin = self.marks[self.last[place - 1]] + 1 if place else 0
        return self.data[begin : self.marks[self.last[place]]].tobytes()

    def before(self, ends: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
        """The `width` bytes before each of these places (as many as the margin has at most): (places, width)."""
        room = self.room[MARGIN - width :]
        rows = np.ndarray((len(room) - width + 1,), f"V{width}", room, strides=(1,))  # they overlap: no copy
        return rows[ends].view(np.uint8).reshape(-1, width)


class Appended:
    """The lines of a file that grows. A line that is still being written comes when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lines = 0
        self._known: tuple[int, int] | None = None
        self._tail = b""

    def new(self) -> Iterator[Block]:
        """The lines since the last call. Where another file lies there now: an empty block 0, and then its lines."""
        try:
            file = FileIO(regular_descriptor(self._path))
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            if not self._continues(file, status):
                self._offset = self._lines = 0
                yield Block.of(np.empty(MARGIN, np.uint8), 0)
            self._known = status.st_dev, status.st_ino
            for block, after in _blocks(file, self._offset, status.st_size, self._lines):
                self._offset, self._lines = after, block.number + len(block.last)
                self._tail = block.data[-_TAIL:].tobytes()
                yield block

    def again(self) -> Iterator[Block]:
        """All lines that `new` gave, from the first; none where another file lies there now."""
        try:
            file = FileIO(regular_descriptor(self._path))
        except FileNotFoundError:
            return
        with file:
            if self._continues(file, os.fstat(file.fileno())):
                yield from (block for block, _ in _blocks(file, 0, self._offset, 0))

    def _continues(self, file: FileIO, status: os.stat_result) -> bool:
        """Whether a file holds what was read so far."""
        if self._offset == 0:
            return True
        file.seek(max(0, self._offset - len(self._tail)))
        return (status.st_dev, status.st_ino) == self._known and file.read(len(self._tail)) == self._tail


def _blocks(file: FileIO, begin: int, end: int, number: int) -> Iterator[tuple[Block, int]]:
    """The whole lines between two places of a file in blocks, which share their bytes, and the place behind each."""
    size, buffer = _BLOCK, bytearray()
    while begin < end:
        wanted = MARGIN + min(size, end - begin)
        if len(buffer) < wanted:
            buffer = bytearray(wanted)
        file.seek(begin)
        length = file.readinto(memoryview(buffer)[MARGIN:wanted]) or 0
        after = buffer.rfind(b"\n", MARGIN, MARGIN + length) + 1
        if after:
            block = Block.of(np.frombuffer(buffer, np.uint8, after), number)
            begin, number = begin + after - MARGIN, number + len(block.last)
            yield block, begin
        elif length < size or begin + length >= end:
            return
        else:
            size *= 2  # a line longer than a block
