"""A checkpoint in the making: a folder of its own until one rename makes it a checkpoint. Standard library only."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

from core.checkpoint.format import MANIFEST_FILE, META_FILE, CheckpointError
from core.checkpoint.stored import Stored, write_stored
from core.files import sync_folder, write_atomic

PARTIAL = ".partial"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CheckpointUsageError(CheckpointError):
    """What cannot be made as it was asked for: a target that is taken, a tokenizer of another model."""

    exit_code = 2


class Staging:
    """One checkpoint being written; what is written is in its manifest, which comes last.

    What a killed one leaves behind has a name of its own and no manifest; the next one for the same path begins anew,
    and nothing else ever reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.staging = path.with_name(f".{path.name}{PARTIAL}")
        self._manifest: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        """Make the staging folder, empty. One rank does this before the others write."""
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)

    def write_stored(self, name: str, tensors: Iterable[Stored]) -> None:
        """Write a file of tensors whose bytes come in pieces."""
        self._manifest[name] = write_stored(self.staging / name, tensors)

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file that travels along, such as the tokenizer's."""
        write_atomic(self.staging / name, content)
        self._manifest[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def commit(self, meta: dict[str, Any]) -> Path:
        """Write meta data and manifest, and make it a checkpoint by one rename. Returns its path."""
        self.write_file(META_FILE, (json.dumps(meta, indent=2) + "\n").encode())
        manifest = dict(sorted(self._manifest.items()))
        write_atomic(self.staging / MANIFEST_FILE, (json.dumps(manifest, indent=2) + "\n").encode())
        if self.path.exists():
            put_aside(self.path, "replaced")
        self.staging.rename(self.path)
        sync_folder(self.path.parent)
        return self.path

    def abandon(self) -> None:
        """Remove what a failed save has written."""
        shutil.rmtree(self.staging, ignore_errors=True)


def put_aside(path: Path, why: str) -> Path:
    """Rename a checkpoint to `step_<n>.<why>`, which nothing reads: nobody deletes it but its owner."""
    target = path.with_name(f"{path.name}.{why}")
    names = (target if number == 1 else target.with_name(f"{target.name}-{number}") for number in count(1))
    return path.rename(next(name for name in names if not name.exists()))


def free_target(out: Path) -> Path:
    """The absolute path of a checkpoint to be made at `out`, which must not exist or be an empty folder.

    Raises CheckpointUsageError where it is taken, CheckpointError where that cannot be seen.
    """
    try:
        taken = out.is_symlink() or (any(out.iterdir()) if out.is_dir() else out.exists())
        target = out.resolve()
    except OSError as error:
        raise write_failure(error, out) from error
    except RuntimeError as error:  # how resolve words a loop of links
        raise CheckpointUsageError(f"{out}: lies behind a loop of links; name another --out") from error
    if taken:
        raise CheckpointUsageError(f"{out}: already there; name a folder that does not exist or is empty")
    return target


def write_failure(error: OSError, out: Path) -> CheckpointError:
    """A failed write in words, once what it has written is gone."""
    advice = "make room and repeat the command" if error.errno in _FULL else "name another --out"
    return CheckpointError(f"{out}: cannot be written: {error.strerror or error}; nothing was left behind; {advice}")
