"""A run that is being composed: a config by name, and what the person touched, in their words. Nothing else is kept.

Everything that a screen shows of it is computed from this and from the files, so it can never be stale, and undoing is
going back to another draft. Values stay text, as typed: `65k` is shown as it was written, and what is wrong stays to be
mended. Rejected: a filled form, which would freeze every default of the day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from core.config.overrides import format_path, parse_override, parse_path
from core.config.scalars import is_null

T = TypeVar("T")

# What is an option of `daisy train` and no override.
OPTIONS = {"init_checkpoint": "-p", "devices": "--devices", "nproc": "-n", "name": "-r", "force": "--force"}
_DEVICES = ("devices", "nproc")
_YES = ("true", "yes", "on")
_LONGEST_HISTORY = 1000


@dataclass(frozen=True)
class Draft:
    """`touched` are keys and values as typed, each key once, in the order in which they hold.

    Keys are those of overrides, and of OPTIONS.
    """

    config: str
    touched: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, config: str, overrides: Iterable[str] = (), parent: str | None = None) -> Draft:
        """A draft from overrides as they are typed. Raises ConfigError for what is none; values are not looked at."""
        draft = cls(config)
        for text in overrides:
            key, equals, value = text.removeprefix("--").partition("=")
            path = parse_path(key.strip(), text) if equals else parse_override(text).path
            draft = draft.having(format_path(path), value.strip() if equals else "true")
        return draft if parent is None else draft.having("init_checkpoint", parent)

    def value(self, key: str) -> str | None:
        """What was typed for a key; None where it is untouched."""
        return dict(self.touched).get(key)

    def having(self, key: str, text: str) -> Draft:
        """The draft with a key set, which takes the place of what was set inside it."""
        if key == "config":
            return replace(self, config=text)
        if key in OPTIONS and (is_null(text) or (key == "force" and text.lower() not in _YES)):
            return self.without(key)
        if key in self.keys:
            kept = tuple((k, text if k == key else v) for k, v in self.touched)
        else:
            kept = (*self.touched, (key, text))
        return replace(self, touched=tuple((k, v) for k, v in kept if not k.startswith((f"{key}.", f"{key}["))))

    def without(self, *keys: str) -> Draft:
        """The draft with keys untouched."""
        keys = (*keys, "force") if "init_checkpoint" in keys else keys
        return replace(self, touched=tuple((key, value) for key, value in self.touched if key not in keys))

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.touched]

    @property
    def overrides(self) -> list[str]:
        """The touched keys of the configuration, as overrides."""
        return [f"{key}={value}" for key, value in self.touched if key not in OPTIONS]

    @property
    def parent(self) -> str | None:
        """The checkpoint or run that the weights come from."""
        return self.value("init_checkpoint")

    def save_arguments(self, name: str) -> list[str]:
        """The arguments of `daisy` that save this as a config of its own."""
        parent = ["-p", self.parent] if self.parent is not None else []
        return ["config", "save", self.config, name, *parent, *self.overrides]

    def preflight_arguments(self, followed: Sequence[str] = ()) -> list[str]:
        """The arguments of `daisy` that take three steps of this; `followed` are the parent's overrides."""
        options = [word for key, text in self.touched if key in _DEVICES for word in _option(OPTIONS[key], text)]
        return ["preflight", self.config, *options, *followed, *self.overrides]

    def train_arguments(self) -> list[str]:
        """The arguments of `daisy` that train this: `train demo -n 2 lr_scale=0.5`."""
        options = [word for key, text in self.touched if key in OPTIONS for word in _option(OPTIONS[key], text)]
        return ["train", self.config, *options, *self.overrides]


def _option(option: str, text: str) -> Sequence[str]:
    return [option] if option == "--force" else [option, text]


class History(Generic[T]):
    """Drafts as they followed each other. Changes under one `about`, as the letters of a word, are undone together."""

    def __init__(self, first: T) -> None:
        self._before: list[T] = []
        self._now, self._about = first, ""
        self._after: list[T] = []

    @property
    def now(self) -> T:
        return self._now

    @property
    def can_undo(self) -> bool:
        return bool(self._before)

    def change(self, to: T, about: str = "") -> bool:
        """Go on with another value; whether it is another."""
        if to == self._now:
            return False
        if not about or about != self._about:
            self._before = [*self._before[-_LONGEST_HISTORY:], self._now]
        self._now, self._about = to, about
        self._after.clear()
        return True

    def settle(self) -> None:
        """What comes now is undone by itself."""
        self._about = ""

    def undo(self) -> bool:
        """Go back; whether there was something to go back to."""
        if not self._before:
            return False
        self._after.append(self._now)
        self._now, self._about = self._before.pop(), ""
        return True

    def redo(self) -> bool:
        """Go forward again."""
        if not self._after:
            return False
        self._before.append(self._now)
        self._now, self._about = self._after.pop(), ""
        return True
