"""`daisy config list|show|schema`."""

from __future__ import annotations

import json
import shlex
from typing import Any, Literal

import click

from core.config.compose import Composed, Value, compose, load_spec
from core.config.errors import ConfigError
from core.config.estimate import Estimate, Precision, estimate
from core.config.fields import field_specs
from core.config.files import list_files, shipped_root
from core.config.model_spec import ModelSpec
from core.config.parameters import LOOKED_UP, parameter_counts
from core.config.scalars import format_value
from core.config.schema import json_schema, reference_page
from core.config.sources import display_path
from core.config.train_config import TrainConfig
from core.data.survey import Survey, survey
from core.text import count, plural, printable, size
from daisy_tui.cli.text import echo, table

Device = Literal["auto", "cpu", "cuda"]
_HELP = {"help_option_names": ["-h", "--help"]}
# Stands for the folder of the shipped files.
_SHIPPED = "<daisy>"


@click.command("list", context_settings=_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the configs and model specs that a name can mean."""
    if as_json:
        data = {"configs": [_config_entry(name) for name in list_files("config")], "specs": _spec_entries()}
        click.echo(json.dumps(data, indent=2))
        return
    echo("\n".join(table([("config", "spec", "streamed", "target tokens", "from"), *config_rows()])))
    click.echo()
    rows = [
        (e["name"], e["shape"], count(e["parameters"]), count(e["parameters_streamed"]), _shown_file(e["file"]))
        if "error" not in e
        else (e["name"], "-", "-", "-", f"broken: {e['error']}")
        for e in _spec_entries()
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
        click.echo(json.dumps(data, indent=2))
    else:
        show_values(composed)
        show_estimates(figures, found, composed, world_size, why)
    if strict and found.missing:
        raise ConfigError(found.missing)
    for problem in found.missing:
        echo(f"warning: {problem.message}", err=True)


@click.command(context_settings=_HELP)
@click.argument("layer", type=click.Choice(["config", "spec"]), default="config")
@click.option("--markdown", is_flag=True, help="Print the reference page instead.")
def schema(layer: str, markdown: bool) -> None:
    """Print the JSON Schema of a config file (or of a model spec), for editors that complete YAML.

    The shipped files name theirs in a `# yaml-language-server: $schema=...` line.
    """
    if markdown:
        click.echo(reference_page(), nl=False)
    else:
        click.echo(json.dumps(json_schema(ModelSpec if layer == "spec" else TrainConfig), indent=2))


def config_rows() -> list[tuple[str, str, str, str, str]]:
    """Every config as a row: name, spec, streamed parameters, target tokens, file; or its error."""
    rows = []
    for entry in (_config_entry(name) for name in list_files("config")):
        if "error" in entry:
            rows.append((entry["name"], "-", "-", "-", f"broken: {printable(entry['error'])}"))
        else:
            streamed, target = count(entry["parameters_streamed"]), count(entry["target_tokens"])
            rows.append((entry["name"], entry["model_spec"] or "-", streamed, target, _shown_file(entry["file"])))
    return rows


def _config_entry(name: str) -> dict[str, Any]:
    path = list_files("config")[name]
    try:
        composed = compose(path)
    except ConfigError as error:
        return {"name": name, "file": display_path(path), "error": str(error).splitlines()[0]}
    return {
        "name": name,
        "file": display_path(path),
        "model_spec": composed.config.model_spec,
        "target_tokens": composed.config.target_tokens,
        **_parameters(composed.config),
    }


def _spec_entries() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for name, path in list_files("spec").items():
        try:
            spec = load_spec(path)
        except ConfigError as error:
            entries.append({"name": name, "file": display_path(path), "error": str(error).splitlines()[0]})
            continue
        shape = f"{spec.num_layers} x {spec.model_dim}"
        entries.append({"name": name, "file": display_path(path), "shape": shape, **_parameters(spec)})
    return entries


def _parameters(spec: ModelSpec) -> dict[str, int]:
    counts = parameter_counts(spec)
    streamed = sum(number for group, number in counts.items() if group not in LOOKED_UP)
    return {"parameters": sum(counts.values()), "parameters_streamed": streamed}


def precision_for(device: Device) -> tuple[Precision, str]:
    """bf16 on CUDA, fp32 on CPU, and why; `auto` asks the NVIDIA driver, without loading CUDA."""
    if device != "auto":
        return ("bf16", "on CUDA") if device == "cuda" else ("fp32", "on CPU")
    import pynvml

    try:
        pynvml.nvmlInit()
        if pynvml.nvmlDeviceGetCount():
            return "bf16", "on CUDA"
    except pynvml.NVMLError:
        pass
    return "fp32", "no NVIDIA device here; see --device"


def _json_value(value: Value) -> dict[str, Any]:
    source = value.source
    return {"value": value.value, "layer": source.layer, "file": source.file, "line": source.line}


def show_values(composed: Composed) -> None:
    files = [_shown_file(display_path(path)) for path in (composed.spec_path, composed.config_path) if path is not None]
    echo(" <- ".join(files))
    click.echo(click.style("Each line can be typed back as an override.", dim=True))
    if any(file.startswith(_SHIPPED) for file in files):
        click.echo(click.style(f"{_SHIPPED} is {shipped_root()}", dim=True))
    groups = {spec.name: spec.group for spec in field_specs(TrainConfig)}
    shown: dict[str, list[tuple[str, str]]] = {}
    for name, value in typed_values(composed).items():
        line = shlex.quote(f"{name}={format_value(value.value)}")
        source = _shown_file(str(value.source))
        shown.setdefault(groups[name.split("[")[0].split(".")[0]], []).append((line, source))
    for group, lines in shown.items():
        click.echo(f"\n{group}")
        for line, source in lines:
            text = f"  {printable(line).ljust(46)}  "
            click.echo(text + click.style(printable(source), dim=source == "default"))


def _shown_file(file: str) -> str:
    """A shipped file by a short name, so that rows fit a terminal; other files as they are."""
    root = f"{shipped_root()}/"
    return f"{_SHIPPED}/{file.removeprefix(root)}" if file.startswith(root) else file


def typed_values(composed: Composed) -> dict[str, Value]:
    """Every value under the shortest name that can be typed: typed all together, they compose to the same.

    Optimizers are named by type and group, and what those names already say is left out. Where
    overrides changed which optimizers and groups there are, the list is one value.
    """
    named: dict[str, Value] = {}
    whole = any(v.source.layer == "override" for k, v in composed.values.items() if k.endswith((".type", ".group")))
    for key, value in sorted(composed.values.items(), key=lambda item: item[0] != "model_spec"):
        if whole and key.startswith("optimizers["):
            optimizers = composed.config.model_dump()["optimizers"]
            named.setdefault("optimizers", Value(optimizers, composed.source_of("optimizers")))
        elif (name := _typed_key(key, composed)) is not None:
            named[name] = value
    return named


def _typed_key(key: str, composed: Composed) -> str | None:
    if not key.startswith("optimizers["):
        return key
    optimizers = composed.config.optimizers
    head, _, attribute = key.rpartition(".")
    index = int(head.split("[")[1].split("]")[0])
    name = optimizers[index].type
    if [o.type for o in optimizers].count(name) > 1:
        return key
    if attribute in ("type", "group"):
        return None
    if ".params[" in head:
        entry = optimizers[index].params[int(head.rsplit("[", 1)[1].removesuffix("]"))]
        return f"optimizers.{name}.{entry.group}.{attribute}"
    return f"optimizers.{name}.{attribute}"


def show_estimates(e: Estimate, found: Survey, composed: Composed, world_size: int, why: str) -> None:
    memory = e.memory
    documents = "no shards: one document a sequence"
    if found.document_tokens:
        documents = f"cut to a sequence; {count(found.document_tokens)} in the shards"
    epochs = "unknown without shards"
    if e.epochs is not None and e.train_tokens is not None:
        epochs = f"{e.epochs:,.2f} over {count(e.train_tokens)} tokens"
    groups = [f"{group} {count(n)}" for group, n in e.parameters_by_group.items()]
    rows = [
        ("parameters", f"{count(e.parameters)} in all, {count(e.parameters_streamed)} streamed per token"),
        *(("by group" if not at else "", ", ".join(groups[at : at + 2])) for at in range(0, len(groups), 2)),
        (
            "FLOPs per token",
            f"{count(e.flops_per_token)} full windows, {count(e.flops_per_token_mean)} mean of the run",
        ),
        ("document", f"{count(e.document_tokens)} tokens on average ({documents})"),
        ("tokens per step", f"{e.tokens_per_step:,}"),
        ("steps", f"{e.steps:,} to {count(composed.config.target_tokens)} tokens"),
        ("epochs", epochs),
        ("memory per device", f"{size(memory.total)}, without fragmentation and the runtime"),
        ("", f"parameters {size(memory.parameters)}, gradients {size(memory.gradients)},"),
        ("", f"optimizer {size(sum(memory.optimizer.values()))}, activations {size(memory.activations)},"),
        ("", f"logits {size(memory.logits)}"),
        ("checkpoint", size(e.checkpoint_bytes)),
    ]
    click.echo(f"\nEstimates ({plural(world_size, 'device')}, {e.precision}: {why})")
    echo("\n".join(table(rows, indent="  ")))


def _show_diff(left: Composed, right: Composed, left_name: str, right_name: str, as_json: bool) -> None:
    sides = [{name: v.value for name, v in typed_values(one).items()} for one in (left, right)]
    keys = [key for key in {**sides[0], **sides[1]} if sides[0].get(key) != sides[1].get(key)]
    if as_json:
        rows = {key: {"left": sides[0].get(key), "right": sides[1].get(key)} for key in keys}
        click.echo(json.dumps({"left": left_name, "right": right_name, "diff": rows}, indent=2))
    elif not keys:
        click.echo("no difference")
    else:
        cells = [(key, *(format_value(side[key]) if key in side else "-" for side in sides)) for key in keys]
        echo("\n".join(table([("key", left_name, right_name), *cells])))
