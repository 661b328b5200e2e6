"""Rules between fields, checked when a configuration is composed, without torch.

Each rule yields the keys involved, what is wrong with their values, and what would be accepted.
`world_size` is the number of devices, where it is known. What needs the shards is checked by
`core.data.survey`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from math import gcd

from core.config.model_spec import ModelSpec
from core.config.parameters import parameter_counts
from core.config.train_config import TrainConfig


@dataclass(frozen=True)
class Finding:
    """A broken rule: the keys involved, the one to change first, and the message."""

    keys: tuple[str, ...]
    message: str


def find_problems(config: TrainConfig, world_size: int | None = None) -> Iterator[Finding]:
    """Every broken rule."""
    yield from find_spec_problems(config)
    yield from _windows(config)
    yield from _batch(config, world_size)
    yield from _evaluation(config)
    yield from _optimizers(config)


def nearest(word: str, known: list[str]) -> str:
    """A "did you mean" for a message: the nearest known word, or the list when it is short."""
    matches = get_close_matches(word, known, n=1, cutoff=0.6)
    if matches:
        return f"did you mean '{matches[0]}'?"
    return f"known: {', '.join(known)}" if len(known) <= 12 else "`daisy config schema --markdown` lists the keys"


def find_spec_problems(c: ModelSpec) -> Iterator[Finding]:
    """The rules that a model spec must keep by itself."""
    if c.num_heads * c.head_dim != c.model_dim:
        fitting = [f"num_heads={c.model_dim // c.head_dim}"] if c.model_dim % c.head_dim == 0 else []
        if c.model_dim % c.num_heads == 0 and (c.model_dim // c.num_heads) % 2 == 0:
            fitting.append(f"head_dim={c.model_dim // c.num_heads}")
        fitting.append(f"model_dim={c.num_heads * c.head_dim}")
        yield Finding(
            ("num_heads", "head_dim", "model_dim"),
            f"num_heads * head_dim is {c.num_heads} * {c.head_dim} = {c.num_heads * c.head_dim}, "
            f"but model_dim is {c.model_dim}; {' or '.join(fitting)} would fit",
        )
    if c.eos_token_id >= c.vocab_size:
        yield Finding(
            ("eos_token_id", "vocab_size"),
            f"eos_token_id {c.eos_token_id} is outside the vocabulary (0 to {c.vocab_size - 1})",
        )
    if 2 * c.value_embeddings > c.num_layers:
        yield Finding(
            ("value_embeddings", "num_layers"),
            f"value_embeddings {c.value_embeddings} needs {2 * c.value_embeddings} layers, but num_layers is "
            f"{c.num_layers}; at most {c.num_layers // 2} fits",
        )


def _windows(c: TrainConfig) -> Iterator[Finding]:
    block = c.window_block_size
    lengths = {
        "attention_window_len": c.attention_window_len,
        "training_sequence_length": c.training_sequence_length,
    }
    if c.val_seq_len is not None:
        lengths["val_seq_len"] = c.val_seq_len
    uneven = [key for key, length in lengths.items() if length % block]
    if len(uneven) == 1:
        (key,) = uneven
        yield Finding(
            (key, "window_block_size"),
            f"window_block_size {block} does not divide {key} {lengths[key]}; "
            f"the nearest multiples are {_multiples(lengths[key], block)}",
        )
    elif uneven:
        common = gcd(*lengths.values())
        yield Finding(
            ("window_block_size", *uneven),
            f"window_block_size {block} does not divide {' or '.join(f'{key} {lengths[key]}' for key in uneven)}; "
            f"{_near_divisor(common, block)} divides them all",
        )
    for key, length in lengths.items():
        if length > c.max_seq_len:
            yield Finding(
                (key, "max_seq_len"),
                f"{key} {length} is longer than max_seq_len {c.max_seq_len}; use at most {c.max_seq_len}",
            )


def _batch(c: TrainConfig, world_size: int | None) -> Iterator[Finding]:
    if c.batch_tokens is None:
        return
    if c.grad_acc_steps is not None:
        yield Finding(
            ("grad_acc_steps", "batch_tokens"),
            "batch_tokens and grad_acc_steps are both given; set one of them to null",
        )
    devices = world_size or 1
    unit = c.training_sequence_length * devices
    if c.batch_tokens % unit:
        over = f" on {devices} devices" if devices > 1 else ""
        yield Finding(
            ("batch_tokens", "training_sequence_length"),
            f"batch_tokens {c.batch_tokens} is not a multiple of training_sequence_length "
            f"{c.training_sequence_length}{over}; the nearest are {_multiples(c.batch_tokens, unit)}",
        )


def _evaluation(c: TrainConfig) -> Iterator[Finding]:
    length = c.validation_sequence_length
    if c.val_shards and c.tot_val_tokens < length:
        yield Finding(
            ("tot_val_tokens", "val_seq_len"),
            f"tot_val_tokens {c.tot_val_tokens} is less than one validation sequence of {length} tokens; "
            f"use at least {length}",
        )


def _optimizers(c: TrainConfig) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for index, optimizer in enumerate(c.optimizers):
        if optimizer.type == "AdamW":
            for beta in optimizer.betas:
                if not 0 <= beta < 1:
                    yield Finding((f"optimizers[{index}].betas",), f"a decay rate lies in [0, 1); got {beta}")
        for position, entry in enumerate(optimizer.params):
            key = f"optimizers[{index}].params[{position}].group"
            if entry.group in first:
                yield Finding(
                    (key, first[entry.group]),
                    f"parameter group {entry.group} is named twice; each group belongs to one optimizer",
                )
            first.setdefault(entry.group, key)
            if optimizer.type == "Muon" and entry.group != "hidden_matrix_params":
                yield Finding((key,), f"Muon updates hidden_matrix_params only; give {entry.group} to AdamW")
    missing = [group for group in parameter_counts(c) if group not in first]
    if missing:
        yield Finding(
            ("optimizers",),
            f"no optimizer names {', '.join(missing)}; add {{group: {missing[0]}, lr: ...}} to the params of one",
        )


def _near_divisor(number: int, near: int) -> int:
    """A divisor of `number` close to `near`; the number itself where none is within reach."""
    for distance in range(10_000):
        for size in (near - distance, near + distance):
            if size > 0 and number % size == 0:
                return size
    return number


def _multiples(length: int, unit: int) -> str:
    below = length // unit * unit
    return f"{below} and {below + unit}" if below else f"{unit}"
