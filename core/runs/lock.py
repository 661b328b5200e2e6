"""One supervisor a run: a lock on its `supervisor.lock`, from before launch.json is written until the supervisor ends.

Whoever starts a run takes the lock and hands it to the supervisor, so that at no moment two can be started, and one
that never came up is known at once. Where a file system has no locks, launch.json's age has to do.
"""

from __future__ import annotations

import fcntl
import os
import time

from core.runs.directory import RunDirectory

_ENDS_WITHIN_S, _LOOK_EVERY_S = 2.0, 0.02


def hold(run: RunDirectory) -> int | None:
    """The descriptor that holds the lock; None where somebody else holds it.

    The supervisor before, which has told its end and is about to exit, is waited for, as is whoever only looks.
    """
    opened = os.open(run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    descriptor = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 3)  # where standard input is closed it would take its place
    os.close(opened)
    deadline = time.monotonic() + _ENDS_WITHIN_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(_LOOK_EVERY_S)
        except OSError:  # a file system without locks
            return descriptor


def is_held(run: RunDirectory) -> bool | None:
    """Whether somebody holds the lock; None where the file system does not tell."""
    try:
        descriptor = os.open(run.lock, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
