"""The KV cache: for each layer a ring per slot, as long as that layer's window, so memory never grows with a chat.

A slot holds one sequence. The key of position p lies at `p % ring`. Keys are stored turned by their position, so their
order in the ring does not matter to a query; how far back a key lies follows from its place. Nothing is allocated,
moved or joined for a token that is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.config.model_spec import ModelSpec


class Rows(NamedTuple):
    """Where the rows of a batch belong: the slot of each, and the number of tokens that it has behind it.

    Both (batch,) int64 on the model's device. Without `slots` row i belongs to slot i, which spares a copy of the keys.
    `active` (batch,) bool: the other rows are only there to fill the batch, and store nothing.
    """

    positions: Tensor
    slots: Tensor | None = None
    active: Tensor | None = None


class LayerCache:
    """Keys and values of one layer, each (slots, heads, ring, head_dim), of which the last `window` are seen."""

    def __init__(self, slots: int, heads: int, ring: int, head_dim: int, like: Tensor) -> None:
        self.window = self.ring = ring
        self.keys = like.new_zeros(slots, heads, ring, head_dim)
        self.values = torch.zeros_like(self.keys)

    def recent(self, slot: int, position: int, count: int) -> tuple[Tensor, Tensor]:
        """Keys and values, each (1, heads, count, head_dim), of a slot's `count` positions before `position`."""
        places = torch.arange(position - count, position, device=self.keys.device) % self.ring
        return self.keys[slot, :, places][None], self.values[slot, :, places][None]

    def extend(self, slot: int, position: int, keys: Tensor, values: Tensor) -> None:
        """Store the keys and values, each (heads, count, head_dim), of a slot's positions from `position` on.

        Of more than the ring holds, the last are kept.
        """
        count = keys.shape[1]
        kept = min(count, self.ring)
        places = torch.arange(position + count - kept, position + count, device=keys.device) % self.ring
        self.keys[slot, :, places] = keys[:, count - kept :]
        self.values[slot, :, places] = values[:, count - kept :]

    def append(self, rows: Rows, keys: Tensor, values: Tensor) -> None:
        """Store one more key and value of every row, each (batch, heads, head_dim)."""
        slots = torch.arange(len(keys), device=keys.device) if rows.slots is None else rows.slots
        places = rows.positions % self.ring
        if rows.active is not None:
            active = rows.active[:, None, None]
            keys = torch.where(active, keys, self.keys[slots, :, places])
            values = torch.where(active, values, self.values[slots, :, places])
        self.keys[slots, :, places] = keys
        self.values[slots, :, places] = values

    def held(self, rows: Rows, length: int) -> tuple[Tensor, Tensor]:
        """The first `length` places of the rows' rings: keys and values, each (batch, heads, length, head_dim)."""
        if rows.slots is None:
            batch = len(rows.positions)
            return self.keys[:batch, :, :length], self.values[:batch, :, :length]
        return self.keys[rows.slots, :, :length], self.values[rows.slots, :, :length]

    def visible(self, rows: Rows, length: int) -> Tensor:
        """Which of the first `length` places a query at each row's position may see: (batch, length) bool."""
        position = rows.positions[:, None]
        age = (position - torch.arange(length, device=position.device)) % self.ring
        return (age < self.window) & (age <= position)


class KVCache:
    """The caches of all layers, for `slots` sequences.

    `windows` are those in force, one a layer; `rings` as many places as each layer keeps, where its window may grow.
    """

    def __init__(
        self, spec: ModelSpec, windows: Sequence[int], slots: int, like: Tensor, rings: Sequence[int] | None = None
    ) -> None:
        self.slots = slots
        self.layers = [LayerCache(slots, spec.num_heads, ring, spec.head_dim, like) for ring in rings or windows]
        self.set_windows(windows)

    def set_windows(self, windows: Sequence[int]) -> None:
        """What each layer sees from now on; a window beyond its ring sees the whole ring."""
        for layer, window in zip(self.layers, windows, strict=True):
            layer.window = min(window, layer.ring)
