"""Which file a config or spec name means.

A file in the working directory wins over the shipped one of the same name. The shipped `configs/`
and `model_specs/` lie beside the `core` package, in a checkout as in an installed wheel.
"""

from __future__ import annotations

import errno
import stat
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import core.config
from core.config.errors import ConfigError

Kind = Literal["config", "spec"]
_FOLDER = {"config": "configs", "spec": "model_specs"}
_SUFFIXES = (".yml", ".yaml")


def find_file(name: str, kind: Kind) -> Path:
    """The file that `name` (a name or a path) means. Raises ConfigError listing what exists.

    A path is taken as it is; the README's `config/X.yml` also finds `configs/X.yml`. A bare name is
    looked up as `./NAME.yml`, `./configs/NAME.yml` (or `model_specs/`), then among the shipped files.
    """
    for candidate in _candidates(name, kind):
        if _is_file(candidate):
            return candidate
    known = sorted(one for one, path in list_files(kind).items() if _is_file(path))
    what = "model spec" if kind == "spec" else "config"
    if there := next((words for path in _candidates(name, kind) if (words := _instead(path))), None):
        raise ConfigError(f"{what} '{name}': {there}; name a file, or one of: {', '.join(known)}")
    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(Path(name).name.removesuffix(".yml").lower(), by_lower, n=1)
    hint = f"did you mean '{by_lower[near[0]]}'? " if near else ""
    if kind == "config" and name in list_files("spec"):
        hint = f"it is a model spec: model_spec={name} chooses it; "
    raise ConfigError(f"{what} '{name}' does not exist; {hint}known: {', '.join(known)} (or a path to a .yml file)")


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a name too long, a null byte, a folder that may not be searched
        return path.is_file()
    return False


def _instead(path: Path) -> str | None:
    """What lies in the place of a file; None where nothing does."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"{path} is a link to {path.readlink()}, which is not there" if path.is_symlink() else None
    except OSError as error:
        said = {errno.ELOOP: "is a link that leads back to itself", errno.EACCES: "may not be looked at"}
        return f"{path} {said[error.errno]}" if error.errno in said else None
    except ValueError:
        return None
    return f"{path} is a folder" if stat.S_ISDIR(mode) else f"{path} is a pipe or a device"


def list_files(kind: Kind) -> dict[str, Path]:
    """Every config or spec by name: the shipped ones, then those of the working directory's folder."""
    found: dict[str, Path] = {}
    for folder in (_shipped(kind), Path(_FOLDER[kind])):
        with suppress(OSError):
            for path in sorted(folder.iterdir()):
                if path.suffix in _SUFFIXES:
                    found[path.stem] = path
    return found


def _candidates(name: str, kind: Kind) -> list[Path]:
    given = Path(name)
    with suppress(RuntimeError):  # ~somebody who has no home
        given = given.expanduser()
    folder = _FOLDER[kind]
    with_suffix = [given] if given.suffix in _SUFFIXES else [Path(f"{given}{s}") for s in _SUFFIXES]
    candidates = list(with_suffix)
    # A bare name, or the owner's README's `config/X.yml` where this project has `configs/X.yml`.
    if given.parent == Path() or given.parent in (Path("config"), Path(folder)):
        for base in (Path(folder), _shipped(kind)):
            candidates += [base / path.name for path in with_suffix]
    return candidates


def shipped_root() -> Path:
    """The folder that holds the shipped `configs/` and `model_specs/`."""
    return Path(core.config.__file__).parents[2]


def _shipped(kind: Kind) -> Path:
    return shipped_root() / _FOLDER[kind]
