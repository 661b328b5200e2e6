"""The ranks of a run: who I am, on which device, and the few sums that ranks share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among the others, as torchrun started it. `local_rank` counts on its own machine."""

    rank: int
    world_size: int
    device: torch.device
    local_rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def first_of_machine(self) -> bool:
        return self.local_rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all ranks, on every rank."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def max(self, values: Tensor) -> Tensor:
        """The largest of each element over all ranks, on every rank."""
        if self.world_size > 1:
            dist.all_reduce(values, op=dist.ReduceOp.MAX)
        return values

    def any(self, flag: bool) -> bool:
        """Whether a flag is set on any rank."""
        return bool(self.sum(torch.tensor(float(flag), device=self.device)).item())

    def from_first(self, value: Any) -> Any:
        """What rank 0 has, on every rank; the value of the others does not matter."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            dist.barrier()


def join_ranks() -> Ranks:
    """Read torchrun's environment, choose the device, and join the process group where there are others."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Ranks(rank, world, device, local)


def leave_ranks() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
