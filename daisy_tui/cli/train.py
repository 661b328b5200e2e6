"""`daisy train`: compose, check, make the run directory, and train in the foreground."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from core.checkpoint.format import read_meta
from core.config.compose import Composed, compose
from core.config.errors import ConfigError
from core.config.estimate import estimate
from core.config.model_spec import ModelSpec
from core.config.scalars import format_value
from core.config.train_config import FIXED_ON_RESUME
from core.data.demo import DEMO_FOLDER, prepare_demo
from core.data.survey import Survey, survey
from core.errors import DaisyError, StoppedError
from core.runs.create import create_run, write_config
from core.runs.directory import RunDirectory, find_run
from core.runs.launch import Launch, Machines, last_log_lines, launch, torchrun_command
from daisy_tui.cli.checkpoints import RUNS, checkpoint_folder
from daisy_tui.cli.live import LiveRun
from daisy_tui.cli.text import echo

_LOG_LINES = 8


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
@click.option("--accept-new-data", is_flag=True, help="With --resume: also with other shards, from their beginning.")
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
    dry_run: bool,
    nnodes: int,
    node_rank: int,
    rdzv_endpoint: str | None,
) -> int:
    """Train a config in the foreground. Ctrl-C writes a checkpoint and stops; --resume goes on exactly.

    OVERRIDES are key=value, --key=value or --flag, as for `daisy config show`. With --resume there is no
    CONFIG: the run has its own, and OVERRIDES change what may change, such as target_tokens.
    """
    machines = _machines(nnodes, node_rank, rdzv_endpoint)
    if resume is not None:
        typed = (*([config] if config is not None else []), *overrides)
        if init_checkpoint or begin_shard or name or any("=" not in t and not t.startswith("--") for t in typed):
            raise click.UsageError(
                "--resume goes on with the run's own config; it takes key=value, but no CONFIG, -p, -s, -r"
            )
        run = find_run(RUNS, resume)
        nproc = nproc or int(run.facts().get("devices", 1))
        composed = _resumed(run, typed, nproc * machines.count)
    elif config is None:
        raise click.UsageError("name a CONFIG (`daisy config list` shows them), or a run to --resume")
    elif accept_new_data:
        raise click.UsageError("--accept-new-data belongs to --resume")
    else:
        nproc = nproc or 1
        typed = overrides
        if init_checkpoint is not None:
            start = checkpoint_folder(init_checkpoint).resolve()  # the link `latest` will point elsewhere
            typed = (*_architecture(start), *overrides, f"init_checkpoint={start}")
        typed += (f"begin_shard={begin_shard}",) if begin_shard else ()
        composed = compose(config, typed, world_size=nproc * machines.count)
        run = RunDirectory(RUNS / "NEW")
    found = _ready(composed, dry_run)
    how = Launch(nproc, machines, resume is not None, accept_new_data)
    if dry_run:
        _show(composed, found, run, how)
        return 0
    if resume is None:
        assert config is not None
        called = (name or Path(config).stem) + (f"-machine{node_rank}" if node_rank else "")
        run = create_run(RUNS, called, composed.config, _facts(nproc, composed), datetime.now(), overrides)
    elif typed and not node_rank:
        write_config(run, composed.config, typed)
    return _train(run, how, composed.config.target_tokens)


def _train(run: RunDirectory, how: Launch, target_tokens: int) -> int:
    echo(f"run {run.path}")
    live = LiveRun(run, target_tokens)

    def say(line: str) -> None:
        live.close()
        echo(line, err=True)

    try:
        outcome = launch(run, how, say=say, watch=live.update)
    finally:
        live.close()
    if outcome == "stopped":
        raise StoppedError(f"stopped; `daisy train --resume {run.path.name}` goes on exactly")
    if outcome == "failed":
        said = live.failures or [
            *last_log_lines(run, _LOG_LINES),
            f"the run failed; all that was said is in {run.logs}",
        ]
        raise DaisyError(*(line if str(run.path) in line else f"{run.path}: {line}" for line in said))
    echo(f"finished: {run.path}")
    return 0


def _machines(count: int, rank: int, endpoint: str | None) -> Machines:
    if count > 1 and endpoint is None:
        raise click.UsageError("several machines meet at --rdzv-endpoint HOST:PORT, an open port of machine 0")
    if rank >= count:
        raise click.UsageError(f"--node-rank {rank} is none of {count} machines; they are 0 to {count - 1}")
    return Machines(count, rank, endpoint)


def _resumed(run: RunDirectory, overrides: Sequence[str], world_size: int) -> Composed:
    """The run's config with overrides, which may not change what makes it this run."""
    before = compose(run.config).config
    composed = compose(run.config, overrides, world_size=world_size)
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
    return composed


def _architecture(checkpoint: Path) -> list[str]:
    """The architecture of a checkpoint as overrides, which those that are typed may not contradict."""
    hparams = read_meta(checkpoint)["hparams"]
    return [f"{key}={format_value(hparams[key])}" for key in ModelSpec.model_fields if key in hparams]


def _ready(composed: Composed, dry_run: bool) -> Survey:
    """Check what composing leaves to training: the shards, and packages that the config asks for."""
    if composed.config.wandb_log and find_spec("wandb") is None:
        what = "the package wandb is not installed; pip install 'daisy-tui[wandb]', or set wandb_log=false"
        raise ConfigError([composed.problem(["wandb_log"], what)])
    found = survey(composed)
    wants_demo = any(Path(pattern).parent == DEMO_FOLDER for pattern in composed.config.train_shards)
    if found.missing and wants_demo and not dry_run:
        echo("preparing the bundled novels ...", err=True)
        prepare_demo(DEMO_FOLDER, os.cpu_count() or 1)
        found = survey(composed)
    if found.missing:
        raise ConfigError(found.missing)
    return found


def _show(composed: Composed, found: Survey, run: RunDirectory, how: Launch) -> None:
    """What a dry run prints: the composed config, the estimates, and the command."""
    from daisy_tui.cli.config import precision_for, show_estimates, show_values

    devices = how.nproc * how.machines.count
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
    echo(f"\nCommand\n  {shlex.join(torchrun_command(run, how))}")


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
