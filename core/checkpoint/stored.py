"""Writing tensors in the safetensors format, in one pass that also hashes: standard library only.

Where their bytes come from is the caller's: `tensor_file` has them in torch's memory, `exporting` reads them from a
checkpoint, piece by piece. Own code of a screenful because the library's `save_file` first holds every tensor as
bytes, a second copy of the weights, and leaves the file to be read again for its hash.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from core.checkpoint.format import DTYPE_BYTES

PIECE = 1 << 24  # bytes written and hashed at a time


@dataclass(frozen=True)
class Stored:
    """A tensor on its way to a file. `dtype` is safetensors' name; `pieces` gives its little-endian bytes in order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterable[bytes | memoryview]]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


def write_stored(path: Path, tensors: Iterable[Stored]) -> dict[str, Any]:
    """Write a safetensors file and make it survive a power cut. Returns its manifest entry: bytes and sha256.

    Tensors lie in the order of their item size, the largest first, so that each is aligned. Raises OSError.
    """
    ordered = sorted(tensors, key=lambda tensor: (-DTYPE_BYTES[tensor.dtype], tensor.name))
    header: dict[str, Any] = {}
    end = 0
    for tensor in ordered:
        begin, end = end, end + tensor.bytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in (len(text).to_bytes(8, "little"), text):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        for tensor in ordered:
            for data in tensor.pieces():
                file.write(data)
                digest.update(data)
                size += len(data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": size, "sha256": digest.hexdigest()}
