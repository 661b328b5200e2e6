"""The peaks of a run: what counts as one, and files of peaks that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.runs.directory import RunDirectory, write_object
from core.runs.peaks import raised, read_peaks
from core.runs.telemetry import RunFigures


def figures(host: int | None = None, gpu: int | None = None, utilisation: float | None = None) -> RunFigures:
    return RunFigures(1, host, (), gpu, utilisation)


def test_a_peak_is_the_highest_value_and_the_time_when_it_was_met_first() -> None:
    peaks = raised({}, figures(), 0.0)
    assert peaks == {}
    for time, seen in enumerate([figures(100, None, 0.0), figures(90, 7), figures(100, 7, 0.5), figures()], 1):
        peaks = raised(peaks, seen, float(time))
    assert peaks == {
        "host_memory": {"value": 100, "time": 1.0},
        "gpu_memory": {"value": 7, "time": 2.0},
        "gpu_utilisation": {"value": 0.5, "time": 3.0},
    }


@pytest.mark.parametrize("content", ["", "[]", '{"host_memory": 3, "gpu_memory": {"value": "?"}}'])
def test_what_cannot_be_read_is_no_peak(tmp_path: Path, content: str) -> None:
    run = RunDirectory(tmp_path)
    assert read_peaks(run) == {}
    run.peaks.write_text(content)
    assert read_peaks(run) == {}


def test_peaks_are_read_as_they_were_written(tmp_path: Path) -> None:
    run, peaks = RunDirectory(tmp_path), raised({}, figures(5, 6, 0.25), 1.5)
    write_object(run.peaks, peaks)
    assert read_peaks(run) == peaks
