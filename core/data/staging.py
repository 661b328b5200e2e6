"""The folder that a preparation works in: held by one process, and kept while it can be taken up again."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.data.dataset import STAGING, STATE_FILE, PreparationState
from core.data.errors import ShardError
from core.data.files import read_json


@contextmanager
def hold_staging(out: Path) -> Iterator[Path]:
    """The staging folder, held by this process alone, and removed unless it can be taken up again."""
    staging = out / STAGING
    busy = ShardError(f"{out}: another preparation is writing there; wait for it, or use another --out")
    staging.mkdir(exist_ok=True)
    with (staging / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy from error
        if not _is_ours(file, staging):
            raise busy  # its last holder removed it between our open and our lock
        try:
            yield staging
        finally:
            if _is_ours(file, staging) and not (staging / STATE_FILE).exists():
                shutil.rmtree(staging)


def _is_ours(file: IO[str], staging: Path) -> bool:
    """Whether the open lock is still the one that stands in the folder."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), (staging / "lock").stat())
    except FileNotFoundError:
        return False


def load_state(staging: Path, advice: str = "delete {} to start over") -> PreparationState | None:
    """What an unfinished preparation saved, or None. Raises ShardError, with the advice, where it is damaged."""
    try:
        return read_json(staging / STATE_FILE, PreparationState)
    except ShardError as error:
        raise ShardError(f"{error}; {advice.format(staging)}") from error
