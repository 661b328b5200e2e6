"""What a device can do at most: the denominator of model FLOPs utilisation (MFU).

Stated figures are dense bf16 FLOP/s with fp32 accumulation, from the vendors' data sheets. Where none is
stated, and on every CPU, the rate of one large matrix product is measured, in the precision that training uses.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import torch

from core.runs.directory import RunDirectory, read_records

# By part of the name that CUDA reports; the first that fits is taken.
_STATED = (
    ("B200", 2250e12),
    ("GH200", 989e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("A10", 125e12),
    ("RTX 4090", 165e12),
    ("RTX 3090", 71e12),
)
_ROUNDS = 5


@dataclass(frozen=True)
class Peak:
    """FLOP/s of one device, and where the figure is from."""

    flops: float
    source: Literal["stated", "measured"]


def device_peak(device: torch.device) -> Peak:
    """The peak of a device for training: bf16 on CUDA, fp32 elsewhere."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for part, flops in _STATED:
            if part in name.replace("-", " ").replace(" 80GB", "").replace(" 40GB", ""):
                return Peak(flops, "stated")
        return Peak(matrix_product_rate(device, torch.bfloat16, 8192), "measured")
    return Peak(matrix_product_rate(device, torch.float32, 1024), "measured")


def device_name(device: torch.device) -> str:
    """This machine's device, as events name it."""
    return f"{platform.node()} {torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type}"


def best_peak(measured: float, runs: Iterable[RunDirectory], name: str, devices: int) -> float:
    """The best of a figure measured now and of those that starts of runs measured on as many such devices, in FLOP/s.

    A start beside other work measures less, and runs whose denominators differ cannot be compared.
    """
    best = measured
    for run in runs:
        with suppress(OSError):
            for record in read_records(run.events):
                if record.get("peak_device") == name and record.get("devices") == devices:
                    best = max(best, float(record.get("peak_flops", 0.0)))
    return best


def matrix_product_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """FLOP/s of a product of two square matrices: the best of a few, after one that warms up."""
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(_ROUNDS + 1):
        _synchronize(device)
        began = time.perf_counter()
        a @ b
        _synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(seconds[1:])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
