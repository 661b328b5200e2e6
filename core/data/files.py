"""JSON files read through their types, and failed writes said in words."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from core.data.errors import ShardError

T = TypeVar("T")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def read_json(path: Path, kind: type[T]) -> T | None:
    """A JSON file as a dataclass, every field checked by its type; None where there is no file.

    Raises ShardError for anything else: the file is damaged.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ShardError(f"{path}: damaged: {place + ': ' if place else ''}{first['msg']}") from error
    except OSError as error:
        raise ShardError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_failure(error: OSError, folder: Path, kept: str) -> ShardError:
    """A failed write below `folder` as one line; `kept` says what is left of the work."""
    where = error.filename or folder
    if error.errno in _FULL:
        return ShardError(f"{where}: the disk is full ({error.strerror}); make room and repeat the command: {kept}")
    return ShardError(f"{where}: cannot be written: {error.strerror or error}; {kept}")
