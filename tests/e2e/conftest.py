"""A folder to train in, for tests that start real runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import processes


@pytest.fixture
def watched_folder(training_folder: Callable[..., Path]) -> Iterator[Callable[..., Path]]:
    """Make a folder to train in, as `training_folder` does; whatever still runs there ends with the test."""
    made: list[Path] = []

    def make(**keys: Any) -> Path:
        made.append(training_folder(val_shards="shards/x_val_*.bin", batch_tokens=128, log_every_steps=1, **keys))
        return made[-1]

    yield make
    for folder in made:
        for process in processes(folder):
            process.kill()
