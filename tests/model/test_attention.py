"""The backends against the definition in fp64, over windows, documents and lengths."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.utils._python_dispatch import TorchDispatchMode

from core.model.attention import _BlockedAttention, attention, reference_attention
from core.model.flex import build_block_masks
from core.model.visibility import document_starts, visible

LAYOUTS = {
    "one document": lambda time: torch.zeros(1, time, dtype=torch.int64),
    "documents of one token": lambda time: torch.arange(time)[None],
    "documents of seven": lambda time: (torch.arange(time) // 7)[None],
    "one long, many short": lambda time: (torch.arange(time) - time // 2).clamp(min=0)[None],
    "rows that differ": lambda time: torch.stack([torch.arange(time) // 5, torch.arange(time) // 11]),
}


def _qkv(batch: int, time: int, keys: int | None = None, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(time)
    lengths = (time, keys or time, keys or time)
    return tuple(torch.randn(batch, 2, n, 16, generator=generator, dtype=dtype).requires_grad_() for n in lengths)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("time", [1, 2, 31, 32, 33, 100])
@pytest.mark.parametrize("window", [1, 2, 32, 33, 100, 1000])
def test_the_blocked_backend_is_the_definition_forward_and_backward(layout: str, time: int, window: int) -> None:
    documents = LAYOUTS[layout](time)
    starts = document_starts(documents)
    q, k, v = _qkv(documents.shape[0], time)
    exact = [t.detach().double().requires_grad_() for t in (q, k, v)]
    ours = _BlockedAttention.apply(q, k, v, starts, window, 32)
    reference = reference_attention(*exact, starts, window)
    torch.testing.assert_close(ours.double(), reference, atol=1e-5, rtol=0)
    weight = torch.randn_like(ours)
    grads = torch.autograd.grad(ours, (q, k, v), weight)
    exact_grads = torch.autograd.grad(reference, exact, weight.double())
    for grad, exact_grad in zip(grads, exact_grads, strict=True):
        torch.testing.assert_close(grad.double(), exact_grad, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("queries", "keys"), [(1, 50), (40, 50), (33, 64)])
def test_queries_may_be_the_last_of_the_keys(queries: int, keys: int) -> None:
    q, k, v = _qkv(1, queries, keys)
    starts = torch.full((1, queries), 3)
    reference = reference_attention(q.double(), k.double(), v.double(), starts, 20)
    torch.testing.assert_close(_BlockedAttention.apply(q, k, v, starts, 20, 16).double(), reference, atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_what_must_not_be_seen_has_exactly_no_gradient(window: int) -> None:
    time = 90
    documents = (torch.arange(time) // 40)[None]
    starts = document_starts(documents)
    for query in (0, 39, 40, 63, 89):
        q, k, v = _qkv(1, time)
        attention(q, k, v, starts, window)[0, :, query].sum().backward()
        seen = torch.tensor(
            [documents[0, key] == documents[0, query] and 0 <= query - key < window for key in range(time)]
        )
        assert k.grad is not None
        assert v.grad is not None
        assert (v.grad[0, :, ~seen] == 0).all()
        assert (k.grad[0, :, ~seen] == 0).all()
        assert (v.grad[0, :, seen] != 0).all()


def test_the_mask_is_the_sentence_it_says() -> None:
    documents = [0, 0, 0, 1, 1, 1, 1]
    starts = document_starts(torch.tensor([documents]))[0]
    position = torch.arange(7)
    mask = visible(position[:, None], position, starts[:, None], 3)
    for q in range(7):
        for k in range(7):
            assert mask[q, k] == (k <= q and q - k < 3 and documents[q] == documents[k])


def test_an_id_that_comes_back_begins_a_new_document() -> None:
    assert document_starts(torch.tensor([[5, 5, 2, 5, 5]])).tolist() == [[0, 0, 2, 3, 3]]


class _Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operator returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def _largest(attend: Callable[..., Tensor], time: int) -> int:
    q, k, v = _qkv(1, time)
    with _Largest() as seen:
        attend(q, k, v, torch.zeros(1, time, dtype=torch.int64), 128).sum().backward()
    return seen.elements


def test_no_tensor_grows_with_the_square_of_the_length() -> None:
    assert _largest(reference_attention, 512) == 4 * _largest(reference_attention, 256)
    assert _largest(attention, 2048) == 2 * _largest(attention, 1024) < 1024 * 1024


def test_the_private_operators_are_as_relied_on() -> None:
    forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default._schema
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default._schema
    assert [a.name for a in forward.arguments] == [
        "query",
        "key",
        "value",
        "dropout_p",
        "is_causal",
        "attn_mask",
        "scale",
    ]
    assert [a.name for a in backward.arguments] == [
        "grad_out",
        "query",
        "key",
        "value",
        "out",
        "logsumexp",
        "dropout_p",
        "is_causal",
        "attn_mask",
        "scale",
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("time", [1, 127, 128, 300, 512])
@pytest.mark.parametrize("window", [1, 100, 128, 129, 1000])
def test_the_table_of_blocks_is_what_evaluating_every_pair_gives(layout: str, time: int, window: int) -> None:
    starts = document_starts(LAYOUTS[layout](time))
    ours = build_block_masks(starts, time, [window])[window]

    def mask(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return visible(query, key, starts[row, query], window)

    theirs = create_block_mask(mask, starts.shape[0], None, time, time, device="cpu")
    for (ours_some, ours_whole), (some, whole), block in zip(
        _block_sets(ours), _block_sets(theirs), _query_blocks(ours), strict=True
    ):
        assert ours_some | ours_whole == some | whole
        assert not ours_some & ours_whole
        # Evaluating every pair counts the positions behind the end as queries that see nothing.
        if (block + 1) * 128 <= time:
            assert ours_whole == whole


def _block_sets(mask: BlockMask) -> list[tuple[set[int], set[int]]]:
    """For every query block of every row: the key blocks seen in part, and those seen whole."""
    listed = []
    for counts, indices in ((mask.kv_num_blocks, mask.kv_indices), (mask.full_kv_num_blocks, mask.full_kv_indices)):
        assert counts is not None
        assert indices is not None
        rows = zip(counts.flatten().tolist(), indices.flatten(0, -2).tolist(), strict=True)
        listed.append([set(blocks[:count]) for count, blocks in rows])
    return list(zip(*listed, strict=True))


def _query_blocks(mask: BlockMask) -> list[int]:
    rows, _, blocks = mask.kv_num_blocks.shape
    return list(range(blocks)) * rows


def test_flex_attention_under_our_block_mask_is_the_definition() -> None:
    starts = document_starts((torch.arange(300) // 70)[None])
    q, k, v = (t.detach() for t in _qkv(1, 300))
    block_mask = build_block_masks(starts, 300, [90])[90]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is slow uncompiled
        ours = flex_attention(q, k, v, block_mask=block_mask)
    reference = reference_attention(q.double(), k.double(), v.double(), starts, 90)
    torch.testing.assert_close(ours.double(), reference, atol=1e-5, rtol=0)
