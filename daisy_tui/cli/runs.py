"""`daisy runs`: what runs there are, and what can be done with them. Everything is read from their folders."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from core.checkpoint.format import check_hash, complete_checkpoints, read_manifest
from core.checkpoint.retention import Retention
from core.config.scalars import parse_number
from core.runs import control
from core.runs.directory import RunDirectory, RunError, all_runs, check_root, find_run, read_records
from core.runs.lock import is_held
from core.runs.opening import open_regular
from core.runs.status import reason_for, run_status
from core.runs.summary import UNREADABLE, last_place, strangers, summaries, summary
from core.text import count, duration, plural, size
from daisy_tui.checkpoints.pruning import pruning
from daisy_tui.cli.asking import (
    LOOK_EVERY_S,
    TELL_AFTER_S,
    check_alive,
    evaluate,
    save,
    set_values,
    waits_for_supervisor,
)
from daisy_tui.cli.checkpoint_list import checkpoints
from daisy_tui.cli.compare import compare_runs
from daisy_tui.cli.queue import cancel_waiting, queue
from daisy_tui.cli.showing import show, shown
from daisy_tui.cli.text import JSON, SECONDS, echo, print_json, short, table
from daisy_tui.glyphs import state_glyph
from daisy_tui.naming import RUNS
from daisy_tui.runs.exporting import write_archive, write_csv
from daisy_tui.runs.query import QueryError, missing_key, parse_query
from daisy_tui.runs.run_files import RunFiles

_NOT_WAITING = {("queued", False): ", not waiting"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def runs() -> None:
    """List runs, look at them, and ask them to stop, save, evaluate or change.

    RUN is an id, a name, a unique prefix, a path, or `latest`.
    """


class _Listing(click.Command):
    """A command whose words may begin with a `-`, as `-debug` does in a query; options begin with two, but for -h."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = [word for word in args if word.startswith("--") or word == "-h"]
        return super().parse_args(ctx, [*options, "--", *(word for word in args if word not in options)])


@runs.command("list", cls=_Listing)
@click.argument("query", nargs=-1)
@JSON
def list_runs(query: tuple[str, ...], as_json: bool) -> None:
    """The runs in ./runs, the newest first; with a QUERY those that it picks.

    A QUERY is made of terms that must all hold: state:running, tag:baseline, val<3.5, step>1k, cfg.model_dim>=768, a
    word of the name, or -debug for what must not hold. < and > want quotes in a shell: 'val<3.5'.
    """
    wanted = parse_query(" ".join(query))
    check_root(RUNS)
    listed = (*summaries(RUNS), *strangers(RUNS))
    every = [(facts, RunFiles(RunDirectory(RUNS / facts["id"]))) for facts in listed]
    found = [facts for facts, files in every if wanted.matches(partial(files.value, facts=facts))]
    if not found and (slip := missing_key(wanted, [files.config() for _, files in every])):
        raise QueryError(slip)
    if as_json:
        print_json(found)
        return
    if not every:
        echo(f"no runs in {RUNS}; `daisy train demo` makes one")
        return
    if not found:
        echo(f"none of {plural(len(every), 'run')} is picked by: {wanted.text}")
        return
    rows = [("", "run", "state", "step", "tokens", "loss", "val", "ETA", "devices")]
    rows += [
        (
            state_glyph(run["state"]).sign,
            short(run["id"]),
            run["state"] + (", stalled" if run["stalls"] else "") + _NOT_WAITING.get((run["state"], run["alive"]), ""),
            shown(run["step"], "{:,}".format),
            shown(run["tokens"], count),
            shown(run["train_loss"], "{:.4f}".format),
            shown(run["val_loss"], "{:.4f}".format),
            shown(run["eta_s"], duration),
            ",".join(run["devices"] or []) if run["alive"] else "",
        )
        for run in found
    ]
    echo("\n".join(table(rows, right={3, 4, 5, 6, 7})))
    for run in found:
        if run["state"] == UNREADABLE:
            echo(f"{run['id']}: {run['reason']}", err=True)


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
        there = ", ".join(sorted(str(p) for p in directory.logs.glob("*.log"))) or "none yet"
        raise RunError(f"{path}: there is no such log; there are: {there}")
    try:
        pattern = re.compile(grep) if grep else None
    except re.error as error:
        raise click.UsageError(f"--grep {grep}: not a regular expression: {error}") from error
    offset = 0
    with suppress(KeyboardInterrupt):  # which ends the looking on, and nothing else
        while True:
            alive = follow and run_status(directory).alive
            text, offset = _new_text(path, offset, whole_lines=alive)
            for line in text.splitlines():
                if pattern is None or pattern.search(line):
                    echo(json.dumps({"rank": rank, "line": line}) if as_json else line)
            if not alive:
                return
            time.sleep(LOOK_EVERY_S)


@runs.command()
@click.argument("run", metavar="RUN")
@click.option("--now", is_flag=True, help="Kill it, without a checkpoint.")
@click.option("--grace", type=SECONDS, help="Seconds to end in.  [default: what it was started with]")
@click.option("--no-wait", is_flag=True, help="Do not wait until it has ended.")
@JSON
def stop(run: str, now: bool, grace: float | None, no_wait: bool, as_json: bool) -> None:
    """Stop a run with a checkpoint; a queued one leaves the queue."""
    directory = find_run(RUNS, run)
    before = run_status(directory)
    if before.state == "queued" and not before.alive:
        cancel_waiting(directory)
    else:
        check_alive(directory, before)
    control.stop(directory, now=now, grace_s=grace)
    began, told = time.monotonic(), no_wait
    while (status := run_status(directory)).alive:
        if status.ranks_ended:
            raise RunError(f"{directory.path}: nothing is left to stop: {waits_for_supervisor(status)}")
        if no_wait:
            break
        time.sleep(LOOK_EVERY_S)
        if not told and time.monotonic() - began > TELL_AFTER_S:
            told = True
            what = str(status.stalls[0]) if status.stalls else f"it is {status.state}"
            echo(f"{directory.path.name} has not ended yet: {what}; Ctrl-C only stops waiting here", err=True)
    if as_json:
        print_json(summary(directory, status))
    else:
        how = f"{status.state}: {reason_for(status, asked_to_kill=now)}"
        echo(f"{directory.path.name}: {'asked to stop' if status.alive else how}")
        if not status.alive and (lost := _steps_lost(directory)):
            echo(f"{directory.path.name}: {lost}")


@runs.command(context_settings={"ignore_unknown_options": True})
@click.argument("run", metavar="RUN")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.option("--force", is_flag=True, help="Also where the run would be a different one: other shards, other steps.")
@click.option("--detach", is_flag=True, help="Print the run's id and return.")
@click.option("--queue", is_flag=True, help="Wait for its devices where they are busy.")
@click.option("-n", "--nproc", type=click.IntRange(1, 1024), help="Devices.  [default: as many as it had]")
@click.option("--devices", metavar="LIST", help="`0,1`, `any:2`, or `cpu`.  [default: its own]")
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
    nproc: int | None,
    devices: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Go on with a run: exactly, or it says what differs. The same as `daisy train --resume RUN`."""
    from daisy_tui.cli.train import going_on, train

    if dry_run:
        directory = find_run(RUNS, run)
        if (status := run_status(directory)).alive:
            raise RunError(f"{directory.path}: is {status.state}; stop it first: daisy runs stop {directory.path.name}")
        kind = going_on(directory, overrides, nproc, devices)
        if as_json:
            print_json({"run": directory.path.name, "kind": kind.kind, "differs": kind.differs})
        else:
            echo(str(kind))
        return 0
    known = {"resume": run, "overrides": overrides, "accept_new_data": force, "detach": detach, "queue": queue}
    known |= {"nproc": nproc, "devices": devices, "as_json": as_json}
    code: int = context.invoke(train, **known)
    return code


@runs.command()
@click.argument("run", metavar="RUN")
@click.option("--keep-last", type=click.IntRange(1), default=1, show_default=True, help="The last ones stay.")
@click.option("--keep-best", type=click.IntRange(1), default=1, show_default=True, help="The best ones stay.")
@click.option("--keep-every", default="0", metavar="TOKENS", help="One in so many tokens stays, such as 100M.")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@JSON
def prune(run: str, keep_last: int, keep_best: int, keep_every: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove checkpoints that are neither last nor best, and that no other run began from."""
    directory = find_run(RUNS, run)
    if (run_status(directory).alive or is_held(directory)) and not dry_run:
        raise RunError(f"{directory.path}: trains; stop it first, or set keep_last_checkpoints in its config")
    every = parse_number(keep_every)
    if every is None or every < 0 or every % 1:
        raise click.UsageError(f"--keep-every {keep_every}: a number of tokens, such as 100M or 65_536")
    folders = {directory.path.resolve().parent, RUNS.resolve()}  # where runs may be that began from this one
    others = [other for folder in sorted(folders) for other in all_runs(folder)]
    plan = pruning(directory, Retention(keep_last, keep_best, int(every)), others)
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
    for path in [*complete_checkpoints(directory.checkpoints)][-1:]:  # what the run will go on from
        for name, entry in read_manifest(path).items():
            check_hash(path / name, entry["sha256"])
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
    if checkpoints != "none" and not out.name.endswith(".tar.gz"):
        raise click.UsageError(f"--checkpoints {checkpoints}: only an archive holds them: --out FILE.tar.gz")
    if not out.name.endswith(".tar.gz") and not next(read_records(directory.metrics), None):
        raise RunError(f"{directory.metrics}: the run has recorded nothing yet")
    kind = next((kind for kind in (".csv", ".jsonl", ".tar.gz") if out.name.endswith(kind)), None)
    if kind is None:
        raise click.UsageError(f"--out {out}: its name says what it becomes: .csv, .jsonl or .tar.gz")
    try:
        with TemporaryDirectory(dir=out.parent, prefix=".daisy-export-") as folder:  # so that it is there whole or not
            made = Path(folder) / "made"
            if kind == ".csv":
                write_csv(directory, made)
            elif kind == ".jsonl":
                made.write_text("".join(json.dumps(record) + "\n" for record in read_records(directory.metrics)))
            else:
                write_archive(directory, made, checkpoints)
            made.replace(out)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}; nothing was left behind") from error
    if as_json:
        print_json({"out": str(out), "bytes": out.stat().st_size})
    else:
        echo(f"{out}: {size(out.stat().st_size)}")


for command in (show, save, evaluate, set_values, queue, checkpoints, compare_runs):
    runs.add_command(command)


def _steps_lost(run: RunDirectory) -> str | None:
    """How far behind its last step a run would go on."""
    last = last_place(run).get("step")
    saved = [path.name for path in complete_checkpoints(run.checkpoints)]
    step = int(saved[-1].removeprefix("step_")) if saved else 0
    if last is None or last <= step:
        return None
    if not saved:
        return f"{plural(last, 'step')} were not saved, for it has no checkpoint; it goes on from the beginning"
    return f"{plural(last - step, 'step')} behind its last checkpoint were not saved; it goes on from {saved[-1]}"


def _new_text(path: Path, offset: int, *, whole_lines: bool) -> tuple[str, int]:
    try:
        with open_regular(path) as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return "", offset
    if whole_lines:
        data = data[: data.rfind(b"\n") + 1]
    return data.decode(errors="replace"), offset + len(data)
