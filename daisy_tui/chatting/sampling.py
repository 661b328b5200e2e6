"""How a model is to choose, as a person types it: each parameter with its range, its default, and its option.

Only what leaves something out is sent, so that servers of other programs, which know fewer parameters, can be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import DaisyError
from daisy_tui.chatting.room import LONGEST_ANSWER

MOST_ALTERNATIVES = 20
_MOST_STOPS, _LONGEST_STOP = 16, 1024


class SamplingValueError(DaisyError):
    """A value that a parameter cannot have: what is wrong, and what would be accepted."""


@dataclass(frozen=True)
class Parameter:
    """One of them. `default` is what it begins as, as it is typed; `neutral` the value that need not be sent.

    `fits` says whether a value is in range, and `range` which that is, in words; `blank` what holds where nothing is
    typed.
    """

    name: str
    title: str
    default: str
    neutral: Any
    kind: Callable[[str], Any]
    fits: Callable[[Any], bool]
    range: str
    help: str
    blank: str = ""

    def parse(self, text: str) -> Any:
        """The value that is typed; None for nothing. Raises SamplingValueError."""
        text = text.strip() if self.name != "stop" else text
        if not text:
            return None
        try:
            value = self.kind(text)
        except ValueError:
            raise SamplingValueError(f"{self.title}: {self.range}; got {text[:40]}") from None
        if not self.fits(value):
            raise SamplingValueError(f"{self.title}: {self.range}; got {text[:40]}")
        return value


def _whole(text: str) -> int:
    return int(text.replace("_", "").replace(",", ""))


def _stops(text: str) -> list[str]:
    """Texts between bars; `\\n` is a new line."""
    return [part.replace("\\n", "\n").replace("\\t", "\t") for part in text.split("|") if part]


PARAMETERS = (
    Parameter(
        name="temperature",
        title="temperature",
        default="0.7",
        neutral=1.0,
        kind=float,
        fits=lambda value: 0 <= value <= 2,
        range="a number from 0 to 2",
        help="0 takes the likeliest token every time; 1 is what the model learnt.",
    ),
    Parameter(
        name="top_k",
        title="top k",
        default="50",
        neutral=0,
        kind=_whole,
        fits=lambda value: 0 <= value < 2**31,
        range="a whole number from 0 on",
        help="Only so many of the likeliest tokens may come; 0 leaves all in.",
    ),
    Parameter(
        name="top_p",
        title="top p",
        default="1",
        neutral=1.0,
        kind=float,
        fits=lambda value: 0 < value <= 1,
        range="a number above 0, to 1",
        help="Only the likeliest tokens that together have this probability may come.",
    ),
    Parameter(
        name="min_p",
        title="min p",
        default="0",
        neutral=0.0,
        kind=float,
        fits=lambda value: 0 <= value <= 1,
        range="a number from 0 to 1",
        help="Only tokens with this share of the likeliest one's probability may come.",
    ),
    Parameter(
        name="repetition_penalty",
        title="repetition",
        default="1",
        neutral=1.0,
        kind=float,
        fits=lambda value: 1e-3 <= value <= 1e3,
        range="a number from 0.001 to 1000",
        help="Above 1, whatever was said already becomes less likely.",
    ),
    Parameter(
        name="max_tokens",
        title="max tokens",
        default="",
        neutral=None,
        kind=_whole,
        fits=lambda value: 1 <= value < 2**31,
        range="a whole number from 1 on",
        help=f"Of an answer. Empty: {LONGEST_ANSWER}, but no more than a quarter of what the model holds.",
        blank=f"{LONGEST_ANSWER} by default",
    ),
    Parameter(
        name="seed",
        title="seed",
        default="",
        neutral=None,
        kind=_whole,
        fits=lambda value: 0 <= value < 2**63,
        range="a whole number from 0 on",
        help="The same seed gives the same answer; each retry has the next. Empty: another one each time.",
    ),
    Parameter(
        name="stop",
        title="stop",
        default="",
        neutral=None,
        kind=_stops,
        fits=lambda value: len(value) <= _MOST_STOPS and all(len(text) <= _LONGEST_STOP for text in value),
        range=f"at most {_MOST_STOPS} texts of {_LONGEST_STOP:,} characters",
        help="Texts that end an answer, with | between them; \\n is a new line.",
    ),
)
ALTERNATIVES = Parameter(
    name="alternatives",
    title="alternatives",
    default="5",
    neutral=None,
    kind=_whole,
    fits=lambda value: 0 <= value <= MOST_ALTERNATIVES,
    range=f"a whole number from 0 to {MOST_ALTERNATIVES}",
    help="Kept of each token, for the lens. Empty: none, and no lens.",
)
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


def sampling(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent of values by name: those that leave something out."""
    found = {name: value for name, value in values.items() if value is not None}
    return {name: value for name, value in found.items() if value != BY_NAME[name].neutral}


def options(asked: Mapping[str, Any]) -> list[str]:
    """The options of `daisy chat` for what was sent, but those that are its defaults."""
    found = []
    for name in _OPTIONS:
        value = asked.get(name, BY_NAME[name].neutral)
        if value is not None and value != BY_NAME[name].parse(BY_NAME[name].default):
            found.append(f"--{name}={value}")
    return found


_OPTIONS = ("temperature", "top_k", "top_p", "repetition_penalty", "max_tokens", "seed")
