"""Reading a run's records as they are appended, and the last one of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 1 << 14


class RecordTail:
    """The records that a .jsonl file gains from now on; with `from_start` also those that it has."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        self._rest = b""
        self._offset = 0 if from_start or not path.exists() else path.stat().st_size

    def new(self) -> list[dict[str, Any]]:
        """The whole records since the last call; a line that is still being written comes with a later one."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [record for line in lines if (record := record_of(line)) is not None]


def records_backwards(path: Path) -> Iterator[dict[str, Any]]:
    """The whole records of a .jsonl file, the last one first, read in blocks from its end."""
    return (record for line in lines_backwards(path) if (record := record_of(line)) is not None)


def lines_backwards(path: Path) -> Iterator[bytes]:
    """The whole lines of a file, the last one first: whoever looks for one among many need not parse the others."""
    try:
        file = path.open("rb")
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


def last_record(path: Path) -> dict[str, Any]:
    """The last whole record of a .jsonl file; empty where there is none."""
    return next(records_backwards(path), {})


def record_of(line: bytes) -> dict[str, Any] | None:
    """One record; None for a line that was torn when its writer was killed."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
