"""`daisy runs show`: how one run is, in words, and what can be done."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from core.checkpoint.format import complete_checkpoints
from core.runs.changes import changes_in_words
from core.runs.directory import RunDirectory, RunError, find_run, read_records
from core.runs.heartbeat import heartbeats
from core.runs.lines import event_line
from core.runs.peaks import FIGURES, read_peaks
from core.runs.status import Status, run_status
from core.runs.summary import summary
from core.text import count, duration, percent, size
from daisy_tui.checkpoints.pruning import folder_bytes
from daisy_tui.cli.asking import waits_for_supervisor
from daisy_tui.cli.text import JSON, echo, print_json, table
from daisy_tui.naming import RUNS

_LOOK_EVERY_S, _STACKS_WITHIN_S = 0.1, 3.0
_SHOWN_EVENTS = 10


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--stacks", is_flag=True, help="Have every rank write the stacks of its threads to its log.")
@JSON
def show(run: str, stacks: bool, as_json: bool) -> None:
    """How a run is: its state and why, what it last did, and what can be done."""
    directory = find_run(RUNS, run)
    if stacks:
        _write_stacks(directory, as_json)
        return
    status = run_status(directory)
    facts = summary(directory, status)
    checkpoints = list(complete_checkpoints(directory.checkpoints))
    records = list(read_records(directory.events))
    events = [f"{_clock(record)}  {line}" for record in records if (line := event_line(record))]
    more = {
        **facts,
        "path": str(directory.path),
        "supervisor": status.supervisor,
        "heartbeats": heartbeats(directory),
        "peaks": read_peaks(directory),
        "checkpoints": [path.name for path in checkpoints],
        "checkpoint_bytes": sum(folder_bytes(path) for path in checkpoints),
        "parent": facts["parent"],
        "events": records[-20:],
    }
    if as_json:
        print_json(more)
        return
    starts = (status.supervisor or {}).get("attempt", 1)
    state = facts["state"] if status.reason is None else f"{facts['state']}: {status.reason}"
    rows = [
        ("state", state),
        (
            "last started" if starts > 1 else "started",
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["started"])),
        ),
        ("step", shown(facts["step"], "{:,}".format)),
        ("tokens", of_target(facts)),
        ("loss", shown(facts["train_loss"], "{:.4f}".format)),
        ("validation loss", shown(facts["val_loss"], "{:.4f}".format)),
        ("speed", shown(facts["tokens_per_s"], "{:,.0f} tokens/s".format)),
        ("ETA", shown(facts["eta_s"], duration)),
        ("config", shown(facts["config"], str)),
        ("began from", shown(facts["parent"], str)),
        ("set in flight", ", ".join(changes_in_words(directory)) or "-"),
        ("devices", ", ".join(facts["devices"] or ["-"])),
        ("peaks", _peaks(more["peaks"])),
        ("restarts", str((status.supervisor or {}).get("restarts", 0))),
        ("checkpoints", f"{len(checkpoints)}, {size(more['checkpoint_bytes'])}, the last {checkpoints[-1].name}")
        if checkpoints
        else ("checkpoints", "none"),
    ]
    echo(f"Run {directory.path}")
    echo("\n".join(table([row for row in rows if row[1] != "-"], indent="  ")))
    for stall in facts["stalls"]:
        echo(f"  stalled: {stall}")
    if facts["stalls"] and not status.ranks_ended and (name := _named(directory)):
        echo(f"    daisy runs show {name} --stacks")
    if events:
        echo("Last events\n" + "\n".join(f"  {line}" for line in events[-_SHOWN_EVENTS:]))
    echo(f"Next\n  {_next(directory, status)}")


def _write_stacks(run: RunDirectory, as_json: bool) -> None:
    beats = heartbeats(run)
    if not beats:
        raise RunError(f"{run.path}: no rank of it lives on this machine")
    logs = {beat["rank"]: run.logs / f"rank{beat['rank']}.log" for beat in beats}
    before = {rank: path.stat().st_size if path.exists() else 0 for rank, path in logs.items()}
    for beat in beats:
        with suppress(ProcessLookupError):
            os.kill(beat["pid"], signal.SIGUSR1)
    deadline, wrote = time.monotonic() + _STACKS_WITHIN_S, set[int]()
    while len(wrote) < len(logs) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
        wrote = {rank for rank, path in logs.items() if path.exists() and path.stat().st_size > before[rank]}
    if as_json:
        print_json([{"rank": rank, "log": str(path), "wrote": rank in wrote} for rank, path in logs.items()])
        return
    for rank, path in logs.items():
        if rank in wrote:
            echo(f"rank {rank}: its stacks are at the end of {path}")
        else:
            echo(f"rank {rank}: wrote nothing within {_STACKS_WITHIN_S:.0f} s: it is stopped, or hangs in the kernel")


def _next(run: RunDirectory, status: Status) -> str:
    name = _named(run)
    if status.ranks_ended:
        return waits_for_supervisor(status).partition("; ")[2]
    if name is None:
        return "rename its folder: no command can be typed with the control characters in its name"
    if status.alive:
        return f"daisy runs logs {name} -f\n  daisy runs stop {name}"
    if status.state == "finished":
        return f"daisy sample {name}\n  daisy inspect {name}"
    return f"daisy train --resume {name}{' --queue' if status.state == 'queued' else ''}"


def _named(run: RunDirectory) -> str | None:
    """The name of a run as it is typed in a command; None where it cannot be."""
    return shlex.quote(run.path.name) if run.path.name.isprintable() else None


def of_target(facts: dict[str, Any]) -> str:
    """How far a run is, in tokens and as a share."""
    done, target = facts["tokens"], facts["target_tokens"]
    if done is None or not target:
        return shown(done, count)
    return f"{count(done)} of {count(target)} ({percent(min(1.0, done / target))})"


def _clock(record: dict[str, Any]) -> str:
    return time.strftime("%H:%M:%S", time.localtime(record["time"])) if "time" in record else "--:--:--"


def _peaks(peaks: dict[str, dict[str, Any]]) -> str:
    host, gpu, used = (peaks.get(name, {}).get("value") for name in FIGURES)
    shown = [f"{size(host)} of host memory, all processes"] if host is not None else []
    shown += [f"{size(gpu)} on one GPU"] if gpu is not None else []
    shown += [f"GPU utilisation {used:.0%}"] if used is not None else []
    return ", ".join(shown) or "-"


def shown(value: Any, how: Callable[[Any], str]) -> str:
    return "-" if value is None else how(value)
