"""Documents from files, as a stream of pieces that can be left and taken up again.

A piece is a part of one document small enough to hold in memory. A long text is cut only between a
letter or digit and the blank after it: no token of any supported tokenizer crosses such a place, so the
pieces' tokens are exactly the whole text's. Each piece carries the position behind it, from which
another process can go on.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob, has_magic
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from core.data.errors import DataUsageError, ShardError

Format = Literal["auto", "text", "jsonl", "parquet"]
Errors = Literal["strict", "replace"]
_FORMAT_BY_SUFFIX: dict[str, Format] = {".txt": "text", ".md": "text", ".jsonl": "jsonl", ".parquet": "parquet"}
_BLOCK = 1 << 20
# How far back from the end of a block to look for a place to cut.
_CUT_SEARCH = 1 << 16
# A text without any place to cut is cut here after all, between characters: memory stays flat, at the
# price of one token boundary that the whole text might not have.
_LONGEST_PIECE = 1 << 22
_PARQUET_ROWS = 1024


@dataclass(frozen=True)
class Position:
    """Where to go on: the file's index, the byte (parquet: row) in it, whether inside a document."""

    file: int = 0
    offset: int = 0
    inside: bool = False


@dataclass(frozen=True)
class Piece:
    """A part of one document: its text, its size in UTF-8 bytes, and the position behind it."""

    text: str
    size: int
    starts_document: bool
    after: Position


class DocumentSource(Protocol):
    """Documents in a fixed order."""

    given: list[str]
    """The input as it was named, for people."""
    total_bytes: int | None
    """Size of the input where known, in bytes, for progress."""

    one_document: bool
    """Whether the input can hold no more than one document."""

    def plan(self) -> dict[str, Any] | None:
        """What identifies the input, or None where it cannot be read a second time."""

    def pieces(self, start: Position) -> Iterator[Piece]:
        """The pieces from `start` on."""

    def bytes_before(self, position: Position) -> int:
        """Input bytes that lie before a position."""


class TextSource:
    """Documents held in memory, one string each."""

    def __init__(self, name: str, texts: Sequence[str]) -> None:
        self.given = [name]
        self._texts = texts
        self._sizes = [len(text.encode()) for text in texts]
        self._before = [0, *accumulate(self._sizes)]
        self.total_bytes: int | None = self._before[-1]
        self.one_document = len(texts) == 1

    def plan(self) -> dict[str, Any]:
        return {"sha256": hashlib.sha256("\0".join(self._texts).encode()).hexdigest()}

    def pieces(self, start: Position) -> Iterator[Piece]:
        for index in range(start.file, len(self._texts)):
            if not self._texts[index].isspace() and self._texts[index]:
                yield Piece(self._texts[index], self._sizes[index], True, Position(index + 1))

    def bytes_before(self, position: Position) -> int:
        return self._before[position.file]


class FileSource:
    """Files, folders and globs; `-` is standard input.

    .txt and .md hold one document a file, .jsonl one a line, .parquet one a row. Folders are read
    recursively, in the order of their names, without hidden entries and files of other kinds.
    """

    def __init__(
        self, sources: Sequence[str], *, text_key: str = "text", kind: Format = "auto", errors: Errors = "strict"
    ) -> None:
        self.given = list(sources)
        self._rows: dict[int, int] = {}  # rows of the parquet files opened so far, by index
        self._text_key = text_key
        self._errors = errors
        self._stdin = list(sources) == ["-"]
        if "-" in sources and not self._stdin:
            raise DataUsageError("'-' (standard input) cannot be mixed with files")
        if self._stdin:
            self._files: list[tuple[Path, Format]] = [(Path("-"), "text" if kind == "auto" else kind)]
            if kind == "parquet":
                raise DataUsageError("parquet cannot be read from standard input; give the file")
            self.total_bytes: int | None = None
            self.one_document = self._files[0][1] == "text"
            self._before = [0, 0]
            return
        self._files = [(path, _kind_of(path, kind)) for path in _expand(sources)]
        self._before = [0, *accumulate(path.stat().st_size for path, _ in self._files)]
        self.total_bytes = self._before[-1]
        self.one_document = [kind for _, kind in self._files] == ["text"]

    def plan(self) -> dict[str, Any] | None:
        if self._stdin:
            return None
        listing = [[str(p.resolve()), f, p.stat().st_size, p.stat().st_mtime_ns] for p, f in self._files]
        return {
            "files": len(self._files),
            "bytes": self.total_bytes,
            "sha256": hashlib.sha256(json.dumps(listing).encode()).hexdigest(),
            "text_key": self._text_key,
            "errors": self._errors,
        }

    def bytes_before(self, position: Position) -> int:
        before = self._before[position.file]
        if position.file < len(self._files) and self._files[position.file][1] == "parquet":
            rows = self._rows.get(position.file, 0)
            return before + (self._before[position.file + 1] - before) * position.offset // max(1, rows)
        return before + position.offset

    def pieces(self, start: Position) -> Iterator[Piece]:
        for index in range(start.file, len(self._files)):
            path, kind = self._files[index]
            begin = start if index == start.file else Position(index)
            try:
                if kind == "parquet":
                    yield from self._parquet(path, begin)
                elif self._stdin:
                    if sys.stdin is None:
                        raise ShardError("standard input is closed")
                    yield from self._stream(sys.stdin.buffer, path, kind, begin)
                else:
                    with path.open("rb") as file:
                        file.seek(begin.offset)
                        yield from self._stream(file, path, kind, begin)
            except OSError as error:
                raise ShardError(f"{path}: cannot be read: {error.strerror or error}") from error

    def _stream(self, file: BinaryIO, path: Path, kind: Format, begin: Position) -> Iterator[Piece]:
        return self._jsonl(file, path, begin) if kind == "jsonl" else self._text(file, path, begin)

    def _text(self, file: BinaryIO, path: Path, begin: Position) -> Iterator[Piece]:
        offset, inside, held, ended = begin.offset, begin.inside, b"", False
        while not ended:
            # Blocks end at multiples of their size, so that the cuts are the same from wherever reading begins.
            block = file.read(_BLOCK - (offset + len(held)) % _BLOCK)
            ended = not block
            data = held + block
            cut = len(data) if ended else _safe_cut(data)
            if not cut and len(data) >= _LONGEST_PIECE:
                cut = _character_end(data)
            held = data[cut:]
            if not cut and not ended:
                continue
            raw = data[:cut]
            text = self._decode(raw, path, offset)
            if offset == 0:
                text = text.removeprefix("\ufeff")
            offset += cut
            after = Position(begin.file + 1) if ended else Position(begin.file, offset, True)
            # A file of blanks is no document; blanks at its beginning belong to it.
            if text and (inside or not ended or not text.isspace()):
                yield Piece(text, len(raw), not inside, after)
                inside = True

    def _jsonl(self, file: BinaryIO, path: Path, begin: Position) -> Iterator[Piece]:
        offset = begin.offset
        for raw in file:
            line_start, offset = offset, offset + len(raw)
            if raw.isspace():
                continue
            text = self._decode(raw, path, line_start)
            try:
                record = json.loads(text.removeprefix("\ufeff") if line_start == 0 else text)
            except (ValueError, RecursionError) as error:
                reason = (
                    error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply, or a number too long"
                )
                raise ShardError(f"{self._line(path, line_start)}: not JSON: {reason}") from error
            if not isinstance(record, dict):
                raise ShardError(
                    f"{self._line(path, line_start)}: a line must be a JSON object with a '{self._text_key}'"
                )
            value = record.get(self._text_key)
            if not isinstance(value, str):
                keys = ", ".join(list(record)[:8]) or "none"
                what = "is not text" if self._text_key in record else "is missing"
                raise ShardError(
                    f"{self._line(path, line_start)}: '{self._text_key}' {what}; the line has: {keys} "
                    "(--text-key names another)"
                )
            yield from self._whole(value, partial(self._line, path, line_start), Position(begin.file, offset))

    def _parquet(self, path: Path, begin: Position) -> Iterator[Piece]:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise ShardError(f"{path}: reading parquet needs pyarrow: pip install 'daisy-tui[hf]'") from error
        try:
            file = parquet.ParquetFile(path)
            if self._text_key not in file.schema_arrow.names:
                names = ", ".join(file.schema_arrow.names[:8])
                raise ShardError(f"{path}: no column '{self._text_key}'; it has: {names} (--text-key names another)")
            kind = file.schema_arrow.field(self._text_key).type
            if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                raise ShardError(f"{path}: the column '{self._text_key}' holds {kind}, not text")
            self._rows[begin.file] = file.metadata.num_rows
            row, groups = 0, list(range(file.num_row_groups))
            while groups and row + file.metadata.row_group(groups[0]).num_rows <= begin.offset:
                row += file.metadata.row_group(groups.pop(0)).num_rows
            for batch in file.iter_batches(_PARQUET_ROWS, row_groups=groups, columns=[self._text_key]):
                if row + batch.num_rows <= begin.offset:
                    row += batch.num_rows
                    continue
                # As bytes: a writer may have put undecodable ones into a column of text.
                for value in batch.column(0).cast(pyarrow.large_binary()).to_pylist():
                    row += 1
                    if row <= begin.offset:
                        continue
                    if value is None:
                        raise ShardError(f"{path}: row {row}: '{self._text_key}' is null")
                    text = self._decode(value, Path(f"{path}: row {row}"), 0)
                    yield from self._whole(text, partial("{}: row {}".format, path, row), Position(begin.file, row))
        except pyarrow.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise ShardError(f"{path}: not a readable parquet file: {reason}") from error

    def _whole(self, text: str, where: Callable[[], str], after: Position) -> Iterator[Piece]:
        """A document that is already in memory, unless it is blank."""
        if not text or text.isspace():
            return
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            if self._errors == "strict":
                raise ShardError(
                    f"{where()}: character {error.start} is half of a surrogate pair; --errors replace keeps going"
                ) from error
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            size = len(text.encode())
        yield Piece(text, size, True, after)

    def _decode(self, raw: bytes, path: Path, offset: int) -> str:
        try:
            return raw.decode("utf-8", self._errors)
        except UnicodeDecodeError as error:
            raise ShardError(
                f"{path}: byte {offset + error.start} (0x{raw[error.start]:02x}) is not UTF-8; "
                "--errors replace puts U+FFFD there and keeps going"
            ) from error

    def _line(self, path: Path, offset: int) -> str:
        if self._stdin:
            return f"standard input, byte {offset}"
        number = 1
        with path.open("rb") as file:
            while offset > 0 and (block := file.read(min(_BLOCK, offset))):
                number += block.count(b"\n")
                offset -= len(block)
        return f"{path}:{number}"


def _safe_cut(data: bytes) -> int:
    """The last place in `data` where no token can cross, or 0.

    Such places are before a space or newline that follows a letter or digit, before a space that follows
    anything but blanks, and behind a newline with no blank on either side: no supported pattern has
    a piece that goes on there, nor looks ahead over it. Tests hold each tokenizer to that.
    """
    least = max(1, len(data) - _CUT_SEARCH)
    end = len(data)
    while (at := max(data.rfind(b" ", least, end), data.rfind(b"\n", least, end))) > 0:
        before = data[max(0, at - 4) : at].decode("utf-8", "replace")[-1:]
        if before.isalpha() or before.isdecimal():
            return at
        if not before.isspace():
            if data[at] == 0x20:
                return at
            behind = data[at + 1 : at + 5].decode("utf-8", "ignore")[:1]
            if behind and not behind.isspace():
                return at + 1
        end = at
    return 0


def _character_end(data: bytes) -> int:
    """The end of the last whole UTF-8 character in `data`: before its last lead byte at the latest."""
    for end in range(len(data) - 1, len(data) - 5, -1):
        if data[end] & 0xC0 != 0x80:
            return end
    return len(data)


def _expand(sources: Sequence[str]) -> list[Path]:
    found: dict[Path, Path] = {}
    for source in sources:
        try:
            matches = _matches(source)
        except OSError as error:
            raise DataUsageError(f"{source}: cannot be read: {error.strerror or error}") from error
        if not matches:
            kinds = ", ".join(_FORMAT_BY_SUFFIX)
            raise DataUsageError(f"{source}: nothing to read; {kinds} are read")
        for match in matches:
            found.setdefault(match.resolve(), match)
    return list(found.values())


def _matches(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return _walk(path)
    if path.is_file():
        return [path]
    if path.exists():
        raise DataUsageError(f"{source}: not a regular file; give `-` to read standard input")
    if has_magic(source):
        return sorted(Path(p) for p in glob(source, recursive=True) if Path(p).is_file())
    raise DataUsageError(f"{source}: no such file or folder")


def _walk(folder: Path) -> list[Path]:
    """The readable files below a folder in the order of their names. A folder that cannot be listed is an error."""

    def refuse(error: OSError) -> None:
        raise ShardError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    found = [Path(base) / name for base, _, names in os.walk(folder, onerror=refuse) for name in names]
    return sorted(path for path in found if _readable(path.relative_to(folder)) and path.is_file())


def _readable(path: Path) -> bool:
    return path.suffix.lower() in _FORMAT_BY_SUFFIX and not any(part.startswith(".") for part in path.parts)


def _kind_of(path: Path, kind: Format) -> Format:
    if kind != "auto":
        return kind
    known = _FORMAT_BY_SUFFIX.get(path.suffix.lower())
    if known is None:
        kinds = ", ".join(_FORMAT_BY_SUFFIX)
        raise DataUsageError(f"{path}: unknown kind of file; {kinds} are read (--format says what another one holds)")
    return known
