"""YAML of anybody's: what is built of it is bounded, and what is not is one line."""

from __future__ import annotations

import pytest

from core.config.errors import ConfigError
from core.config.plain_yaml import load_plain


def test_values_are_what_json_knows() -> None:
    text = b"a: 1\nb: 1.5e-3\nc: [true, null]\nd: {e: x}\nday: 2026-01-01\nbig: 0xffffffffffffffffffff\n<<: {z: 1}\n"
    beyond = {"day": "2026-01-01", "big": "0xffffffffffffffffffff", "<<": {"z": 1}}
    assert load_plain(text, "f") == {"a": 1, "b": 1.5e-3, "c": [True, None], "d": {"e": "x"}} | beyond


@pytest.mark.parametrize("bracket", [b"[", b"{", b"- ", b"? "])
def test_what_is_nested_too_deeply_is_one_line_and_not_the_end_of_the_process(bracket: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^f:1:\d+: (lists or mappings nested too deeply|not valid YAML)"):
        load_plain(bracket * 100_000, "f")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: &x [1]\nb: [*x, *x]", "f:2:5: aliases"),
        (b"a: !!python/object:os.x {}", "f:1:4: not valid YAML: could not determine a constructor"),
        (b"a: !!binary aGk=", "f:1:4: not valid YAML"),
        (b"? [1]\n: 2", "f:1:3: not valid YAML: while constructing a mapping, found unhashable key"),
        (b"a: " + b"9" * 5000, "f: not valid YAML: Exceeds the limit"),
        (b"\x00", "f: not valid YAML: unacceptable character"),
    ],
)
def test_what_is_no_plain_data_is_one_line(text: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_plain(text, "f")
    assert str(error.value).startswith(said)
    assert len(error.value.lines) == 1
