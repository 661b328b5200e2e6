"""Evaluation: the same tokens every time, divided between the ranks, with sums reduced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.config.train_config import TrainConfig
from core.data.stream import TokenStream, document_ids
from core.model.daisy_core import DaisyCore
from core.training.distributed import Ranks
from core.training.loss import soft_capped_loss


@dataclass(frozen=True)
class Score:
    """Mean loss in nats a token, its exponential, and bits for each UTF-8 byte of the text."""

    loss: float
    ppl: float
    bpb: float


@torch.no_grad()
def evaluate(
    model: DaisyCore,
    stream: TokenStream,
    config: TrainConfig,
    windows: Sequence[int],
    token_bytes: Tensor,
    ranks: Ranks,
) -> Score:
    """Score a model on the first tot_val_tokens of a stream that does not shuffle.

    `token_bytes` (vocabulary,) holds the length of every token in bytes, 0 for end-of-text.
    """
    length = config.validation_sequence_length
    count = max(1, min(stream.sequences_per_epoch, config.tot_val_tokens // length))
    sums = torch.zeros(3, dtype=torch.float64)  # nats, targets, bytes
    for number in range(ranks.rank, count, ranks.world_size):
        batch = stream.read([number])
        tokens = torch.from_numpy(batch).to(ranks.device)
        documents = torch.from_numpy(document_ids(batch, config.eos_token_id)).to(ranks.device)
        hidden = model.hidden(tokens[:, :-1], documents, windows=windows)[0]
        targets = tokens[0, 1:]
        loss = soft_capped_loss(
            hidden, model.head.weight, targets, config.logit_softcap, config.loss_chunk_tokens, config.vocab_size
        )
        sums += torch.tensor([loss.item(), len(targets), token_bytes[targets.cpu()].sum().item()], dtype=torch.float64)
    nats, targets_seen, bytes_seen = ranks.sum(sums.to(ranks.device, torch.float64)).tolist()
    loss_mean = nats / targets_seen
    return Score(loss_mean, math.exp(min(loss_mean, 700.0)), nats / math.log(2) / max(1.0, bytes_seen))
