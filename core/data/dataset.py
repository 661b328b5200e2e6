"""A dataset: a folder of shards and the `dataset.json` that says what they are.

`dataset.json` names the tokenizer, and every shard with its token count and hash; it is written last,
so a folder that has it is complete. Folders without one (the speed-run community's) are read as GPT-2.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.data.errors import ShardError
from core.data.files import write_atomic
from core.data.tokenizers import RANKS_FILE, Tokenizer, load_ranks, load_tokenizer

DATASET_FILE = "dataset.json"
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

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Split:
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**data, "shards": [ShardEntry(**entry) for entry in data["shards"]]})


@dataclass
class TokenizerInfo:
    """Which tokenizer wrote the shards. `file` is its ranks file in the folder, where one is needed."""

    name: str
    vocab_size: int
    eot_token_id: int
    fingerprint: str
    file: str | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenizerInfo:
        file = RANKS_FILE if tokenizer.ranks_file() is not None else None
        return cls(tokenizer.name, tokenizer.vocab_size, tokenizer.eot_token_id, tokenizer.fingerprint(), file)


# What a folder without a dataset.json is taken to be.
COMMUNITY_TOKENIZER = TokenizerInfo("gpt2", 50257, 50256, "")


@dataclass
class Dataset:
    """What a folder holds."""

    name: str
    tokenizer: TokenizerInfo
    splits: dict[SplitName, Split]
    source: dict[str, Any] = field(default_factory=dict)

    def entries(self) -> dict[str, ShardEntry]:
        """Every shard by file name."""
        return {entry.file: entry for split in self.splits.values() for entry in split.shards}

    def save(self, folder: Path) -> None:
        """Write `dataset.json` atomically."""
        data = {"format": FORMAT, **asdict(self)}
        write_atomic(folder / DATASET_FILE, (json.dumps(data, indent=2) + "\n").encode())


def read_dataset(folder: Path) -> Dataset | None:
    """The dataset of a folder, or None where it has no `dataset.json`. Raises ShardError if damaged."""
    path = folder / DATASET_FILE
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ShardError(f"{path}: cannot be read: {error}") from error
    try:
        if data["format"] != FORMAT:
            raise ShardError(f"{path}: format {data['format']} is newer than this Daisy reads ({FORMAT})")
        splits = {name: Split.from_dict(split) for name, split in data["splits"].items()}
        return Dataset(data["name"], TokenizerInfo(**data["tokenizer"]), splits, data["source"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{path}: damaged: {type(error).__name__}: {error}") from error


def dataset_tokenizer(folder: Path, info: TokenizerInfo) -> Tokenizer:
    """The tokenizer that a dataset was written with, checked against its fingerprint."""
    if info.file is not None:
        tokenizer: Tokenizer = load_ranks(folder / info.file)
    else:
        tokenizer = load_tokenizer(info.name)
    if info.fingerprint and tokenizer.fingerprint() != info.fingerprint:
        raise ShardError(f"{folder}: its tokenizer '{info.name}' is not the one that wrote these shards")
    return tokenizer
