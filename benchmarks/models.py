"""What the training benchmarks share: a DaisyCore and a GPT-2 of a given shape, and tokens of the bundled novels."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from core.config.model_spec import ModelSpec
from core.config.train_config import TrainConfig
from core.data.demo import demo_documents
from core.data.tokenizers import load_tokenizer

VOCABULARY = 50_257
WINDOW = 1024


def daisy_config(layers: int, dim: int, length: int) -> TrainConfig:
    """A config with GPT-2's vocabulary, heads of 64, and windows of 1,024 tokens, in force from the start."""
    return TrainConfig.model_validate(
        {
            "num_layers": layers,
            "num_heads": dim // 64,
            "head_dim": 64,
            "model_dim": dim,
            "vocab_size": VOCABULARY,
            "eos_token_id": VOCABULARY - 1,
            "max_seq_len": max(length, WINDOW),
            "attention_window_len": WINDOW,
            "full_windows": True,
            "train_shards": "none",
            "training_sequence_length": length,
            "target_tokens": 10**9,
            "loss_chunk_tokens": 1024,
        }
    )


def gpt2(spec: ModelSpec, length: int) -> nn.Module:
    """Hugging Face's GPT2LMHeadModel of a spec's layers, width and vocabulary, without dropout, its attention fused."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = GPT2Config(  # type: ignore[call-arg]
        vocab_size=spec.vocab_size,
        n_layer=spec.num_layers,
        n_head=spec.num_heads,
        n_embd=spec.model_dim,
        n_positions=length,
        bos_token_id=spec.eos_token_id,
        eos_token_id=spec.eos_token_id,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        loss_type="ForCausalLM",
        attn_implementation="sdpa",
    )
    model: nn.Module = GPT2LMHeadModel(shape)
    return model


@lru_cache(maxsize=1)
def _tokens() -> Tensor:
    text = "".join(demo_documents())
    return torch.from_numpy(load_tokenizer("gpt2").encode(text).astype("int64"))


def novel_tokens(length: int, count: int) -> Tensor:
    """The first `count` sequences of `length` tokens of the novels: (count, length) int64."""
    return _tokens()[: length * count].view(count, length)
