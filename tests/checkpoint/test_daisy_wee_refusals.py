"""What of Daisy-Wee's checkpoints DaisyCore cannot represent is refused, each by its name, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.checkpoint.daisy_wee import convert_daisy_wee
from core.checkpoint.foreign import read_foreign
from core.checkpoint.format import CheckpointError

HPARAMS = {
    "model_class": "models.daisy.daisy_core.DaisyCore",
    "num_layers": 8,
    "num_heads": 2,
    "head_dim": 16,
    "model_dim": 32,
    "vocab_size": 257,
    "eos_token_id": 256,
    "max_seq_len": 512,
    "attention_window_len": 256,
    "train_attention_window_len": 256,
    "target_tokens": 8192,
}
# The function that DaisyCore has, in the words of `daisy import --set`.
AS_DAISY_CORE = {
    "attention_scale": "0.25",
    "rope_fraction": "1",
    "rope_theta": "10000",
    "attention_norm": "true",
    "value_norm": "false",
    "softcap_form": "tanh",
    "skip_map": "none",
}


def _tensors() -> dict[str, Tensor]:
    shapes = {"embed.weight": (257, 32), "lm_head_w": (384, 32), "scalars": (40,)}
    shapes |= {f"value_embeds.{table}.weight": (257, 32) for table in range(3)}
    for layer in range(8):
        shapes[f"blocks.{layer}.attn.qkvo_w"] = (4, 32, 32)
        shapes |= {f"blocks.{layer}.mlp.fc_w": (128, 32), f"blocks.{layer}.mlp.proj_w": (32, 128)}
    return {name: torch.full(shape, 0.5) for name, shape in shapes.items()}


def _save(path: Path, tensors: dict[str, Tensor], hparams: dict[str, Any] | None = None) -> Path:
    torch.save({"model": tensors, "hparams": HPARAMS | (hparams or {}), "step": 8, "tokens_per_step": 512}, path)
    return path


def _refused(path: Path, stated: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(CheckpointError) as caught:
        convert_daisy_wee(read_foreign(path), stated or {})
    assert all(line.startswith(f"{path}: ") for line in caught.value.lines)
    return [line.removeprefix(f"{path}: ") for line in caught.value.lines]


def test_the_published_function_is_refused_by_name(tmp_path: Path) -> None:
    assert _refused(_save(tmp_path / "x.pt", _tensors())) == [
        "attention_scale = 0.12: DaisyCore's is 0.25; queries and keys are normalised, so no weight can take the "
        "factor up",
        "rope_fraction = 0.5: DaisyCore's is 1; all pairs of a head turn with the position",
        "value_norm = true: DaisyCore's is false; values are taken as they are, and no weight can normalise them",
        "softcap_form = rsqrt: DaisyCore's is tanh; the two bend differently",
        # Of eight layers the published code lets 5 add 3 and 6 add 2; DaisyCore pairs n with 7 - n.
        "scalars[3] = 0.5: with it layer 5 adds layer 3's output (skip_map); DaisyCore's depth_skips add it in layer 4",
        "scalars[2] = 0.5: with it layer 6 adds layer 2's output (skip_map); DaisyCore's depth_skips add it in layer 5",
    ]


UNREPRESENTABLE = {
    "an unknown parameter": ({"smear.weight": torch.ones(3)}, {}, "smear.weight (3,): no parameter of Daisy-Wee's"),
    "linear attention": (
        {"blocks.1.attn.q_proj.weight": torch.ones(2, 2)},
        {},
        "blocks.1.attn.q_proj.weight (2, 2): not of softmax attention",
    ),
    "tables of unknown layers": ({"ve_modules.0.weight": torch.ones(257, 32)}, {}, "does not say which layers read"),
    "a block too many": ({"blocks.8.mlp.fc_w": torch.ones(128, 32)}, {}, "blocks.8.mlp.fc_w (128, 32): no parameter"),
    "another width": ({"embed.weight": torch.ones(257, 16)}, {}, "embed.weight (257, 16): must be (257, 32)"),
    "too few scalars": ({"scalars": torch.ones(39)}, {}, "scalars (39,): must be (40,)"),
    "a missing matrix": ({"blocks.3.mlp.proj_w": None}, {}, "blocks.3.mlp.proj_w (32, 128): is missing"),
    "attention that should be there": (
        {"blocks.3.attn.qkvo_w": None},
        {"attn_all_layers": True},
        "blocks.3.attn.qkvo_w: is missing, and its hparams say",
    ),
    "tables in the middle": ({"value_embeds.4.weight": torch.ones(257, 32)}, {}, "value_embeds: tables are read by"),
    "linear attention by hparams": ({}, {"attn_impl": "kimi_linear"}, "hparams.attn_impl = 'kimi_linear'"),
    "tables that should not be there": ({}, {"value_embeddings": False}, "hparams.value_embeddings = False: but"),
    "an unknown hparam": ({}, {"rope_scaling": 2}, "hparams.rope_scaling = 2: unknown, so it may be part of"),
    "another class": ({}, {"model_class": "models.gpt2.gpt_core.GPT2Core"}, "model_class: the model class must be"),
    "heads that do not fit": ({}, {"num_heads": 3}, "hparams: num_heads * head_dim is 3 * 16 = 48"),
    "a size that is missing": ({}, {"eos_token_id": None}, "hparams do not say eos_token_id; state what holds"),
}


@pytest.mark.parametrize("case", UNREPRESENTABLE.values(), ids=UNREPRESENTABLE)
def test_what_has_no_place_is_named(tmp_path: Path, case: Any) -> None:
    changes, hparams, said = case
    tensors = {name: t for name, t in (_tensors() | changes).items() if t is not None}
    path = _save(tmp_path / "x.pt", tensors, hparams)
    lines = _refused(path, AS_DAISY_CORE)
    assert len(lines) == 1
    assert said in lines[0]


def test_settings_are_stated_in_words_that_are_checked(tmp_path: Path) -> None:
    path = _save(tmp_path / "x.pt", _tensors())
    assert (
        "--set attention_scal: follows from the parameters, or is unknown; did you mean 'attention_scale'?"
        in _refused(path, {"attention_scal": "1"})
    )
    assert "skip_map: '4:4' is not TARGET:SOURCE" in _refused(path, {"skip_map": "5:2,4:4"})[0]
    assert "attention_scale: must be greater than 0" in _refused(path, {"attention_scale": "-1"})[0]
    assert "attention_norm = false" in _refused(path, AS_DAISY_CORE | {"attention_norm": "no"})[0]
