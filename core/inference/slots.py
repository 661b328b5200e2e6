"""The places of an engine: what each holds, and which one a prompt had best go on from."""

from __future__ import annotations

from collections.abc import Sequence

from core.model.cache import KVCache


class Slot:
    """One sequence's place in the cache. `tokens` are those whose keys and values lie there, from position 0 on."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tokens: list[int] = []
        self.is_free = True
        # Whether another prompt may go on from what lies here: not if it was made by weights that are gone.
        self.is_reusable = True
        self.last_used = 0

    def reusable(self, prompt: Sequence[int], shortest_ring: int) -> int:
        """How many tokens of a prompt need not be computed again; at least its last one is.

        What a slot holds is extended. It is cut back only while no ring has come round: then nothing was overwritten.
        """
        if not self.is_reusable:
            return 0
        same = next(
            (index for index, (mine, theirs) in enumerate(zip(self.tokens, prompt, strict=False)) if mine != theirs),
            min(len(self.tokens), len(prompt)),
        )
        # The last of a prompt is computed for what follows it; it overwrites no place of a ring but its own.
        usable = min(same, len(prompt) - 1)
        if len(self.tokens) <= shortest_ring or usable >= len(self.tokens) - 1:
            return usable
        return 0


class Slots:
    """All slots of a cache."""

    def __init__(self, cache: KVCache) -> None:
        self.all = [Slot(number) for number in range(cache.slots)]
        self._shortest_ring = min(layer.ring for layer in cache.layers)
        self._uses = 0

    def take(self, prompt: Sequence[int], *, reuse: bool = True) -> tuple[Slot, int] | None:
        """A free slot for a prompt, and how many of its tokens lie there already; None where none is free.

        The one that holds most of the prompt, and of those that hold alike the one that was not used for longest.
        """
        free = [slot for slot in self.all if slot.is_free]
        if not free:
            return None
        held = {slot.number: slot.reusable(prompt, self._shortest_ring) if reuse else 0 for slot in free}
        best = max(free, key=lambda slot: (held[slot.number], -slot.last_used))
        best.is_free = False
        best.is_reusable = True
        self._uses += 1
        best.last_used = self._uses
        del best.tokens[held[best.number] :]
        return best, held[best.number]

    def forget(self) -> None:
        """The weights are others now: nothing that lies here is gone on from by another prompt."""
        for slot in self.all:
            slot.is_reusable = False
