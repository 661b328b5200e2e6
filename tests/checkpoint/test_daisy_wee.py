"""Daisy-Wee's checkpoints, against its forward pass restated here from what it computes.

The restatement knows neither the importer nor DaisyCore: one row of tokens, T x T attention, fp64.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.checkpoint.daisy_wee import Function, convert_daisy_wee
from core.checkpoint.daisy_wee_weights import Weights, pair_skips, place_tables, read_mixing
from core.checkpoint.foreign import read_foreign
from core.checkpoint.format import CheckpointError
from core.checkpoint.importing import import_checkpoint
from core.checkpoint.load import model_from_checkpoint
from core.config.model_spec import ModelSpec

VOCAB, DIM, HEADS, HEAD = 257, 32, 2, 16
SIZES = {
    "model_class": "models.daisy.daisy_core.DaisyCore",
    "num_heads": HEADS,
    "head_dim": HEAD,
    "model_dim": DIM,
    "vocab_size": VOCAB,
    "eos_token_id": 256,
    "max_seq_len": 512,
    "attention_window_len": 256,
}
TRAINING = {
    "training_sequence_length": 512,
    "train_attention_window_len": 256,
    "learning_rate_schedule": "linear_decay",
}


@dataclass(frozen=True)
class Peer:
    """What one model computes. `frequencies` has head_dim / 2 of them; the defaults are the published ones."""

    layers: int = 8
    scale: float = 0.12
    frequencies: Tensor = field(
        default_factory=lambda: torch.cat(((1 / 1024) ** torch.linspace(0, 1, HEAD // 4), torch.zeros(HEAD // 4)))
    )
    attention_norm: bool = False
    value_norm: bool = True
    table_norm: bool = False
    tanh: bool = False
    skip_map: dict[int, int] = field(default_factory=dict)


def _as_daisy_core(**changes: Any) -> Peer:
    """A model whose function DaisyCore has."""
    pairs = torch.arange(HEAD // 2) / (HEAD // 2)
    function = {"scale": HEAD**-0.5, "frequencies": 10_000.0**-pairs, "attention_norm": True, "value_norm": False}
    return Peer(**function, tanh=True, **changes)


# The same in the words of `daisy import --set`.
AS_DAISY_CORE = {
    "attention_scale": str(HEAD**-0.5),
    "rope_fraction": "1",
    "rope_theta": "10000",
    "attention_norm": "true",
    "value_norm": "false",
    "softcap_form": "tanh",
    "skip_map": "none",
}


def _random(
    peer: Peer, tables: tuple[int, ...] = (0, 1, 2), bare: tuple[int, ...] = (), *, gated: bool = False, seed: int = 1
) -> dict[str, Tensor]:
    """Parameters of a model with value tables of these numbers, and layers that have no attention."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=generator) * std

    tensors = {"embed.weight": normal(VOCAB, DIM).bfloat16(), "lm_head_w": normal(384, DIM, std=0.3)}
    for table in tables:
        tensors[f"value_embeds.{table}.weight"] = normal(VOCAB, DIM, std=2.0).bfloat16()
    for layer in range(peer.layers):
        tensors[f"blocks.{layer}.mlp.fc_w"] = normal(4 * DIM, DIM, std=DIM**-0.5).bfloat16()
        tensors[f"blocks.{layer}.mlp.proj_w"] = normal(DIM, 4 * DIM, std=0.05).bfloat16()
        if layer not in bare:
            tensors[f"blocks.{layer}.attn.qkvo_w"] = normal(4, DIM, DIM, std=DIM**-0.5).bfloat16()
        if gated:
            tensors[f"blocks.{layer}.g_x"] = normal() + 2
            if layer in tables:
                tensors[f"blocks.{layer}.attn.g_ve"] = normal()
    if gated:
        tensors["skip_weights"] = normal(peer.layers) + 2
    else:
        tensors["scalars"] = torch.cat((normal(peer.layers), 1 + normal(4 * peer.layers, std=0.4)))
    return tensors


def _save(path: Path, tensors: dict[str, Tensor], hparams: dict[str, Any] | None = None, **keys: Any) -> Path:
    """A file in the layout of the README."""
    progress = {"tokens_processed": 4096, "target_tokens": 8192, "next_eval_at": None, "next_checkpoint_at": 5000}
    content = {
        "model": tensors,
        "hparams": SIZES | TRAINING | {"num_layers": 8} if hparams is None else hparams,
        "step": 8,
        "best_val": 3.25,
        "tokens_per_step": 512,
        "progress_state": progress,
    }
    torch.save({key: value for key, value in (content | keys).items() if value is not ...}, path)
    return path


def _forward(peer: Peer, tensors: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Soft-capped logits (time, vocab) fp64 of a row of token ids, every key before a query visible."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    layers = peer.layers
    x0 = x = _normed(t["embed.weight"][tokens])
    outputs: list[Tensor] = []
    for layer in range(layers):
        if layer in peer.skip_map:
            source = peer.skip_map[layer]
            if "scalars" in t:
                x = x + t["scalars"][source] * outputs[source]
            else:
                share = torch.sigmoid(t["skip_weights"][source])
                x = share * x + (1 - share) * outputs[source]
        if "scalars" in t:
            keep, mix = t["scalars"][layers + 2 * layer], t["scalars"][layers + 2 * layer + 1]
        else:
            keep = torch.sigmoid(t[f"blocks.{layer}.g_x"])
            mix = 1 - keep
        x = keep * x + mix * x0
        if f"blocks.{layer}.attn.qkvo_w" in t:
            x = x + _attention(peer, t, layer, x, tokens)
        hidden = torch.relu(_normed(x) @ t[f"blocks.{layer}.mlp.fc_w"].T) ** 2
        x = x + hidden @ t[f"blocks.{layer}.mlp.proj_w"].T
        outputs.append(x)
    z = _normed(x) @ t["lm_head_w"][:VOCAB].T
    return 15 * torch.tanh(z / 15) if peer.tanh else 15 * z / torch.sqrt(z**2 + 225)


def _attention(peer: Peer, t: dict[str, Tensor], layer: int, x: Tensor, tokens: Tensor) -> Tensor:
    wq, wk, wv, wo = t[f"blocks.{layer}.attn.qkvo_w"]
    x = _normed(x) if peer.attention_norm else x
    q, k, v = ((x @ w.T).view(len(tokens), HEADS, HEAD) for w in (wq, wk, wv))
    v = _normed(v) if peer.value_norm else v
    table = _table(t, layer, peer.layers)
    if "scalars" in t:
        own, extra = t["scalars"][3 * peer.layers + 2 * layer :][:2]
    else:
        own = torch.sigmoid(t.get(f"blocks.{layer}.attn.g_ve", torch.tensor(float("inf"))).double())
        extra = 1 - own
    v = own * v
    if table is not None:
        rows = _normed(t[table][tokens]) if peer.table_norm else t[table][tokens]
        v = v + extra * rows.view_as(v)
    q, k = _turned(_normed(q), peer.frequencies), _turned(_normed(k), peer.frequencies)
    scores = torch.einsum("qhd,khd->hqk", q, k) * peer.scale
    later = torch.ones(len(tokens), len(tokens)).triu(1).bool()
    mixed = torch.einsum("hqk,khd->qhd", scores.masked_fill(later, float("-inf")).softmax(-1), v)
    return mixed.reshape(len(tokens), DIM) @ wo.T


def _table(t: dict[str, Tensor], layer: int, layers: int) -> str | None:
    numbers = {int(name.split(".")[1]) for name in t if name.startswith("value_embeds")}
    if numbers == {0, 1, 2}:
        number = layer if layer < 3 else layer - (layers - 3) if layer >= layers - 3 else None
    else:
        number = layer if layer in numbers else None
    return None if number is None else f"value_embeds.{number}.weight"


def _normed(x: Tensor) -> Tensor:
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + torch.finfo(torch.float32).eps)


def _turned(x: Tensor, frequencies: Tensor) -> Tensor:
    angles = torch.arange(len(x), dtype=torch.float64)[:, None, None] * frequencies.double()
    a, b = x.chunk(2, -1)
    return torch.cat((a * angles.cos() + b * angles.sin(), b * angles.cos() - a * angles.sin()), -1)


CASES = {
    "three shared tables, a layer without attention": (_as_daisy_core(), (0, 1, 2), (4,), False, {}),
    "a table a layer, normalised, and a skip": (
        _as_daisy_core(table_norm=True, skip_map={5: 2}),
        (0, 1, 6, 7),
        (3,),
        False,
        {"skip_map": "5:2"},
    ),
    "sigmoid gates": (_as_daisy_core(skip_map={4: 3, 6: 1}), (), (2,), True, {"skip_map": "4:3, 6:1"}),
    "sigmoid gates and tables": (
        _as_daisy_core(),
        (0, 2, 7),
        (),
        True,
        {"value_embedding_norm": "false"},
    ),
    "two layers": (_as_daisy_core(layers=2, table_norm=True), (1,), (), False, {"num_layers": "2"}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_imported_model_has_the_logits_of_its_file(tmp_path: Path, case: Any) -> None:
    peer, tables, bare, gated, stated = case
    tensors = _random(peer, tables, bare, gated=gated)
    path = _save(tmp_path / "x.pt", {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()})
    import_checkpoint(path, tmp_path / "out", stated={**AS_DAISY_CORE, **stated})
    model, _ = model_from_checkpoint(tmp_path / "out")
    tokens = torch.randint(VOCAB, (100,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(tokens[None])[0]
    expected = _forward(peer, tensors, tokens)
    assert expected.std() > 1
    assert (logits - expected).abs().max() < 1e-4


def test_a_gate_whose_table_is_not_there_is_refused(tmp_path: Path) -> None:
    tensors = _random(_as_daisy_core(), (0, 2, 7), gated=True)
    del tensors["value_embeds.2.weight"]
    with pytest.raises(CheckpointError, match=r"blocks.2.attn.g_ve \(\): gates a value table that the file does not"):
        convert_daisy_wee(read_foreign(_save(tmp_path / "x.pt", tensors)), AS_DAISY_CORE)


def test_tied_embeddings_come_apart(tmp_path: Path) -> None:
    tensors = _random(_as_daisy_core())
    tensors["lm_head_w"] = tensors["embed.weight"]
    hparams = SIZES | TRAINING | {"num_layers": 8, "tied_embeddings": True, "value_embeddings": True}
    _, converted, notes = import_checkpoint(
        _save(tmp_path / "x.pt", tensors, hparams), tmp_path / "out", stated=AS_DAISY_CORE
    )
    embed, head = converted.tensors["embed.weight"], converted.tensors["head.weight"]
    assert torch.equal(embed, head)
    assert embed.data_ptr() != head.data_ptr()
    assert embed[VOCAB:].count_nonzero() == 0
    assert any("train apart" in note for note in notes)


@pytest.mark.parametrize("own", [0.7, -0.4, 0.0])
@pytest.mark.parametrize("tables", [(0, 1, 2), (0, 2, 7)])
def test_the_published_function_is_kept_by_a_core_that_has_its_options(
    tmp_path: Path, own: float, tables: tuple[int, ...]
) -> None:
    """What DaisyCore cannot be yet: its weights are already right for a core that scales, turns, norms and caps so."""
    peer = Peer(table_norm=tables != (0, 1, 2))
    tensors = _random(peer, tables, bare=(5,))
    tensors["scalars"][3 * 8] = tensors["scalars"][3 * 8 + 14] = own
    foreign = read_foreign(_save(tmp_path / "x.pt", tensors))
    sizes = {name: value for name, value in SIZES.items() if name in ModelSpec.model_fields}
    weights = Weights.of(foreign.tensors, ModelSpec(num_layers=8, **sizes))
    tables_placed = place_tables(weights)
    assert not isinstance(tables_placed, str)
    spec = ModelSpec(num_layers=8, value_embeddings=tables_placed.count, **sizes)
    mixing = read_mixing(foreign.tensors, 8)
    assert pair_skips(mixing, {}, 8) == ({}, [])
    made = weights.convert(spec, mixing, {}, tables_placed, value_norm=True, table_norm=peer.table_norm)
    tokens = torch.randint(VOCAB, (60,), generator=torch.Generator().manual_seed(0))
    got = _core_with_options(spec, made, tokens, peer)
    assert (got - _forward(peer, tensors, tokens)).abs().max() < 1e-4


def _core_with_options(spec: ModelSpec, t: dict[str, Tensor], tokens: Tensor, peer: Peer) -> Tensor:
    """DaisyCore's forward pass in fp32, with the published scale, rotation, value norm and soft-cap."""
    x = x0 = F.rms_norm(t["embed.weight"][tokens], (DIM,))
    count = spec.value_embeddings
    for layer in range(8):
        x = t["gates.residual"][layer] * x + t["gates.x0"][layer] * x0
        wq, wk, wv, wo = t[f"blocks.{layer}.attention.qkvo"]
        q, k, v = (F.rms_norm(F.rms_norm(x, (DIM,)) @ w.T, (DIM,)) for w in (wq, wk, wv))
        q, k, v = (F.rms_norm(y.view(-1, HEADS, HEAD), (HEAD,)) for y in (q, k, v))
        if layer < count or layer >= 8 - count:
            slot, gate = (layer, layer) if layer < count else (layer - 8 + count, 2 * count + layer - 8)
            v = v + t["gates.value"][gate] * t[f"value_embeds.{slot}.weight"][tokens].view_as(v)
        q, k = _turned(q, peer.frequencies), _turned(k, peer.frequencies)
        q, k, v = (y.float().transpose(0, 1) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=peer.scale)
        x = x + y.transpose(0, 1).reshape(-1, DIM) @ wo
        hidden = F.rms_norm(x, (DIM,)) @ t[f"blocks.{layer}.feedforward.up"].T
        x = x + F.relu(hidden).square() @ t[f"blocks.{layer}.feedforward.down"]
    z = F.rms_norm(x, (DIM,)) @ t["head.weight"][:VOCAB].T
    return 15 * z * torch.rsqrt(z**2 + 225)


def test_published_frequencies_are_a_theta_of_the_pairs_that_turn(tmp_path: Path) -> None:
    tensors = _random(_as_daisy_core(), tables=())
    stated = {key: AS_DAISY_CORE[key] for key in AS_DAISY_CORE if key != "rope_theta"}
    converted = convert_daisy_wee(read_foreign(_save(tmp_path / "x.pt", tensors)), stated)
    pairs = torch.arange(HEAD // 4) / (HEAD // 4)
    assert torch.allclose(converted.spec.rope_theta**-pairs, (1 / 1024) ** torch.linspace(0, 1, HEAD // 4))


def test_what_early_files_leave_out_is_completed_and_said(tmp_path: Path) -> None:
    early = {key: value for key, value in SIZES.items() if key not in ("max_seq_len", "attention_window_len")}
    path = _save(tmp_path / "x.pt", _random(_as_daisy_core()), early | TRAINING | {"num_layers": 8, "val_seq_len": 640})
    foreign, converted, notes = import_checkpoint(path, tmp_path / "out", stated=AS_DAISY_CORE)
    assert (converted.spec.max_seq_len, converted.spec.attention_window_len) == (640, 256)
    assert converted.windows == [256, 128, 128, 128, 256, 128, 128, 256], "blocks of 128: two, and one where short"
    assert converted.spec.window_pattern == "LSSS"
    told = "\n".join(notes)
    for said in ("max_seq_len is taken to be 640", "blocks of 128", "grew at 4096 of 8192", "without the soft-cap"):
        assert said in told
    meta = json.loads((tmp_path / "out/meta.json").read_text())
    assert (meta["step"], meta["tokens"], meta["best_val"], meta["tokens_per_step"]) == (8, 4096, 3.25, 512)
    assert meta["progress"] == 0.5
    assert meta["imported"]["hparams"] == foreign.hparams
    assert meta["imported"]["stated"] == AS_DAISY_CORE
    assert meta["parent"] == str(path)


def test_every_setting_of_the_function_is_explained() -> None:
    assert all(info.description for info in Function.model_fields.values())
