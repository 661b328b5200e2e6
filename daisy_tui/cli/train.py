"""`daisy train`: compose, check, make the run directory, start its supervisor, and watch it."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from core.config.compose import Composed, compose
from core.config.errors import ConfigError
from core.config.estimate import estimate
from core.config.train_config import FIXED_ON_RESUME
from core.data.demo import DEMO_FOLDER, prepare_demo
from core.data.survey import Survey, survey
from core.runs.changes import drop_changes, overrides_of, read_changes
from core.runs.create import create_run, write_config
from core.runs.devices import CPU, choose, gpus
from core.runs.directory import RunDirectory, RunError, find_run
from core.runs.launch import GRACE_S, Launch, Machines, read_launch, start, torchrun_arguments
from core.runs.leases import LeaseError, Leases, Wanted, busy_line, lease_folder
from core.runs.status import run_status
from core.text import plural
from daisy_tui.cli.foreground import watch
from daisy_tui.cli.text import JSON, SECONDS, echo, print_json
from daisy_tui.composing.configs import missing_packages
from daisy_tui.naming import RUNS, checkpoint_folder
from daisy_tui.runs.resuming import Resuming, architecture, check_warm_start, resuming


@click.command(context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.argument("config", required=False)
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.option("-n", "--nproc", type=click.IntRange(1, 1024), help="Devices of this machine. [default: the run's, or 1]")
@click.option(
    "-p",
    "--init_checkpoint",
    "--init-checkpoint",
    metavar="CKPT|RUN",
    help="Warm start: take its weights and architecture. A run means its latest checkpoint.",
)
@click.option(
    "-s", "--begin_shard", "--begin-shard", metavar="SHARD", help="Begin at this training shard (0 is the first)."
)
@click.option("-r", "--name", metavar="NAME", help="Name of the run. [default: the config's name]")
@click.option("--resume", metavar="RUN", help="Go on with a run: its path, id, name, or `latest`.")
@click.option(
    "--force",
    "--accept-new-data",
    "accept_new_data",
    is_flag=True,
    help="With --resume: also with other shards (from their beginning), another tokenizer or tokens a step. "
    "With -p: with another tokenizer.",
)
@click.option(
    "--devices", metavar="LIST", help="`0,1`, `any:2`, or `cpu`. [default: the first ones; a resumed run's own]"
)
@click.option("--queue", is_flag=True, help="Where a device is busy, wait for it in the queue of this machine.")
@JSON
@click.option("--detach", is_flag=True, help="Print the run's id and return; the run goes on by itself.")
@click.option(
    "--grace",
    type=SECONDS,
    default=GRACE_S,
    show_default=True,
    help="Seconds that a run has to end in when it is asked to stop.",
)
@click.option("--dry-run", is_flag=True, help="Check everything and print config, estimates and command; do not train.")
@click.option("--nnodes", type=click.IntRange(1), default=1, show_default=True, help="Machines.")
@click.option("--node-rank", type=click.IntRange(0), default=0, show_default=True, help="Which machine this is.")
@click.option("--rdzv-endpoint", metavar="HOST:PORT", help="Where the machines meet: an open port of machine 0.")
def train(
    config: str | None,
    overrides: tuple[str, ...],
    nproc: int | None,
    init_checkpoint: str | None,
    begin_shard: str | None,
    name: str | None,
    resume: str | None,
    accept_new_data: bool,
    devices: str | None,
    queue: bool,
    detach: bool,
    as_json: bool,
    grace: float,
    dry_run: bool,
    nnodes: int,
    node_rank: int,
    rdzv_endpoint: str | None,
) -> int:
    """Train a config and watch it. Ctrl-C asks whether to stop it with a checkpoint; --resume goes on exactly.

    The run belongs to no terminal: it goes on when this one is closed.

    OVERRIDES are key=value, --key=value or --flag, as for `daisy config show`. With --resume there is no
    CONFIG: the run has its own, and OVERRIDES change what may change, such as target_tokens.
    """
    machines = _machines(nnodes, node_rank, rdzv_endpoint)
    if as_json and not detach:
        raise click.UsageError("--json goes with --detach")
    if resume is not None:
        typed = (*([config] if config is not None else []), *overrides)
        if init_checkpoint or begin_shard or name or any("=" not in t and not t.startswith("--") for t in typed):
            raise click.UsageError(
                "--resume goes on with the run's own config; it takes key=value, but no CONFIG, -p, -s, -r"
            )
        run = find_run(RUNS, resume)
        if (status := run_status(run)).alive:
            raise RunError(f"{run.path}: is {status.state} already; `daisy runs show {run.path.name}` tells how it is")
        nproc, wanted = _devices(run, devices, nproc)
        composed, found, kind = _resumed(run, typed, nproc * machines.number, dry_run)
        if kind.kind == "different" and not accept_new_data:
            raise RunError(f"{run.path}: {'; '.join(kind.differs)}; --force goes on all the same")
        if kind.kind == "finished" and typed:
            raise RunError(f"{run.path}: {'; '.join(kind.differs)}")
        echo(str(kind), err=detach)
        if kind.kind == "finished":
            if as_json:
                print_json({"run": run.path.name, "path": str(run.path), "kind": kind.kind})
            elif detach:
                echo(run.path.name)
            return 0
    elif config is None:
        raise click.UsageError("name a CONFIG (`daisy config list` shows them), or a run to --resume")
    elif accept_new_data and init_checkpoint is None:
        raise click.UsageError("--force (--accept-new-data) belongs to --resume and -p")
    else:
        nproc, wanted = choose(devices, nproc, gpus())
        weights = checkpoint_folder(init_checkpoint).resolve() if init_checkpoint is not None else None
        typed = (*(architecture(weights) if weights else ()), *overrides)
        typed += (f"init_checkpoint={weights}",) if weights else ()
        typed += (f"begin_shard={begin_shard}",) if begin_shard else ()
        composed = compose(config, typed, world_size=nproc * machines.number)
        found = ready(composed, dry_run)
        run = RunDirectory(RUNS / "NEW")
        if weights is not None:
            check_warm_start(weights, composed.config, found, insist=accept_new_data)
    how = Launch(
        nproc,
        *wanted,
        machines,
        resume is not None and run.metrics.exists(),  # a run that never began has nothing to go on from
        accept_new_data,
        queue,
        grace,
        composed.config.max_restarts,
    )
    if dry_run:
        _show(composed, found, run, how)
        return 0
    leases = Leases(lease_folder())
    if not queue and (busy := leases.in_the_way(how.wanted)):
        raise LeaseError(*(busy_line(item) for item in busy))
    if resume is None:
        assert config is not None
        called = (name or Path(config).stem) + (f"-machine{node_rank}" if node_rank else "")
        run = create_run(RUNS, called, composed.config, _facts(nproc, composed), datetime.now(), overrides)

    def prepare() -> None:
        if resume is not None and typed and not node_rank:
            _keep(run, kind.step, typed, nproc * machines.number)

    if detach:
        start(run, how, prepare)
        if as_json:
            print_json(
                {"run": run.path.name, "path": str(run.path)} | ({"kind": kind.kind} if resume is not None else {})
            )
        else:
            echo(run.path.name)
        return 0
    devices = ", ".join(how.devices[: how.number])
    echo(f"run {run.path}: {plural(nproc, 'rank')} on {devices}{', when it is free' if queue else ''}")
    watch(run, lambda: start(run, how, prepare), composed.config.target_tokens)
    return 0


def _devices(run: RunDirectory, asked: str | None, nproc: int | None) -> tuple[int, Wanted]:
    """The devices of a run that goes on: those it had, where they are and no others are asked for."""
    have = gpus()
    nproc = nproc or _devices_before(run)
    before = read_launch(run) if run.launch.exists() else None
    here = {CPU, *(device.key for device in have)}
    if asked is None and before is not None and nproc == before.nproc and here.issuperset(before.devices):
        return nproc, before.wanted
    return choose(asked, nproc, have)


def _devices_before(run: RunDirectory) -> int:
    try:
        return int(run.facts().get("devices") or 1)
    except (RunError, TypeError, ValueError):
        return 1


def _machines(count: int, rank: int, endpoint: str | None) -> Machines:
    if count > 1 and endpoint is None:
        raise click.UsageError("several machines meet at --rdzv-endpoint HOST:PORT, an open port of machine 0")
    if endpoint is not None and not re.fullmatch(r".+:\d{1,5}", endpoint):
        raise click.UsageError(f"--rdzv-endpoint {endpoint}: write HOST:PORT")
    if rank >= count:
        raise click.UsageError(f"--node-rank {rank} is none of {count} machines; they are 0 to {count - 1}")
    return Machines(count, rank, endpoint)


def _keep(run: RunDirectory, step: int, typed: Sequence[str], world_size: int) -> None:
    """Write the config that a run goes on with from a step; what was set later is met again at its own step."""
    now = [*overrides_of(read_changes(run, up_to=step)), *typed]
    write_config(run, compose(run.config, now, world_size=world_size).config, now)
    drop_changes(run, step, [word.lstrip("-").partition("=")[0] for word in typed])


def going_on(run: RunDirectory, overrides: Sequence[str], nproc: int | None, devices: str | None) -> Resuming:
    """How a run would go on with overrides and devices, by default those that it had."""
    return _resumed(run, overrides, _devices(run, devices, nproc)[0], dry_run=True)[2]


def _resumed(
    run: RunDirectory, overrides: Sequence[str], world_size: int, dry_run: bool
) -> tuple[Composed, Survey, Resuming]:
    """The run's config with what was set in flight and with overrides, which may not change what makes it this run."""
    before = compose(run.config).config
    composed = compose(run.config, [*overrides_of(read_changes(run)), *overrides], world_size=world_size)
    problems = [
        composed.problem(
            [key],
            f"{key} cannot change in a run that goes on; start one that takes its weights: daisy train CONFIG -p "
            f"{run.checkpoints / 'latest'}",
        )
        for key in sorted(FIXED_ON_RESUME)
        if getattr(composed.config, key) != getattr(before, key)
    ]
    if problems:
        raise ConfigError(problems)
    found = ready(composed, dry_run)
    return composed, found, resuming(run, composed.config, found, world_size)


def ready(composed: Composed, dry_run: bool) -> Survey:
    """Check what composing leaves to training: the shards, and packages that the config asks for."""
    if problems := missing_packages(composed):
        raise ConfigError(problems)
    found = survey(composed)
    wants_demo = any(Path(pattern).parent == DEMO_FOLDER for pattern in composed.config.train_shards)
    if found.missing and wants_demo and dry_run:
        echo("the bundled novels would be prepared first, with `daisy data demo`", err=True)
        return found
    if found.missing and wants_demo:
        echo("preparing the bundled novels ...", err=True)
        prepare_demo(DEMO_FOLDER, os.cpu_count() or 1)
        found = survey(composed)
    if found.missing:
        raise ConfigError(found.missing)
    return found


def _show(composed: Composed, found: Survey, run: RunDirectory, how: Launch) -> None:
    """What a dry run prints: the composed config, the estimates, and the command."""
    from daisy_tui.cli.config import show_estimates, show_values
    from daisy_tui.composing.figures import precision_for

    devices = how.nproc * how.machines.number
    precision, why = precision_for("auto")
    figures = estimate(
        composed.config,
        world_size=devices,
        precision=precision,
        train_tokens=found.train_tokens,
        document_tokens=found.document_tokens,
    )
    show_values(composed)
    show_estimates(figures, found, composed, devices, why)
    command = ["python", "-m", "torch.distributed.run", *torchrun_arguments(run, how)]
    echo(f"\nCommand, which the run's supervisor starts\n  {shlex.join(command)}")


def _facts(nproc: int, composed: Composed) -> dict[str, Any]:
    from importlib.metadata import version

    versions = {name: version(name) for name in ("daisy-tui", "torch", "numpy")}
    return {
        "argv": sys.argv,
        "host": platform.node(),
        "devices": nproc,
        "config": str(composed.config_path),
        "spec": composed.config.model_spec,
        "parent": composed.config.init_checkpoint,
        "versions": {**versions, "python": platform.python_version()},
    }
