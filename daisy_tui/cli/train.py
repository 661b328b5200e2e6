"""`daisy train`: compose, check, make the run directory, and train in the foreground."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from core.checkpoint.format import read_meta
from core.config.compose import Composed, compose
from core.config.errors import ConfigError
from core.config.model_spec import ModelSpec
from core.config.scalars import format_value
from core.data.demo import DEMO_FOLDER, prepare_demo
from core.data.survey import Survey, survey
from core.errors import DaisyError, StoppedError
from core.runs.directory import RunDirectory, create_run, find_run
from core.runs.launch import launch, torchrun_command
from daisy_tui.cli.text import count, echo

RUNS = Path("runs")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.argument("config", required=False)
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.option("-n", "--nproc", type=click.IntRange(1, 1024), default=1, show_default=True, help="Devices to train on.")
@click.option(
    "-p",
    "--init_checkpoint",
    "--init-checkpoint",
    metavar="CKPT",
    help="Warm start: take its weights and architecture.",
)
@click.option(
    "-s", "--begin_shard", "--begin-shard", metavar="SHARD", help="Begin at this training shard (0 is the first)."
)
@click.option("-r", "--name", metavar="NAME", help="Name of the run. [default: the config's name]")
@click.option("--resume", metavar="RUN", help="Go on with a run: its path, id, name, or `latest`.")
@click.option("--dry-run", is_flag=True, help="Check everything and print the command, but do not train.")
def train(
    config: str | None,
    overrides: tuple[str, ...],
    nproc: int,
    init_checkpoint: str | None,
    begin_shard: str | None,
    name: str | None,
    resume: str | None,
    dry_run: bool,
) -> int:
    """Train a config in the foreground. Ctrl-C writes a checkpoint and stops; --resume goes on exactly.

    OVERRIDES are key=value, --key=value or --flag, as for `daisy config show`.
    """
    if resume is not None:
        if config is not None or init_checkpoint or begin_shard or name:
            raise click.UsageError("--resume goes on with the run's own config; it takes neither CONFIG nor overrides")
        run = find_run(RUNS, resume)
        composed = compose(run.config, world_size=nproc)
    elif config is None:
        raise click.UsageError("name a CONFIG (`daisy config list` shows them), or a run to --resume")
    else:
        typed = [*_architecture(init_checkpoint), *overrides]
        typed += [f"init_checkpoint={Path(init_checkpoint).resolve()}"] if init_checkpoint else []
        typed += [f"begin_shard={begin_shard}"] if begin_shard else []
        composed = compose(config, typed, world_size=nproc)
        run = RunDirectory(RUNS / "NEW")
    found = _ready(composed, dry_run)
    if dry_run:
        command = shlex.join(torchrun_command(run, nproc, resume is not None))
        echo(
            f"{count(composed.config.target_tokens)} tokens, {count(found.train_tokens or 0)} in the shards\n{command}"
        )
        return 0
    if resume is None:
        assert config is not None
        run = create_run(RUNS, name or Path(config).stem, composed.config, _facts(nproc, composed), datetime.now())
    echo(f"run {run.path}")
    outcome = launch(run, nproc, resume is not None, lambda line: echo(line, err=True))
    if outcome == "stopped":
        raise StoppedError(f"stopped; `daisy train --resume {run.path.name}` goes on exactly")
    if outcome == "failed":
        raise DaisyError(f"{run.path}: the run failed; its last lines above say why")
    echo(f"finished: {run.path}")
    return 0


def _architecture(init_checkpoint: str | None) -> list[str]:
    """The architecture of a checkpoint as overrides, which those that are typed may not contradict."""
    if init_checkpoint is None:
        return []
    hparams = read_meta(Path(init_checkpoint))["hparams"]
    return [f"{key}={format_value(hparams[key])}" for key in ModelSpec.model_fields if key in hparams]


def _ready(composed: Composed, dry_run: bool) -> Survey:
    """Check what composing leaves to training: the shards, and what is not built."""
    if composed.config.wandb_log:
        problem = composed.problem(["wandb_log"], "logging to Weights & Biases is not built yet; set wandb_log=false")
        raise ConfigError([problem])
    found = survey(composed)
    wants_demo = any(Path(pattern).parent == DEMO_FOLDER for pattern in composed.config.train_shards)
    if found.missing and wants_demo and not dry_run:
        echo("preparing the bundled novels ...", err=True)
        prepare_demo(DEMO_FOLDER, os.cpu_count() or 1)
        found = survey(composed)
    if found.missing:
        raise ConfigError(found.missing)
    return found


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
