"""DaisyCore: the decoder-only transformer that training, evaluation, prefill, decode and export share.

After modded-nanogpt: fused QKVO, QK-norm, rotary positions, sliding windows with document masks, squared
ReLU, learned gates on the residual stream, mixing of the embedding stream, optional depth skips and value
embeddings, soft-capped logits, zero-initialised output projections, a padded vocabulary that no
caller ever sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.config.model_spec import ModelSpec, padded_vocab
from core.config.windows import layer_windows
from core.model.block import Block, Context, norm
from core.model.cache import KVCache, Rows
from core.model.rotary import rotation
from core.model.visibility import document_starts


class Gates(nn.Module):
    """The learned scalars, per layer: residual, and where the spec has them x0, skip and value."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.residual = nn.Parameter(torch.empty(spec.num_layers))
        self.x0 = nn.Parameter(torch.empty(spec.num_layers)) if spec.x0_mixing else None
        skips = spec.num_layers // 2 if spec.depth_skips else 0
        self.skip = nn.Parameter(torch.empty(skips)) if skips else None
        tables = spec.value_embeddings
        self.value = nn.Parameter(torch.empty(2 * tables)) if tables else None


class DaisyCore(nn.Module):
    """The model of one spec. Weights are fp32 masters; `forward` computes in `compute_dtype`."""

    def __init__(self, spec: ModelSpec, compute_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        self.compute_dtype = compute_dtype
        # The windows that hold unless others are given: the spec's full ones, or a checkpoint's.
        self.windows = layer_windows(spec)
        rows = padded_vocab(spec.vocab_size)
        self.embed = nn.Embedding(rows, spec.model_dim)
        self.value_embeds = nn.ModuleList(nn.Embedding(rows, spec.model_dim) for _ in range(spec.value_embeddings))
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.num_layers))
        self.gates = Gates(spec)
        self.head = nn.Linear(spec.model_dim, rows, bias=False)

    def forward(
        self,
        tokens: Tensor,
        documents: Tensor | None = None,
        *,
        windows: Sequence[int] | None = None,
        cache: KVCache | None = None,
        rows: Rows | None = None,
    ) -> Tensor:
        """Soft-capped logits (batch, time, vocab_size) fp32 for token ids (batch, time).

        `documents` (batch, time) are ids of contiguous documents; without them a row is one document.
        `windows` are those in force, one a layer (default: `self.windows`). With a cache the tokens follow those
        that `rows` says, in the same document; they are stored, and the cache's own windows hold.
        """
        return self.logits(self.hidden(tokens, documents, windows=windows, cache=cache, rows=rows))

    def hidden(
        self,
        tokens: Tensor,
        documents: Tensor | None = None,
        *,
        windows: Sequence[int] | None = None,
        cache: KVCache | None = None,
        rows: Rows | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """The normed stream before the head, (batch, time, model_dim) in the compute dtype.

        With a cache and `last_only`, of the last position alone, (batch, 1, model_dim): of the others the last layer
        then computes keys and values, and no more.
        """
        spec, gates = self.spec, self.gates
        windows = self.windows if windows is None else windows
        context, masks = self._context(tokens, documents, windows, rows)
        x = x0 = norm(self.embed(tokens).to(self.compute_dtype))
        skips: list[Tensor] = []
        for layer, block in enumerate(self.blocks):
            if gates.skip is not None and layer >= spec.num_layers - len(gates.skip):
                x = x + gates.skip[len(skips) - 1].to(x.dtype) * skips.pop()
            x = gates.residual[layer].to(x.dtype) * x
            if gates.x0 is not None:
                x = x + gates.x0[layer].to(x.dtype) * x0
            extra = self._value_extra(layer, tokens)
            layer_cache = cache.layers[layer] if cache else None
            window = windows[layer] if masks is None else masks[windows[layer]]
            if spec.activation_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, context, window, extra, layer_cache, use_reentrant=False)
            else:
                x = block(x, context, window, extra, layer_cache, last_only and block is self.blocks[-1])
            if gates.skip is not None and layer < len(gates.skip):
                skips.append(x)
        return norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Soft-capped fp32 logits (…, vocab_size) of hidden states (…, model_dim)."""
        weight = self.head.weight[: self.spec.vocab_size].to(hidden.dtype)
        cap = self.spec.logit_softcap
        return cap * torch.tanh(F.linear(hidden, weight).float() / cap)

    def compile_blocks(self) -> None:
        """Compile every block whole, where there are kernels to fuse: on CUDA.

        All blocks share one compilation. Windows and gates enter as tensors, so that a schedule recompiles
        nothing. On a CPU blocks stay as they are: their attention is a loop over the library's kernels.
        """
        if self.embed.weight.is_cuda:
            for block in self.blocks:
                block.compile(fullgraph=True)

    def new_cache(
        self, slots: int = 1, windows: Sequence[int] | None = None, rings: Sequence[int] | None = None
    ) -> KVCache:
        """An empty cache for `slots` sequences, with the windows that the model was trained with."""
        windows = self.windows if windows is None else windows
        return KVCache(self.spec, windows, slots, self.embed.weight.new_empty(0, dtype=self.compute_dtype), rings)

    def _context(
        self, tokens: Tensor, documents: Tensor | None, windows: Sequence[int], rows: Rows | None
    ) -> tuple[Context, dict[int, Any] | None]:
        """What the layers share, and on CUDA the block mask of each window."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        if rows is not None:
            positions = rows.positions[:, None] + positions
        cos, sin = rotation(positions, self.spec.head_dim, self.spec.rope_theta)
        if rows is not None:
            return Context(None, cos, sin, rows), None
        starts = torch.zeros_like(tokens) if documents is None else document_starts(documents)
        masks = None
        if tokens.is_cuda:
            from core.model.flex import build_block_masks

            masks = build_block_masks(starts, tokens.shape[1], windows)
        return Context(starts, cos, sin), masks

    def _value_extra(self, layer: int, tokens: Tensor) -> Tensor | None:
        """What the value embeddings add in this layer: table i serves layers i and num_layers - k + i."""
        tables, gate = len(self.value_embeds), self.gates.value
        if gate is None or tables <= layer < self.spec.num_layers - tables:
            return None
        table = layer if layer < tables else layer - (self.spec.num_layers - tables)
        place = table if layer < tables else tables + table
        extra: Tensor = gate[place] * self.value_embeds[table](tokens)
        return extra.to(self.compute_dtype)


@torch.no_grad()
def initialize(model: DaisyCore, seed: int) -> None:
    """Set every parameter, from one seed, on any device to the same values.

    | parameter | value | why |
    | --- | --- | --- |
    | embed, value_embeds | normal, std 1 | a norm follows; the scale sets how far one AdamW step of lr moves a row |
    | query, key, value; up | uniform, std 0.5 / sqrt(model_dim) | half of unit gain, as the speed runs found |
    | output; down | 0 | every block starts as the identity (zero-init projections) |
    | head | 0 | the first loss is exactly ln(vocabulary) |
    | gates.residual, gates.skip | 1, 0 | the plain residual stream |
    | gates.x0 | 0 | learned from nothing |
    | gates.value | 0.5 | value embeddings count from the first step |
    """
    generator = torch.Generator().manual_seed(seed)
    bound = 3**0.5 * 0.5 * model.spec.model_dim**-0.5
    for name, parameter in model.named_parameters():
        value = torch.zeros(parameter.shape)
        if "embed" in name:
            value.normal_(generator=generator)
        elif name.endswith("qkvo"):
            value[:3].uniform_(-bound, bound, generator=generator)
        elif name.endswith("feedforward.up"):
            value.uniform_(-bound, bound, generator=generator)
        elif name == "gates.residual":
            value.fill_(1.0)
        elif name == "gates.value":
            value.fill_(0.5)
        parameter.copy_(value)
