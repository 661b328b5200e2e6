"""What preflights have printed since the screen was opened, and for which drafts it holds.

A measurement holds for every draft whose steps are the same: the same shapes, batch and devices. A longer run, another
seed or learning rate takes no other memory and is no slower. What is the same is asked of the shape that speeds are
kept by, and of the estimated memory, part by part. Rejected: comparing commands, of which any word may matter or not.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from daisy_tui.composing.composition import Composition
from daisy_tui.composing.throughput import shape_lines


class Preflights:
    """What was printed, the newest for each kind of step."""

    def __init__(self) -> None:
        self._printed: dict[Hashable, Mapping[str, Any]] = {}

    def keep(self, composition: Composition, took: Mapping[str, Any], now: float) -> None:
        """Keep what a preflight of a composition printed, and when: `time`, in seconds of the time of day."""
        if (steps := _steps(composition)) is not None:
            self._printed[steps] = {**took, "time": now}

    def of(self, composition: Composition | None) -> Mapping[str, Any] | None:
        """What a preflight of these steps printed; None where there was none."""
        steps = _steps(composition) if composition is not None else None
        return self._printed.get(steps) if steps is not None else None


def _steps(composition: Composition) -> Hashable | None:
    """What makes the steps of a composition what they are; None where it has none."""
    composed, figures, target = composition.composed, composition.figures, composition.target
    if composed is None or figures is None or target is None:
        return None
    memory = figures.memory
    parts = (memory.parameters, memory.gradients, *sorted(memory.optimizer.items()), memory.activations, memory.logits)
    return target.name, target.world_size, figures.tokens_per_step, shape_lines(composed.config), parts
