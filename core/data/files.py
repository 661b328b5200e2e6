"""Small files that are either whole or absent, and failed writes said in words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from core.data.errors import ShardError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomic(path: Path, data: bytes) -> None:
    """Write under a temporary name, fsync, rename: a reader sees the old file or the new, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_failure(error: OSError, folder: Path, kept: str) -> ShardError:
    """A failed write below `folder` as one line; `kept` says what is left of the work."""
    where = error.filename or folder
    if error.errno in _FULL:
        return ShardError(f"{where}: the disk is full ({error.strerror}); make room and repeat the command: {kept}")
    return ShardError(f"{where}: cannot be written: {error.strerror}; {kept}")
