"""`daisy runs`: what runs there are and how they are, and requests to them. Everything is read from their folders."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from core.checkpoint.format import complete_checkpoints
from core.checkpoint.retention import Retention
from core.errors import DaisyError
from core.runs import control
from core.runs.directory import RunDirectory, RunError, find_run, read_records
from core.runs.follow import RecordTail
from core.runs.heartbeat import heartbeats
from core.runs.lines import event_line
from core.runs.peaks import FIGURES, read_peaks
from core.runs.status import run_status
from core.runs.summary import all_runs, summaries, summary
from core.text import count, duration, plural, size
from daisy_tui.cli.checkpoints import RUNS
from daisy_tui.cli.queue import queue
from daisy_tui.cli.text import JSON, echo, print_json, table
from daisy_tui.exporting import write_archive, write_csv
from daisy_tui.pruning import folder_bytes, pruning

_LOOK_EVERY_S = 0.3
_DOTS = {"finished": "✓", "running": "●", "starting": "●", "stopping": "●", "queued": "○", "failed": "✗", "lost": "✗"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def runs() -> None:
    """List runs, look at them, and ask them to stop, save, evaluate or change.

    RUN is an id, a name, a unique prefix, a path, or `latest`.
    """


@runs.command("list")
@JSON
def list_runs(as_json: bool) -> None:
    """All runs in ./runs, the newest first."""
    found = list(summaries(RUNS))
    if as_json:
        print_json(found)
        return
    if not found:
        echo(f"no runs in {RUNS}; `daisy train demo` makes one")
        return
    rows = [("", "run", "state", "step", "tokens", "loss", "val", "ETA", "devices")]
    rows += [
        (
            _DOTS.get(run["state"], "·"),
            run["id"],
            run["state"] + ("" if run["state"] != "queued" or run["alive"] else ", not waiting"),
            _shown(run["step"], "{:,}".format),
            _shown(run["tokens"], count),
            _shown(run["train_loss"], "{:.4f}".format),
            _shown(run["val_loss"], "{:.4f}".format),
            _shown(run["eta_s"], duration),
            ",".join(run["devices"] or []) if run["alive"] else "",
        )
        for run in found
    ]
    echo("\n".join(table(rows, right={3, 4, 5, 6, 7})))


@runs.command()
@click.argument("run", metavar="RUN")
@click.option("--stacks", is_flag=True, help="Have every rank write the stacks of its threads to its log.")
@JSON
def show(run: str, stacks: bool, as_json: bool) -> None:
    """How a run is: its state and why, what it last did, and what can be done."""
    directory = find_run(RUNS, run)
    if stacks:
        _write_stacks(directory)
        return
    status = run_status(directory)
    facts = summary(directory, status)
    checkpoints = list(complete_checkpoints(directory.checkpoints))
    records = list(read_records(directory.events))
    events = [line for record in records if (line := event_line(record))]
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
    state = facts["state"] if status.reason is None else f"{facts['state']}: {status.reason}"
    rows = [
        ("state", state),
        ("step", _shown(facts["step"], "{:,}".format)),
        ("tokens", _shown(facts["tokens"], count)),
        ("loss", _shown(facts["train_loss"], "{:.4f}".format)),
        ("validation loss", _shown(facts["val_loss"], "{:.4f}".format)),
        ("ETA", _shown(facts["eta_s"], duration)),
        ("config", str(facts["config"])),
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
        echo(f"  stalled: {stall}; `daisy runs show {directory.path.name} --stacks` writes what it does to its log")
    if events:
        echo("Last events\n" + "\n".join(f"  {line}" for line in events[-8:]))
    echo(f"Next\n  {_next(directory, facts)}")


@runs.command()
@click.argument("run", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--rank", type=click.IntRange(0), default=0, show_default=True)
@click.option("--grep", metavar="RE", help="Only lines in which this regular expression is found.")
@JSON
def logs(run: str, follow: bool, rank: int, grep: str | None, as_json: bool) -> None:
    """What a rank of a run has printed."""
    directory = find_run(RUNS, run)
    path = directory.logs / f"rank{rank}.log"
    if not path.exists() and not (follow and run_status(directory).alive):
        there = ", ".join(sorted(p.name for p in directory.logs.glob("*.log"))) or "none yet"
        raise RunError(f"{path}: there is no such log; there are: {there}")
    try:
        pattern = re.compile(grep) if grep else None
    except re.error as error:
        raise click.UsageError(f"--grep {grep}: not a regular expression: {error}") from error
    offset = 0
    while True:
        alive = follow and run_status(directory).alive
        text, offset = _new_text(path, offset, whole_lines=alive)
        for line in text.splitlines():
            if pattern is None or pattern.search(line):
                echo(json.dumps({"rank": rank, "line": line}) if as_json else line)
        if not alive:
            return
        time.sleep(_LOOK_EVERY_S)


@runs.command()
@click.argument("run", metavar="RUN")
@click.option("--now", is_flag=True, help="Kill it, without a checkpoint.")
@click.option("--grace", type=click.FloatRange(1), help="Seconds to end in.  [default: what it was started with]")
@click.option("--no-wait", is_flag=True, help="Do not wait until it has ended.")
@JSON
def stop(run: str, now: bool, grace: float | None, no_wait: bool, as_json: bool) -> None:
    """Stop a run with a checkpoint; a queued one leaves the queue."""
    directory = _living(run)
    control.ask_stop(directory, now=now, grace_s=grace)
    while not no_wait and run_status(directory).alive:
        time.sleep(_LOOK_EVERY_S)
    status = run_status(directory)
    if as_json:
        print_json(summary(directory, status))
    else:
        echo(f"{directory.path.name}: {'asked to stop' if status.alive else f'{status.state}: {status.reason}'}")


def _request(what: str, help_text: str) -> Callable[..., None]:
    @click.command(what, help=help_text)
    @click.argument("run", metavar="RUN")
    @JSON
    def command(run: str, as_json: bool) -> None:
        _ask(_living(run), what, {}, as_json)

    return command


runs.add_command(_request("save", "Have a run write a checkpoint at its next step."))  # type: ignore[arg-type]
runs.add_command(_request("eval", "Have a run evaluate at its next step."))  # type: ignore[arg-type]


@runs.command("set")
@click.argument("run", metavar="RUN")
@click.argument("values", metavar="KEY=VALUE…", nargs=-1, required=True)
@JSON
def set_values(run: str, values: tuple[str, ...], as_json: bool) -> None:
    """Change what may change while a run trains: lr_scale, target_tokens, cadences; `cooldown=now` begins it."""
    pairs = [value.lstrip("-").partition("=") for value in values]
    if wrong := [value for value, pair in zip(values, pairs, strict=True) if not pair[1] or not pair[0]]:
        raise click.UsageError(f"'{wrong[0]}': write KEY=VALUE")
    _ask(_living(run), "set", {key: value for key, _, value in pairs}, as_json)


@runs.command(context_settings={"ignore_unknown_options": True})
@click.argument("run", metavar="RUN")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.option("--force", is_flag=True, help="Also where the run would be a different one: other shards, other steps.")
@click.option("--detach", is_flag=True, help="Print the run's id and return.")
@click.option("--queue", is_flag=True, help="Wait for its devices where they are busy.")
@click.option("--dry-run", is_flag=True, help="Say whether it would go on exactly; do not train.")
@JSON
@click.pass_context
def resume(
    context: click.Context,
    run: str,
    overrides: tuple[str, ...],
    force: bool,
    detach: bool,
    queue: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Go on with a run: exactly, or it says what differs. The same as `daisy train --resume RUN`."""
    from daisy_tui.cli.train import going_on, train

    if dry_run:
        directory = find_run(RUNS, run)
        kind = going_on(directory, overrides)
        if as_json:
            print_json({"run": directory.path.name, "kind": kind.kind, "differs": kind.differs})
        else:
            echo(str(kind))
        return 0
    known = {"resume": run, "overrides": overrides, "accept_new_data": force, "detach": detach, "queue": queue}
    if as_json and not detach:
        raise click.UsageError("--json goes with --detach or --dry-run")
    code: int = context.invoke(train, **known)
    return code


@runs.command()
@click.argument("run", metavar="RUN")
@click.option("--keep-last", type=click.IntRange(1), default=1, show_default=True, help="The last ones stay.")
@click.option("--keep-best", type=click.IntRange(1), default=1, show_default=True, help="The best ones stay.")
@click.option("--keep-every", type=int, default=0, help="One in so many tokens stays.")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@JSON
def prune(run: str, keep_last: int, keep_best: int, keep_every: int, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove checkpoints that are neither last nor best, and that no other run began from."""
    directory = find_run(RUNS, run)
    if run_status(directory).alive and not dry_run:
        raise RunError(f"{directory.path}: trains; stop it first, or set keep_last_checkpoints in its config")
    plan = pruning(directory, Retention(keep_last, keep_best, keep_every), all_runs(RUNS))
    names = [saved.path.name for saved in plan.going]
    if as_json:
        print_json({"going": names, "frees": plan.frees, "kept_for_others": [p.name for p in plan.descended]})
    else:
        echo(f"{plural(len(names), 'checkpoint')} may go, which frees {size(plan.frees)}: {', '.join(names) or 'none'}")
        for path in plan.descended:
            echo(f"{path.name} stays: another run began from it")
        for path in plan.incomplete:
            echo(f"{path} is no complete checkpoint and is left alone")
    if dry_run or not names:
        return
    if not yes and (not sys.stdin.isatty() or not click.confirm("Remove them?")):
        raise RunError("nothing was removed; --yes removes them without asking")
    for saved in plan.going:
        shutil.rmtree(saved.path)
    if not as_json:
        echo(f"removed {plural(len(names), 'checkpoint')}")


@runs.command()
@click.argument("run", metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="FILE.csv, FILE.jsonl or FILE.tar.gz.")
@click.option("--checkpoints", type=click.Choice(["none", "latest", "best", "all"]), default="none", show_default=True)
@JSON
def export(run: str, out: Path, checkpoints: str, as_json: bool) -> None:
    """Write a run's metrics as a table or as lines, or the run as an archive with the checkpoints named."""
    directory = find_run(RUNS, run)
    if out.exists():
        raise RunError(f"{out}: exists already; name another")
    try:
        if out.suffix == ".csv":
            write_csv(directory, out)
        elif out.suffix == ".jsonl":
            out.write_text("".join(json.dumps(record) + "\n" for record in read_records(directory.metrics)))
        elif out.name.endswith(".tar.gz"):
            write_archive(directory, out, checkpoints)
        else:
            raise click.UsageError(f"--out {out}: its name says what it becomes: .csv, .jsonl or .tar.gz")
    except OSError as error:
        out.unlink(missing_ok=True)
        raise RunError(f"{out}: cannot be written: {error.strerror}; nothing was left behind") from error
    if as_json:
        print_json({"out": str(out), "bytes": out.stat().st_size})
    else:
        echo(f"{out}: {size(out.stat().st_size)}")


runs.add_command(queue)


def _living(name: str) -> RunDirectory:
    run = find_run(RUNS, name)
    status = run_status(run)
    if not status.alive:
        raise RunError(f"{run.path}: is {status.state}, so nobody answers; `daisy runs resume {run.path.name}` goes on")
    return run


def _ask(run: RunDirectory, what: str, values: dict[str, str], as_json: bool) -> None:
    """Ask rank 0 and wait for its answer."""
    if run_status(run).state == "queued":
        raise RunError(
            f"{run.path}: is queued, and {what} is for a run that trains; cancel it with "
            f"`daisy runs queue --cancel {run.path.name}` and start it as it shall be"
        )
    events = RecordTail(run.events)
    request = control.ask(run, what, values)
    alive = True
    while True:
        answer = next((e for e in events.new() if e["event"] == "request" and e.get("id") == request.id), None)
        if answer is not None:
            break
        if not alive:
            control.answered(run, request)
            raise RunError(f"{run.path}: ended before it answered")
        alive = run_status(run).alive
        time.sleep(_LOOK_EVERY_S)
    if as_json:
        print_json(answer)
    elif not str(answer["answer"]).startswith("refused"):
        echo(f"{run.path.name}: step {answer['step']:,}: {what} {answer['answer']}")
    if str(answer["answer"]).startswith("refused"):
        raise DaisyError(f"{run.path.name}: {what} {answer['answer']}")


def _write_stacks(run: RunDirectory) -> None:
    beats = heartbeats(run)
    if not beats:
        raise RunError(f"{run.path}: no rank of it lives on this machine")
    for beat in beats:
        os.kill(int(beat["pid"]), signal.SIGUSR1)
        log = run.logs / f"rank{beat['rank']}.log"
        echo(f"rank {beat['rank']}: its stacks are at the end of {log}")


def _next(run: RunDirectory, facts: dict[str, Any]) -> str:
    name = run.path.name
    if facts["alive"]:
        return f"daisy runs logs {name} -f   daisy runs stop {name}"
    if facts["state"] == "finished":
        return f"daisy sample {name}   daisy inspect {name}"
    return f"daisy train --resume {name}"


def _peaks(peaks: dict[str, dict[str, Any]]) -> str:
    host, gpu, used = (peaks.get(name, {}).get("value") for name in FIGURES)
    shown = [f"{size(host)} of host memory"] if host is not None else []
    shown += [f"{size(gpu)} on one GPU"] if gpu is not None else []
    shown += [f"GPU utilisation {used:.0%}"] if used is not None else []
    return ", ".join(shown) or "-"


def _new_text(path: Path, offset: int, *, whole_lines: bool) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return "", offset
    if whole_lines:
        data = data[: data.rfind(b"\n") + 1]
    return data.decode(errors="replace"), offset + len(data)


def _shown(value: Any, how: Callable[[Any], str]) -> str:
    return "-" if value is None else how(value)
