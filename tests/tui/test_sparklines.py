"""The course of a loss from a few places of a file, and as a line of blocks."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from daisy_tui.runs.sparklines import MOST, LossSamples, blocks


def _line(step: int, loss: float | str | None, pad: int = 300) -> str:
    return json.dumps({"step": step, "train_loss": loss, "pad": "x" * pad}) + "\n"


def _values(samples: LossSamples) -> list[float]:
    samples.look()
    return list(samples.values)


def test_a_short_run_shows_every_log_point(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    samples = LossSamples(path)
    assert _values(samples) == []
    path.write_text(_line(1, 9.0) + _line(2, 8.0) + '{"val": {}}\n' + _line(3, 7.0))
    assert _values(samples) == [9.0, 8.0, 7.0]


def test_a_line_that_is_being_written_comes_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(_line(1, 9.0) + _line(2, 8.0)[:-20])
    samples = LossSamples(path)
    assert _values(samples) == [9.0]
    path.write_text(_line(1, 9.0) + _line(2, 8.0))
    assert _values(samples) == [9.0, 8.0]


def test_a_loss_that_is_no_number_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(_line(1, 9.0) + _line(2, None) + _line(3, "nan") + _line(4, 7.0))
    assert [math.isnan(value) for value in _values(LossSamples(path))] == [False, True, True, False]


def test_a_growing_file_is_read_at_few_places_and_none_of_them_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, places, pread = tmp_path / "metrics.jsonl", list[int](), os.pread

    def noted(descriptor: int, size: int, offset: int) -> bytes:
        places.append(offset)
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", noted)
    samples, step = LossSamples(path), 0
    for _ in range(40):
        with path.open("a") as file:
            for step in range(step + 1, step + 501):  # noqa: B020 - goes on from where it was
                file.write(_line(step, 10_000.0 - step))
        values = _values(samples)
        assert MOST // 2 <= len(values) <= MOST + 1
        assert values == sorted(values, reverse=True), "in the order of the file"
        assert values[0] == 9999.0
        assert values[-1] < 10_000 - step * 0.9, "it reaches to the end"
    assert len(places) < 40 * MOST, "of 20,000 lines"
    again = len(places)
    samples.look()
    assert len(places) == again


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(_line(1, 9.0) * 5)
    samples = LossSamples(path)
    samples.look()
    path.write_text(_line(1, 3.0))
    assert _values(samples) == [3.0]
    path.unlink()
    assert _values(samples) == []


@pytest.mark.parametrize("content", [b"", b"\n\n\n", b"\xff" * 10_000, b"[1]\n" * 100, b'{"train_loss": ' * 5_000])
def test_what_is_no_record_of_a_run_gives_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    assert _values(LossSamples(path)) == []


def test_a_log_point_longer_than_a_first_read_is_found(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(_line(step, 9.0 - step, pad=20_000) for step in range(5)))
    assert _values(LossSamples(path))[0] == 9.0


def test_blocks_fit_a_width_and_rise_with_the_values() -> None:
    assert blocks([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8) == "▁▂▃▄▅▆▇█"
    assert blocks([7.0, 7.0, 0.0, 0.0], 2) == "█▁"
    assert blocks([1.0, math.nan, 0.0], 3) == "█·▁"
    assert blocks([math.nan], 5) == "·"
    assert blocks([2.0], 5) == "▁"
    assert blocks([], 5) == ""
    assert blocks([1.0], 0) == ""
