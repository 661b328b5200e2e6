"""Processes told apart, watched over and ended: what a run needs so that nothing of it is left behind.

A pid alone proves nothing: it is used again. A process is known by its pid and by when it began. Linux counts that
in ticks since the boot, so with the boot's own id it names a process for ever; elsewhere it is a time of day.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_LINUX = sys.platform == "linux"
_LOOK_EVERY_S = 0.02


def identity(pid: int) -> str | None:
    """What no other process has had or will have; None where there is none with this pid, or only a zombie."""
    if not _LINUX:
        return _portable_identity(pid)
    try:
        # The name in parentheses may hold anything, even a parenthesis; fields are counted behind the last one.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    state, began = fields[0], int(fields[19])
    return None if state in b"ZX" else f"{_boot()}:{began}"


def is_alive(pid: int, known: str) -> bool:
    """Whether the process that had this identity still runs."""
    return identity(pid) == known


def become_subreaper() -> None:
    """Inherit the orphans among this process's descendants, so that none can get away. Linux only."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; end now where `parent` has ended already. Linux only."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def descendants(pid: int) -> list[psutil.Process]:
    """Children, their children, and so on; none where there is no such process."""
    import psutil  # not before it is needed: a run that waits is a small process

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def end_descendants() -> None:
    """Kill every descendant of this process and reap all of them. Stopped ones die too."""
    while True:
        for child in descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_LOOK_EVERY_S)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _portable_identity(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
    except psutil.NoSuchProcess:
        return None


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
