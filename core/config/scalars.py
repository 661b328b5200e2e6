"""Scalars as people type them: text in, the value its field wants out, and back to text.

YAML is read with every scalar left as text, and the field decides what the text means. So `1e-3`
is a number where a number is wanted (PyYAML's YAML 1.1 makes it a string), `no` is a word where a
word is wanted, and a run may be called `007`. The rejected alternative, YAML's own resolver, guesses
before it knows the field.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, WithJsonSchema

_NUMBER = re.compile(
    r"(?P<digits>[+-]?(?:\d+(?:_\d+)*)?(?:\.\d*(?:_\d+)*)?)(?P<exponent>[eE][+-]?\d{1,3})?(?P<suffix>[kKMBT])?"
)
_LONGEST_NUMBER = 64
_SUFFIX = {"k": 3, "K": 3, "M": 6, "B": 9, "T": 12}
_NUMBER_FORMS = "such as 3000000000, 3_000_000_000, 3e9, 3B or 65k"
_TRUE = {"true", "yes", "on"}
_FALSE = {"false", "no", "off"}
_NULL = {"", "null", "~"}
# Plain inside [..] and {..}: never read as null, quote, comment, alias or structure.
_PLAIN_IN_FLOW = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./*+=@%-]*")


def parse_number(text: str) -> Decimal | None:
    """The exact value of a number as typed (`3e9`, `3_000`, `1.5B`, `65k`), or None."""
    match = _NUMBER.fullmatch(text.strip()) if len(text) <= _LONGEST_NUMBER else None
    if match is None or not any(c.isdigit() for c in match["digits"]):
        return None
    exponent = int((match["exponent"] or "e0")[1:]) + _SUFFIX.get(match["suffix"] or "", 0)
    return Decimal(match["digits"].replace("_", "")).scaleb(exponent)


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, float, int)):
        raise ValueError(f"expected a whole number, {_NUMBER_FORMS}; got {describe(value)}")
    if isinstance(value, int):
        return value
    number = parse_number(value) if isinstance(value, str) else Decimal(value)
    if number is None or not number.is_finite() or number != number.to_integral_value():
        raise ValueError(f"expected a whole number, {_NUMBER_FORMS}; got {describe(value)}")
    if number and number.adjusted() >= 18:
        raise ValueError(f"expected a whole number below 1e18; got {describe(value)}")
    return int(number)


def _real_number(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    number = parse_number(value) if isinstance(value, str) else None
    if number is None:
        raise ValueError(f"expected a number, such as 0.02 or 1e-3; got {describe(value)}")
    return float(number)


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else None
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"expected true or false; got {describe(value)}")


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value
    hint = ' (to keep text with [, { or : as it is, quote it: "...")'
    raise ValueError(f"expected text; got {describe(value)}{hint if isinstance(value, (list, dict)) else ''}")


_NUMBER_TEXT = {"type": "string", "pattern": r"^[+-]?[0-9_.]+([eE][+-]?[0-9]+)?[kKMBT]?$"}

Whole = Annotated[
    int,
    BeforeValidator(_whole_number),
    WithJsonSchema({"anyOf": [{"type": "integer"}, _NUMBER_TEXT]}),
]
Real = Annotated[
    float,
    BeforeValidator(_real_number),
    WithJsonSchema({"anyOf": [{"type": "number"}, _NUMBER_TEXT]}),
]
Flag = Annotated[bool, BeforeValidator(_boolean)]
Text = Annotated[str, BeforeValidator(_text)]


def is_null(text: str) -> bool:
    """Whether an unquoted scalar means "no value"."""
    return text.lower() in _NULL


def describe(value: Any) -> str:
    """A value in an error message: short, quoted, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, (list, tuple)):
        return f"a list ({len(value)} entries)"
    if isinstance(value, dict):
        return f"a mapping ({', '.join(map(str, value)) or 'empty'})"
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def format_value(value: Any, *, inside: bool = False) -> str:
    """A value as an override accepts it: `parse_override(f"key={format_value(v)}")` gives v back.

    `inside` is set for entries of a list or mapping, where fewer characters are safe unquoted.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(format_value(v, inside=True) for v in value) + "]"
    if isinstance(value, dict):
        entries = (f"{format_value(k, inside=True)}: {format_value(v, inside=True)}" for k, v in value.items())
        return "{" + ", ".join(entries) + "}"
    return _format_text(str(value), inside)


def _format_text(text: str, inside: bool) -> str:
    if is_null(text):
        return f'"{text}"'
    if inside and _PLAIN_IN_FLOW.fullmatch(text):
        return text
    if not inside and text.isprintable() and text == text.strip() and text[0] not in "[{\"'":
        return text
    # The emitter knows every escape; a one-element list keeps it on one line.
    line = yaml.safe_dump([text], default_style='"', default_flow_style=True, width=10**9, allow_unicode=True)
    return line.strip()[1:-1]
