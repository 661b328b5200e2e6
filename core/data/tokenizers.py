"""Tokenizers behind one small interface: tiktoken encodings, bytes, and a trained BPE.

`gpt2` is built from the vocabulary that ships with this package, so it needs no network. A trained
BPE is one tiktoken ranks file; its pattern is always `PATTERN`, so the file alone is the tokenizer.
Rejected: Hugging Face tokenizers, whose files carry a pipeline of normalisers that differ by model.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import lzma
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from core.data.errors import DataUsageError, ShardError
from core.data.shards import Tokens

if TYPE_CHECKING:
    import tiktoken

END_OF_TEXT = "<|endoftext|>"
RANKS_FILE = "tokenizer.tiktoken"
# GPT-4's split pattern (cl100k_base), which rustbpe trains with.
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|"
    r"\s*[\r\n]|\s+(?!\S)|\s+"
)
_GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
# tiktoken's regex engine runs out of stack on a run of about a million blanks: there the text is cut.
_LONG_BLANK = re.compile(r"\s{4096}")


class Tokenizer(Protocol):
    """Text to token ids and back. Special tokens typed in a text are ordinary text to `encode`."""

    name: str
    vocab_size: int
    eot_token_id: int

    def encode(self, text: str) -> Tokens:
        """Ids of a text, shape (n,), uint32. Lone surrogates become U+FFFD."""

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token; a special token gives its name."""

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        """The bytes of several tokens, end-of-text as its name."""

    def fingerprint(self) -> str:
        """A hash of everything that decides which ids a text gets."""

    def ranks_file(self) -> bytes | None:
        """The tiktoken ranks file that this tokenizer travels as, or None where its name is enough."""

    def pattern(self) -> str | None:
        """The split pattern that goes with the ranks file."""

    def special_tokens(self) -> dict[str, int] | None:
        """The special tokens that go with the ranks file."""


def load_tokenizer(name_or_path: str) -> Tokenizer:
    """A tokenizer by name (`gpt2`, `bytes`, `cl100k_base`, ...), or from a ranks file or its folder.

    Raises ShardError for an unknown name, a damaged file, or an encoding that cannot be downloaded.
    """
    if name_or_path == "bytes":
        return ByteTokenizer()
    if name_or_path == "gpt2":
        return _gpt2()
    path = Path(name_or_path or "''")
    with suppress(OSError, ValueError):  # a name too long, a null byte, a folder that may not be searched
        if path.is_dir():
            path = path / RANKS_FILE
            if not path.is_file():
                raise DataUsageError(f"{name_or_path}: no tokenizer in this folder (it has no {RANKS_FILE})")
        if path.is_file():
            return load_ranks(path)
    return _downloaded(name_or_path)


def load_ranks(
    path: Path, name: str = "bpe", pattern: str | None = None, special_tokens: dict[str, int] | None = None
) -> BpeTokenizer:
    """A BPE from its tiktoken ranks file (lines `base64-bytes rank`). Raises ShardError.

    Without a pattern and special tokens it is a trained one: `PATTERN`, and end-of-text behind the last rank.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ShardError(f"{path}: cannot be read: {error.strerror or error}") from error
    return BpeTokenizer.from_ranks(name, _parse_ranks(data, str(path)), pattern or PATTERN, special_tokens)


def demo_tokenizer() -> BpeTokenizer:
    """The bundled BPE of 4,096 tokens, trained on the bundled novels by `daisy data train-tokenizer`."""
    data = (files("core.data") / "assets" / "austen_4096.tiktoken").read_bytes()
    return BpeTokenizer.from_ranks("bpe", _parse_ranks(data, "austen_4096.tiktoken"), PATTERN)


def train_bpe(texts: Iterator[str], vocab_size: int) -> BpeTokenizer:
    """Train a BPE whose `vocab_size` ids are 256 bytes, merges, and end-of-text last.

    Uses rustbpe (memory grows with the number of distinct words, not with the text).
    Raises ShardError where the text does not have enough pairs to merge.
    """
    import rustbpe

    if vocab_size < 257:
        raise DataUsageError(f"a vocabulary of {vocab_size} is too small: 256 bytes and end-of-text need 257")
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(texts, vocab_size=vocab_size - 1, pattern=PATTERN)
    ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    if len(ranks) < vocab_size - 1:
        raise ShardError(
            f"the text has only {len(ranks) - 256} pairs to merge, so a vocabulary of {vocab_size} cannot be "
            f"filled; give more text or --vocab-size {len(ranks) + 1}"
        )
    return BpeTokenizer.from_ranks("bpe", ranks, PATTERN)


class ByteTokenizer:
    """One id per byte; end-of-text is 256."""

    name = "bytes"
    vocab_size = 257
    eot_token_id = 256

    def encode(self, text: str) -> Tokens:
        return np.frombuffer(_utf8(text), dtype=np.uint8).astype(np.uint32)

    def token_bytes(self, token: int) -> bytes:
        return END_OF_TEXT.encode() if token == self.eot_token_id else bytes([token])

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        return b"".join(self.token_bytes(int(token)) for token in tokens)

    def fingerprint(self) -> str:
        return hashlib.sha256(b"bytes+eot").hexdigest()

    def ranks_file(self) -> bytes | None:
        return None

    def pattern(self) -> str | None:
        return None

    def special_tokens(self) -> dict[str, int] | None:
        return None


class BpeTokenizer:
    """A byte-pair encoding run by tiktoken. All but gpt2, which ships here, travel as their ranks."""

    def __init__(self, name: str, encoding: tiktoken.Encoding) -> None:
        self.name = name
        self.vocab_size = encoding.n_vocab
        self.eot_token_id = encoding.eot_token
        self._encoding = encoding

    @classmethod
    def from_ranks(
        cls, name: str, ranks: dict[bytes, int], pattern: str, special_tokens: dict[str, int] | None = None
    ) -> BpeTokenizer:
        """Ids are the ranks; without special tokens, end-of-text is the id behind the last."""
        return cls(name, _encoding(name, pattern, ranks, special_tokens))

    def encode(self, text: str) -> Tokens:
        try:
            return self._encode(text)
        except UnicodeEncodeError:
            return self._encode(_utf8(text).decode())
        except ValueError as error:
            if "Max stack size" not in str(error):
                raise
            ends = [0, *(match.end() for match in _LONG_BLANK.finditer(text)), len(text)]
            return np.concatenate([self._encode(text[a:b]) for a, b in pairwise(ends)])

    def token_bytes(self, token: int) -> bytes:
        try:
            return self._encoding.decode_single_token_bytes(token)
        except KeyError:  # some encodings leave ids unassigned
            return b""

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        return b"".join(self.token_bytes(int(token)) for token in tokens)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(self._encoding._pat_str.encode())
        digest.update(_format_ranks(self._encoding._mergeable_ranks))
        digest.update(repr(sorted(self._encoding._special_tokens.items())).encode())
        return digest.hexdigest()

    def ranks_file(self) -> bytes | None:
        return _format_ranks(self._encoding._mergeable_ranks) if self.name != "gpt2" else None

    def pattern(self) -> str | None:
        return self._encoding._pat_str if self.name != "gpt2" else None

    def special_tokens(self) -> dict[str, int] | None:
        return dict(self._encoding._special_tokens) if self.name != "gpt2" else None

    def _encode(self, text: str) -> Tokens:
        # The array form makes no Python list, which would be built under the interpreter lock.
        return self._encoding.encode_to_numpy(text, disallowed_special=())


def _utf8(text: str) -> bytes:
    """UTF-8, with U+FFFD for half of a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _encoding(
    name: str, pattern: str, ranks: dict[bytes, int], special_tokens: dict[str, int] | None = None
) -> tiktoken.Encoding:
    import tiktoken

    special = special_tokens or {END_OF_TEXT: len(ranks)}
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)


def _gpt2() -> BpeTokenizer:
    packed = (files("core.data") / "assets" / "gpt2_vocab.bpe.xz").read_bytes()
    lines = lzma.decompress(packed).decode().splitlines()[1:]  # the first line is "#version: 0.2"
    # The file writes each byte as a printable character: itself where it is one, else from U+0100 on.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    order = printable + others
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
    ranks = {bytes([byte]): rank for rank, byte in enumerate(order)}
    for line in lines:
        ranks[bytes(byte_of[character] for character in line.replace(" ", ""))] = len(ranks)
    return BpeTokenizer("gpt2", _encoding("gpt2", _GPT2_PATTERN, ranks))


def _downloaded(name: str) -> BpeTokenizer:
    import tiktoken

    known = tiktoken.list_encoding_names()
    if name not in known:
        names = ", ".join(["gpt2", "bytes", *(n for n in known if n != "gpt2")])
        raise DataUsageError(f"tokenizer '{name}' is unknown; known: {names}, or the path of a trained one")
    try:
        encoding = tiktoken.get_encoding(name)
    except OSError as error:  # requests' errors are
        raise ShardError(
            f"tokenizer '{name}' is downloaded by tiktoken on first use, and that failed ({type(error).__name__}); "
            "go online once, set TIKTOKEN_CACHE_DIR to a folder that has it, or use gpt2, bytes or a trained one"
        ) from error
    return BpeTokenizer(name, encoding)


def _parse_ranks(data: bytes, where: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ShardError(f"{where}:{number}: not a tiktoken ranks file (lines are `base64 rank`)") from error
    if sorted(ranks.values()) != list(range(len(ranks))) or not all(bytes([b]) in ranks for b in range(256)):
        raise ShardError(f"{where}: not a complete ranks file: ranks run from 0 without gaps and every byte has one")
    return ranks


def _format_ranks(ranks: dict[bytes, int]) -> bytes:
    ordered: list[tuple[bytes, Any]] = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ordered)
