"""What can be picked for a draft: configs, specs and devices with what tells one from another, and where it begins."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from core.config.files import list_files, shipped_root
from core.runs.devices import CPU
from core.runs.directory import RunDirectory, RunError
from core.text import count, size
from daisy_tui.composing.configs import config_entries, shown_file, spec_entries
from daisy_tui.composing.drafts import Draft
from daisy_tui.composing.targets import Machine

_FIRST = "demo"


class Pick(NamedTuple):
    """What can be picked: `value` is what is typed for it, `note` stands beside it; `wrong` where it is broken."""

    value: str
    note: str = ""
    wrong: bool = False


def config_picks() -> list[Pick]:
    """Every config that a name can mean."""
    return [
        Pick(e["name"], f"broken: {e['error']}", True)
        if "error" in e
        else Pick(
            e["name"],
            f"{e['model_spec'] or 'a spec of its own'}, {count(e['target_tokens'])} tokens, {shown_file(e['file'])}",
        )
        for e in config_entries()
    ]


def spec_picks() -> list[Pick]:
    """Every model spec that a name can mean."""
    return [
        Pick(e["name"], f"broken: {e['error']}", True)
        if "error" in e
        else Pick(e["name"], f"{e['shape']}, {count(e['parameters'])} parameters, {shown_file(e['file'])}")
        for e in spec_entries()
    ]


def device_picks(machine: Machine) -> list[Pick]:
    """Every way to name devices of this machine that is usual; others can be typed."""
    picks = [Pick("null", "the first one")]
    for gpu in machine.gpus:
        memory = f", {size(machine.memory[gpu.key])}" if gpu.key in machine.memory else ""
        picks.append(Pick(gpu.label, f"{gpu.name}{memory}, {machine.owners.get(gpu.key, 'free')}"))
    number = len(machine.gpus)
    picks += [Pick(f"any:{k}", f"any {k} of {number}, whichever is free first") for k in range(1, number + 1)]
    host = f"{size(machine.memory[CPU])} of memory, " if CPU in machine.memory else ""
    return [*picks, Pick(CPU, f"{host}{machine.owners.get(CPU, 'free')}")]


def first_config() -> str:
    """What a terminal begins with: the config of this folder that was changed last, or else the demo."""
    own = {name: path for name, path in list_files("config").items() if not path.is_relative_to(shipped_root())}
    changed: dict[str, float] = {}
    for name, path in own.items():
        with suppress(OSError):
            changed[name] = path.stat().st_mtime
    return max(changed, key=lambda name: changed[name], default=_FIRST)


def draft_for(config: str | None, overrides: Iterable[str], parent: Path | None, folder: Path) -> Draft:
    """The draft that another screen asks for. Without a config, that of the run that the parent belongs to.

    Raises ConfigError where an override is none.
    """
    shown = None if parent is None else _shown(parent, folder)
    return Draft.of(config or _config_of(parent, folder) or first_config(), overrides, shown)


def _config_of(parent: Path | None, folder: Path) -> str | None:
    """The config of the run that a checkpoint belongs to: the file that it was started with, or else its own."""
    above = parent.absolute().parents if parent is not None else ()
    run = next((RunDirectory(one) for one in above if (one / "config.yaml").is_file()), None)
    if run is None:
        return None
    with suppress(RunError):
        named = run.facts().get("config")
        if isinstance(named, str) and (folder / named).is_file():
            return named
    return _shown(run.config, folder)


def _shown(path: Path, folder: Path) -> str:
    """A path as a person in the folder would type it."""
    absolute = path.absolute()
    return os.path.relpath(absolute, folder) if absolute.is_relative_to(folder.absolute()) else str(absolute)
