from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest

from core.config.schedule import MUON_MOMENTUM_START, learning_rate_factor, muon_momentum
from core.config.train_config import ScheduleName

ALL = get_args(ScheduleName)


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        ("linear_decay", 0.0, 1.0),
        ("linear_decay", 0.6, 1.0),
        ("linear_decay", 0.8, 0.5),
        ("linear_decay", 1.0, 0.0),
        ("constant_with_cosine_decay", 0.6, 1.0),
        ("constant_with_cosine_decay", 0.7, 0.85355),
        ("constant_with_cosine_decay", 0.8, 0.5),
        ("constant_with_cosine_decay", 1.0, 0.0),
        ("linear_warmup_cosine_decay", 0.0, 0.0),
        ("linear_warmup_cosine_decay", 0.3, 0.5),
        ("linear_warmup_cosine_decay", 0.6, 1.0),
        ("linear_warmup_cosine_decay", 0.8, 0.5),
        ("linear_warmup_cosine_decay", 1.0, 0.0),
    ],
)
def test_the_schedules_are_the_readmes(schedule: ScheduleName, progress: float, factor: float) -> None:
    assert learning_rate_factor(schedule, progress, 0.4) == pytest.approx(factor, abs=1e-5)


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize("cooldown", [0.0, 0.1, 0.5, 1.0])
def test_factors_stay_in_bounds_and_never_jump(schedule: ScheduleName, cooldown: float) -> None:
    factors = [learning_rate_factor(schedule, i / 1000, cooldown) for i in range(-10, 1011)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(abs(a - b) < 0.02 for a, b in pairwise(factors))


@pytest.mark.parametrize("schedule", ["linear_decay", "constant_with_cosine_decay"])
def test_without_a_cooldown_the_constant_schedules_never_decay(schedule: ScheduleName) -> None:
    assert {learning_rate_factor(schedule, i / 10, 0.0) for i in range(11)} == {1.0}


def test_muons_momentum_warms_linearly_with_progress() -> None:
    assert muon_momentum(0.0, 0.95) == MUON_MOMENTUM_START
    assert muon_momentum(0.5, 0.95) == pytest.approx(0.9)
    assert muon_momentum(1.0, 0.95) == muon_momentum(2.0, 0.95) == 0.95
    assert muon_momentum(0.0, 0.5) == muon_momentum(1.0, 0.5) == 0.5
