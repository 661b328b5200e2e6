"""Prepare text into shards: stream, tokenise on all cores, split, write; and go on after a kill.

Everything is written to `OUT/.preparing/` and moved into place when it is whole, `dataset.json` last,
so nothing that looks finished ever is not. Pieces are tokenised by threads (tiktoken releases the
interpreter lock) and written in the order they were read, so the result does not depend on the number
of workers. Rejected: processes, which spend on copying text what they gain.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import DATASET_FILE, Dataset, ShardEntry, Split, SplitName, TokenizerInfo, read_dataset
from core.data.documents import DocumentSource, Piece, Position
from core.data.errors import ShardError
from core.data.files import sync_folder, write_atomic, write_errors
from core.data.shards import MAX_SHARD_TOKENS, ShardWriter, Tokens, version_for
from core.data.tokenizers import RANKS_FILE, Tokenizer

STAGING = ".preparing"
STATE_FILE = "progress.json"
# Text handed to one thread at a time: large against the cost of a task, small against memory.
_TASK_BYTES = 1 << 18
# Tokens between two savings of the position: a kill costs at most the work on these.
SAVE_EVERY_TOKENS = 1 << 24


@dataclass(frozen=True)
class Progress:
    """How far a preparation is. Bytes are of the input; `total_bytes` is None for standard input."""

    bytes_done: int
    total_bytes: int | None
    tokens: int
    documents: int


@dataclass(frozen=True)
class PrepareOptions:
    """How to prepare: the share of tokens for validation, and the length of a shard in tokens."""

    name: str
    val_fraction: float = 0.01
    shard_tokens: int = 100_000_000
    workers: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ShardError(f"the validation fraction must be at least 0 and below 1; got {self.val_fraction}")
        if not 1 <= self.shard_tokens <= MAX_SHARD_TOKENS:
            raise ShardError(f"a shard holds 1 to {MAX_SHARD_TOKENS} tokens; got {self.shard_tokens}")
        if self.workers < 1:
            raise ShardError(f"at least one worker is needed; got {self.workers}")


def dataset_name(folder: Path) -> str:
    """The name that a dataset takes from its folder: its last part, safe in a file name and a glob."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", folder.resolve().name).strip("._") or "data"


def prepare(
    source: DocumentSource,
    tokenizer: Tokenizer,
    out: Path,
    options: PrepareOptions,
    report: Callable[[Progress], None] = lambda progress: None,
    save_every_tokens: int = SAVE_EVERY_TOKENS,
) -> Dataset:
    """Prepare a dataset in the folder `out`, or finish one that was begun, or return one that is there.

    Raises ShardError where `out` holds something else, cannot be written, or the input is unusable.
    """
    plan = _plan(source, tokenizer, options)
    with write_errors(out, "mend that and repeat the command; it goes on from what was saved"):
        out.mkdir(parents=True, exist_ok=True)
        with _lock(out) as staging:
            present = read_dataset(out)
            if present is not None and not options.overwrite:
                return _same_dataset(out, present, plan)
            _refuse_strays(out, present, options.name)
            work = _Work(staging, source, tokenizer, options, plan)
            work.run(report, save_every_tokens)
            return _move_into_place(work, out)


def _plan(source: DocumentSource, tokenizer: Tokenizer, options: PrepareOptions) -> dict[str, Any]:
    """Everything that decides which tokens end up where; workers do not."""
    return {
        "input": source.plan(),
        "tokenizer": tokenizer.fingerprint(),
        "name": options.name,
        "val_fraction": options.val_fraction,
        "shard_tokens": options.shard_tokens,
    }


@contextmanager
def _lock(out: Path) -> Iterator[Path]:
    """The staging folder, held by this process alone."""
    staging = out / STAGING
    staging.mkdir(exist_ok=True)
    with (staging / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ShardError(
                f"{out}: another preparation is writing there; wait for it or choose another --out"
            ) from error
        try:
            yield staging
        finally:
            if staging.exists() and not (staging / STATE_FILE).exists():
                shutil.rmtree(staging)  # nothing in it can be taken up again


def _same_dataset(out: Path, present: Dataset, plan: dict[str, Any]) -> Dataset:
    if plan["input"] is not None and _compatible(present.source.get("plan"), plan):
        return present
    raise ShardError(
        f"{out}: already holds the dataset '{present.name}' of other input or options; "
        "use --overwrite to replace it, or another --out"
    )


def _refuse_strays(out: Path, present: Dataset | None, name: str) -> None:
    """Shards that nothing accounts for would be read together with the new ones."""
    state = _load_state(out / STAGING) or {}
    known = {entry["file"] for entry in state.get("moving") or []} | set(present.entries() if present else [])
    strays = sorted(path.name for path in out.glob(f"{name}_*.bin") if path.name not in known)
    if strays:
        raise ShardError(f"{out}: already holds {strays[0]}, of no dataset.json; use another --out or --name")


def _compatible(saved: Any, plan: dict[str, Any]) -> bool:
    """The same plan; what was read strictly may also go on with undecodable bytes replaced."""
    if isinstance(saved, dict) and isinstance(saved.get("input"), dict) and saved["input"].get("errors") == "strict":
        return {**saved, "input": {**saved["input"], "errors": None}} == {
            **plan,
            "input": {**plan["input"], "errors": None},
        }
    return bool(saved == plan)


def _load_state(staging: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads((staging / STATE_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ShardError(f"{staging / 'progress.json'}: damaged ({error}); delete {staging} to start over") from error
    return state


class _SplitWriter:
    """Writes one split as a row of shards, each `shard_tokens` long but the last."""

    def __init__(
        self, staging: Path, prefix: str, version: int, shard_tokens: int, saved: dict[str, Any] | None
    ) -> None:
        self._staging = staging
        self._prefix = prefix
        self._version = version
        self._shard_tokens = shard_tokens
        self.split = Split()
        self._writer: ShardWriter | None = None
        if saved is not None:
            shards = [ShardEntry(**entry) for entry in saved["shards"]]
            self.split = Split(saved["tokens"], saved["documents"], saved["text_bytes"], shards)
            rest = saved["tokens"] - sum(entry.tokens for entry in shards)
            if rest:
                self._writer = ShardWriter(self._path(), version, rest)

    def append(self, tokens: Tokens) -> None:
        self.split.tokens += len(tokens)
        while len(tokens):
            if self._writer is None:
                self._writer = ShardWriter(self._path(), self._version)
            room = self._shard_tokens - self._writer.tokens
            self._writer.append(tokens[:room])
            tokens = tokens[room:]
            if self._writer.tokens == self._shard_tokens:
                self._finish_shard()

    def sync(self) -> None:
        if self._writer is not None:
            self._writer.sync()

    def finish(self) -> None:
        if self._writer is not None:
            self._finish_shard()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _path(self) -> Path:
        return self._staging / f"{self._prefix}_{len(self.split.shards):06d}.bin.partial"

    def _finish_shard(self) -> None:
        assert self._writer is not None
        self._writer.finish()
        path = self._writer.path
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.split.shards.append(
            ShardEntry(path.name.removesuffix(".partial"), self._writer.tokens, path.stat().st_size, digest)
        )
        self._writer = None


class _Work:
    """One preparation under way: the split writers, the position, and what is saved of them."""

    def __init__(
        self, staging: Path, source: DocumentSource, tokenizer: Tokenizer, options: PrepareOptions, plan: dict[str, Any]
    ) -> None:
        self.staging = staging
        self.source = source
        self.tokenizer = tokenizer
        self.options = options
        self.plan = plan
        state = self._usable_state()
        self.position = Position(**state["position"]) if state else Position()
        self.current: SplitName = state["current"] if state else "train"
        self.finished = bool(state and state.get("moving"))
        names: tuple[SplitName, SplitName] = ("train", "val")
        version = version_for(tokenizer.vocab_size)
        self.writers: dict[SplitName, _SplitWriter] = {
            name: _SplitWriter(
                staging,
                f"{options.name}_{name}",
                version,
                options.shard_tokens,
                state["splits"][name] if state else None,
            )
            for name in names
        }
        # False while one piece is being written: a state saved then would repeat or lose its tokens.
        self._consistent = True
        self._separator = np.array([tokenizer.eot_token_id], dtype=np.uint32)

    @property
    def splits(self) -> dict[SplitName, Split]:
        return {name: writer.split for name, writer in self.writers.items()}

    @property
    def tokens(self) -> int:
        return sum(split.tokens for split in self.splits.values())

    def run(self, report: Callable[[Progress], None], save_every_tokens: int) -> None:
        """Read to the end of the input, saving the position as it goes and when it is interrupted."""
        if self.finished:
            return
        saved_at = self.tokens
        try:
            for piece, tokens in _tokenised(self.source.pieces(self.position), self.tokenizer, self.options.workers):
                self._write(piece, tokens)
                if self.tokens - saved_at >= save_every_tokens:
                    self._save()
                    saved_at = self.tokens
                report(self._progress())
            self._check()
            self._consistent = False
            for writer in self.writers.values():
                writer.finish()
            self._consistent = self.finished = True
            self._save()
        except KeyboardInterrupt:
            if self._consistent:
                self._save()
            raise
        finally:
            for writer in self.writers.values():
                writer.close()

    def _write(self, piece: Piece, tokens: Tokens) -> None:
        self._consistent = False
        if piece.starts_document:
            self.current = self._split_for_next()
            self.writers[self.current].split.documents += 1
            self.writers[self.current].append(self._separator)
        writer = self.writers[self.current]
        writer.append(tokens)
        writer.split.text_bytes += piece.size
        self.position = piece.after
        self._consistent = True

    def _split_for_next(self) -> SplitName:
        """Validation while it has less than its share of what came before, so it is never more than one
        document off. The first document trains; the second one validates."""
        share = self.options.val_fraction * self.tokens
        return "val" if self.splits["val"].tokens < share else "train"

    def _check(self) -> None:
        documents = sum(split.documents for split in self.splits.values())
        if documents == 0:
            raise ShardError("the input holds no text")
        if self.options.val_fraction > 0 and documents == 1:
            raise ShardError(
                "the input holds only one document, and a document is never split between training and "
                "validation; give more files, or --val-fraction 0"
            )

    def _save(self) -> None:
        if self.plan["input"] is None and not self.finished:
            return  # standard input cannot be read again
        for writer in self.writers.values():
            writer.sync()
        state = {
            "plan": self.plan,
            "position": asdict(self.position),
            "current": self.current,
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            "moving": [asdict(entry) for split in self.splits.values() for entry in split.shards]
            if self.finished
            else None,
        }
        write_atomic(self.staging / STATE_FILE, json.dumps(state).encode())

    def _usable_state(self) -> dict[str, Any] | None:
        """What an earlier run saved; with --overwrite, or from standard input, it is dropped instead."""
        state = _load_state(self.staging)
        same = state is not None and self.plan["input"] is not None and _compatible(state["plan"], self.plan)
        if same:
            return state
        if state is not None and not self.options.overwrite:
            raise ShardError(
                f"{self.staging.parent}: holds an unfinished preparation of other input or options; "
                "repeat that command to finish it, or use --overwrite to drop it"
            )
        for path in self.staging.iterdir():
            if path.name != "lock":
                path.unlink()
        return None

    def _progress(self) -> Progress:
        documents = sum(split.documents for split in self.splits.values())
        known = self.source.total_bytes is not None
        done = self.source.bytes_before(self.position) if known else sum(s.text_bytes for s in self.splits.values())
        return Progress(done, self.source.total_bytes, self.tokens, documents)


def _move_into_place(work: _Work, out: Path) -> Dataset:
    """Rename the finished shards into `out`, `dataset.json` last. Safe to repeat after a kill."""
    old = read_dataset(out)
    if old is not None:
        (out / DATASET_FILE).unlink()
        for name in old.entries():
            (out / Path(name).name).unlink(missing_ok=True)
    info = TokenizerInfo.of(work.tokenizer)
    dataset = Dataset(work.options.name, info, work.splits, {"given": work.source.given, "plan": work.plan})
    for name in dataset.entries():
        staged = work.staging / f"{name}.partial"
        if staged.exists():
            staged.rename(out / name)
    ranks = work.tokenizer.ranks_file()
    if ranks is not None:
        write_atomic(out / RANKS_FILE, ranks)
    sync_folder(out)
    dataset.save(out)
    shutil.rmtree(work.staging)
    return dataset


def _tokenised(pieces: Iterator[Piece], tokenizer: Tokenizer, workers: int) -> Iterator[tuple[Piece, Tokens]]:
    """Every piece with its tokens, in order; at most two tasks a worker are under way or waiting."""

    def encode(batch: list[Piece]) -> list[Tokens]:
        return [tokenizer.encode(piece.text) for piece in batch]

    waiting: deque[tuple[list[Piece], Future[list[Tokens]]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="tokenise") as pool:
        try:
            for batch in _batches(pieces):
                waiting.append((batch, pool.submit(encode, batch)))
                if len(waiting) >= 2 * workers:
                    done, future = waiting.popleft()
                    yield from zip(done, future.result(), strict=True)
            while waiting:
                done, future = waiting.popleft()
                yield from zip(done, future.result(), strict=True)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _batches(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += piece.size
        if size >= _TASK_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
