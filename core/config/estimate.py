"""What a configuration will cost, from arithmetic alone: no torch, no device, a few milliseconds.

Sources. FLOPs per token: 6 * N_matmul + 12 * sum over layers of heads * head_dim * mean visible keys (PaLM,
Chowdhery et al. 2022, appendix B, with the sequence length replaced by what window and document let a query
see). Activations: 36 * d bytes a token and layer in bf16, twice in fp32, after Korthikanti et al. 2022 (34 *
d with dropout masks, without the quadratic term that fused attention never stores), fitted to this block;
with activation checkpointing one block's, and the input (d values) of each. Weights, gradients and moments
are fp32 (master weights), 4 bytes each.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.config.model_spec import ModelSpec, padded_vocab
from core.config.parameters import LOOKED_UP, MULTIPLIED, parameter_counts
from core.config.train_config import TrainConfig
from core.config.windows import layer_windows, long_window_at, mean_visible_keys

Precision = Literal["bf16", "fp32"]
_FP32 = 4
_ACTIVATION_BYTES = {"bf16": 36, "fp32": 72}
_VALUE_BYTES = {"bf16": 2, "fp32": 4}
# fp32 moments that each optimizer keeps per parameter.
_MOMENTS = {"Muon": 1, "AdamW": 2}
_SCHEDULE_SAMPLES = 256


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by part. `optimizer` is by parameter group."""

    parameters: int
    gradients: int
    optimizer: dict[str, int]
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + sum(self.optimizer.values()) + self.activations + self.logits


@dataclass(frozen=True)
class Estimate:
    """The figures beside a configuration. Memory in bytes, for one device."""

    parameters: int
    parameters_streamed: int
    parameters_by_group: dict[str, int]
    flops_per_token: float
    flops_per_token_mean: float
    document_tokens: float
    tokens_per_step: int
    steps: int
    train_tokens: int | None
    epochs: float | None
    precision: Precision
    memory: Memory
    checkpoint_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with the memory total."""
        data = asdict(self)
        data["memory"]["total"] = self.memory.total
        return data


def estimate(
    config: TrainConfig,
    *,
    world_size: int = 1,
    precision: Precision = "bf16",
    train_tokens: int | None = None,
    document_tokens: float | None = None,
) -> Estimate:
    """Estimate one run.

    `train_tokens` is what the shards hold and `document_tokens` their mean document length; without
    them there are no epochs, and one document is taken to fill a sequence. Visible keys are taken at the
    mean length, which is low where lengths vary much: most tokens stand in documents longer than the mean.
    """
    counts = parameter_counts(config)
    total = sum(counts.values())
    step = config.tokens_per_step(world_size)
    document = min(document_tokens or config.training_sequence_length, config.training_sequence_length)
    memory = _memory(config, precision)
    return Estimate(
        parameters=total,
        parameters_streamed=sum(n for group, n in counts.items() if group not in LOOKED_UP),
        parameters_by_group={str(group): n for group, n in counts.items()},
        flops_per_token=flops_per_token(config, document),
        flops_per_token_mean=_mean_flops_per_token(config, document),
        document_tokens=document,
        tokens_per_step=step,
        steps=-(-config.target_tokens // step),
        train_tokens=train_tokens,
        epochs=config.target_tokens / train_tokens if train_tokens else None,
        precision=precision,
        memory=memory,
        checkpoint_bytes=_FP32 * total + sum(memory.optimizer.values()),
    )


def flops_per_token(spec: ModelSpec, document_tokens: float, long_window: int | None = None) -> float:
    """Forward and backward FLOPs for one training token, with the long window in force."""
    counts = parameter_counts(spec)
    matmul = sum(counts.get(group, 0) for group in MULTIPLIED)
    keys = sum(mean_visible_keys(window, document_tokens) for window in layer_windows(spec, long_window))
    return 6.0 * matmul + 12.0 * spec.num_heads * spec.head_dim * keys


def _mean_flops_per_token(config: TrainConfig, document: float) -> float:
    """The mean over the run, as the windows grow."""
    full, block, always = config.attention_window_len, config.window_block_size, config.full_windows
    windows = [long_window_at((i + 0.5) / _SCHEDULE_SAMPLES, full, block, always) for i in range(_SCHEDULE_SAMPLES)]
    by_window = {window: flops_per_token(config, document, window) for window in set(windows)}
    return sum(by_window[window] for window in windows) / _SCHEDULE_SAMPLES


def _memory(config: TrainConfig, precision: Precision) -> Memory:
    counts = parameter_counts(config)
    total = sum(counts.values())
    moments = {
        entry.group: _FP32 * _MOMENTS[optimizer.type] * counts[entry.group]
        for optimizer in config.optimizers
        for entry in optimizer.params
        if entry.group in counts
    }
    tokens = config.training_sequence_length
    block = _ACTIVATION_BYTES[precision] * config.model_dim * tokens
    block_input = _VALUE_BYTES[precision] * config.model_dim * tokens
    chunk = min(config.loss_chunk_tokens, tokens)
    return Memory(
        parameters=_FP32 * total,
        gradients=_FP32 * total,
        optimizer={str(group): size for group, size in moments.items()},
        activations=(
            block + config.num_layers * block_input if config.activation_checkpointing else config.num_layers * block
        ),
        # fp32 logits of one chunk and their gradient.
        logits=2 * _FP32 * chunk * padded_vocab(config.vocab_size),
    )
