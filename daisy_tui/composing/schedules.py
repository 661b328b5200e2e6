"""The schedules of a configuration over its tokens, as training will follow them: what a screen draws before a run."""

from __future__ import annotations

from collections.abc import Sequence

from core.config.schedule import learning_rate_factor
from core.config.train_config import TrainConfig
from core.config.windows import long_window


def token_samples(config: TrainConfig, number: int) -> list[float]:
    """So many places from 0 to target_tokens, both included."""
    return [config.target_tokens * place / (number - 1) for place in range(number)]


def learning_rate_shapes(config: TrainConfig, tokens: Sequence[float]) -> dict[str, list[float]]:
    """Learning rates after so many tokens as shares of their peaks: those that are `shared`, and those `constant`.

    Only the schedules that optimizers have are there.
    """
    shapes = {
        "shared": [
            learning_rate_factor(config.learning_rate_schedule, at / config.target_tokens, config.cooldown_frac)
            for at in tokens
        ],
        "constant": [1.0] * len(tokens),
    }
    used = {optimizer.schedule for optimizer in config.optimizers}
    return {name: shape for name, shape in shapes.items() if name in used}


def long_windows(config: TrainConfig, tokens: Sequence[float]) -> list[int]:
    """The long window after so many tokens."""
    return [long_window(config, at / config.target_tokens) for at in tokens]
