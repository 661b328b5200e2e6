"""What a run takes of the machine at most: a small process beside torchrun, whose figures are in peaks.json.

`python -m core.runs.peaks RUN_DIR` is a child of the run's supervisor and ends with it. Not in the supervisor, which is
to stay small, and not in whoever looks on: a peak that counts only while somebody watches is none.

`{"host_memory": {"value": 123, "time": 1.5}, "gpu_memory": ..., "gpu_utilisation": ...}`: units as in RunFigures, time
in seconds of the time of day. A figure that the machine does not tell is missing.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.runs.directory import RunDirectory, RunError, read_object, write_object
from core.runs.processes import die_with_parent
from core.runs.telemetry import RunFigures, Sampler
from core.runs.torchrun import PARENT

FIGURES = ("host_memory", "gpu_memory", "gpu_utilisation")
_EVERY_S = 2.0


def read_peaks(run: RunDirectory) -> dict[str, dict[str, Any]]:
    """The peaks of a run by figure: `value` and `time`. Empty where there are none."""
    try:
        return {name: peak for name, peak in read_object(run.peaks).items() if name in FIGURES}
    except RunError:
        return {}


def raised(peaks: dict[str, dict[str, Any]], figures: RunFigures, now: float) -> dict[str, dict[str, Any]]:
    """The peaks with those figures that are higher, at the time `now`."""
    seen = [(name, getattr(figures, name)) for name in FIGURES]
    higher = [(name, v) for name, v in seen if v is not None and (name not in peaks or v > peaks[name]["value"])]
    return peaks | {name: {"value": value, "time": now} for name, value in higher}


def main() -> None:
    """Keep the peaks of the run that the command line names, until the supervisor ends."""
    supervisor = int(os.environ[PARENT])
    die_with_parent(supervisor)
    run = RunDirectory(Path(sys.argv[1]))
    sample = Sampler(lambda: {supervisor: run.path}, run.path)
    peaks = read_peaks(run)
    while True:
        snapshot = sample()
        if (found := raised(peaks, snapshot.runs[run.path], snapshot.time)) != peaks:
            with suppress(OSError):  # a full disk: the next one that is higher may be written
                write_object(run.peaks, found)
            peaks = found
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    main()
