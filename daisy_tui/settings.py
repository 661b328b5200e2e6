"""What a person has chosen for every session: a small YAML file in the home's configuration folder.

A file that cannot be read counts as absent and is said once; nothing here ever keeps the terminal from opening.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from core.errors import DaisyError
from core.files import write_atomic

X_KINDS = ("step", "tokens", "time")


class SettingsError(DaisyError):
    """Settings that cannot be read or written."""


@dataclass(frozen=True)
class Settings:
    """What may be chosen. `smoothing` is that of charts, from 0 (none) to 0.99; `x` what charts are drawn over."""

    theme: str = "textual-dark"
    smoothing: float = 0.0
    x: str = "step"
    log_y: bool = False

    def checked(self) -> Settings:
        """These, with what makes no sense replaced by its default."""
        smoothing = self.smoothing if isinstance(self.smoothing, int | float) and 0 <= self.smoothing < 1 else 0.0
        x = self.x if self.x in X_KINDS else "step"
        theme = self.theme if isinstance(self.theme, str) else Settings.theme
        return replace(self, theme=theme, smoothing=float(smoothing), x=x, log_y=self.log_y is True)


class SettingsFile:
    """The file. `path` None keeps nothing, as tests want it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> Settings:
        """What the file says. Raises SettingsError where it is there and cannot be read."""
        if self._path is None or not self._path.exists():
            return Settings()
        import yaml

        try:
            values: Any = yaml.safe_load(self._path.read_text(encoding="utf-8")) or {}
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise SettingsError(f"{self._path}: cannot be read: {_why(error)}; the defaults hold") from error
        if not isinstance(values, dict):
            raise SettingsError(f"{self._path}: holds no keys; the defaults hold")
        known = {field.name for field in fields(Settings)}
        return Settings(**{key: value for key, value in values.items() if key in known}).checked()

    def write(self, settings: Settings) -> None:
        """Keep settings. Raises SettingsError."""
        if self._path is None:
            return
        import yaml

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, yaml.safe_dump(asdict(settings), sort_keys=False).encode())
        except OSError as error:
            raise SettingsError(f"{self._path}: cannot be written: {error.strerror}") from error


def _why(error: Exception) -> str:
    """An error in one line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}: {problem}" if mark is not None else " ".join(str(error).split())


def settings_path() -> Path:
    """`$XDG_CONFIG_HOME/daisy/settings.yaml`, or in `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "daisy/settings.yaml"
