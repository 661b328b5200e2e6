"""The datasets of a folder: what `daisy data list`, the start page and the Data screen show of them.

They are found in `data/` and wherever the globs of configs point. Headers and `dataset.json` only: a look costs
milliseconds, and a damaged dataset is one that is listed with what is wrong. What reads all tokens is
`core.data.verify`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from glob import glob
from pathlib import Path
from typing import Any, Literal

from core.config.compose import compose
from core.config.errors import ConfigError
from core.config.files import list_files
from core.data.dataset import DATASET_FILE, STAGING
from core.data.errors import ShardError
from core.data.folder import open_folder
from core.data.shards import read_header
from core.text import count

State = Literal["whole", "unfinished", "damaged"]


@dataclass(frozen=True)
class SplitFound:
    """One split. `documents` and `text_bytes` are None where no dataset.json says them."""

    tokens: int
    shards: int
    documents: int | None = None
    text_bytes: int | None = None


@dataclass(frozen=True)
class DatasetFound:
    """One folder of shards. `problem` says what is wrong with one that is unfinished or damaged.

    `is_busy`: somebody prepares it right now. `size` is that of the shards in bytes, and `configs` are the names of
    those that read it.
    """

    path: Path
    state: State
    name: str
    problem: str | None = None
    is_busy: bool = False
    tokenizer: str | None = None
    vocab_size: int | None = None
    splits: dict[str, SplitFound] = field(default_factory=dict)
    size: int = 0
    configs: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(split.tokens for split in self.splits.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "path": str(self.path), "configs": list(self.configs)}


def datasets(folder: Path = Path()) -> list[DatasetFound]:
    """The datasets of a folder by path: those in `data/`, then what configs read elsewhere."""
    readers = _readers(folder)
    found = {path.resolve(): path for path in [*sorted((folder / "data").glob("*/")), *readers]}
    names: dict[Path, list[str]] = {}
    for path, configs in readers.items():
        names.setdefault(path.resolve(), []).extend(configs)
    return [
        _found(path, tuple(names.get(resolved, ())))
        for resolved, path in found.items()
        if (path / DATASET_FILE).exists() or (path / STAGING).exists() or any(path.glob("*.bin"))
    ]


def dataset_row(found: DatasetFound) -> tuple[str, str, str, str, str]:
    """A dataset in words: path, tokens by split, documents, tokenizer, and who reads it or what is wrong with it."""
    tokens = ", ".join(f"{count(split.tokens)} {name}" for name, split in found.splits.items()) or "-"
    known = [split.documents for split in found.splits.values() if split.documents is not None]
    documents = f"{sum(known):,}" if known else "-"
    note = found.problem or ", ".join(found.configs) or "-"
    if found.is_busy and found.state == "whole":
        note = f"{note} (is being prepared anew)"
    return str(found.path), tokens, documents, found.tokenizer or "-", note


def is_being_prepared(folder: Path) -> bool:
    """Whether a process holds the lock of a preparation there, as the kernel tells; never where it does not tell.

    Rejected: trying the lock, which would be in the way of a preparation that begins at that moment.
    """
    try:
        lock = (folder / STAGING / "lock").stat().st_ino
        held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return False
    return any(words[1] == "FLOCK" and words[5].endswith(f":{lock}") for words in held if len(words) > 5)


def _readers(folder: Path) -> dict[Path, list[str]]:
    """The folders whose shards configs read, with the configs' names. A config that does not compose reads nothing."""
    found: dict[Path, list[str]] = {}
    for name, path in list_files("config").items():
        with suppress(ConfigError):
            config = compose(path).config
            for pattern in (*config.train_shards, *(one for globs in config.val_shards.values() for one in globs)):
                for parent in _parents(pattern, folder):
                    if name not in found.setdefault(parent, []):
                        found[parent].append(name)
    return found


def _parents(pattern: str, folder: Path) -> Iterator[Path]:
    with suppress(RuntimeError):  # ~somebody who has no home
        matches = glob(str(Path(pattern).expanduser()), root_dir=folder, recursive=True)
        yield from {folder / Path(match).parent: None for match in sorted(matches)}


def _found(path: Path, configs: tuple[str, ...]) -> DatasetFound:
    busy = is_being_prepared(path)
    try:
        opened = open_folder(path)
        headers = {shard: read_header(shard) for shard in opened.shards}
    except ShardError as error:
        if (path / STAGING).exists() and not (path / DATASET_FILE).exists():
            how = "is being prepared" if busy else "holds an unfinished preparation; repeat its command to finish it"
            return DatasetFound(path, "unfinished", path.name, f"{path}: {how}", busy, configs=configs)
        return DatasetFound(path, "damaged", path.name, str(error), busy, configs=configs)
    counted = opened.dataset.splits if opened.dataset is not None else {}
    by_name = {str(name): split for name, split in counted.items()}
    splits = {
        name: SplitFound(
            tokens=sum(headers[shard].tokens for shard in shards),
            shards=len(shards),
            documents=by_name[name].documents if name in by_name else None,
            text_bytes=by_name[name].text_bytes if name in by_name else None,
        )
        for name, shards in opened.splits().items()
    }
    listed = opened.dataset.entries() if opened.dataset is not None else None
    stray = next((shard for shard in opened.shards if listed is not None and shard.name not in listed), None)
    return DatasetFound(
        path,
        "damaged" if stray is not None else "whole",
        opened.dataset.name if opened.dataset is not None else path.name,
        f"{stray}: not listed in {DATASET_FILE}; a shard of another dataset is mixed in" if stray else None,
        busy,
        opened.tokenizer.name,
        opened.tokenizer.vocab_size,
        splits,
        sum(shard.stat().st_size for shard in opened.shards),
        configs,
    )
