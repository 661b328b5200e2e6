"""The fast path against json: the same numbers of the same lines, and the same doubles."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.runs import appended, shapes
from core.runs.appended import Appended
from core.runs.shapes import Reader, read_as_json

NUMBERS = (
    st.floats(allow_nan=False)
    | st.floats(0, 10)
    | st.floats(width=32, allow_nan=False)
    | st.integers(-(10**20), 10**25)
    | st.sampled_from([0.0001, 1e-5, 0.00010000000000000002, 123456789012345.6, 1.0000000000000002, 2**63, 10**19])
)
VALUES = NUMBERS | st.sampled_from([None, "nan", True, "a word", "a, {b}", [1, 2], {}, {"x": None}])


def record(step: int, values: list[Any], shape: int) -> dict[str, Any]:
    a, b, c, d = values
    lines: list[dict[str, Any]] = [
        {"time": 1.5, "step": step, "loss": a, "lr": {"a": b, "b": c}, "norm": d},
        {"time": 1.5, "step": step, "loss": a, "lr": {"a": b, "c": c}, "norm": d},  # another name
        {"time": 1.5, "step": step, "loss": a, "lr": {"a": b}, "b": c, "norm": d},  # another depth
        {"step": step, "time": 1.5, "val": {"x": {"loss": a, "ppl": b}}},
        {"time": 1.5, "step": step, "lr": {"loss": a, "b": c}, "loss": b, "norm": d},
        {"step": step, "val": {"loss": a}},
    ]
    return lines[shape]


def assert_fast_agrees_with_json(path: Path, wanted: list[str], block: int = 1 << 22) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shapes, "_SMALL", 1)
        patched.setattr(appended, "_BLOCK", block)
        reader = Reader()
        for lines in Appended(path).new():
            fast, plain = reader.read(lines, wanted), read_as_json(lines, wanted)
            for name in wanted:
                for got, want in zip(fast.of(name), plain.of(name), strict=True):
                    np.testing.assert_array_equal(got, want, name)
            assert fast.names <= plain.names


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.lists(VALUES, min_size=4, max_size=4), min_size=1, max_size=12),
    regular=st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=1, max_size=12),
    seed=st.integers(0, 1 << 30),
    common=st.integers(0, 5),
)
def test_the_fast_path_agrees_with_json(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[list[Any]],
    regular: list[list[Any]],
    seed: int,
    common: int,
) -> None:
    """Over shapes that differ by a name or a depth, values that are none, torn lines, and other spacing."""
    chance = random.Random(seed)
    path = tmp_path_factory.mktemp("lines") / "metrics.jsonl"
    lines = []
    for step in range(150):
        odd = chance.random() < 0.1
        of = record(step, chance.choice(values if odd else regular), chance.randrange(6) if odd else common)
        line = json.dumps(of, separators=(",", ":")) if odd and chance.random() < 0.3 else json.dumps(of)
        lines.append(line[: chance.randrange(len(line))] if odd and chance.random() < 0.3 else line)
    path.write_text("\n".join(lines) + "\n")
    wanted = chance.choice(
        [["step", "loss"], ["step", "lr.b", "norm"], ["val.x.ppl", "b"], ["lr.c", "val.loss", "norm"]]
    )
    assert_fast_agrees_with_json(path, wanted, chance.choice([1 << 10, 1 << 13, 1 << 20]))


ODD_LINES = {
    "torn in its last number": '{"step": 7, "lr": {"a": 0.5, "b": 0.25}, "norm": 1.2',
    "torn before its end": '{"step": 7, "lr": {"a": 0.5, "b": 0.25}, "norm": 1.25',
    "two on one line": '{"step": 7, "lr": {"a": 0.5, {"step": 8, "lr": {"a": 0.5, "b": 0.25}, "norm": 1.25}',
    "no spaces": '{"step":7,"lr":{"a":0.5,"b":0.25},"norm":1.25}',
    "no space once": '{"step":7, "lr": {"a": 0.5, "b": 0.25}, "norm": 1.25}',
    "two spaces": '{"step":  7, "lr": {"a": 0.5, "b": 0.25}, "norm": 1.25}',
    "begins with rubbish": '0{"step": 7, "lr": {"a": 0.5, "b": 0.25}, "norm": 1.25}',
    "begins with a space": ' {"step": 7, "lr": {"a": 0.5, "b": 0.25}, "norm": 1.25}',
    "another end of line": '{"step": 7, "lr": {"a": 0.5, "b": 0.25}, "norm": 1.25}\r',
    "another depth": '{"step": 7, "lr": {"a": {}, "b": 0.25}, "norm": 1.25}',
    "another depth, spaced": '{"step": 7, "lr": {"a": { }, "b": 0.25}, "norm": 1.25}',
    "another order": '{"step": 7, "norm": 1.25, "lr": {"a": 0.5, "b": 0.25}}',
    "another name": '{"step": 7, "lr": {"a": 0.5, "c": 0.25}, "norm": 1.25}',
    "an escaped name": '{"step": 7, "lr": {"a": 0.5, "\\u0062": 0.25}, "norm": 1.25}',
    "a long name": '{"step": 7, "lr": {"a": 0.5, "' + 300 * "b" + '": 0.25}, "norm": 1.25}',
    "a list": '{"step": 7, "lr": {"a": [0.5, 1], "b": 0.25}, "norm": 1.25}',
    "too deep for json": 10_000 * "[",
    "a word": '{"step": 7, "lr": {"a": "}, ", "b": "nan"}, "norm": "1.25"}',
    "no object": '"step"',
    "empty": "",
}


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("often", [1, 40])
@pytest.mark.parametrize("odd", ODD_LINES.values(), ids=ODD_LINES)
def test_odd_lines_among_regular_ones_are_read_as_json_reads_them(
    tmp_path: Path, odd: str, often: int, flat: bool
) -> None:
    path = tmp_path / "metrics.jsonl"
    common = '{"step": 7, "lr": {"a": 0.5, "b": 0.25}, "norm": 1.25}'
    if flat:
        common = '{"step": 7, "lr": {"a": 0.5}, "b": 0.125, "norm": 1.25}'
    lines = [*[common] * 20, *[odd] * often, *[common] * 20]
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    for wanted in (["step"], ["step", "norm"], ["lr.b"], ["b"], ["lr.c", "step"], ["lr.a", "lr.b"]):
        assert_fast_agrees_with_json(path, wanted)


@pytest.mark.parametrize("kind", ["doubles", "small", "integers", "seventeen digits", "a point anywhere"])
def test_the_fast_path_reads_the_same_doubles_as_json(tmp_path: Path, kind: str) -> None:
    """One in a thousand quotients lies half-way between two doubles once it is rounded to the processor's longest."""
    chance = random.Random(0)

    def digits(most: int) -> str:
        return "".join(chance.choices("0123456789", k=chance.randrange(1, most)))

    texts = {
        "doubles": lambda: repr(chance.random() * 10 ** chance.randrange(8)),
        "small": lambda: repr(chance.random() * 10 ** -chance.randrange(8)),
        "integers": lambda: str(chance.randrange(10 ** chance.randrange(1, 27))),
        "seventeen digits": lambda: f"{chance.randrange(10)}.{chance.randrange(10**16):016d}",
        "a point anywhere": lambda: f"{int(digits(20))}.{digits(24)}",
    }
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}, "x": {texts[kind]()}}}\n' for step in range(20_000)))
    assert_fast_agrees_with_json(path, ["x"])
