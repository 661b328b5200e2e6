"""The configs and model specs that a name can mean, with the figures that tell one from another.

Shared by `daisy config list`, the start page and the Compose screen. A broken file is an entry too, with its error: it
must not hide the others.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from core.config.compose import Composed, compose, load_spec
from core.config.errors import ConfigError, Problem
from core.config.files import list_files, shipped_root
from core.config.model_spec import ModelSpec
from core.config.parameters import LOOKED_UP, parameter_counts
from core.config.sources import display_path
from core.text import count, printable

# Stands for the folder of the shipped files.
SHIPPED = "<daisy>"


def config_entries() -> list[dict[str, Any]]:
    """Every config: `name`, `file`, and `model_spec`, `target_tokens`, parameters, or else its `error`."""
    return [_config_entry(name) for name in list_files("config")]


def spec_entries() -> list[dict[str, Any]]:
    """Every model spec: `name`, `file`, and `shape` with parameters, or else its `error`."""
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


def config_rows() -> list[tuple[str, str, str, str, str]]:
    """Every config as a row: name, spec, streamed parameters, target tokens, file; or its error."""
    rows = []
    for entry in config_entries():
        if "error" in entry:
            rows.append((entry["name"], "-", "-", "-", f"broken: {printable(entry['error'])}"))
        else:
            streamed, target = count(entry["parameters_streamed"]), count(entry["target_tokens"])
            rows.append((entry["name"], entry["model_spec"] or "-", streamed, target, shown_file(entry["file"])))
    return rows


def missing_packages(composed: Composed) -> list[Problem]:
    """What a config asks for and this installation lacks."""
    if composed.config.wandb_log and find_spec("wandb") is None:
        what = "the package wandb is not installed; pip install 'daisy-tui[wandb]', or set wandb_log=false"
        return [composed.problem(["wandb_log"], what)]
    return []


def shown_file(file: str) -> str:
    """A shipped file by a short name, so that rows fit a terminal; other files as they are."""
    root = f"{shipped_root()}/"
    return f"{SHIPPED}/{file.removeprefix(root)}" if file.startswith(root) else file


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


def _parameters(spec: ModelSpec) -> dict[str, int]:
    counts = parameter_counts(spec)
    streamed = sum(number for group, number in counts.items() if group not in LOOKED_UP)
    return {"parameters": sum(counts.values()), "parameters_streamed": streamed}
