import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.overrides import parse_override
from core.config.scalars import format_value, parse_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3000000000", 3_000_000_000),
        ("3_000_000_000", 3_000_000_000),
        ("3e9", 3_000_000_000),
        ("3B", 3_000_000_000),
        ("1.5B", 1_500_000_000),
        ("65k", 65_000),
        ("65K", 65_000),
        ("2M", 2_000_000),
        ("1T", 10**12),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("5.", 5),
        ("-2", -2),
        ("+2.5e1", 25),
    ],
)
def test_a_number_may_be_written_as_people_write_it(text: str, value: float) -> None:
    number = parse_number(text)
    assert number is not None
    assert float(number) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "k", "e9", "1__0", "_1", "1_", "0x10", "3 B", "3b", "nan", "inf", "1e9999", "--1", "1,000", "."]
)
def test_what_is_no_number_is_not_guessed(text: str) -> None:
    assert parse_number(text) is None


def test_decimal_numbers_are_exact() -> None:
    assert parse_number("0.1") * 10 == 1  # type: ignore[operator]
    assert int(parse_number("1.000000001B") or 0) == 1_000_000_001


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)


@given(st.text())
def test_any_text_survives_being_shown_and_typed_back(text: str) -> None:
    # A null byte can be in no command line, and surrogates in no file.
    if "\0" in text or any(0xD800 <= ord(c) < 0xE000 for c in text):
        return
    assert parse_override(f"key={format_value(text)}").value == text


@given(st.lists(scalars), st.dictionaries(st.from_regex(r"[a-z_]+", fullmatch=True), scalars))
def test_lists_and_mappings_survive_being_shown_and_typed_back(items: list[object], mapping: dict[str, object]) -> None:
    for value in (items, mapping):
        back = parse_override(f"key={format_value(value)}").value
        assert _read(back) == _read(value)


def _read(value: object) -> object:
    """Scalars stay text until a field reads them; compare what a field would read."""
    if isinstance(value, list):
        return [_read(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _read(entry) for key, entry in value.items()}
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float(repr(value))
    if isinstance(value, int):
        return float(value)
    if isinstance(value, str) and value not in ("true", "false"):
        number = parse_number(value)
        return float(number) if number is not None and math.isfinite(float(number)) else value
    return value
