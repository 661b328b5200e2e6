"""`daisy preflight`: three real steps of a config, and what they took beside what was estimated."""

from __future__ import annotations

from pathlib import Path

import click

from core.config.compose import compose
from core.runs.devices import choose, gpus
from core.runs.leases import LeaseError, Leases, busy_line, lease_folder
from core.text import duration, plural, size
from daisy_tui.cli.progress import stop_requests
from daisy_tui.cli.text import JSON, echo, print_json, table
from daisy_tui.cli.train import ready
from daisy_tui.composing.preflighting import Preflight, preflight
from daisy_tui.composing.throughput import note


@click.command("preflight", context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.argument("config")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.option("-n", "--nproc", type=click.IntRange(1, 1024), help="Devices of this machine. [default: 1]")
@click.option("--devices", metavar="LIST", help="`0,1`, `any:2`, or `cpu`. [default: the first ones]")
@click.option("--queue", is_flag=True, help="Where a device is busy, wait for it in the queue of this machine.")
@JSON
def preflight_command(
    config: str, overrides: tuple[str, ...], nproc: int | None, devices: str | None, queue: bool, as_json: bool
) -> None:
    """Run three real steps of a config and measure memory, speed and checkpoint size beside the estimate.

    The steps are taken with the full windows, which are the dearest of a run. Nothing is kept but the speed, from
    which later estimates of time are made. OVERRIDES are key=value, --key=value or --flag, as for `daisy train`.
    """
    nproc, wanted = choose(devices, nproc, gpus())
    composed = compose(config, overrides, world_size=nproc)
    found = ready(composed, dry_run=False)
    if not queue and (busy := Leases(lease_folder()).in_the_way(wanted)):
        raise LeaseError(*(busy_line(item) for item in busy))
    with stop_requests() as stop:
        took = preflight(
            composed, found, nproc, wanted, queue=queue, report=lambda line: echo(line, err=True), stop=stop
        )
    try:
        note(composed.config, took.device, Path(), took.tokens_per_s, devices=took.devices)
    except OSError as error:
        echo(f"warning: the speed is not kept for later estimates: {error.strerror or error}", err=True)
    if as_json:
        print_json(took.to_dict())
    else:
        _show(took)


def _show(took: Preflight) -> None:
    whole = "of tensors" if took.device != "cpu" else f"of the process, {size(took.memory_before)} before the model"
    each = f"{whole}, the rank that has most" if took.devices > 1 else whole
    rows = [
        ("", "measured", "estimate", ""),
        ("peak memory", size(took.peak_memory), size(took.peak_memory_estimate), each),
        ("tokens/s", f"{took.tokens_per_s:,.0f}", "", "the median step after the first"),
        ("first step", f"{took.step_s[0]:.2f} s", "", "compiles and warms up"),
        ("ETA", duration(took.eta_s), "", "to target_tokens, without evaluations and checkpoints"),
        (
            "checkpoint",
            size(took.checkpoint_bytes),
            size(took.checkpoint_bytes_estimate),
            "by the sizes of its tensors; none was written",
        ),
    ]
    ranks = f" x {took.devices}" if took.devices > 1 else ""
    echo(f"{plural(took.steps, 'step')} on {took.device}{ranks}, with full windows")
    echo("\n".join(table(rows, indent="  ", right={1, 2})))
