"""The order in which training reads its tokens: a pure function of (seed, epoch, cursor).

Sequences lie one behind the other in each shard, `length` tokens apart, and each carries one token
more: its last target. Within a shard they are shuffled; from the second epoch on the shards are too. So
any batch of any run can be named by a number, on any number of ranks, and a resume reads what the
uninterrupted run would have read. Rejected: a loader with state of its own, which has to be saved, restored
and trusted.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from core.data.errors import ShardError
from core.data.shards import Tokens, open_shard

Batch = npt.NDArray[np.int64]
_FINGERPRINT_TOKENS = 4096


class TokenStream:
    """Sequences of `length` + 1 tokens, numbered from 0 over all epochs.

    The first epoch begins at shard `begin_shard`. With `shuffle` off the order is that of the shards, in
    every epoch: evaluation reads the same tokens each time.
    """

    def __init__(
        self, shards: Sequence[Path], length: int, *, seed: int = 0, begin_shard: int = 0, shuffle: bool = True
    ) -> None:
        self._shards: list[Tokens] = [open_shard(path) for path in shards]
        self._names = [path.name for path in shards]
        self._length = length
        self._seed = seed
        self._begin = begin_shard
        self._shuffle = shuffle
        self._counts = [max(0, (len(tokens) - 1) // length) for tokens in self._shards]
        if not sum(self._counts[begin_shard:]):
            named = ", ".join(map(str, shards)) or "no shards"
            raise ShardError(f"{named}: not one sequence of {length} tokens and its last target")

    @property
    def sequences_per_epoch(self) -> int:
        """Sequences in every epoch but the first, which may begin at a later shard."""
        return sum(self._counts)

    def position(self, cursor: int) -> tuple[int, int]:
        """The epoch that sequence number `cursor` is in, and its number within that epoch."""
        first = sum(self._counts[self._begin :])
        if cursor < first:
            return 0, cursor
        epoch, index = divmod(cursor - first, self.sequences_per_epoch)
        return epoch + 1, index

    def read(self, cursors: Iterable[int]) -> Batch:
        """The sequences with these numbers: (count, length + 1) int64 token ids."""
        return np.stack([self._sequence(cursor) for cursor in cursors]).astype(np.int64)

    def batch_hash(self, cursor: int, count: int) -> str:
        """A hash of the `count` sequences from `cursor` on: equal where a run would read the same next."""
        digest = hashlib.sha256()
        for number in range(cursor, cursor + count):
            digest.update(self._sequence(number).astype("<u4").tobytes())
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """A hash of which shards these are: names, lengths, and the tokens at both ends of each."""
        digest = hashlib.sha256(str(self._length).encode())
        for name, tokens in zip(self._names, self._shards, strict=True):
            digest.update(f"{name} {len(tokens)} {tokens.dtype}".encode())
            digest.update(tokens[:_FINGERPRINT_TOKENS].tobytes())
            digest.update(tokens[-_FINGERPRINT_TOKENS:].tobytes())
        return digest.hexdigest()

    def _sequence(self, cursor: int) -> Tokens:
        epoch, index = self.position(cursor)
        order, ends = _shard_order(tuple(self._counts), self._begin, epoch, self._seed if self._shuffle else None)
        place = bisect_right(ends, index)
        shard = order[place]
        inside = index - (ends[place - 1] if place else 0)
        if self._shuffle:
            inside = int(_permutation(self._counts[shard], self._seed, epoch, shard)[inside])
        begin = inside * self._length
        return self._shards[shard][begin : begin + self._length + 1]


def document_ids(sequences: Batch, eot_token_id: int) -> Batch:
    """Ids of the documents in the inputs of sequences (count, length + 1): (count, length) int64.

    A document begins at its end-of-text token, which preparing puts before it.
    """
    ids: Batch = (sequences[:, :-1] == eot_token_id).cumsum(axis=1)
    return ids


class Prefetch:
    """Reads batches ahead in a thread: iterate for (cursor behind the batch, batch).

    `cursors` yields, for each batch, the cursor behind it and the sequences to read. What was read ahead
    and not taken leaves no trace: only the consumed cursor is ever saved.
    """

    def __init__(self, stream: TokenStream, cursors: Iterator[tuple[int, Sequence[int]]], depth: int = 2) -> None:
        self._ready: Queue[tuple[int, Batch] | BaseException | None] = Queue(depth)
        self._closed = Event()
        self._thread = Thread(target=self._read, args=(stream, cursors), name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        while (item := self._ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._closed.set()
        while self._thread.is_alive():
            while not self._ready.empty():
                self._ready.get()
            self._thread.join(0.01)

    def _read(self, stream: TokenStream, cursors: Iterator[tuple[int, Sequence[int]]]) -> None:
        try:
            for behind, numbers in cursors:
                if self._closed.is_set():
                    return
                self._ready.put((behind, stream.read(numbers)))
            self._ready.put(None)
        except Exception as error:  # noqa: BLE001 - handed to the thread that iterates, which raises it
            self._ready.put(error)


def step_cursors(start: int, sequences_per_step: int, rank: int, world_size: int) -> Iterator[tuple[int, list[int]]]:
    """For each optimizer step: the cursor behind it, and the sequences that this rank reads, in order.

    Every step takes the next `sequences_per_step` numbers, dealt out to the ranks in turn, so which
    sequences a step holds does not depend on how many ranks there are.
    """
    cursor = start
    while True:
        numbers = list(range(cursor + rank, cursor + sequences_per_step, world_size))
        cursor += sequences_per_step
        yield cursor, numbers


@lru_cache(maxsize=8)
def _shard_order(counts: tuple[int, ...], begin: int, epoch: int, seed: int | None) -> tuple[list[int], list[int]]:
    """The shards in the order of this epoch, and behind each the number of sequences up to its end."""
    order = list(range(begin if epoch == 0 else 0, len(counts)))
    if seed is not None and epoch > 0:
        keys = _keys(len(order), seed, epoch, len(counts))
        order = [order[i] for i in np.argsort(keys, kind="stable").tolist()]
    return order, list(accumulate(counts[shard] for shard in order))


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int, shard: int) -> npt.NDArray[np.int64]:
    return np.argsort(_keys(count, seed, epoch, shard), kind="stable")


def _keys(count: int, *key: int) -> npt.NDArray[np.uint64]:
    """Random numbers that are the same for ever: raw bits of Philox, whose stream numpy guarantees."""
    bits: npt.NDArray[np.uint64] = np.random.Philox(np.random.SeedSequence(key)).random_raw(count)
    return bits
