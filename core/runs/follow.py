"""Reading a run's records as they are appended, and the last one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.runs.opening import open_regular
from core.runs.trusted import NO_FIELDS, Fields, fields_of, parsed, trusted

_BLOCK = 1 << 14


class RecordTail:
    """The records that a .jsonl file gains from now on; with `from_start` also those that it has."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path, self._fields = path, fields_of(path)
        self._rest = b""
        self._offset = 0 if from_start or not path.exists() else path.stat().st_size

    def new(self) -> list[dict[str, Any]]:
        """The whole records since the last call; a line that is still being written comes with a later one."""
        try:
            with open_regular(self._path) as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [record for line in lines if (record := record_of(line, self._fields)) is not None]


def records_backwards(path: Path) -> Iterator[dict[str, Any]]:
    """The whole records of a .jsonl file, the last one first, read in blocks from its end."""
    fields = fields_of(path)
    return (record for line in lines_backwards(path) if (record := record_of(line, fields)) is not None)


def lines_backwards(path: Path) -> Iterator[bytes]:
    """The whole lines of a file, the last one first: whoever looks for one among many need not parse the others."""
    try:
        file = open_regular(path)
    except OSError:
        return
    with file:
        end = file.seek(0, os.SEEK_END)
        begun = b""  # of a line whose beginning is in the block before; behind the last newline nothing is whole
        first = True
        while end > 0:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            lines = (file.read(end - begin) + begun).split(b"\n")
            if first:
                lines.pop()
                first = False
            begun = lines.pop(0) if begin > 0 and lines else b""
            yield from reversed(lines)
            end = begin


def record_of(line: bytes, fields: Fields = NO_FIELDS) -> dict[str, Any] | None:
    """One record, its known fields of their kinds; None for a line that was torn when its writer was killed."""
    try:
        record = parsed(line)
    except ValueError:
        return None
    return trusted(record, fields) if isinstance(record, dict) else None
