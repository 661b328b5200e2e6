"""Schedules over progress s = tokens / target_tokens in [0, 1], after the owner's README.

Arithmetic alone, so that training and whoever draws a schedule before there is a run ask the same functions.
"""

from __future__ import annotations

from math import cos, pi

from core.config.train_config import ScheduleName

# Muon's momentum grows linearly from here to its configured value over the whole run (README).
MUON_MOMENTUM_START = 0.85


def learning_rate_factor(schedule: ScheduleName, progress: float, cooldown_frac: float) -> float:
    """What the peak learning rates are multiplied with at `progress`.

    linear_decay and constant_with_cosine_decay hold 1 until the cooldown, which is the last
    `cooldown_frac` of the run; linear_warmup_cosine_decay rises linearly until it. With a cooldown
    of 0 the constant schedules never decay.
    """
    s = min(max(progress, 0.0), 1.0)
    begins = 1.0 - cooldown_frac
    if s < begins or cooldown_frac == 0:
        return s / begins if schedule == "linear_warmup_cosine_decay" else 1.0
    done = (s - begins) / cooldown_frac
    return 1.0 - done if schedule == "linear_decay" else 0.5 * (1.0 + cos(pi * done))


def muon_momentum(progress: float, momentum: float) -> float:
    """Muon's momentum at `progress`: linear from MUON_MOMENTUM_START, or `momentum` where that is lower."""
    start = min(MUON_MOMENTUM_START, momentum)
    return start + (momentum - start) * min(max(progress, 0.0), 1.0)
