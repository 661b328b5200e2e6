"""What a configuration's shards are: found, of one tokenizer, and inside the model's vocabulary.

The configuration room knows no shards, so the facts that its estimates need, and the rules between
fields and shards, are here. Reads headers and `dataset.json` only: a hundred shards take milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from core.config.compose import Composed
from core.config.errors import ConfigError, Problem
from core.data.dataset import COMMUNITY_TOKENIZER, Dataset, TokenizerInfo, read_dataset
from core.data.errors import ShardError
from core.data.folder import split_of
from core.data.prepare import dataset_name
from core.data.shards import read_header


@dataclass(frozen=True)
class Survey:
    """The shards of one configuration. Counts are None where no shard was found.

    `missing` are warnings while composing and errors for `daisy train`; anything worse has been raised.
    """

    train: list[Path]
    val: dict[str, list[Path]]
    train_tokens: int | None
    document_tokens: float | None
    tokenizer: TokenizerInfo | None
    missing: list[Problem]


def survey(composed: Composed) -> Survey:
    """Find and check the shards of a composed configuration.

    Raises ConfigError where shards disagree with each other or with the model, ShardError where one
    is damaged.
    """
    config = composed.config
    train = _match(config.train_shards)
    val = {name: _match(globs) for name, globs in config.val_shards.items()}
    missing = _missing(composed)
    datasets: dict[Path, Dataset | None] = {}
    tokens = {path: _check_shard(path, datasets) for paths in [train, *val.values()] for path in paths}
    tokenizer = _one_tokenizer(composed, tokens, datasets)
    if tokenizer is not None:
        problems = list(_tokenizer_problems(composed, tokenizer))
        if config.begin_shard >= len(train) > 0:
            problems.append(
                composed.problem(
                    ["begin_shard"],
                    f"begin_shard {config.begin_shard} is past the last of {len(train)} training shards",
                )
            )
        if problems:
            raise ConfigError(problems)
    return Survey(
        train=train,
        val=val,
        train_tokens=sum(tokens[path] for path in train) if train else None,
        document_tokens=_mean_document(train, datasets),
        tokenizer=tokenizer,
        missing=missing,
    )


def _match(globs: list[str]) -> list[Path]:
    return [Path(path) for pattern in globs for path in sorted(glob(str(Path(pattern).expanduser()), recursive=True))]


def _missing(composed: Composed) -> list[Problem]:
    keyed = [("train_shards", pattern) for pattern in composed.config.train_shards]
    keyed += [("val_shards", pattern) for globs in composed.config.val_shards.values() for pattern in globs]
    return [
        composed.problem([key], f"{key}: no shard matches {pattern}{_how_to_get(pattern)}")
        for key, pattern in keyed
        if not _match([pattern])
    ]


def _how_to_get(pattern: str) -> str:
    folder = Path(pattern).parent
    if folder == Path("data/demo"):
        return "; `daisy data demo` makes it"
    prefix = re.split(r"_(?:train|val)_", Path(pattern).name)[0]
    named = (
        "" if prefix == dataset_name(folder) or not re.fullmatch(r"[A-Za-z0-9._-]+", prefix) else f" --name {prefix}"
    )
    return f"; `daisy data prepare SOURCE --out {folder}{named}` makes shards there"


def _check_shard(path: Path, datasets: dict[Path, Dataset | None]) -> int:
    header = read_header(path)
    folder = path.parent
    if folder not in datasets:
        datasets[folder] = read_dataset(folder)
    dataset = datasets[folder]
    if dataset is not None and path.name not in dataset.entries():
        raise ShardError(f"{path}: not listed in {folder / 'dataset.json'}; a shard of another dataset is mixed in")
    return header.tokens


def _one_tokenizer(
    composed: Composed, tokens: dict[Path, int], datasets: dict[Path, Dataset | None]
) -> TokenizerInfo | None:
    found: dict[tuple[str, int, str], tuple[TokenizerInfo, Path]] = {}
    for path in tokens:
        dataset = datasets[path.parent]
        info = dataset.tokenizer if dataset else COMMUNITY_TOKENIZER
        # A folder without dataset.json has no fingerprint: there, name and size must do.
        key = (info.name, info.vocab_size, info.fingerprint if info.name == "bpe" else "")
        found.setdefault(key, (info, path))
    if len(found) > 1:
        (first, first_path), (second, second_path) = list(found.values())[:2]
        raise ConfigError(
            [
                composed.problem(
                    ["val_shards", "train_shards"],
                    "shards of different tokenizers are mixed: "
                    f"{first_path} is '{first.name}' ({first.vocab_size} ids), "
                    f"{second_path} is '{second.name}' ({second.vocab_size} ids)",
                )
            ]
        )
    return next(iter(found.values()))[0] if found else None


def _tokenizer_problems(composed: Composed, tokenizer: TokenizerInfo) -> Iterator[Problem]:
    config = composed.config
    named = f"the tokenizer of the shards, '{tokenizer.name}'"
    if config.vocab_size < tokenizer.vocab_size:
        yield composed.problem(
            ["vocab_size"],
            f"vocab_size {config.vocab_size} is smaller than {named}, which has {tokenizer.vocab_size} ids; "
            f"use at least {tokenizer.vocab_size}",
        )
    elif config.eos_token_id != tokenizer.eot_token_id:
        yield composed.problem(
            ["eos_token_id"],
            f"eos_token_id {config.eos_token_id} is not the end-of-text of {named}, so documents would not be "
            f"told apart; use {tokenizer.eot_token_id}",
        )


def _mean_document(train: list[Path], datasets: dict[Path, Dataset | None]) -> float | None:
    """Mean document length in tokens over the folders that say it, separators included."""
    tokens = documents = 0
    for folder, splits in {(path.parent, split_of(path)) for path in train}:
        dataset = datasets[folder]
        for name, split in (dataset.splits if dataset else {}).items():
            if name == splits:
                tokens += split.tokens
                documents += split.documents
    return tokens / documents if documents else None
