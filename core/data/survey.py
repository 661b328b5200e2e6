"""What a configuration's shards are: found, of one tokenizer, and inside the model's vocabulary.

The configuration room knows no shards, so the facts that its estimates need, and the rules between
fields and shards, are here. Reads headers and `dataset.json` only: a hundred shards take milliseconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from core.config.compose import Composed
from core.config.errors import ConfigError, Problem
from core.data.dataset import COMMUNITY_TOKENIZER, DATASET_FILE, Dataset, TokenizerInfo, read_dataset
from core.data.errors import ShardError
from core.data.folder import split_of
from core.data.prepare import dataset_name
from core.data.shards import read_header


@dataclass(frozen=True)
class Shard:
    """One shard and how many tokens its header says it holds."""

    path: Path
    tokens: int


@dataclass(frozen=True)
class Survey:
    """The shards of one configuration, in reading order. Counts are None where no shard was found.

    `missing` are warnings while composing and errors for `daisy train`; anything worse has been raised.
    """

    train: list[Shard]
    val: dict[str, list[Shard]]
    train_tokens: int | None
    document_tokens: float | None
    tokenizer: TokenizerInfo | None
    tokenizer_folder: Path | None
    missing: list[Problem]


def survey(composed: Composed) -> Survey:
    """Find and check the shards of a composed configuration.

    Raises ConfigError where shards disagree with each other or with the model, ShardError where one
    is damaged.
    """
    config = composed.config
    globs = {"train_shards": config.train_shards} | {f"val_shards.{n}": globs for n, globs in config.val_shards.items()}
    paths = {key: _matched(composed, key, patterns) for key, patterns in globs.items()}
    problems = list(_overlaps(composed, paths))
    if problems:
        raise ConfigError(problems)
    folders: dict[Path, _Folder] = {}
    shards = {key: [_check_shard(path, folders) for path in found] for key, found in paths.items()}
    train = shards.pop("train_shards")
    val = {key.removeprefix("val_shards."): found for key, found in shards.items()}
    home = _one_tokenizer(composed, [shard.path for found in (train, *val.values()) for shard in found], folders)
    tokenizer = folders[home].tokenizer if home is not None else None
    if tokenizer is not None:
        problems = [*_tokenizer_problems(composed, tokenizer), *_size_problems(composed, train, val)]
        if problems:
            raise ConfigError(problems)
    return Survey(
        train=train,
        val=val,
        train_tokens=sum(shard.tokens for shard in train) if train else None,
        document_tokens=_mean_document(train, folders),
        tokenizer=tokenizer,
        tokenizer_folder=home,
        missing=_missing(composed, paths),
    )


@dataclass(frozen=True)
class _Folder:
    """What is read once of each folder."""

    dataset: Dataset | None
    listed: frozenset[str]

    @property
    def tokenizer(self) -> TokenizerInfo:
        return self.dataset.tokenizer if self.dataset else COMMUNITY_TOKENIZER


def _matched(composed: Composed, key: str, globs: list[str]) -> list[Path]:
    """As `_match`. Raises ConfigError naming the key where one of the files may not be looked at."""
    try:
        return _match(globs)
    except OSError as error:
        what = f"{key}: {error.filename}: {error.strerror or error}; name the shards more closely"
        raise ConfigError([composed.problem([key.partition(".")[0]], what)]) from error


def _match(globs: list[str]) -> list[Path]:
    """The files that globs name, each once, in the order of the globs and then of the names."""
    found: dict[Path, Path] = {}
    for pattern in globs:
        with suppress(RuntimeError):  # ~somebody who has no home
            pattern = os.fspath(Path(pattern).expanduser())
        for path in sorted(glob(pattern, recursive=True)):
            found.setdefault(Path(path).resolve(), Path(path))
    return list(found.values())


def _overlaps(composed: Composed, paths: dict[str, list[Path]]) -> Iterator[Problem]:
    train = {path.resolve() for path in paths["train_shards"]}
    for key, found in paths.items():
        shared = [path for path in found if key != "train_shards" and path.resolve() in train]
        if shared:
            yield composed.problem(
                ["val_shards", "train_shards"],
                f"{shared[0]} is a validation shard and a training shard ({len(shared)} in all); "
                "a glob such as *_train_*.bin keeps them apart",
            )


def _missing(composed: Composed, paths: dict[str, list[Path]]) -> list[Problem]:
    keyed = [("train_shards", pattern) for pattern in composed.config.train_shards]
    keyed += [("val_shards", pattern) for globs in composed.config.val_shards.values() for pattern in globs]
    if all(paths.values()) and len(keyed) == len(paths):
        return []
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


def _check_shard(path: Path, folders: dict[Path, _Folder]) -> Shard:
    header = read_header(path)
    folder = path.parent
    if folder not in folders:
        dataset = read_dataset(folder)
        folders[folder] = _Folder(dataset, frozenset(dataset.entries() if dataset else ()))
    if folders[folder].dataset is not None and path.name not in folders[folder].listed:
        raise ShardError(f"{path}: not listed in {folder / DATASET_FILE}; a shard of another dataset is mixed in")
    return Shard(path, header.tokens)


def _one_tokenizer(composed: Composed, paths: list[Path], folders: dict[Path, _Folder]) -> Path | None:
    """The folder whose tokenizer all shards share, or None without shards."""
    found: dict[tuple[str, int, str], Path] = {}
    for path in paths:
        info = folders[path.parent].tokenizer
        # A folder without dataset.json has no fingerprint: there, name and size must do.
        key = (info.name, info.vocab_size, info.fingerprint if info.name == "bpe" else "")
        found.setdefault(key, path)
    if len(found) > 1:
        named = [f"{path} is '{name}' ({vocab_size} ids)" for (name, vocab_size, _), path in list(found.items())[:2]]
        message = f"shards of different tokenizers are mixed: {named[0]}, {named[1]}"
        raise ConfigError([composed.problem(["val_shards", "train_shards"], message)])
    return next(iter(found.values())).parent if found else None


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


def _size_problems(composed: Composed, train: list[Shard], val: dict[str, list[Shard]]) -> Iterator[Problem]:
    config = composed.config
    if config.begin_shard >= len(train) > 0:
        yield composed.problem(
            ["begin_shard"], f"begin_shard {config.begin_shard} is past the last of {len(train)} training shards"
        )
    needed = {"train_shards": (train, "training_sequence_length", config.training_sequence_length)}
    needed |= {
        f"val_shards ({n})": (found, "val_seq_len", config.validation_sequence_length) for n, found in val.items()
    }
    for key, (found, length_key, length) in needed.items():
        held = sum(shard.tokens for shard in found)
        # One token more than a sequence: the target of the last one.
        if found and held < length + 1:
            yield composed.problem(
                [length_key, key.split(" ")[0]],
                f"{key}: {held} tokens in all cannot fill one sequence of {length} and its last target",
            )


def _mean_document(train: list[Shard], folders: dict[Path, _Folder]) -> float | None:
    """Mean document length in tokens over the folders that say it, separators included."""
    tokens = documents = 0
    for folder, name in {(shard.path.parent, split_of(shard.path)) for shard in train}:
        dataset = folders[folder].dataset
        for split_name, split in (dataset.splits if dataset else {}).items():
            if split_name == name:
                tokens += split.tokens
                documents += split.documents
    return tokens / documents if documents else None
