"""The figures of a log point: rates and times over the steps since the last one, memory, and how far weights move.

Model FLOPs are counted by the formula of `core.config.estimate`, with the windows in force, and compared with what
the devices can do at most: stated for known GPUs, measured for others and for CPUs.
"""

from __future__ import annotations

import math
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.config.estimate import flops_per_token
from core.config.train_config import TrainConfig

# Elements of each tensor whose change is measured: enough for 1% of a root mean square, and no copy of the model.
_SAMPLE = 1 << 16


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one step, and those that it waited for its data before."""

    step: float
    waited: float


class Meter:
    """Gathers the times of steps, and turns them into figures at a log point.

    `config` may change between steps; `peak_flops` is that of all devices together; `document_tokens` the mean
    document length of the shards.
    """

    def __init__(self, config: TrainConfig, peak_flops: float, document_tokens: float | None) -> None:
        self.config = config
        self._peak = peak_flops
        length = config.training_sequence_length
        self._document = min(document_tokens or length, length)
        self._times: list[StepTimes] = []

    def step(self, times: StepTimes) -> None:
        """Note the times of one step."""
        self._times.append(times)

    def figures(self, step_tokens: int, tokens: int, long_window: int) -> dict[str, Any]:
        """Rates since the last log point, which begin anew with this call.

        `tokens_per_s`, `mfu` (share of the peak), `data_wait` (share of the time), `step_ms` with median
        `p50` and `p95`, and `eta_s` to target_tokens at this rate.
        """
        times, self._times = self._times, []
        seconds = sum(t.step + t.waited for t in times)
        rate = step_tokens * len(times) / seconds
        flops = flops_per_token(self.config, self._document, long_window)
        ordered = sorted(1e3 * (t.step + t.waited) for t in times)
        return {
            "tokens_per_s": rate,
            "mfu": rate * flops / self._peak,
            "data_wait": sum(t.waited for t in times) / seconds,
            "step_ms": {"p50": _quantile(ordered, 0.5), "p95": _quantile(ordered, 0.95)},
            "eta_s": max(0.0, (self.config.target_tokens - tokens) / rate),
        }


class Movement:
    """How far one optimizer step moves the weights: root mean squares by parameter group, of a sample.

    The elements are those of a stride through each tensor that meets every row and column.
    """

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self._groups = {g["name"]: g["params"] for optimizer in optimizers for g in optimizer.param_groups}
        self._before = {name: [_sample(p).clone() for p in params] for name, params in self._groups.items()}

    def figures(self) -> dict[str, dict[str, float]]:
        """`weight_rms` before the step and `update_rms` of the change, by group. Call it after the step."""
        weight: dict[str, float] = {}
        update: dict[str, float] = {}
        for name, params in self._groups.items():
            before = self._before[name]
            changes = [_sample(p) - b for p, b in zip(params, before, strict=True)]
            weight[name], update[name] = _rms(before, params), _rms(changes, params)
        return {"weight_rms": weight, "update_rms": update}


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak so far: of tensors on CUDA, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):  # getrusage would count what the parent used before this process was its own
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    # Kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _sample(parameter: Tensor) -> Tensor:
    stride = max(1, parameter.numel() // _SAMPLE)
    while math.gcd(stride, parameter.shape[-1]) > 1:
        stride += 1
    return parameter.detach().flatten()[::stride]


def _rms(samples: list[Tensor], params: list[Tensor]) -> float:
    """Root mean square over all tensors of a group, each sample standing for its whole tensor."""
    squares = torch.stack([s.square().mean() * p.numel() for s, p in zip(samples, params, strict=True)])
    return math.sqrt(squares.sum().item() / sum(p.numel() for p in params))


def _quantile(ordered: list[float], share: float) -> float:
    """The value below which a share of the ordered values lies, between its neighbours."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
