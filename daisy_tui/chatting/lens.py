"""What a model said, token by token: how likely each was, what might have stood in its place, and going on from there.

Made from the logprobs of a server's chunks, whichever form they have: those of chats, those of completions, and Daisy's
with ids. Rejected: asking the server once more about a finished text, whose own encoding may be other tokens than those
that were said.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from math import exp, inf, isnan, log
from typing import Any, Literal, NamedTuple

By = Literal["probability", "entropy"]
LEVELS = 4
_MOST_TOP, _LONGEST_RAW = 32, 512  # of what a server tells of a token: some tell more than was asked for
# Above the first a token is as good as certain; entropy in nats, of which a fair coin has 0.69.
_PROBABILITIES, _ENTROPIES = (0.5, 0.2, 0.05), (0.5, 1.5, 3.0)
_LEAST_LOGPROB = -9999.0  # what stands for an infinite one in JSON


class Alternative(NamedTuple):
    """A token that might stand at a place. `id` is None where the server gives none; logprob in nats."""

    id: int | None
    raw: bytes
    logprob: float

    @property
    def probability(self) -> float:
        return exp(min(self.logprob, 0.0))


class Token(NamedTuple):
    """A token that was said. `top` are the likeliest at its place, the likeliest first."""

    id: int | None
    raw: bytes
    logprob: float
    top: tuple[Alternative, ...] = ()

    @property
    def probability(self) -> float:
        return exp(min(self.logprob, 0.0))

    @property
    def rank(self) -> int | None:
        """Its place among the likeliest, from 1; None where it is not among those known."""
        return next((place for place, other in enumerate(self.top, 1) if other[:2] == self[:2]), None)

    @property
    def choices(self) -> tuple[Alternative, ...]:
        """The likeliest, and what was said where it is not among them."""
        own = () if self.rank is not None or not self.top else (Alternative(self.id, self.raw, self.logprob),)
        return (*self.top, *own)

    @property
    def least_entropy(self) -> float:
        """Nats that the choice of this token had at least.

        The likeliest N are known. What is left to the others is least uncertain where as few as may be share it, and
        none of them is likelier than the last of the N.
        """
        known = [other.probability for other in self.choices] or [self.probability]
        rest = max(0.0, 1.0 - sum(known))
        most = min((other.probability for other in self.top), default=1.0)
        many, left = divmod(rest, most) if most > 0 else (0.0, rest)
        return sum(map(_surprise, known)) + many * _surprise(most) + _surprise(left)


def level(token: Token, by: By) -> int:
    """How far from certain, from 0 to LEVELS - 1."""
    if by == "probability":
        return sum(token.probability < bound for bound in _PROBABILITIES)
    return sum(token.least_entropy >= bound for bound in _ENTROPIES)


def level_names(by: By) -> tuple[str, ...]:
    """The levels in words, from certain to surprising."""
    if by == "probability":
        return ("≥ 50%", "≥ 20%", "≥ 5%", "< 5%")
    return ("< 0.5 nats", "≥ 0.5", "≥ 1.5", "≥ 3")


class TokenTexts:
    """The text that each token makes whole: none for one that ends inside a character, whose next ones bring it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.count = 0

    def add(self, token: Token) -> str:
        """The text of one more token."""
        self.count += 1
        return self._decoder.decode(token.raw)


def texts(tokens: Iterable[Token]) -> list[str]:
    """The text that each of these tokens makes whole."""
    decode = TokenTexts()
    return [decode.add(token) for token in tokens]


def name(raw: bytes) -> str:
    """A token by itself, for people: what is no text or not seen is written out."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in raw)
    shown = "".join(_SHOWN.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode()) for c in text)
    return shown or "(nothing)"


def forked(tokens: Sequence[Token], place: int, alternative: Alternative) -> list[Token]:
    """What was said up to a place, and there an alternative instead."""
    return [*tokens[:place], Token(*alternative, tokens[place].top)]


def ids(tokens: Iterable[Token]) -> list[int] | None:
    """The ids of tokens; None where the server gave none."""
    found = [token.id for token in tokens]
    return None if any(token is None for token in found) else [token for token in found if token is not None]


def tokens_of(choice: dict[str, Any]) -> list[Token]:
    """The tokens in a choice of a chunk, chat or completion; none without logprobs. Raises ValueError, KeyError or
    TypeError where they have no form that is known."""
    said = choice.get("logprobs")
    if not said:
        return []
    if "content" in said:
        return [
            Token(*_entry(entry), tuple(map(_entry, (entry.get("top_logprobs") or ())[:_MOST_TOP])))
            for entry in said["content"]
        ]
    tops = said.get("top_logprobs") or [None] * len(said["tokens"])
    parts = zip(said["tokens"], said["token_logprobs"], tops, strict=True)
    return [_named(token, logprob, top or {}) for token, logprob, top in parts]


def packed(token: Token) -> list[Any]:
    """A token as JSON, short. Bytes stand as the characters of their numbers."""

    def short(one: Token | Alternative) -> list[Any]:
        return [one.id, one.raw.decode("latin-1"), round(max(one.logprob, _LEAST_LOGPROB), 4)]

    return [*short(token), list(map(short, token.top))]


def unpacked(value: Any) -> Token:
    """The token that `packed` wrote. Raises ValueError or TypeError for what is none."""

    def whole(number: Any, raw: str, logprob: Any) -> Alternative:
        return Alternative(_id(number), raw.encode("latin-1"), _logprob(logprob))

    *own, top = value
    return Token(*whole(*own), tuple(whole(*other) for other in top))


_SHOWN = {" ": "␣", "\n": "⏎", "\t": "⇥"}
_BYTES = re.compile(r"bytes:((?:\\x[0-9a-f]{2})+)")


def _surprise(probability: float) -> float:
    return -probability * log(probability) if probability > 0 else 0.0


def _entry(entry: dict[str, Any]) -> Alternative:
    raw = bytes(entry["bytes"][:_LONGEST_RAW]) if entry.get("bytes") is not None else _raw(entry["token"])
    return Alternative(_id(entry.get("id")), raw, _logprob(entry["logprob"]))


def _named(token: str, logprob: float | None, top: dict[str, float]) -> Token:
    others = sorted((Alternative(None, _raw(key), _logprob(value)) for key, value in top.items()), key=_likeliest)
    return Token(None, _raw(token), _logprob(logprob or 0.0), tuple(others[:_MOST_TOP]))


def _likeliest(alternative: Alternative) -> float:
    return -alternative.logprob


def _raw(token: str) -> bytes:
    """A token's bytes from its name, which is its text, or its bytes as OpenAI writes them."""
    token = token[:_LONGEST_RAW]
    if _BYTES.fullmatch(token):
        return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
    return token.encode(errors="replace")


def _logprob(value: Any) -> float:
    number = float(value)
    if isnan(number):
        raise ValueError("a logprob is no number")
    return -inf if number <= _LEAST_LOGPROB else min(number, 0.0)


def _id(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{value!r} is no token's id")
    return value
