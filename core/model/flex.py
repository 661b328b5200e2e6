"""The CUDA backend: FlexAttention under the same mask.

The block masks of a forward pass are built once, one for each window in force, and shared by the layers;
the window enters as a tensor, so that a growing window recompiles nothing. Rejected: `varlen_attn`,
which recompiles with the number of documents unless their list is padded.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from core.model.visibility import visible


def build_block_masks(starts: Tensor, keys: int, windows: Collection[int]) -> dict[int, BlockMask]:
    """A block mask for each window: queries (batch, queries) with `starts` are the last of `keys` keys."""
    batch, queries = starts.shape
    offset = keys - queries
    masks: dict[int, BlockMask] = {}
    for window in sorted(set(windows)):
        limit = torch.tensor(window, device=starts.device)

        def mask(row: Tensor, _head: Tensor, query: Tensor, key: Tensor, limit: Tensor = limit) -> Tensor:
            return visible(query + offset, key, starts[row, query], limit)

        masks[window] = create_block_mask(mask, batch, None, queries, keys, device=str(starts.device))
    return masks


def flex_window_attention(q: Tensor, k: Tensor, v: Tensor, block_mask: BlockMask) -> Tensor:
    """As `core.model.attention.attention`, for CUDA tensors and a block mask built before."""
    result: Tensor = _compiled()(q, k, v, block_mask=block_mask)
    return result


@lru_cache(maxsize=1)
def _compiled() -> Any:
    # Uncompiled, FlexAttention makes the T x T matrix that it exists to avoid.
    return torch.compile(flex_attention)
