"""Every parameter of DaisyCore by name, shape and group, from the spec alone.

The estimate counts it, the optimizer check reads its groups, and the model is tested against it
name by name, so that a number shown before a run is the number the run has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from core.config.model_spec import ModelSpec, padded_vocab
from core.config.train_config import GroupName

# Tables of which a token reads one row, so their size costs memory but no bandwidth per token.
LOOKED_UP: frozenset[GroupName] = frozenset({"embed_params", "value_embed_params"})
# Groups whose every element enters one matrix product per token.
MULTIPLIED: frozenset[GroupName] = frozenset({"hidden_matrix_params", "head_params"})


@dataclass(frozen=True)
class Parameter:
    """One tensor of the model."""

    name: str
    shape: tuple[int, ...]
    group: GroupName

    @property
    def count(self) -> int:
        return prod(self.shape)


def parameters(spec: ModelSpec) -> Iterator[Parameter]:
    """The tensors of the model, embedding first, head last."""
    rows, dim = padded_vocab(spec.vocab_size), spec.model_dim
    hidden = spec.mlp_ratio * dim
    yield Parameter("embed.weight", (rows, dim), "embed_params")
    for table in range(spec.value_embeddings):
        yield Parameter(f"value_embeds.{table}.weight", (rows, dim), "value_embed_params")
    for layer in range(spec.num_layers):
        yield Parameter(f"blocks.{layer}.attention.qkvo", (4, dim, dim), "hidden_matrix_params")
        yield Parameter(f"blocks.{layer}.feedforward.up", (hidden, dim), "hidden_matrix_params")
        yield Parameter(f"blocks.{layer}.feedforward.down", (hidden, dim), "hidden_matrix_params")
    yield Parameter("gates.residual", (spec.num_layers,), "scalar_params")
    if spec.x0_mixing:
        yield Parameter("gates.x0", (spec.num_layers,), "scalar_params")
    if spec.depth_skips and spec.num_layers > 1:
        yield Parameter("gates.skip", (spec.num_layers // 2,), "scalar_params")
    if spec.value_embeddings:
        yield Parameter("gates.value", (2 * spec.value_embeddings,), "scalar_params")
    yield Parameter("head.weight", (rows, dim), "head_params")


def parameter_counts(spec: ModelSpec) -> dict[GroupName, int]:
    """Number of parameters by group; groups that the spec leaves empty are absent."""
    counts: dict[GroupName, int] = {}
    for parameter in parameters(spec):
        counts[parameter.group] = counts.get(parameter.group, 0) + parameter.count
    return counts
