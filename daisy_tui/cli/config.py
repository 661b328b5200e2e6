"""`daisy config list|show|save|schema`."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from core.config.compose import Composed, Value, compose
from core.config.errors import ConfigError
from core.config.estimate import Estimate, estimate
from core.config.fields import field_specs
from core.config.files import shipped_root
from core.config.model_spec import ModelSpec
from core.config.scalars import format_value
from core.config.schema import json_schema, reference_page
from core.config.sources import display_path
from core.config.train_config import TrainConfig
from core.config.typed import differences, typed_values
from core.data.survey import Survey, survey
from core.text import count, plural, printable
from daisy_tui.cli.text import JSON, echo, print_json, table, write
from daisy_tui.composing.configs import SHIPPED, config_entries, config_rows, shown_file, spec_entries
from daisy_tui.composing.figures import Device, estimate_rows, precision_for

_HELP = {"help_option_names": ["-h", "--help"]}


@click.command("list", context_settings=_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the configs and model specs that a name can mean."""
    if as_json:
        write(json.dumps({"configs": config_entries(), "specs": spec_entries()}, indent=2))
        return
    echo("\n".join(table([("config", "spec", "streamed", "target tokens", "from"), *config_rows()])))
    write()
    rows = [
        (e["name"], e["shape"], count(e["parameters"]), count(e["parameters_streamed"]), shown_file(e["file"]))
        if "error" not in e
        else (e["name"], "-", "-", "-", f"broken: {e['error']}")
        for e in spec_entries()
    ]
    echo("\n".join(table([("model spec", "layers x dim", "parameters", "streamed", "from"), *rows])))


@click.command(context_settings={**_HELP, "ignore_unknown_options": True})
@click.argument("config")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--diff", "other", metavar="OTHER", help="Show only what differs from this config.")
@click.option(
    "-n", "--nproc", "world_size", type=click.IntRange(1, 65_536), default=1, show_default=True, help="Devices."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Estimate for this kind of device.",
)
@click.option("--strict", is_flag=True, help="Exit with 2 where shards are missing, as training would.")
def show(
    config: str,
    overrides: tuple[str, ...],
    as_json: bool,
    other: str | None,
    world_size: int,
    device: Device,
    strict: bool,
) -> None:
    """Show a composed config: every value, where it comes from, and the estimates.

    CONFIG is a name or a path. OVERRIDES are key=value, --key=value or --flag; `daisy config schema
    --markdown` lists the keys. Each line of the output can be typed back as an override.
    """
    composed = compose(config, overrides, world_size=world_size)
    if other is not None:
        _show_diff(composed, compose(other, world_size=world_size), config, other, as_json)
        return
    found = survey(composed)
    precision, why = precision_for(device)
    figures = estimate(
        composed.config,
        world_size=world_size,
        precision=precision,
        train_tokens=found.train_tokens,
        document_tokens=found.document_tokens,
    )
    if as_json:
        data = {
            "values": {key: _json_value(value) for key, value in composed.values.items()},
            "estimates": figures.to_dict(),
            "warnings": [problem.message for problem in found.missing],
        }
        write(json.dumps(data, indent=2))
    else:
        show_values(composed)
        show_estimates(figures, found, composed, world_size, why)
    if strict and found.missing:
        raise ConfigError(found.missing)
    for problem in found.missing:
        echo(f"warning: {problem.message}", err=True)


@click.command(context_settings={**_HELP, "ignore_unknown_options": True})
@click.argument("config")
@click.argument("new")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.option("-p", "--init_checkpoint", "--init-checkpoint", metavar="CKPT|RUN", help="Warm start, as in daisy train.")
@JSON
def save(config: str, new: str, overrides: tuple[str, ...], init_checkpoint: str | None, as_json: bool) -> None:
    """Save CONFIG with OVERRIDES as configs/NEW.yml, which must not be there yet.

    It holds the keys and comments of CONFIG's file, and what OVERRIDES change.
    """
    from daisy_tui.composing.saving import save_config
    from daisy_tui.naming import checkpoint_folder
    from daisy_tui.runs.resuming import architecture

    weights = checkpoint_folder(init_checkpoint).resolve() if init_checkpoint is not None else None
    typed = (*(architecture(weights) if weights else ()), *overrides)
    typed += (f"init_checkpoint={weights}",) if weights else ()
    path = save_config(new, compose(config, typed))
    if as_json:
        print_json({"path": str(path)})
    else:
        echo(f"saved: {path}; `daisy train {path.stem}` trains it")


@click.command(context_settings=_HELP)
@click.argument("layer", type=click.Choice(["config", "spec"]), default="config")
@click.option("--markdown", is_flag=True, help="Print the reference page instead.")
def schema(layer: str, markdown: bool) -> None:
    """Print the JSON Schema of a config file (or of a model spec), for editors that complete YAML.

    The shipped files name theirs in a `# yaml-language-server: $schema=...` line.
    """
    if markdown:
        write(reference_page(), nl=False)
    else:
        write(json.dumps(json_schema(ModelSpec if layer == "spec" else TrainConfig), indent=2))


def _json_value(value: Value) -> dict[str, Any]:
    source = value.source
    return {"value": value.value, "layer": source.layer, "file": source.file, "line": source.line}


def show_values(composed: Composed) -> None:
    files = [shown_file(display_path(path)) for path in (composed.spec_path, composed.config_path) if path is not None]
    echo(" <- ".join(files))
    write(click.style("Each line can be typed back as an override.", dim=True))
    if any(file.startswith(SHIPPED) for file in files):
        write(click.style(f"{SHIPPED} is {shipped_root()}", dim=True))
    groups = {spec.name: spec.group for spec in field_specs(TrainConfig)}
    shown: dict[str, list[tuple[str, str]]] = {}
    for name, value in typed_values(composed).items():
        line = shlex.quote(f"{name}={format_value(value.value)}")
        source = shown_file(str(value.source))
        shown.setdefault(groups[name.split("[")[0].split(".")[0]], []).append((line, source))
    for group, lines in shown.items():
        write(f"\n{group}")
        for line, source in lines:
            text = f"  {printable(line).ljust(46)}  "
            write(text + click.style(printable(source), dim=source == "default"))


def show_estimates(e: Estimate, found: Survey, composed: Composed, world_size: int, why: str) -> None:
    write(f"\nEstimates ({plural(world_size, 'device')}, {e.precision}: {why})")
    echo("\n".join(table(estimate_rows(e, found, composed.config.target_tokens), indent="  ")))


def _show_diff(left: Composed, right: Composed, left_name: str, right_name: str, as_json: bool) -> None:
    found = differences(left, right)
    if as_json:
        rows = {d.key: {"left": d.left and d.left.value, "right": d.right and d.right.value} for d in found}
        write(json.dumps({"left": left_name, "right": right_name, "diff": rows}, indent=2))
    elif not found:
        write("no difference")
    else:
        cells = [(key, *(format_value(v.value) if v is not None else "-" for v in values)) for key, *values in found]
        echo("\n".join(table([("key", left_name, right_name), *cells])))
