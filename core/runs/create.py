"""Make a run directory, and write the config that it runs by."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from core.config.train_config import TrainConfig
from core.files import write_atomic
from core.runs.directory import RunDirectory, RunError, write_object

_LONGEST_NAME = 100


def create_run(
    root: Path, name: str, config: TrainConfig, facts: dict[str, Any], now: datetime, overrides: Sequence[str] = ()
) -> RunDirectory:
    """Make `root/<time>-<name>` with its config and `run.json`. `facts` are what run.json holds beside the id."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "run"
    if len(safe) > _LONGEST_NAME:
        raise RunError(f"the name of a run has at most {_LONGEST_NAME} letters; '{safe[:20]}…' has {len(safe)}")
    base = f"{now:%Y%m%d-%H%M%S}-{safe}"
    for number in range(1, 1000):
        run = RunDirectory(root / (base if number == 1 else f"{base}-{number}"))
        try:
            run.path.mkdir(parents=True)
        except FileExistsError:
            if root.is_symlink() and not root.exists():
                raise RunError(f"{root}: its link points at {root.readlink()}, which is not there") from None
            continue
        except OSError as error:
            raise RunError(f"{run.path}: cannot be made: {error.strerror}") from error
        try:
            write_config(run, config, overrides)
            write_object(run.run, {"id": run.path.name, "name": safe, **facts})
        except OSError as error:
            shutil.rmtree(run.path, ignore_errors=True)
            raise RunError(f"{run.path}: cannot be written: {error.strerror}") from error
        return run
    raise RunError(f"{root / base}: a thousand runs of this name began in this second")


def write_config(run: RunDirectory, config: TrainConfig, overrides: Sequence[str]) -> None:
    """Write the config in force, and note the overrides as typed that made it so."""
    # The config stands for itself: the spec it came from may change or go.
    values = {**config.model_dump(), "model_spec": None}
    write_atomic(run.config, yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode())
    with run.overrides.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{override}\n" for override in overrides)
