"""The turns of a conversation as a tree: another answer, or a question put otherwise, stands beside the first.

One path through the tree is chosen, and is what the model reads; the others are kept. A plain text that a model goes
on with is such a tree too: what was typed, and how it went on. Rejected: a list of turns with copies for branches, in
which nobody can tell what two branches have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from daisy_tui.chatting.lens import Token

Role = Literal["user", "assistant"]
# How an answer ended: by itself, at max_tokens, with the model full, by the person's stop, or by a failure.
Ended = Literal["stop", "length", "full", "cut", "failed"]


class Speed(NamedTuple):
    """Of one answer: its tokens, the seconds to the first, and those between the first and the last; `cut` says why it
    ended before its end."""

    tokens: int
    first_s: float
    rest_s: float
    cut: str = ""

    @property
    def rate(self) -> float | None:
        """Tokens a second after the first; None for one token."""
        return (self.tokens - 1) / self.rest_s if self.tokens > 1 and self.rest_s > 0 else None

    def __str__(self) -> str:
        rate = f"{self.rate:.1f} tokens/s" if self.rate is not None else ""
        parts = [f"{self.tokens} tokens" if self.tokens != 1 else "1 token", rate, f"first after {self.first_s:.2f} s"]
        return ", ".join(filter(None, [*parts, self.cut]))


@dataclass(eq=False)
class Turn:
    """What somebody said. An answer grows while it comes, in a thread: who reads looks at what `pieces` has gained.

    `prompt_ids` are the ids that an answer went on from, `tokens` what it said, and `held` how many tokens there are up
    to its end, where the server told; `asked` how it was to be chosen, and `model` by what. `failure` is why it ended
    too early. A turn without a `parent` is the root, which says nothing.
    """

    number: int
    role: Role
    parent: Turn | None = field(repr=False)
    pieces: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    prompt_ids: list[int] | None = None
    held: int | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    time: float = 0.0
    ended: Ended | None = None
    failure: str = ""
    speed: Speed | None = None
    children: list[Turn] = field(default_factory=list, repr=False)
    chosen: Turn | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def siblings(self) -> list[Turn]:
        """All turns in this place, with this one."""
        return self.parent.children if self.parent is not None else [self]

    @property
    def place(self) -> int:
        """Which of its siblings this is, from 1."""
        return self.siblings.index(self) + 1


class Turns:
    """The tree, and the path through it that is chosen."""

    def __init__(self) -> None:
        self.root = Turn(0, "assistant", None)
        self.by_number: dict[int, Turn] = {0: self.root}
        self._next = 1

    def __bool__(self) -> bool:
        return bool(self.root.children)

    def __iter__(self) -> Iterator[Turn]:
        """Every turn, in the order in which they were begun."""
        return (turn for number, turn in self.by_number.items() if number)

    @property
    def path(self) -> list[Turn]:
        """The turns that are chosen, from the first to the last."""
        found = []
        turn = self.root.chosen
        while turn is not None:
            found.append(turn)
            turn = turn.chosen
        return found

    @property
    def tip(self) -> Turn:
        """The last turn of the path; the root where there is none."""
        return (self.path or [self.root])[-1]

    def add(self, role: Role, parent: Turn, text: str = "", number: int | None = None) -> Turn:
        """Say something behind a turn. The path leads there from now on."""
        number = self._next if number is None else number
        self._next = max(self._next, number + 1)
        turn = Turn(number, role, parent, [text] if text else [])
        parent.children.append(turn)
        self.by_number[number] = turn
        self.choose(turn)
        return turn

    def choose(self, turn: Turn) -> None:
        """Have the path lead through a turn; behind it, it goes as it last went."""
        while turn.parent is not None:
            turn.parent.chosen = turn
            turn = turn.parent

    def leave(self, turn: Turn) -> None:
        """Have the path end with a turn: what is said next stands beside what was said there."""
        self.choose(turn)
        turn.chosen = None

    def step(self, turn: Turn, by: int) -> Turn:
        """Choose the sibling so many places on, around the end; returns it."""
        siblings = turn.siblings
        other = siblings[(siblings.index(turn) + by) % len(siblings)]
        self.choose(other)
        return other

    def remove(self, turn: Turn) -> None:
        """Forget a turn behind which nothing was said. The path leads to the last of its siblings, if there is one."""
        assert turn.parent is not None
        assert not turn.children
        turn.parent.children.remove(turn)
        del self.by_number[turn.number]
        if turn.parent.chosen is turn:
            turn.parent.chosen = next(reversed(turn.parent.children), None)
