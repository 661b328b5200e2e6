"""What can be done on a screen: the one registry behind keys, footer, palette, help, and "show the command".

A screen lists its actions once; its key bindings, its line in the palette and in the help, and the `daisy …` command
that does the same without a screen are all made from that list. Rejected: Textual's bindings alone, which know neither
a command nor whether an action changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True)
class Action:
    """One thing to do. `id` names the screen's method `action_<id>`, `key` its keys, separated by commas.

    `command` is the `daisy …` command that does the same, with placeholders; empty for what only changes the view.
    `acts`: it changes something, so that a read-only terminal refuses it; `footer`: the footer names it.
    """

    id: str
    key: str
    title: str
    help: str
    command: str = ""
    acts: bool = False
    footer: bool = True

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key.strip() for key in self.key.split(",") if key.strip())


def bindings(actions: Iterable[Action]) -> list[Binding]:
    """The key bindings of actions. One without a key is in the palette and the help alone."""
    return [
        Binding(
            action.key,
            action.id,
            action.title,
            show=action.footer,
            tooltip=action.help,
            id=action.id,
        )
        for action in actions
        if action.key
    ]
