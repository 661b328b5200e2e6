"""Prepare text into shards: stream, tokenise on all cores, split, write; and go on after a kill.

Everything is written to `OUT/.preparing/` and moved into place when it is whole, `dataset.json` last,
so nothing that looks finished ever is not. Pieces are tokenised by threads (tiktoken releases the
interpreter lock) and written in the order they were read, so the result does not depend on the number
of workers. Rejected: processes, which spend on copying text what they gain.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import (
    DATASET_FILE,
    STAGING,
    STATE_FILE,
    Dataset,
    PreparationState,
    Split,
    SplitName,
    TokenizerInfo,
    read_dataset,
)
from core.data.documents import DocumentSource, Piece, Position
from core.data.errors import DataUsageError, ShardError
from core.data.files import write_failure
from core.data.shards import MAX_SHARD_TOKENS, Tokens, version_for
from core.data.split_writer import PARTIAL, SplitWriter
from core.data.staging import hold_staging, load_state
from core.data.tokenise import tokenised
from core.data.tokenizers import RANKS_FILE, Tokenizer
from core.errors import StoppedError
from core.files import sync_folder, write_atomic

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
            raise DataUsageError(f"the validation fraction must be at least 0 and below 1; got {self.val_fraction}")
        if not 1 <= self.shard_tokens <= MAX_SHARD_TOKENS:
            raise DataUsageError(f"a shard holds 1 to {MAX_SHARD_TOKENS} tokens; got {self.shard_tokens}")
        if self.workers < 1:
            raise DataUsageError(f"at least one worker is needed; got {self.workers}")


@dataclass(frozen=True)
class Prepared:
    """The dataset, and whether it was already there."""

    dataset: Dataset
    already: bool


def dataset_name(folder: Path) -> str:
    """The name that a dataset takes from its folder: its last part, safe in a file name and a glob."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", folder.resolve().name).strip("._") or "data"


def prepare(
    source: DocumentSource,
    tokenizer: Tokenizer,
    out: Path,
    options: PrepareOptions,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    save_every_tokens: int = SAVE_EVERY_TOKENS,
) -> Prepared:
    """Prepare a dataset in the folder `out`, or finish one that was begun, or return one that is there.

    `stop` is asked after every piece. Raises StoppedError where it says so, and ShardError where `out`
    holds something else, cannot be written, or the input is unusable.
    """
    if source.one_document and options.val_fraction > 0:
        raise _one_document(source)
    plan = _plan(source, tokenizer, options)
    if not options.overwrite and not (out / STAGING).exists() and (present := _present(out)) is not None:
        return Prepared(_same_dataset(out, present, plan), already=True)  # nothing is written, not even a lock
    try:
        with _made(out), hold_staging(out) as staging:
            present = _present(out)
            if present is not None and not options.overwrite:
                return Prepared(_same_dataset(out, present, plan), already=True)
            work = _Work(staging, source, tokenizer, options, plan)
            try:
                _refuse_strays(out, present, work)
                work.run(report, stop, save_every_tokens)
            finally:
                work.close()
            return Prepared(_move_into_place(work, out), already=False)
    except OSError as error:
        resumable = (out / STAGING / STATE_FILE).exists()
        kept = "the same command goes on from what was saved" if resumable else "nothing was left behind"
        raise write_failure(error, out, kept) from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A folder and those above it; what was made for work that fails and leaves nothing in it goes again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something was left in it, which is kept
            for path in missing:
                path.rmdir()
        raise


def _plan(source: DocumentSource, tokenizer: Tokenizer, options: PrepareOptions) -> dict[str, Any]:
    """Everything that decides which tokens end up where; workers do not."""
    return {
        "input": source.plan(),
        "tokenizer": tokenizer.fingerprint(),
        "name": options.name,
        "val_fraction": options.val_fraction,
        "shard_tokens": options.shard_tokens,
    }


def _present(out: Path) -> Dataset | None:
    """The dataset in the folder; one that is still on its way there is none yet."""
    if not (out / DATASET_FILE).exists():
        return None
    try:
        return read_dataset(out)
    except ShardError as error:
        raise ShardError(f"{error}; delete it and the shards beside it to start over") from error


def _same_dataset(out: Path, present: Dataset, plan: dict[str, Any]) -> Dataset:
    """The dataset that is there, where it is the one asked for and complete."""
    if plan["input"] is None or not _compatible(present.source.get("plan"), plan):
        raise DataUsageError(
            f"{out}: already holds the dataset '{present.name}' of other input or options; "
            "use --overwrite to replace it, or another --out"
        )
    _check_files(out, present, "use --overwrite to prepare the dataset again")
    state = load_state(out / STAGING)
    if state is not None and _compatible(state.plan, plan):
        (out / STAGING / STATE_FILE).unlink()  # an --overwrite that was stopped, and is not asked for any more
    return present


def _check_files(out: Path, dataset: Dataset, advice: str) -> None:
    for name, entry in dataset.entries().items():
        path = out / name
        if not path.is_file() or path.stat().st_size != entry.bytes:
            raise ShardError(f"{path}: missing or damaged; {advice}")


def _refuse_strays(out: Path, present: Dataset | None, work: _Work) -> None:
    """Files that nothing accounts for would be read together with the new ones, or be lost under them."""
    known = {*(present.entries() if present else [])}
    known |= {present.tokenizer.file or ""} if present else set()
    known |= {*(work.moving or []), *work.replaced}
    strays = sorted(path.name for path in out.glob("*.bin") if path.name not in known)
    if strays:
        raise DataUsageError(f"{out}: already holds {strays[0]}, of no {DATASET_FILE}; use another --out")
    ranks, there = work.tokenizer.ranks_file(), out / RANKS_FILE
    if ranks is not None and RANKS_FILE not in known and there.exists() and there.read_bytes() != ranks:
        raise DataUsageError(f"{there}: another tokenizer is already there; use another --out")


def _compatible(saved: Any, plan: dict[str, Any]) -> bool:
    """The same plan; what was read strictly may also go on with undecodable bytes replaced."""

    def relaxed(one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "input": {**one["input"], "errors": None}}

    if isinstance(saved, dict) and isinstance(saved.get("input"), dict) and saved["input"].get("errors") == "strict":
        return plan["input"] is not None and relaxed(saved) == relaxed(plan)
    return bool(saved == plan)


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
        self.position = state.position if state else Position()
        self.current: SplitName = state.current if state else "train"
        self.moving = state.moving if state else None
        self.replaced = state.replaced if state else []
        names: tuple[SplitName, SplitName] = ("train", "val")
        version, length = version_for(tokenizer.vocab_size), options.shard_tokens
        self._writers: dict[SplitName, SplitWriter] = {
            name: SplitWriter(
                staging, f"{options.name}_{name}", version, length, state.splits.get(name) if state else None
            )
            for name in names
        }
        self._separator = np.array([tokenizer.eot_token_id], dtype=np.uint32)

    @property
    def splits(self) -> dict[SplitName, Split]:
        return {name: writer.split for name, writer in self._writers.items()}

    @property
    def tokens(self) -> int:
        return self._writers["train"].split.tokens + self._writers["val"].split.tokens

    @property
    def documents(self) -> int:
        return self._writers["train"].split.documents + self._writers["val"].split.documents

    def run(self, report: Callable[[Progress], None], stop: Callable[[], bool], save_every_tokens: int) -> None:
        """Read to the end of the input, saving the position as it goes and where it is stopped."""
        if self.moving is not None:
            return
        saved_at = self.tokens
        for piece, tokens in tokenised(self.source.pieces(self.position), self.tokenizer, self.options.workers):
            self._write(piece, tokens)
            if self.tokens - saved_at >= save_every_tokens:
                self._save()
                saved_at = self.tokens
            report(self._progress())
            if stop():
                raise self._stopped()
        self._check()
        for writer in self._writers.values():
            writer.finish()
        self.moving = [entry.file for split in self.splits.values() for entry in split.shards]
        old = _present(self.staging.parent)
        if old is not None:
            self.replaced = [*old.entries(), *([old.tokenizer.file] if old.tokenizer.file else [])]
        self._save()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _write(self, piece: Piece, tokens: Tokens) -> None:
        if piece.starts_document:
            self.current = self._split_for_next()
            self._writers[self.current].split.documents += 1
            self._writers[self.current].append(self._separator)
        writer = self._writers[self.current]
        writer.append(tokens)
        writer.split.text_bytes += piece.size
        self.position = piece.after

    def _split_for_next(self) -> SplitName:
        """Validation while it has less than its share of what came before, so it is never more than one
        document off. The first document trains; the second one validates."""
        return "val" if self._writers["val"].split.tokens < self.options.val_fraction * self.tokens else "train"

    def _check(self) -> None:
        """Refuse what cannot become a dataset. The same command could never succeed, so nothing is kept."""
        given = ", ".join(self.source.given)
        error: ShardError | None = None
        if self.documents == 0:
            error = ShardError(f"{given}: holds no text")
        elif self.documents == 1 and self.options.val_fraction > 0:
            error = _one_document(self.source)
        elif self.source.plan() != self.plan["input"]:
            error = ShardError(f"{given}: was changed while it was read; repeat the command when it stands still")
        if error is not None:
            (self.staging / STATE_FILE).unlink(missing_ok=True)
            raise error

    def _save(self) -> None:
        if self.plan["input"] is None and self.moving is None:
            return  # standard input cannot be read again
        for writer in self._writers.values():
            writer.sync()
        state = PreparationState(self.plan, self.position, self.current, self.splits, self.moving, self.replaced)
        write_atomic(self.staging / STATE_FILE, json.dumps(asdict(state)).encode())

    def _stopped(self) -> StoppedError:
        self._save()
        if self.plan["input"] is None:
            return StoppedError("stopped; standard input cannot be read again, so nothing was kept")
        done = f" at {self._progress().bytes_done:,} of {self.source.total_bytes:,} bytes"
        return StoppedError(f"stopped{done}; the same command goes on from there")

    def _usable_state(self) -> PreparationState | None:
        """What an earlier run of the same plan saved. Anything else is dropped with --overwrite only."""
        out = self.staging.parent
        try:
            state = load_state(self.staging, "delete {} to start over, or use --overwrite")
        except ShardError:
            if not self.options.overwrite:
                raise
            state = None
        if state is not None and self.plan["input"] is not None and _compatible(state.plan, self.plan):
            return state
        if state is not None and state.plan.get("input") is not None and not self.options.overwrite:
            raise DataUsageError(
                f"{out}: holds an unfinished preparation of other input or options; "
                "repeat that command to finish it, or use --overwrite to drop it"
            )
        if state is not None and state.moving is not None and not (out / DATASET_FILE).exists():
            for name in {*state.moving, *state.replaced}:  # half of an exchange that nobody will finish
                (out / Path(name).name).unlink(missing_ok=True)
        for path in self.staging.iterdir():
            if path.name != "lock":
                path.unlink()
        return None

    def _progress(self) -> Progress:
        known = self.source.total_bytes is not None
        done = self.source.bytes_before(self.position) if known else sum(s.text_bytes for s in self.splits.values())
        return Progress(done, self.source.total_bytes, self.tokens, self.documents)


def _one_document(source: DocumentSource) -> DataUsageError:
    return DataUsageError(
        f"{', '.join(source.given)}: holds only one document, and a document is never split between training "
        "and validation; use --val-fraction 0, give more files, or say --format jsonl if it holds one a line"
    )


def _move_into_place(work: _Work, out: Path) -> Dataset:
    """Rename the finished files into `out`, `dataset.json` last. Safe to repeat after a kill anywhere.

    Whatever needs room on the disk is written to the staging folder before the first rename.
    """
    staging, ranks = work.staging, work.tokenizer.ranks_file()
    info = TokenizerInfo.of(work.tokenizer)
    dataset = Dataset(work.options.name, info, work.splits, {"given": work.source.given, "plan": work.plan})
    if ranks is not None:
        write_atomic(staging / RANKS_FILE, ranks)
    dataset.save(staging / DATASET_FILE)
    (out / DATASET_FILE).unlink(missing_ok=True)
    for name in dataset.entries():
        staged = staging / f"{name}{PARTIAL}"
        if staged.exists():
            staged.replace(out / name)
    _check_files(out, dataset, f"delete {staging} and repeat the command")
    kept = {*dataset.entries(), info.file}
    for name in work.replaced:
        if name not in kept:
            (out / Path(name).name).unlink(missing_ok=True)
    if ranks is not None:
        (staging / RANKS_FILE).replace(out / RANKS_FILE)
    sync_folder(out)
    (staging / DATASET_FILE).replace(out / DATASET_FILE)
    sync_folder(out)
    shutil.rmtree(staging)
    return dataset
