"""How fast a config's shape was last trained here: by a run in `runs/`, or by a preflight.

An ETA before the first step needs tokens per second, and the best forecast is what this machine has done with the same
model, sequence length, tokens a step and devices. Runs say it in their metrics; a preflight leaves no run behind, so it
notes its figure in `runs/.preflight.jsonl`. Rejected: a model of the machine, which a measurement always beats.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

from core.config.model_spec import ModelSpec
from core.config.train_config import TrainConfig
from core.runs.devices import CPU, gpus
from core.runs.directory import RunDirectory, RunError, all_runs, read_object
from core.runs.follow import records_backwards

RECORDS_FILE = ".preflight.jsonl"
PREFLIGHT = "preflight"  # as a source
# What makes steps as fast as they are, beside the tokens of a step; max_seq_len and token ids do not.
_KEYS = (
    *sorted(ModelSpec.model_fields.keys() - {"max_seq_len", "eos_token_id"}),
    *("training_sequence_length", "loss_chunk_tokens", "compile_blocks"),
)
_MEDIAN_OF = 21  # log points
_LOOK_BACK = 400  # records: evaluations stand between the log points


class Measured(NamedTuple):
    """A throughput, when it was measured (seconds of the time of day), and by what: a run's id, or PREFLIGHT."""

    tokens_per_s: float
    time: float
    source: str


def measured(config: TrainConfig, device: str, folder: Path, *, devices: int = 1) -> float | None:
    """Tokens per second that this machine last reached with a config's shape on so many devices; None if it never did.

    `device` is "cpu" or the name of the GPU, `folder` the one that holds `runs/`. It reads small files, and costs
    milliseconds for hundreds of runs: call it in a thread.
    """
    found = last_measured(config, device, folder, devices=devices)
    return found.tokens_per_s if found is not None else None


def last_measured(config: TrainConfig, device: str, folder: Path, *, devices: int = 1) -> Measured | None:
    """The same, with when and by what."""
    wanted, step_tokens = shape_lines(config), config.tokens_per_step(devices)
    uuids = frozenset({CPU} if device == CPU else (one.key for one in gpus() if one.name == device))
    runs = (_of_run(run, wanted, step_tokens, uuids, devices) for run in all_runs(folder / "runs"))
    newest = [next((found for found in runs if found is not None), None)]
    newest.append(_of_preflights(folder, wanted, step_tokens, device, devices))
    return max((found for found in newest if found is not None), key=lambda found: found.time, default=None)


def note(
    config: TrainConfig, device: str, folder: Path, tokens_per_s: float, *, devices: int = 1, now: float | None = None
) -> None:
    """Keep what a preflight has measured. Raises OSError where that cannot be written."""
    runs = RunDirectory(folder / "runs")
    runs.path.mkdir(exist_ok=True)
    record = {
        "time": time.time() if now is None else now,
        "host": platform.node(),
        "device": device,
        "devices": devices,
        "step_tokens": config.tokens_per_step(devices),
        "shape": sorted(shape_lines(config)),
        "tokens_per_s": tokens_per_s,
    }
    runs.append(runs.path / RECORDS_FILE, record)


def shape_lines(config: TrainConfig) -> frozenset[str]:
    """A config's shape as the lines that it has in a run's config.yaml, which need no YAML reader to be found there."""
    values = config.model_dump(include={*_KEYS})
    return frozenset(yaml.safe_dump(values, allow_unicode=True).splitlines())


def _of_run(
    run: RunDirectory, wanted: frozenset[str], step_tokens: int, keys: frozenset[str], devices: int
) -> Measured | None:
    """What a run of this shape reached since it was last started: the median of its last log points."""
    try:
        if not wanted.issubset(run.config.read_text(encoding="utf-8").splitlines()):
            return None
        launch, supervisor, facts = (read_object(path) for path in (run.launch, run.supervisor, run.run))
        used = frozenset(supervisor["devices"])
        if not used or not used <= keys or facts["host"] != platform.node():
            return None
        if int(launch["nproc"]) * int(launch["machines"]["number"]) != devices:
            return None
        points = list(islice(_log_points(run, float(supervisor["started"]), step_tokens), _MEDIAN_OF))
    except (OSError, ValueError, RunError, KeyError, TypeError):
        return None  # a run that was damaged, or is being made, has measured nothing
    if not points:
        return None
    return Measured(median(float(point["tokens_per_s"]) for point in points), float(points[0]["time"]), run.path.name)


def _log_points(run: RunDirectory, since: float, step_tokens: int) -> Iterator[dict[str, Any]]:
    """Log points of one start, the newest first; not the first step, which compiles and warms up."""
    for record in islice(records_backwards(run.metrics), _LOOK_BACK):
        if "tokens_per_s" not in record:
            continue
        if record["time"] < since:
            return
        if record["step"] > 1 and record["tokens"] == record["step"] * step_tokens:
            yield record


def _of_preflights(
    folder: Path, wanted: frozenset[str], step_tokens: int, device: str, devices: int
) -> Measured | None:
    asked = {"host": platform.node(), "device": device, "devices": devices, "step_tokens": step_tokens}
    for record in records_backwards(folder / "runs" / RECORDS_FILE):
        if {key: record.get(key) for key in asked} != asked or record.get("shape") != sorted(wanted):
            continue
        rate, at = record.get("tokens_per_s"), record.get("time")
        if isinstance(rate, int | float) and isinstance(at, int | float):
            return Measured(float(rate), float(at), PREFLIGHT)
    return None
