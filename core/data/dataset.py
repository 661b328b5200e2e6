"""A dataset: a folder of shards and the `dataset.json` that says what they are.

`dataset.json` names the tokenizer, and every shard with its token count and hash; it is written last,
so a folder that has it is complete. Folders without one (the speed-run community's) are read as GPT-2.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.data.documents import Position
from core.data.errors import ShardError
from core.data.files import read_json
from core.data.tokenizers import RANKS_FILE, Tokenizer, load_ranks, load_tokenizer
from core.files import write_atomic

DATASET_FILE = "dataset.json"
# Where a preparation works until it is whole, and what says how far it came.
STAGING = ".preparing"
STATE_FILE = "progress.json"
FORMAT = 1
SplitName = Literal["train", "val"]


@dataclass
class ShardEntry:
    """One shard as `dataset.json` lists it; `bytes` and `sha256` are those of the whole file."""

    file: str
    tokens: int
    bytes: int
    sha256: str


@dataclass
class Split:
    """One split: its tokens (separators included), documents, the UTF-8 bytes of its text, and its shards."""

    tokens: int = 0
    documents: int = 0
    text_bytes: int = 0
    shards: list[ShardEntry] = field(default_factory=list)


@dataclass
class TokenizerInfo:
    """Which tokenizer wrote the shards. `file` is its ranks file in the folder, with pattern and special
    tokens here; gpt2 and bytes need none."""

    name: str
    vocab_size: int
    eot_token_id: int
    fingerprint: str
    file: str | None = None
    pattern: str | None = None
    special_tokens: dict[str, int] | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenizerInfo:
        file = RANKS_FILE if tokenizer.ranks_file() is not None else None
        return cls(
            tokenizer.name,
            tokenizer.vocab_size,
            tokenizer.eot_token_id,
            tokenizer.fingerprint(),
            file,
            tokenizer.pattern(),
            tokenizer.special_tokens(),
        )


# What a folder without a dataset.json is taken to be.
COMMUNITY_TOKENIZER = TokenizerInfo("gpt2", 50257, 50256, "")


@dataclass
class Dataset:
    """What a folder holds."""

    name: str
    tokenizer: TokenizerInfo
    splits: dict[SplitName, Split]
    source: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def entries(self) -> dict[str, ShardEntry]:
        """Every shard by file name."""
        return {entry.file: entry for split in self.splits.values() for entry in split.shards}

    def save(self, path: Path) -> None:
        """Write a `dataset.json` atomically."""
        write_atomic(path, (json.dumps(asdict(self), indent=2) + "\n").encode())


@dataclass
class PreparationState:
    """What `.preparing/progress.json` holds: where a preparation can be taken up.

    Once all is written, `moving` lists the files on their way into the folder, and `replaced` those of
    the dataset that gives way to them.
    """

    plan: dict[str, Any]
    position: Position
    current: SplitName
    splits: dict[SplitName, Split]
    moving: list[str] | None = None
    replaced: list[str] = field(default_factory=list)


def read_dataset(folder: Path) -> Dataset | None:
    """The dataset of a folder, or None where it has no `dataset.json`.

    Raises ShardError where it is damaged, or where shards are still on their way into the folder.
    """
    path = folder / DATASET_FILE
    dataset = read_json(path, Dataset)
    if dataset is None:
        state = read_json(folder / STAGING / STATE_FILE, PreparationState)
        if state is not None and state.moving is not None:
            raise ShardError(f"{folder}: holds an unfinished preparation; repeat its command to finish it")
        return None
    if dataset.format != FORMAT:
        raise ShardError(f"{path}: format {dataset.format} is not the one this Daisy reads ({FORMAT})")
    if any(Path(name).name != name for name in (*dataset.entries(), dataset.tokenizer.file or RANKS_FILE)):
        raise ShardError(f"{path}: damaged: it names files outside its folder")
    return dataset


def dataset_tokenizer(folder: Path, info: TokenizerInfo) -> Tokenizer:
    """The tokenizer that a dataset was written with, checked against its fingerprint."""
    if info.file is not None:
        tokenizer: Tokenizer = load_ranks(folder / info.file, info.name, info.pattern, info.special_tokens)
    else:
        tokenizer = load_tokenizer(info.name)
    if info.fingerprint and tokenizer.fingerprint() != info.fingerprint:
        raise ShardError(f"{folder}: its tokenizer '{info.name}' is not the one that wrote these shards")
    return tokenizer
