"""Writes one split as a row of shards in the staging folder, and takes a row up again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from core.data.dataset import ShardEntry, Split
from core.data.shards import ShardWriter, Tokens

# Behind the name of every staged file: no glob for shards matches it.
PARTIAL = ".partial"


class SplitWriter:
    """Appends documents' tokens; every shard but the last holds `shard_tokens` tokens.

    `saved` is the split as it was when the row was left; what was written later is dropped.
    """

    def __init__(self, staging: Path, prefix: str, version: int, shard_tokens: int, saved: Split | None) -> None:
        self._staging = staging
        self._prefix = prefix
        self._version = version
        self._shard_tokens = shard_tokens
        self.split = saved or Split()
        rest = self.split.tokens - sum(entry.tokens for entry in self.split.shards)
        self._writer = ShardWriter(self._path(), version, rest) if rest else None

    def sync(self) -> None:
        """Make what was appended durable."""
        if self._writer is not None:
            self._writer.sync()

    def append(self, tokens: Tokens) -> None:
        """Append ids, shape (n,), running on into as many shards as they fill."""
        self.split.tokens += len(tokens)
        while len(tokens):
            if self._writer is None:
                self._writer = ShardWriter(self._path(), self._version)
            room = self._shard_tokens - self._writer.tokens
            self._writer.append(tokens[:room])
            tokens = tokens[room:]
            if self._writer.tokens == self._shard_tokens:
                self.finish()

    def finish(self) -> None:
        """Finish the shard under way, if there is one."""
        if self._writer is None:
            return
        self._writer.finish()
        path, tokens = self._writer.path, self._writer.tokens
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.split.shards.append(ShardEntry(path.name.removesuffix(PARTIAL), tokens, path.stat().st_size, digest))
        self._writer = None

    def close(self) -> None:
        """Close without finishing."""
        if self._writer is not None:
            self._writer.close()

    def _path(self) -> Path:
        return self._staging / f"{self._prefix}_{len(self.split.shards):06d}.bin{PARTIAL}"
