"""Requests that reach a run while it trains: taken by rank 0 between two steps, answered by every rank alike."""

from __future__ import annotations

from core.config.compose import compose
from core.config.errors import ConfigError
from core.config.train_config import TrainConfig
from core.runs.changes import IN_FLIGHT
from core.runs.directory import RunDirectory


class RefusedError(Exception):
    """A request that is not carried out, and why."""


def changed_config(
    run: RunDirectory, config: TrainConfig, before: list[str], values: dict[str, str], tokens: int, world_size: int
) -> tuple[TrainConfig, dict[str, str]]:
    """The config after a `set`, and the values that made it so. `before` are the overrides already in force.

    Raises RefusedError: for a key that cannot change in flight, a value that is none, or a cooldown that has begun.
    """
    if fixed := sorted(values.keys() - IN_FLIGHT):
        raise RefusedError(
            f"{', '.join(fixed)} cannot change while the run trains; these can: {', '.join(sorted(IN_FLIGHT))}"
        )
    values = dict(values)
    cooldown = values.pop("cooldown", None)
    if cooldown not in (None, "now"):
        raise RefusedError(f"cooldown={cooldown}: the only value is `now`")
    try:
        new = _composed(run, [*before, *_overrides(values)], world_size)
        if new.target_tokens <= tokens:
            raise RefusedError(
                f"target_tokens={new.target_tokens:,}: {tokens:,} are trained already; `stop` ends the run"
            )
        if cooldown is not None:
            progress = tokens / new.target_tokens
            if progress >= 1.0 - new.cooldown_frac:
                raise RefusedError("the cooldown has begun already")
            values["cooldown_frac"] = repr(1.0 - progress)
            new = _composed(run, [*before, *_overrides(values)], world_size)
    except ConfigError as error:
        raise RefusedError(str(error)) from error
    return new, values


def _composed(run: RunDirectory, overrides: list[str], world_size: int) -> TrainConfig:
    return compose(run.config, overrides, world_size=world_size).config


def _overrides(values: dict[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]
