"""What can be asked of a run: when, by which `daisy` command, and what is to be known before. Knows no widget.

Whether a request makes sense is judged here as far as what was last seen tells, so that nobody confirms what would be
refused; the command judges again, and the run has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from core.config.compose import compose
from core.config.errors import ConfigError
from core.config.scalars import format_value
from core.runs.changes import overrides_of, read_changes
from core.runs.directory import RunDirectory
from core.text import plural
from daisy_tui.runs.run_files import number
from daisy_tui.runs.run_look import RunLook

LIVING = frozenset({"stop", "kill", "save", "evaluate", "set", "stacks"})
# What `daisy runs set` takes, in the order of the form, with what it means; `cooldown=now` is beside them.
SETTABLE = {
    "lr_scale": "times every learning rate",
    "target_tokens": "in all",
    "val_loss_every_tokens": "between evaluations",
    "checkpoint_per_n_tokens": "between checkpoints",
    "log_every_steps": "between log points",
}
COOLDOWN = "cooldown"

_COMMANDS = {
    "stop": ("stop", "--no-wait", "--json"),
    "kill": ("stop", "--now", "--no-wait", "--json"),
    "save": ("save",),
    "evaluate": ("eval",),
    "stacks": ("show", "--stacks", "--json"),
}


class Question(NamedTuple):
    """What is asked before something is done."""

    title: str
    lines: list[str]
    danger: bool = False


def refusal(what: str, look: RunLook) -> str | None:
    """Why a request makes no sense for a run as it was last seen, and what would; None where it does."""
    name, state = look.run.path.name, look.status.state
    if what == "resume" and look.status.alive:
        return f"{name} is {state} already"
    if what == "warm_start" and look.last_checkpoint is None:
        return f"{name} has no whole checkpoint to begin from"
    if what not in LIVING or (what == "stop" and state == "queued"):
        return None
    if not look.status.alive:
        return f"{name} is {state}, so nobody answers; resume it, and it goes on"
    if state == "queued" and what != "kill":
        return f"{name} is queued and has not begun; stop takes it out of the queue"
    return None


def arguments(what: str, name: str) -> list[str] | None:
    """The arguments of `daisy` that ask it of the run of a name; None for what needs more to be said."""
    if what not in _COMMANDS:
        return None
    command, *options = _COMMANDS[what]
    return ["runs", command, name, *options]


def question(what: str, look: RunLook) -> Question:
    """What a person is asked before a request."""
    name = look.run.path.name
    if what == "kill":
        return Question(f"Kill {name} at once?", [f"Without a checkpoint: {lost_by_killing(look)}"], danger=True)
    if what == "stop" and look.status.state == "queued":
        return Question(f"Take {name} out of the queue?", ["It can be resumed later."])
    if what == "stop" and look.status.state == "stopping":
        return Question(f"Stop {name}?", ["It was asked to already, and ends after its step; kill ends it at once."])
    if what == "stop":
        return Question(f"Stop {name}?", ["It finishes its step and writes a checkpoint; resuming goes on exactly."])
    if what == "save":
        return Question(f"Have {name} write a checkpoint?", ["At its next step; it goes on training."])
    if what == "evaluate":
        return Question(f"Have {name} evaluate?", ["At its next step; it goes on training."])
    return Question(f"Have every rank of {name} write its stacks?", ["To the end of its log; it goes on training."])


def lost_by_killing(look: RunLook) -> str:
    """What of a run's work is in no checkpoint, in words."""
    step, last = number(look.facts["step"]), look.last_checkpoint
    saved = last.step or 0 if last is not None else 0
    begin = last.name if last is not None else "the beginning"
    if step is None or step <= saved:
        return f"it would go on from {begin}."
    return f"{plural(int(step) - saved, 'step')} would be lost, for it would go on from {begin}."


def settings_in_force(run: RunDirectory) -> dict[str, str]:
    """The values of SETTABLE as they are now, as one would type them. Raises ConfigError or RunError."""
    config = compose(run.config, overrides_of(read_changes(run))).config
    return {key: format_value(getattr(config, key)) for key in SETTABLE}


def set_problems(run: RunDirectory, values: Mapping[str, str], tokens: int | None) -> list[str]:
    """Why a run that has trained on `tokens` would refuse these values, a line each."""
    given = {key: value for key, value in values.items() if key in SETTABLE}
    try:
        before = overrides_of(read_changes(run))
        config = compose(run.config, [*before, *(f"{key}={value}" for key, value in given.items())]).config
    except ConfigError as error:
        return str(error).splitlines()
    problems = []
    if tokens is not None and config.target_tokens <= tokens:
        what = f"target_tokens={config.target_tokens:,}: {tokens:,} are trained already; stop ends the run"
        problems.append(what)
    elif tokens is not None and COOLDOWN in values and tokens / config.target_tokens >= 1.0 - config.cooldown_frac:
        problems.append("the cooldown has begun already")
    return problems


def rank_of(log: str | None) -> int | None:
    """The rank whose log it is, for `daisy runs logs`; None for the log of something else."""
    found = re.fullmatch(r"rank(\d+)", log or "")
    return int(found[1]) if found else None


def pattern(text: str) -> str:
    """What finds a text in whatever case, as `daisy runs logs --grep` takes it."""
    return f"(?i){re.escape(text)}"
