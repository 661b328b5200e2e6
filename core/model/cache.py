"""The KV cache: one ring per layer, as long as that layer's window, so memory never grows with a chat.

The key of position p lies at `p % window`. Keys are stored turned by their position, so their order in
the ring does not matter to a single query.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.config.model_spec import ModelSpec


class LayerCache:
    """Keys and values of one layer, each (batch, heads, window, head_dim)."""

    def __init__(self, batch: int, heads: int, window: int, head_dim: int, like: Tensor) -> None:
        self.window = window
        self.keys = like.new_zeros(batch, heads, window, head_dim)
        self.values = torch.zeros_like(self.keys)

    def recent(self, position: int, count: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the `count` positions before `position`, oldest first."""
        slots = torch.arange(position - count, position, device=self.keys.device) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def write(self, position: int, keys: Tensor, values: Tensor) -> None:
        """Store the keys and values of positions from `position` on; only the last window's are kept."""
        count = keys.shape[2]
        kept = min(count, self.window)
        slots = torch.arange(position + count - kept, position + count, device=keys.device) % self.window
        self.keys[:, :, slots] = keys[:, :, count - kept :]
        self.values[:, :, slots] = values[:, :, count - kept :]


class KVCache:
    """Caches of all layers, and the number of tokens they have seen: the same for every row."""

    def __init__(self, spec: ModelSpec, windows: Sequence[int], batch: int, like: Tensor) -> None:
        self.position = 0
        self.layers = [LayerCache(batch, spec.num_heads, window, spec.head_dim, like) for window in windows]
