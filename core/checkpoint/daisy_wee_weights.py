"""The parameters of a Daisy-Wee model as those of a DaisyCore, factor by factor.

| Daisy-Wee | shape | DaisyCore |
| --- | --- | --- |
| embed.weight | (vocab, dim) | embed.weight, its padding rows zero |
| lm_head_w | (vocab or padded vocab, dim) | head.weight |
| value_embeds.N.weight | (vocab, dim) | value_embeds.K.weight and gates.value |
| blocks.N.attn.qkvo_w | (4, dim, dim) | attention.qkvo, the output projection transposed |
| blocks.N.mlp.fc_w | (hidden, dim) | feedforward.up |
| blocks.N.mlp.proj_w | (dim, hidden) | feedforward.down, transposed |
| scalars | (5 layers,): skip; residual, x0; value, value embedding | gates, a factor of the value or output matrix |
| blocks.N.g_x, blocks.N.attn.g_ve, skip_weights | (), (), (layers,) | the same, by sigmoid(g) and 1 - sigmoid(g) |

Factors are multiplied out in fp64 and rounded to fp32 once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.config.model_spec import ModelSpec, padded_vocab
from core.config.parameters import parameters

_TABLE = re.compile(r"value_embeds\.(\d{1,4})\.weight")


@dataclass(frozen=True)
class Mixing:
    """The scalars of a model. The stream is `residual * x + x0 * embedding` before each layer.

    `value` are the factors of values and of value embeddings, by layer. `skip` are, by the layer whose output is
    added, the factors of the stream and of that output; `skip_name` is the tensor they stand in.
    """

    residual: list[float]
    x0: list[float]
    value: list[tuple[float, float]]
    skip: list[tuple[float, float]]
    skip_name: str


@dataclass(frozen=True)
class Tables:
    """Where value tables go: `count` of them, `slots` from DaisyCore's number to Daisy-Wee's."""

    count: int
    slots: dict[int, int]


def find_misfits(tensors: Mapping[str, Tensor], spec: ModelSpec) -> list[str]:
    """Every parameter that is missing, of another shape, or none of Daisy-Wee's that DaisyCore knows."""
    required, optional = _shapes(tensors, spec)
    shapes = {**required, **optional}
    problems = [f"{name} {shape}: is missing" for name, shape in required.items() if name not in tensors]
    for name, tensor in tensors.items():
        shape = tuple(tensor.shape)
        if name not in shapes:
            problems.append(f"{name} {shape}: {_no_place(name)}")
        elif shape != shapes[name]:
            problems.append(f"{name} {shape}: must be {shapes[name]} by its hparams")
    first = tensors.get("blocks.0.mlp.fc_w")
    if first is not None and first.ndim == 2 and first.shape[0] % spec.model_dim:
        problems.append(f"blocks.0.mlp.fc_w {tuple(first.shape)}: DaisyCore's width is a multiple of {spec.model_dim}")
    return problems


def _shapes(
    tensors: Mapping[str, Tensor], spec: ModelSpec
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """The shapes of parameters that must be there, and of those that may be."""
    dim, layers, vocab = spec.model_dim, spec.num_layers, spec.vocab_size
    first = tensors.get("blocks.0.mlp.fc_w")
    hidden = first.shape[0] if first is not None and first.ndim == 2 else 4 * dim
    required: dict[str, tuple[int, ...]] = {"embed.weight": (vocab, dim)}
    optional: dict[str, tuple[int, ...]] = {f"value_embeds.{n}.weight": (vocab, dim) for n in range(layers)}
    head = tensors.get("lm_head_w")
    rows = head.shape[0] if head is not None and head.ndim == 2 else 0
    required["lm_head_w"] = (rows if vocab <= rows <= padded_vocab(vocab) else padded_vocab(vocab), dim)
    gated = "scalars" not in tensors and "skip_weights" in tensors
    required |= {"skip_weights": (layers,)} if gated else {"scalars": (5 * layers,)}
    for layer in range(layers):
        required[f"blocks.{layer}.mlp.fc_w"] = (hidden, dim)
        required[f"blocks.{layer}.mlp.proj_w"] = (dim, hidden)
        optional[f"blocks.{layer}.attn.qkvo_w"] = (4, dim, dim)
        if gated:
            required[f"blocks.{layer}.g_x"] = ()
            optional[f"blocks.{layer}.attn.g_ve"] = ()
    return required, optional


def _no_place(name: str) -> str:
    """Why DaisyCore has no place for a parameter."""
    if name.startswith("ve_modules."):
        return "the file does not say which layers read this table; one published version reads others, unsaved"
    if re.match(r"blocks\.\d+\.attn\.", name):
        return "not of softmax attention, and DaisyCore has no other"
    return "no parameter of Daisy-Wee's that DaisyCore has a place for"


def read_mixing(tensors: Mapping[str, Tensor], layers: int) -> Mixing:
    """The scalars of a model whose names and shapes are checked, packed in one vector or as sigmoid gates."""
    if "scalars" in tensors:
        numbers = tensors["scalars"].double()
        pairs = numbers[layers:].view(2, layers, 2)
        stream, value = pairs.tolist()
        return Mixing(
            residual=[a for a, _ in stream],
            x0=[b for _, b in stream],
            value=[(a, b) for a, b in value],
            skip=[(1.0, b) for b in numbers[:layers].tolist()],
            skip_name="scalars",
        )
    shares = [_share(tensors[f"blocks.{layer}.g_x"]) for layer in range(layers)]
    gates = [tensors.get(f"blocks.{layer}.attn.g_ve") for layer in range(layers)]
    return Mixing(
        residual=[a for a, _ in shares],
        x0=[b for _, b in shares],
        value=[(1.0, 0.0) if gate is None else _share(gate) for gate in gates],
        skip=[_share(gate) for gate in tensors["skip_weights"]],
        skip_name="skip_weights",
    )


def _share(gate: Tensor) -> tuple[float, float]:
    return torch.sigmoid(gate.double()).item(), torch.sigmoid(-gate.double()).item()


def pair_skips(mixing: Mixing, skip_map: Mapping[int, int], layers: int) -> tuple[dict[int, int], list[str]]:
    """The skips (target to source) that add something, and a problem for each that is none of DaisyCore's."""
    skips = {target: source for target, source in skip_map.items() if mixing.skip[source][1] != 0}
    problems = [
        f"{mixing.skip_name}[{source}] = {mixing.skip[source][1]:.4g}: with it layer {target} adds layer {source}'s "
        f"output (skip_map); DaisyCore's depth_skips add {_mirror(source, layers)}"
        for target, source in skips.items()
        if target != layers - 1 - source or source >= layers // 2
    ]
    return skips, problems


def _mirror(source: int, layers: int) -> str:
    return f"it in layer {layers - 1 - source}" if source < layers // 2 else "no output of the second half"


@dataclass(frozen=True)
class Weights:
    """The tensors of a model whose names and shapes are checked.

    `attention` are the layers that have it, `tables` the numbers of the value tables, and `reads` the table that each
    of those layers reads.
    """

    tensors: Mapping[str, Tensor]
    layers: int
    hidden: int
    attention: list[int]
    tables: list[int]
    reads: dict[int, int]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], spec: ModelSpec) -> Weights:
        layers = spec.num_layers
        attention = [layer for layer in range(layers) if f"blocks.{layer}.attn.qkvo_w" in tensors]
        tables = sorted(int(match[1]) for name in tensors if (match := _TABLE.fullmatch(name)))
        # Three tables serve the first three and the last three layers; any others, the layer of their number.
        shared = tables == [0, 1, 2]
        order = (
            [0, 1, 2, *[None] * (layers - 6), 0, 1, 2]
            if shared
            else [n if n in tables else None for n in range(layers)]
        )
        reads = {layer: table for layer in attention if (table := order[layer]) is not None}
        return cls(tensors, layers, tensors["blocks.0.mlp.fc_w"].shape[0], attention, tables, reads)

    @property
    def unread(self) -> list[int]:
        """The value tables that no layer reads."""
        return sorted({*self.tables} - {*self.reads.values()})

    def convert(
        self,
        spec: ModelSpec,
        mixing: Mixing,
        skips: Mapping[int, int],
        tables: Tables,
        *,
        value_norm: bool,
        table_norm: bool,
    ) -> dict[str, Tensor]:
        """DaisyCore's parameters for `spec`, fp32. `value_norm` and `table_norm`: whether the model normalises values
        and value embeddings; DaisyCore's own value_norm must then be the same."""
        found = self.tensors
        made = {parameter.name: torch.zeros(parameter.shape) for parameter in parameters(spec)}
        made["embed.weight"][: spec.vocab_size] = found["embed.weight"]
        made["head.weight"][: len(found["lm_head_w"])] = found["lm_head_w"]
        for slot, table in tables.slots.items():
            rows = found[f"value_embeds.{table}.weight"].float()
            made[f"value_embeds.{slot}.weight"][: spec.vocab_size] = (
                F.rms_norm(rows, rows.shape[-1:]) if table_norm else rows
            )
        gates = torch.zeros(2 * tables.count, dtype=torch.float64)
        for layer in range(self.layers):
            own, extra = mixing.value[layer]
            value, output, gate = _value_factors(own, extra, value_norm, layer in self.reads)
            self._fill_attention(made[f"blocks.{layer}.attention.qkvo"], layer, value, output)
            if layer in self.reads:
                gates[_gate(layer, tables.count, self.layers)] = gate
            made[f"blocks.{layer}.feedforward.up"].copy_(found[f"blocks.{layer}.mlp.fc_w"])
            made[f"blocks.{layer}.feedforward.down"].copy_(found[f"blocks.{layer}.mlp.proj_w"].T)
        residual = list(mixing.residual)
        for target, source in skips.items():
            stream, added = mixing.skip[source]
            residual[target] *= stream
            made["gates.skip"][source] = added / stream
        made["gates.residual"].copy_(torch.tensor(residual, dtype=torch.float64))
        made["gates.x0"].copy_(torch.tensor(mixing.x0, dtype=torch.float64))
        if tables.count:
            made["gates.value"].copy_(gates)
        return made

    def _fill_attention(self, made: Tensor, layer: int, value: float, output: float) -> None:
        """Write a layer's (4, dim, dim): query, key, value, and the output projection from head to stream."""
        if layer not in self.attention:
            # The output projection stays zero, so this adds nothing; the rest may learn in a warm start.
            bound = 3**0.5 * 0.5 * made.shape[-1] ** -0.5
            made[:3].uniform_(-bound, bound, generator=torch.Generator().manual_seed(layer))
            return
        found = self.tensors[f"blocks.{layer}.attn.qkvo_w"]
        made[:2].copy_(found[:2])
        made[2].copy_(found[2].double() * value)
        made[3].copy_(found[3].double().T * output)


def _value_factors(own: float, extra: float, value_norm: bool, reads: bool) -> tuple[float, float, float]:
    """Factors of the value matrix and of the output projection, and the gate of the value table.

    Heads see own * v + extra * table. A factor before a norm is lost, so where values are normalised it goes behind
    attention, which is linear in them; with own = 0, a value matrix of zeros is one whose norm is zero too.
    """
    if not value_norm:
        return own, 1.0, extra
    if own == 0:
        return 0.0, 1.0, extra
    return 1.0, own, extra / own if reads else 0.0


def place_tables(weights: Weights) -> Tables | str:
    """Where the value tables go in DaisyCore, whose table i serves layers i and layers - count + i; or why nowhere."""
    layers = weights.layers
    for count in range(layers // 2 + 1):
        slots: dict[int, int] = {}
        fits = all(
            (layer < count or layer >= layers - count)
            and slots.setdefault(layer if layer < count else layer - (layers - count), table) == table
            for layer, table in weights.reads.items()
        )
        if fits:
            return Tables(count, slots)
    read = ", ".join(f"{table} by {layer}" for layer, table in weights.reads.items())
    return (
        f"value_embeds: tables are read by layers ({read}) that DaisyCore has none for; its k tables serve the first "
        "k and the last k layers, table i layers i and num_layers - k + i"
    )


def _gate(layer: int, count: int, layers: int) -> int:
    """The place of a layer's gate in gates.value."""
    return layer if layer < count else count + layer - (layers - count)
