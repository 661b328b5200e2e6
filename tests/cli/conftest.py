"""Run `daisy` in this process, as a person would type it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from daisy_tui.cli.main import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Daisy = Callable[..., Ran]


@pytest.fixture
def daisy(capfd: pytest.CaptureFixture[str]) -> Daisy:
    def run(*arguments: str) -> Ran:
        capfd.readouterr()
        code = main(list(arguments))
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
