"""How much a model can hold, how much of it a conversation takes, and how long an answer may therefore be.

Rejected: an answer of all that fits. A small model seldom ends by itself, and after its first answer the chat is over.
"""

from __future__ import annotations

from typing import Any, NamedTuple

LONGEST_ANSWER = 512
_SHARE = 4  # of what the model holds, an answer takes one part in so many at most


class Room(NamedTuple):
    """What a model holds, in tokens, and what a conversation takes of it."""

    size: int
    held: int

    @property
    def left(self) -> int:
        return max(0, self.size - self.held)

    @property
    def is_full(self) -> bool:
        """Whether no question has an answer any more that deserves the name."""
        return self.left < max(2, answer_limit(self.size) // 16)

    @property
    def is_nearly_full(self) -> bool:
        """Whether the next answer will be cut short."""
        return self.left < answer_limit(self.size) // 2

    def __str__(self) -> str:
        how = "full" if self.is_full else "almost full"
        return f"the context is {how}: {self.left:,} of its {self.size:,} tokens are left"


def answer_limit(size: int) -> int:
    """The tokens of an answer where nobody says how many; `size` is 0 where nobody knows what the model holds."""
    return min(LONGEST_ANSWER, max(1, size // _SHARE)) if size else LONGEST_ANSWER


def as_count(value: Any) -> int:
    """A count that a server gave; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else 0
