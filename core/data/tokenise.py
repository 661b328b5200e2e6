"""Tokenise a stream of pieces on all cores, in order, holding little of it at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from core.data.documents import Piece
from core.data.shards import Tokens
from core.data.tokenizers import Tokenizer

# Text handed to one thread at a time: large against the cost of a task, small against memory.
_TASK_BYTES = 1 << 18


def tokenised(pieces: Iterator[Piece], tokenizer: Tokenizer, workers: int) -> Iterator[tuple[Piece, Tokens]]:
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
