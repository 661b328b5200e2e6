"""Opening the files of a run: regular ones alone, because whoever opens a pipe waits for somebody to write into it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """A file to read bytes of. Raises OSError, as for other failures, for a pipe, a device, a socket or a folder."""
    return os.fdopen(regular_descriptor(path), "rb")


def regular_descriptor(path: Path, flags: int = 0) -> int:
    """A descriptor to read a regular file by, which is never waited for. Raises OSError as `open_regular`."""
    descriptor = os.open(path, flags | os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "a pipe or a device is in the place of a file", str(path))
