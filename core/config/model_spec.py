"""The architecture layer: `model_specs/*.yml`.

A spec says everything DaisyCore is built from and nothing about how it is trained. Keys are those
of Daisy-Wee's README, then the optional parts of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from core.config.fields import Settings, field
from core.config.scalars import Flag, Real, Text, Whole

# Rows are padded to a multiple of this, so that the head's matrix product tiles (50257 -> 50304).
VOCAB_MULTIPLE = 128

_MODEL_CLASS_ALIASES = ("DaisyCore", "core.model.daisy_core.DaisyCore", "models.daisy.daisy_core.DaisyCore")


def _model_class(value: Any) -> Any:
    if value in _MODEL_CLASS_ALIASES:
        return "DaisyCore"
    raise ValueError(
        f"the model class must be DaisyCore (also accepted: {', '.join(_MODEL_CLASS_ALIASES[1:])}); got {value!r}"
    )


class ModelSpec(Settings):
    """The shape of one DaisyCore model."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ModelSpec:
        """The spec among the values of a whole config. Raises ValidationError where there is none."""
        return ModelSpec.model_validate({name: values[name] for name in ModelSpec.model_fields if name in values})

    model_class: Annotated[Literal["DaisyCore"], BeforeValidator(_model_class)] = field("DaisyCore", group="Model")
    """The model to build. `DaisyCore` is the only one; Daisy-Wee's module path is an alias of it."""

    num_layers: Whole = field(group="Model", unit="layers", ge=1, le=1024)
    """Number of transformer blocks."""

    num_heads: Whole = field(group="Model", unit="heads", ge=1, le=1024)
    """Number of attention heads in each block. num_heads * head_dim must equal model_dim."""

    head_dim: Whole = field(group="Model", unit="channels", ge=2, le=1024, multiple_of=2)
    """Channels of one head; even, because rotary embeddings turn pairs. 64 or 128 is usual."""

    model_dim: Whole = field(group="Model", unit="channels", ge=2, le=1_048_576)
    """Width of the residual stream."""

    vocab_size: Whole = field(group="Model", unit="tokens", ge=2, le=4_294_967_296)
    """Number of token ids. Weights are padded to a multiple of 128 rows; the padding is never sampled
    and never part of the loss."""

    eos_token_id: Whole = field(group="Model", unit="token id", ge=0)
    """The end-of-text id that separates documents; it must be the one the shards were written with."""

    max_seq_len: Whole = field(group="Model", unit="tokens", ge=1, le=1_073_741_824)
    """Longest sequence the model accepts, in training and in generation."""

    attention_window_len: Whole = field(group="Windows", unit="tokens", ge=1)
    """Keys a long-window layer sees, the query itself included. Exact in training, prefill and decode."""

    window_pattern: Text = field("SSSL", group="Windows", pattern="^[LS]+$")
    """Which layers see the long window (L = attention_window_len) and which half of it (S), repeated
    over the depth; the last layer is always L. Source: sliding windows of the nanoGPT speed runs."""

    mlp_ratio: Whole = field(4, group="Model", unit="x model_dim", ge=1, le=64)
    """Width of the squared-ReLU feed-forward, as a multiple of model_dim."""

    rope_theta: Real = field(10_000.0, group="Model", gt=1)
    """Base of the rotary position frequencies (Su et al. 2021)."""

    logit_softcap: Real = field(15.0, group="Model", gt=0)
    """Logits are capped to (-c, c) by c * tanh(x / c), in training and in generation alike."""

    x0_mixing: Flag = field(True, group="Model")
    """Each block also sees the embedding stream, mixed in by one learned scalar a layer."""

    depth_skips: Flag = field(False, group="Model")
    """U-net skips: the second half of the depth adds the first half's outputs in reverse, by one
    learned scalar each."""

    value_embeddings: Whole = field(0, group="Model", unit="tables", ge=0, le=512)
    """Number k of extra embedding tables mixed into the attention values of the first k and the last k
    layers (table i serves layers i and num_layers - k + i), by one learned scalar a layer."""

    activation_checkpointing: Flag = field(False, group="Model")
    """Keep only each block's input in training and compute the block again in the backward pass: about a
    third more work for a fraction of the memory (Chen et al. 2016)."""


def padded_vocab(vocab_size: int) -> int:
    """Rows of the embedding and head matrices: `vocab_size` rounded up to VOCAB_MULTIPLE."""
    return -(-vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE
