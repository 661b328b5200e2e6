"""Folders for work that leaves nothing: removed when it ends, and by the next one where it was killed.

A folder belongs to whoever holds a lock on it, which the kernel lets go however its holder ends. Rejected: a process
id in its name, which says nothing to another container that has the same /tmp.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A folder among the temporary ones, named after `prefix`; those with the same one that nobody holds go first."""
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_unheld(left)
    path, descriptor = _made(prefix)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _made(prefix: str) -> tuple[Path, int]:
    """A new folder and the descriptor that holds it: before it was held somebody may have taken it for one left."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        if _hold(descriptor) is not False and path.exists():
            return path, descriptor
        os.close(descriptor)


def _remove_unheld(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # another user's, or gone
        return
    if os.fstat(descriptor).st_uid == os.getuid() and _hold(descriptor):
        shutil.rmtree(path, ignore_errors=True)
    os.close(descriptor)


def _hold(descriptor: int) -> bool | None:
    """Whether a folder is held from now on; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
