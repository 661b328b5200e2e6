"""Checkpoints under Daisy-Wee's names: what its models compute, and whether DaisyCore computes it too.

What parameters do not show, `Function` says: the values of Daisy-Wee's published code, unless hparams or the user
state others. `SPEC_KEYS` says what of it a ModelSpec holds; the rest must be what DaisyCore always computes, and is
refused by name where it is not. The weights themselves are turned in `daisy_wee_weights`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from core.checkpoint.conversion import Converted, build_spec, check_settings, check_stated, refusal
from core.checkpoint.daisy_wee_weights import Mixing, Weights, find_misfits, pair_skips, place_tables, read_mixing
from core.checkpoint.foreign import Foreign
from core.checkpoint.format import CheckpointError
from core.config.fields import Settings, field
from core.config.messages import word_problems
from core.config.model_spec import ModelSpec
from core.config.scalars import Flag, Real, Text, parse_number


class Function(Settings):
    """What a Daisy-Wee model computes beyond the names and shapes of its parameters."""

    attention_scale: Real = field(0.12, group="Function", gt=0)
    """Factor of the attention scores. DaisyCore's is head_dim ** -0.5."""

    rope_fraction: Real | None = field(None, group="Function", gt=0, le=1)
    """Share of a head's pairs (i, i + head_dim / 2), the first ones, that turn with the position. DaisyCore's is 1;
    by default half of them, rounded down."""

    rope_theta: Real | None = field(None, group="Function", gt=1)
    """Pair i of the n that turn does so by theta ** -(i / n) a position. By default what gives frequencies from 1 to
    1/1024, both included."""

    attention_norm: Flag = field(False, group="Function")
    """Whether attention's input is normalised. DaisyCore's is; it makes no difference where values are."""

    value_norm: Flag = field(True, group="Function")
    """Whether each head's values are normalised, as queries and keys are. DaisyCore's are not."""

    value_embedding_norm: Flag | None = field(None, group="Function")
    """Whether value embeddings are normalised. By default they are where each layer has a table of its own, and
    are not where three tables serve the first and the last three layers."""

    logit_softcap: Real = field(15.0, group="Function", gt=0)
    """Logits are capped to (-c, c)."""

    softcap_form: Literal["rsqrt", "tanh"] = field("rsqrt", group="Function")
    """rsqrt: c * z / sqrt(z * z + c * c). tanh: c * tanh(z / c), DaisyCore's."""

    skip_map: Text | None = field(None, group="Function")
    """Which layers add an earlier one's output, as `7:4,8:2` (layer 7 adds layer 4's), or `none`. By default what the
    published code makes of the number of layers."""


# A ModelSpec's key for what a Daisy-Wee model computes; None where DaisyCore computes one thing only. An option that
# DaisyCore gains becomes its key here, and the conversion is exact for it.
SPEC_KEYS: dict[str, str | None] = {
    "rope_theta": "rope_theta",
    "logit_softcap": "logit_softcap",
    "attention_scale": None,
    "rope_fraction": None,
    "value_norm": None,
    "softcap_form": None,
}
_WHY = {
    "attention_scale": "queries and keys are normalised, so no weight can take the factor up",
    "rope_fraction": "all pairs of a head turn with the position",
    "value_norm": "values are taken as they are, and no weight can normalise them",
    "softcap_form": "the two bend differently",
}
_SIZES = (
    "model_class",
    "num_layers",
    "num_heads",
    "head_dim",
    "model_dim",
    "vocab_size",
    "eos_token_id",
    "max_seq_len",
    "attention_window_len",
    "window_pattern",
)
# What its hparams say of the architecture that its parameters show as well, or that only its code reads.
_SHOWN = (
    "value_embeddings",
    "use_value_embeddings",
    "tied_embeddings",
    "use_tied_embeddings",
    "attn_all_layers",
    "sparse_attention",
    "attn_impl",
    "mlp_ratio",
)
_PATTERN = "LSSS"


def has_daisy_wee_names(foreign: Foreign) -> bool:
    """Whether the parameters have Daisy-Wee's names."""
    return any(name.endswith((".attn.qkvo_w", ".mlp.fc_w")) or name == "lm_head_w" for name in foreign.tensors)


def convert_daisy_wee(foreign: Foreign, stated: Mapping[str, Any], training_only: Iterable[str] = ()) -> Converted:
    """Turn a Daisy-Wee model into a DaisyCore of the same function. `stated` completes or replaces hparams.

    Raises CheckpointError naming every parameter and setting that DaisyCore cannot represent, and why.
    """
    path = foreign.path
    check_stated(path, stated, (*_SIZES, *Function.model_fields))
    check_settings(foreign, (*_SIZES, *Function.model_fields, *_SHOWN), training_only)
    said = {**foreign.hparams, **stated}
    notes = list(_complete(said, foreign.hparams))
    sizes = {"window_pattern": _PATTERN, **{name: said[name] for name in _SIZES if said.get(name) is not None}}
    base = build_spec(path, sizes)
    function = _function(foreign, said, base.head_dim)
    problems = list(_function_problems(function, base))
    if misfits := find_misfits(foreign.tensors, base):
        raise refusal(path, misfits + problems)
    weights = Weights.of(foreign.tensors, base)
    mixing = read_mixing(foreign.tensors, base.num_layers)
    problems += _contradictions(foreign.hparams, weights)
    skip_map = _skip_map(path, function.skip_map, base.num_layers)
    skips, unpaired = pair_skips(mixing, skip_map, base.num_layers)
    tables = place_tables(weights)
    problems += unpaired
    problems += [tables] if isinstance(tables, str) else []
    if problems:
        raise refusal(path, problems)
    assert not isinstance(tables, str)
    spec = build_spec(
        path,
        {
            **sizes,
            **{key: getattr(function, name) for name, key in SPEC_KEYS.items() if key},
            "mlp_ratio": weights.hidden // base.model_dim,
            "depth_skips": bool(skips),
            "value_embeddings": tables.count,
        },
    )
    tensors = weights.convert(
        spec, mixing, skips, tables, value_norm=function.value_norm, table_norm=bool(function.value_embedding_norm)
    )
    windows, window_note = _windows(said, spec)
    notes += [*_notes(foreign, weights, mixing, skip_map), window_note]
    assumed = ", ".join(f"{name} {value}" for name, value in function if name not in said and value is not None)
    notes += [f"not said by its hparams and taken from Daisy-Wee's published code: {assumed}"] if assumed else []
    return Converted("Daisy-Wee", spec, tensors, windows, notes)


def _complete(said: dict[str, Any], hparams: Mapping[str, Any]) -> Iterator[str]:
    """Fill in what early versions wrote under other names; yields a note for each."""
    lengths = [hparams[key] for key in ("training_sequence_length", "val_seq_len") if type(hparams.get(key)) is int]
    sources = {
        "max_seq_len": max(lengths, default=None),
        "attention_window_len": said.get("train_attention_window_len"),
    }
    for name, value in sources.items():
        if said.get(name) is None and value is not None:
            said[name] = value
            yield f"{name} is taken to be {value}, the longest that it was trained with"


def _function(foreign: Foreign, said: Mapping[str, Any], head_dim: int) -> Function:
    """The function of the model: as stated, and else as published."""
    tree = {name: said[name] for name in Function.model_fields if said.get(name) is not None}
    try:
        function = Function.model_validate(tree)
    except ValidationError as error:
        raise CheckpointError(*(p.message for p in word_problems(error, tree, {}, foreign.path))) from None
    half, turning = head_dim // 2, max(1, head_dim // 4)
    # Frequencies of n pairs run from 1 to 1/1024 with both ends: 1024 ** -(i / (n - 1)) is theta ** -(i / n).
    published: dict[str, Any] = {
        "rope_fraction": turning / half,
        "rope_theta": 1024.0 ** (turning / (turning - 1)) if turning > 1 else 1024.0,
        "value_embedding_norm": not _shared_tables(foreign),
    }
    return function.model_copy(update={n: v for n, v in published.items() if getattr(function, n) is None})


def _shared_tables(foreign: Foreign) -> bool:
    names = {name for name in foreign.tensors if name.startswith("value_embeds.")}
    return names == {f"value_embeds.{table}.weight" for table in range(3)}


def _function_problems(function: Function, spec: ModelSpec) -> Iterator[str]:
    """What of the function neither DaisyCore nor a key of its spec can be."""
    always = {
        "attention_scale": spec.head_dim**-0.5,
        "rope_fraction": 1.0,
        "value_norm": False,
        "softcap_form": "tanh",
    }
    for name, key in SPEC_KEYS.items():
        value = getattr(function, name)
        here = value if key else always[name]
        same = math.isclose(value, here, rel_tol=1e-6) if isinstance(value, float) else value == here
        if not same:
            yield f"{name} = {_shown(value)}: DaisyCore's is {_shown(here)}; {_WHY[name]}"
    if not function.attention_norm and not function.value_norm:
        yield "attention_norm = false: DaisyCore's is true, and values that are not normalised would feel it"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower()


def _contradictions(hparams: Mapping[str, Any], weights: Weights) -> Iterator[str]:
    """Where hparams say of the architecture what is not so here, or a parameter belongs to what is not there."""
    for layer in range(weights.layers):
        if (name := f"blocks.{layer}.attn.g_ve") in weights.tensors and layer not in weights.reads:
            yield f"{name} (): gates a value table that the file does not hold"
    if hparams.get("attn_impl", "standard") != "standard":
        yield f"hparams.attn_impl = {hparams['attn_impl']!r}: DaisyCore has softmax attention only"
    for name in ("value_embeddings", "use_value_embeddings"):
        if hparams.get(name) is False and weights.tables:
            yield f"hparams.{name} = False: but there are value tables, such as value_embeds.{weights.tables[0]}.weight"
    bare = [layer for layer in range(weights.layers) if layer not in weights.attention]
    if bare and (hparams.get("attn_all_layers") is True or hparams.get("sparse_attention") is False):
        yield f"blocks.{bare[0]}.attn.qkvo_w: is missing, and its hparams say that every layer has attention"


def _skip_map(path: Path, stated: str | None, layers: int) -> dict[int, int]:
    """Layer to the earlier layer whose output it adds."""
    if stated is None:
        count, middle = max(1, int(math.log2(layers)) - 1), layers // 2
        stride = max(1, middle // (count + 1))
        pairs = {middle + step: middle - step * stride for step in range(1, count + 1)}
        return {target: source for target, source in pairs.items() if 0 <= source < target < layers}
    if stated.strip() in ("", "none"):
        return {}
    pairs = {}
    for pair in stated.split(","):
        numbers = [parse_number(part) for part in pair.split(":")]
        whole = [int(number) for number in numbers if number is not None and number == number.to_integral_value()]
        if len(whole) != 2 or len(numbers) != 2 or not 0 <= whole[1] < whole[0] < layers:
            raise CheckpointError(
                f"{path}: skip_map: '{pair}' is not TARGET:SOURCE, a layer below {layers} and an earlier one; write "
                "for example 7:4,8:2, or none"
            )
        pairs[whole[0]] = whole[1]
    return pairs


def _windows(said: Mapping[str, Any], spec: ModelSpec) -> tuple[list[int], str]:
    """The full windows by layer in tokens, and what differs: Daisy-Wee counts them in blocks."""
    block = said.get("window_block_size")
    block = block if type(block) is int and block > 0 else 128
    trained = said.get("train_attention_window_len")
    long = (
        min(trained, spec.attention_window_len) if type(trained) is int and trained > 0 else spec.attention_window_len
    )
    blocks = max(1, long // block)
    short = max(1, blocks // 2) * block
    pattern = spec.window_pattern
    windows = [blocks * block if pattern[n % len(pattern)] == "L" else short for n in range(spec.num_layers)]
    windows[-1] = blocks * block
    return windows, (
        f"windows are {blocks * block} and {short} tokens, exact here and in blocks of {block} there: the function is "
        f"the same for the first {short} tokens, and then a query may see up to {block - 1} keys more here"
    )


def _notes(foreign: Foreign, weights: Weights, mixing: Mixing, skip_map: Mapping[int, int]) -> Iterator[str]:
    bare = [str(layer) for layer in range(weights.layers) if layer not in weights.attention]
    if bare:
        yield f"layers {', '.join(bare)} have no attention: here theirs has an output projection of zeros"
    if foreign.hparams.get("tied_embeddings") is True or foreign.hparams.get("use_tied_embeddings") is True:
        yield "embedding and head were one tensor; here they begin equal and train apart"
    unused = len(mixing.skip) - len(set(skip_map.values()))
    if unused:
        yield f"{unused} of its {len(mixing.skip)} skip weights belong to no skip and are left out"
    if weights.unread:
        yield f"value tables {', '.join(map(str, weights.unread))} are read by no layer and left out"
    target = foreign.progress.get("target_tokens")
    if type(target) is int and foreign.tokens < target and foreign.hparams.get("full_windows") is not True:
        yield f"its windows still grew at {foreign.tokens} of {target} tokens; here they are the full ones"
    yield "Daisy-Wee samples from logits without the soft-cap; DaisyCore caps them in sampling as in training"
