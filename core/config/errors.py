"""The error of the configuration room: a list of problems, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import DaisyError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the `key` it belongs to (a form shows it there) and the line."""

    key: str
    message: str


class ConfigError(DaisyError):
    """A configuration that cannot be used. `str()` is one line per problem."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[Problem]) -> None:
        self.problems = [Problem("", problems)] if isinstance(problems, str) else list(problems)
        super().__init__(*(problem.message for problem in self.problems))
