"""torch's tensors as a safetensors file. Reading is the library's, and so is the test of this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.checkpoint.stored import PIECE, Stored, write_stored

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write a safetensors file and make it survive a power cut. Returns its manifest entry: bytes and sha256.

    Raises OSError.
    """
    return write_stored(
        path,
        [
            Stored(name, _NAMES[tensor.dtype], tuple(tensor.shape), partial(_pieces, tensor))
            for name, tensor in tensors.items()
        ],
    )


def _pieces(tensor: Tensor) -> Iterator[memoryview]:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    for begin in range(0, len(data), PIECE):
        yield data[begin : begin + PIECE]
