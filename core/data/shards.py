"""Token shards: the `.bin` files of the nanoGPT speed runs, memory-mapped.

A 1,024-byte header of 256 little-endian int32 (magic 20240520, version, token count, zeros), then the
tokens: uint16 in version 1, uint32 in version 2. A file is checked against its header before any
token is read, so a truncated download never becomes training data.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.errors import ShardError

MAGIC = 20240520
HEADER_BYTES = 1024
MAX_SHARD_TOKENS = 2**31 - 1
_DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<u2"), 2: np.dtype("<u4")}

Tokens = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class ShardHeader:
    """What a shard's first bytes say: version 1 or 2, and how many tokens follow."""

    version: int
    tokens: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return _DTYPES[self.version]

    def to_bytes(self) -> bytes:
        return struct.pack("<3i", MAGIC, self.version, self.tokens).ljust(HEADER_BYTES, b"\0")


def version_for(vocab_size: int) -> int:
    """The smallest version whose tokens hold every id of a vocabulary."""
    return 1 if vocab_size <= 2**16 else 2


def read_header(path: Path) -> ShardHeader:
    """The header of a shard, checked against the file's size. Raises ShardError naming the file."""
    try:
        if path.exists() and not path.is_file():
            raise ShardError(f"{path}: not a regular file")
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ShardError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size == 0:
        raise ShardError(f"{path}: the file is empty; a shard begins with a {HEADER_BYTES}-byte header")
    if len(raw) < HEADER_BYTES:
        raise ShardError(f"{path}: truncated: {size} bytes, but the header alone has {HEADER_BYTES}")
    magic, version, tokens = struct.unpack_from("<3i", raw)
    if magic != MAGIC:
        raise ShardError(f"{path}: not a token shard: it begins with {magic}, not the magic number {MAGIC}")
    if version not in _DTYPES:
        raise ShardError(f"{path}: shard version {version} is unknown; 1 (uint16) and 2 (uint32) are read")
    if tokens < 0:
        raise ShardError(f"{path}: the header claims {tokens} tokens; the file is damaged")
    header = ShardHeader(version, tokens)
    expected = HEADER_BYTES + tokens * header.dtype.itemsize
    if size != expected:
        state = "truncated" if size < expected else "too long"
        raise ShardError(
            f"{path}: {state}: the header says {tokens} tokens ({expected} bytes), but the file has {size} bytes"
        )
    return header


def open_shard(path: Path) -> Tokens:
    """The tokens of a shard as a read-only memory map, shape (tokens,), dtype uint16 or uint32.

    A plain array view of the map: slicing a `np.memmap` costs several times as much per slice.
    """
    header = read_header(path)
    if header.tokens == 0:
        return np.empty(0, dtype=header.dtype)
    mapped = np.memmap(path, dtype=header.dtype, mode="r", offset=HEADER_BYTES, shape=(header.tokens,))
    return mapped.view(np.ndarray)


class ShardWriter:
    """Appends tokens to one unfinished file; `finish` writes the header that makes it a shard.

    Until then the header is zeros, which no reader accepts. `tokens` > 0 continues a file that was
    left with at least that many, dropping what came after.
    """

    def __init__(self, path: Path, version: int, tokens: int = 0) -> None:
        self.path = path
        self.version = version
        self.tokens = tokens
        self._dtype = _DTYPES[version]
        if tokens and not path.is_file():
            raise ShardError(
                f"{path}: missing, though {tokens} tokens are noted for it; delete {path.parent} to start over"
            )
        self._file = path.open("r+b" if tokens else "w+b", buffering=1 << 20)
        if not tokens:
            self._file.write(bytes(HEADER_BYTES))
        end = HEADER_BYTES + tokens * self._dtype.itemsize
        if tokens and os.fstat(self._file.fileno()).st_size < end:
            self._file.close()
            raise ShardError(
                f"{path}: holds fewer than the {tokens} tokens noted for it; delete {path.parent} to start over"
            )
        self._file.seek(end)
        self._file.truncate()

    def append(self, tokens: Tokens) -> None:
        """Append token ids, shape (n,), any integer dtype."""
        self._file.write(tokens.astype(self._dtype, copy=False).tobytes())
        self.tokens += len(tokens)

    def sync(self) -> None:
        """Make everything appended so far durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Write the header and close: from now on the file is a shard."""
        self._file.flush()
        self._file.seek(0)
        self._file.write(ShardHeader(self.version, self.tokens).to_bytes())
        self.sync()
        self._file.close()

    def close(self) -> None:
        """Close without finishing. On a full disk what is buffered is dropped: nobody counted on it."""
        with suppress(OSError):
            self._file.close()


def write_shard(path: Path, tokens: Tokens, vocab_size: int) -> None:
    """Write a whole shard atomically: tokens of shape (n,), ids below `vocab_size`."""
    temporary = path.with_name(f".{path.name}.tmp")
    writer = ShardWriter(temporary, version_for(vocab_size))
    try:
        writer.append(tokens)
        writer.finish()
        temporary.replace(path)
    finally:
        writer.close()
        temporary.unlink(missing_ok=True)
