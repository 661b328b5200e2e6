"""The data room's speed against its limits, as ratios in one run.

    python -m benchmarks.bench_data [--copies 10] [--rounds 5]

Preparing is held against tiktoken's own `encode_ordinary_batch` on the same documents and threads (it
reads no file, keeps all tokens in memory, and writes nothing); reading shards at random against a
copy out of a plain `np.memmap`. The two take turns at going first; the figures are medians of the
pairs' ratios. Exit code 1 says that one was over its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import tiktoken

from core.data.demo import demo_documents
from core.data.documents import FileSource
from core.data.prepare import PrepareOptions, prepare
from core.data.shards import HEADER_BYTES, open_shard, write_shard
from core.data.tokenizers import BpeTokenizer, load_tokenizer

PREPARE_LIMIT = 1.15
READ_LIMIT = 1.20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=10, help="copies of the bundled novels (4 MB each)")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        within = bench_prepare(Path(folder), arguments.copies, arguments.rounds)
        within &= bench_read(Path(folder), arguments.rounds)
    sys.exit(0 if within else 1)


def bench_prepare(folder: Path, copies: int, rounds: int) -> bool:
    """Preparing a .jsonl file, with one line a chapter, and one long .txt file."""
    tokenizer = load_tokenizer("gpt2")
    assert isinstance(tokenizer, BpeTokenizer)
    documents = demo_documents() * copies
    megabytes = sum(map(len, documents)) / 1e6
    workers = len(os.sched_getaffinity(0))
    lines = folder / "novels.jsonl"
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    whole = folder / "novels.txt"
    whole.write_text("".join(documents))

    def tiktoken_batch() -> None:
        encoding: tiktoken.Encoding = tokenizer._encoding
        encoding.encode_ordinary_batch(documents, num_threads=workers)

    def prepared(source: Path) -> Callable[[], None]:
        options = PrepareOptions("bench", val_fraction=0, workers=workers, overwrite=True)
        return lambda: void(prepare(FileSource([str(source)]), tokenizer, folder / f"out-{source.suffix[1:]}", options))

    print(f"prepare: {megabytes:.0f} MB of novels, GPT-2 tokens, {workers} threads")
    within = True
    for label, source in (("one line a chapter (.jsonl)", lines), ("one document (.txt)", whole)):
        ratio, ours, theirs = paired(prepared(source), tiktoken_batch, rounds)
        within &= ratio <= PREPARE_LIMIT
        print(
            f"  {label}: {megabytes / ours:.2f} MB/s, tiktoken {megabytes / theirs:.2f} MB/s, "
            f"time ratio {ratio:.3f} (limit {PREPARE_LIMIT})"
        )
    return within


def bench_read(folder: Path, rounds: int, length: int = 2049, reads: int = 20_000) -> bool:
    """Copying slices of `length` tokens from random places of a 100M-token shard."""
    path = folder / "x.bin"
    random = np.random.default_rng(0)
    write_shard(path, random.integers(0, 50257, 100_000_000, dtype=np.uint16), 50257)
    starts = random.integers(0, 100_000_000 - length, reads).tolist()
    ours, plain = open_shard(path), np.memmap(path, dtype=np.uint16, mode="r", offset=HEADER_BYTES)

    def read(tokens: np.ndarray) -> Callable[[], None]:
        def run() -> None:
            for start in starts:
                np.array(tokens[start : start + length])

        return run

    ratio, seconds, plain_seconds = paired(read(ours), read(plain), rounds)
    print(f"read: {reads} slices of {length} tokens at random from a shard of 100M")
    print(
        f"  {reads * length / seconds / 1e6:.0f}M tokens/s, plain memmap {reads * length / plain_seconds / 1e6:.0f}M, "
        f"time ratio {ratio:.3f} (limit {READ_LIMIT})"
    )
    return ratio <= READ_LIMIT


def paired(ours: Callable[[], None], theirs: Callable[[], None], rounds: int) -> tuple[float, float, float]:
    """Median ratio of the pairs, and the median seconds of each, after one uncounted round."""
    times: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        if number % 2:
            times.append((timed(ours), timed(theirs)))
        else:
            second = timed(theirs)
            times.append((timed(ours), second))
    counted = times[1:]
    return median(a / b for a, b in counted), median(a for a, _ in counted), median(b for _, b in counted)


def timed(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def void(_: object) -> None:
    """Drop a result."""


if __name__ == "__main__":
    main()
