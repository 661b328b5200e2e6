"""What smaller weights cost: the loss of decoding on a checkpoint's own validation tokens, measured."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.data.errors import ShardError
from core.data.shards import open_shard
from core.inference.loaded import Loaded
from core.inference.steps import best_step

ROWS, TOKENS = 8, 128


class Loss(NamedTuple):
    """Mean loss in nats a token, with smaller weights and with fp32, on `tokens` tokens."""

    loss: float
    exact: float
    tokens: int

    def __str__(self) -> str:
        more = self.loss - self.exact
        return f"{self.loss:.4f} nats a token on {self.tokens:,} of validation, {more:+.5f} against float32"


def loss_of(loaded: Loaded, weights: str, tokens: Tensor) -> float:
    """Mean loss in nats a token of decoding (rows, time) tokens one by one, with `weights` as `best_step` takes them.

    Raises StepError where the machine does not have that form.
    """
    rows, time = tokens.shape
    step = best_step(loaded.model, loaded.model.new_cache(slots=rows), weights)
    total = 0.0
    with torch.no_grad():
        for position in range(time - 1):
            logits = step(tokens[:, position].tolist(), list(range(rows)), [position] * rows)
            following = tokens[:, position + 1].to(logits.device)
            total += F.cross_entropy(logits, following, reduction="sum").item()
    return total / (rows * (time - 1))


def compared(loaded: Loaded, weights: str) -> Loss | None:
    """The loss of `weights` beside that of fp32; None where the validation shards are not here."""
    tokens = validation_tokens(loaded)
    if tokens is None:
        return None
    return Loss(loss_of(loaded, weights, tokens), loss_of(loaded, "float32", tokens), tokens[:, 1:].numel())


def validation_tokens(loaded: Loaded, rows: int = ROWS, time: int = TOKENS) -> Tensor | None:
    """The first (rows, time) tokens of the shards that the checkpoint was evaluated on; None where there are fewer."""
    time = min(time, loaded.model.spec.max_seq_len)
    patterns = _texts(loaded.meta.get("hparams", {}).get("val_shards"))
    for path in [path for pattern in patterns for path in _glob(pattern)]:
        try:
            found = open_shard(path)
        except ShardError:
            continue
        if len(found) >= rows * time and int(found[: rows * time].max()) < loaded.model.spec.vocab_size:
            return torch.from_numpy(found[: rows * time].astype("int64")).view(rows, time)
    return None


def _texts(value: Any) -> list[str]:
    """The globs in what a config may say: one, several, or such by name."""
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _glob(pattern: str) -> list[Path]:
    return [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]
