"""Queries that pick runs: `state:running cfg.model_dim>=768 tag:baseline -debug val<3.5 name:demo step>1k`.

Every term must hold. A word is looked for in names and ids; `key:text` in a field, `key=text` is the whole of it, `<`,
`<=`, `>`, `>=` compare numbers as they are written everywhere in Daisy (3B, 65k), `!=` and a `-` before a term say that
it must not hold. Commas part alternatives, quotes keep blanks and commas. Parsing knows the keys and touches no file:
values come from whoever asks, so that the terminal and `daisy runs list` pick the same. Rejected: a language with `or`
and parentheses, which nobody types into a filter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from core.errors import DaisyError

_LIVING, _ENDED = ("queued", "starting", "running", "stalled", "stopping"), ("finished", "stopped", "failed", "lost")
STATES: Final = (*_LIVING, *_ENDED, "unreadable")
CONFIG: Final = "cfg."
_TEXTS = ("id", "name", "state", "reason", "devices", "config", "parent", "stalls", "tags", "alive")
_NUMBERS = (
    *("step", "tokens", "target_tokens", "progress", "train_loss", "val_loss", "best_val"),
    *("tokens_per_s", "mfu", "eta_s", "started"),
)
FIELDS: Final = (*_TEXTS, *_NUMBERS)
_SHORT = {"loss": "train_loss", "train": "train_loss", "val": "val_loss", "best": "best_val", "tag": "tags"}
_SHORT |= {"speed": "tokens_per_s", "eta": "eta_s", "target": "target_tokens", "device": "devices", "run": "id"}
_KEY = re.compile(r"([A-Za-z_][\w.\[\]]*)(>=|<=|!=|[:=<>])")
_NOTHING = ("none", "null", "-")
_SECONDS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EXAMPLES = {"state": "running", "tags": "baseline", "alive": "yes", "mfu": "40%", "progress": "50%", "eta_s": "2h"}
_EXAMPLES |= {"train_loss": "3.5", "val_loss": "3.5", "best_val": "3.5", "started": "2026-11-20", "devices": "cpu"}

Value = Callable[[str], Any]


class QueryError(DaisyError):
    """A query that cannot be understood, and what would be."""

    exit_code = 2


class Wanted(NamedTuple):
    """What a field is compared with: the text as typed, and the number that it means, if it means one."""

    text: str
    number: float | None


class Term(NamedTuple):
    """One condition. Without a `key` a word of names and ids; any of `wanted` will do."""

    key: str | None
    sign: str
    wanted: tuple[Wanted, ...]
    negated: bool

    def holds(self, value: Value) -> bool:
        """Whether the term holds for whatever has these values."""
        found = [value("name"), value("id")] if self.key is None else value(self.key)
        is_not = self.sign == "!="
        held = any(_compares(found, "=" if is_not else self.sign, wanted) for wanted in self.wanted)
        return held != (self.negated != is_not)


class Query(NamedTuple):
    """A query as typed, and its terms."""

    text: str
    terms: tuple[Term, ...]

    def matches(self, value: Value) -> bool:
        """Whether every term holds. `value` gives a value by key: one of FIELDS, or `cfg.KEY`; None where unknown."""
        return all(term.holds(value) for term in self.terms)

    @property
    def config_keys(self) -> tuple[str, ...]:
        """The `cfg.KEY`s that are asked for."""
        return tuple(term.key for term in self.terms if term.key is not None and term.key.startswith(CONFIG))


def parse_query(text: str) -> Query:
    """The query that a text means. Raises QueryError: one line with what would work."""
    terms, place = [], 0
    while (place := place + len(text[place:]) - len(text[place:].lstrip())) < len(text):
        term, place = _term(text, place)
        terms.append(term)
    return Query(text.strip(), tuple(terms))


def missing_key(query: Query, configs: Iterable[Mapping[str, Any]]) -> str | None:
    """One line on a `cfg.KEY` that none of the configs has, which is most likely a slip; None where all are known."""
    known = [*configs]
    for key in query.config_keys if known else ():
        if not any(config_values(config, key.removeprefix(CONFIG)) for config in known):
            names = sorted({str(name) for config in known for name in config})
            near = get_close_matches(key.removeprefix(CONFIG), names, n=1)
            hint = f"did you mean {CONFIG}{near[0]}?" if near else "`daisy config schema --markdown` lists the keys"
            return f"'{key}': no run's config.yaml has this key; {hint}"
    return None


def config_values(config: Mapping[str, Any], path: str) -> list[Any]:
    """What stands in a config at `model_dim`, `optimizers[0].momentum` or `optimizers.Muon.momentum`.

    A name that several entries of a list have means all of them.
    """
    found: list[Any] = [config]
    for part in re.split(r"[.\[\]]+", path.rstrip("]")):
        found = [inner for holder in found for inner in _inside(holder, part)]
    return found


def _inside(holder: Any, part: str) -> list[Any]:
    if isinstance(holder, dict):
        if part in holder:
            return [holder[part]]
        return _inside(holder["params"], part) if isinstance(holder.get("params"), list) else []
    if not isinstance(holder, list):
        return []
    if part.isascii() and part.isdigit():
        return holder[int(part) : int(part) + 1]
    return [entry for entry in holder if isinstance(entry, dict) and part in (entry.get("type"), entry.get("group"))]


def _term(text: str, place: int) -> tuple[Term, int]:
    """The term that begins at a place, and the place behind it."""
    begin = place
    negated = text[place] == "-"
    place += negated
    match = _KEY.match(text, place)
    key, sign = (_known_key(match[1]), match[2]) if match else (None, ":")
    place = match.end() if match else place
    quote = text[place : place + 1]
    if quote in ('"', "'") and quote:
        end = text.find(quote, place + 1)
        if end < 0:
            raise QueryError(f"{text[begin:]}: the {quote} is not closed; write another one behind the text")
        return Term(key, sign, _wanted(key, sign, [text[place + 1 : end]], text[begin : end + 1]), negated), end + 1
    word = text[place:].split(maxsplit=1)[0] if text[place : place + 1].strip() else ""
    typed = text[begin : place + len(word)]
    if not word:
        raise QueryError(f"'{typed}' wants something behind it, such as {_example(key, sign)}")
    words = [one for one in word.split(",") if one] or [word]
    return Term(key, sign, _wanted(key, sign, words if key else [word], typed), negated), place + len(word)


def _known_key(typed: str) -> str:
    lower = typed.lower()
    if lower.startswith(CONFIG) and len(typed) > len(CONFIG):
        return CONFIG + typed[len(CONFIG) :]
    key = _SHORT.get(lower, lower)
    if key in FIELDS:
        return key
    near = get_close_matches(lower, [*FIELDS, *_SHORT], n=1)
    hint = f"did you mean {near[0]}?" if near else f"config keys are written cfg.{typed};"
    raise QueryError(f"'{typed}' is no field of a run; {hint} plain text goes in quotes; fields: {', '.join(FIELDS)}")


def _wanted(key: str | None, sign: str, words: list[str], typed: str) -> tuple[Wanted, ...]:
    """What is compared with; raises QueryError for what such a field can never be."""
    wanted = tuple(Wanted(word, _number(word, key) if key is not None else None) for word in words)
    if key is None:
        return wanted
    if sign in ("<", "<=", ">", ">=") and key in _TEXTS:
        raise QueryError(f"{typed}: {key} is text, and {sign} compares numbers; write {key}:{words[0]}")
    if sign in ("<", "<=", ">", ">=") or key in _NUMBERS:
        bad = [one.text for one in wanted if one.number is None and one.text.lower() not in _NOTHING]
        if bad:
            raise QueryError(f"{typed}: '{bad[0]}' is no number; write for example {_example(key, sign)}")
    if key == "state":
        bad = [one.text for one in wanted if not any(one.text.lower() in state for state in STATES)]
        if bad:
            raise QueryError(f"{typed}: '{bad[0]}' is no state of a run; states: {', '.join(STATES)}")
    return wanted


def _example(key: str | None, sign: str) -> str:
    if key is None:
        return "-debug, state:running, val<3.5, cfg.model_dim>=768 or tag:baseline"
    return f"{key}{sign}{_EXAMPLES.get(key, '3B' if key in _NUMBERS or key.startswith(CONFIG) else 'demo')}"


def _number(text: str, key: str) -> float | None:
    """The number that a text means: 65k, 3B, 40%; for `eta_s` also 90min, 2h and 1d, for `started` a date."""
    from core.config.scalars import parse_number  # with pydantic, which no first frame needs

    if key == "started":
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromisoformat(text).timestamp()
    units = {"%": 0.01} | (_SECONDS if key == "eta_s" else {})
    digits = text.rstrip("%abcdefghijklmnopqrstuvwxyz")
    scale = units.get(text[len(digits) :])
    number = parse_number(text if scale is None else digits)
    return None if number is None else float(number) * (scale or 1.0)


def _compares(value: Any, sign: str, wanted: Wanted) -> bool:
    if isinstance(value, list | tuple):
        if not value:
            return sign in (":", "=") and wanted.text.lower() in _NOTHING
        return any(_compares(one, sign, wanted) for one in value)
    if value is None:
        return sign in (":", "=") and wanted.text.lower() in _NOTHING
    if isinstance(value, bool):
        return wanted.text.lower() in (("true", "yes", "on") if value else ("false", "no", "off"))
    if isinstance(value, int | float):
        return wanted.number is not None and _ordered(value, sign, wanted.number)
    text, looked_for = str(value).casefold(), wanted.text.casefold()
    return looked_for in text if sign == ":" else sign == "=" and looked_for == text


def _ordered(value: float, sign: str, wanted: float) -> bool:
    match sign:
        case "<":
            return value < wanted
        case "<=":
            return value <= wanted
        case ">":
            return value > wanted
        case ">=":
            return value >= wanted
        case _:
            return value == wanted
