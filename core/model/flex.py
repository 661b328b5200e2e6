"""The CUDA backend: FlexAttention under the same mask.

The block masks of a forward pass are built once, one for each window in force, and shared by the layers; the window
enters as a tensor, so that a growing window recompiles nothing. Which blocks hold visible keys follows from the first
key that each block's first and last query see, in a table of blocks. Rejected: `create_block_mask`, which evaluates
the mask for every pair of positions (4 GiB at 65,536 tokens), and `varlen_attn`, which recompiles with the number
of documents unless their list is padded.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from core.model.visibility import visible

_BLOCK = 128


def build_block_masks(starts: Tensor, keys: int, windows: Collection[int]) -> dict[int, BlockMask]:
    """A block mask for each window: queries (batch, queries) with `starts` are the last of `keys` keys."""
    return {window: _block_mask(starts, keys, window) for window in sorted(set(windows))}


def flex_window_attention(q: Tensor, k: Tensor, v: Tensor, block_mask: BlockMask) -> Tensor:
    """As `core.model.attention.attention`, for CUDA tensors and a block mask built before."""
    # Uncompiled, FlexAttention makes the T x T matrix that it exists to avoid.
    function = flex_attention if torch.compiler.is_compiling() else _compiled()
    result: Tensor = function(q, k, v, block_mask=block_mask)
    return result


def _block_mask(starts: Tensor, keys: int, window: int) -> BlockMask:
    queries = starts.shape[1]
    offset = keys - queries
    limit = torch.tensor(window, device=starts.device)

    def mask(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return visible(query + offset, key, starts[row, query], limit)

    # Starts never decrease along a row, so neither does the first key that a query sees: a block of queries sees
    # the keys from its first query's first one to its last query, and all of its queries see those from its last
    # query's first one to its first query.
    begin = torch.arange(0, queries, _BLOCK, device=starts.device)
    end = (begin + _BLOCK - 1).clamp(max=queries - 1)
    first_seen = torch.maximum(starts[:, begin], begin + offset - limit + 1)[:, :, None]
    all_see_from = torch.maximum(starts[:, end], end + offset - limit + 1)[:, :, None]
    block_first = torch.arange(0, keys, _BLOCK, device=starts.device)
    block_last = block_first + _BLOCK - 1
    some = (block_last >= first_seen) & (block_first <= (end + offset)[:, None])
    whole = (block_first >= all_see_from) & (block_last <= (begin + offset)[:, None])
    return BlockMask.from_kv_blocks(
        *_listed(some & ~whole),
        *_listed(whole),
        BLOCK_SIZE=_BLOCK,
        mask_mod=mask,
        seq_lengths=(queries, keys),
    )


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """A table (batch, query blocks, key blocks) as counts (batch, 1, query blocks) and indices, the set ones first."""
    counts = blocks.sum(dim=-1, dtype=torch.int32)
    indices = blocks.int().argsort(dim=-1, descending=True, stable=True).int()
    return counts[:, None].contiguous(), indices[:, None].contiguous()


@lru_cache(maxsize=1)
def _compiled() -> Any:
    return torch.compile(flex_attention)
