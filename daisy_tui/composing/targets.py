"""The devices that a run can be given, as they are now, and where a draft would be trained.

Looking takes a driver's call a device and one look at the leases; do it in a thread. What cannot be known is missing,
and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from core.config.estimate import Precision
from core.runs.devices import CPU, Device, choose, gpus
from core.runs.leases import LeaseError, Leases, Wanted, lease_folder


@dataclass(frozen=True)
class Target:
    """Where a draft would be trained: `world_size` ranks on the devices `wanted`, called `name`.

    `memory` is in bytes, of the smallest of the devices; a CPU's is shared by all ranks.
    """

    world_size: int
    wanted: Wanted
    name: str
    memory: int | None

    @property
    def is_cpu(self) -> bool:
        return self.name == CPU

    @property
    def precision(self) -> Precision:
        """What training computes in there."""
        return "fp32" if self.is_cpu else "bf16"


@dataclass(frozen=True)
class Machine:
    """`memory` is in bytes by device key, `owners` are in words by device key, `waiting` counts the queue."""

    gpus: tuple[Device, ...] = ()
    memory: Mapping[str, int] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    waiting: int = 0

    def target(self, asked: str | None, nproc: int | None) -> Target:
        """The ranks and devices that `daisy train` would take. Raises DeviceError."""
        world_size, wanted = choose(asked, nproc, list(self.gpus))
        name = next((gpu.name for gpu in self.gpus if gpu.key == wanted.among[0]), CPU)
        known = [self.memory[key] for key in wanted.among if key in self.memory]
        return Target(world_size, wanted, name, min(known) if len(known) == len(wanted.among) else None)

    def busy(self, wanted: Wanted) -> list[str]:
        """Who has the devices wanted, in words; nobody where enough of them are free."""
        taken = [self.owners[key] for key in wanted.among if key in self.owners]
        return taken if len(wanted.among) - len(taken) < wanted.number else []


def look_at_machine() -> Machine:
    """This machine now."""
    found = gpus()
    memory = {CPU: int(psutil.virtual_memory().total)} | _gpu_memory(found)
    try:
        leases = Leases(lease_folder())
        owners = {device: _owner(record) for device, record in leases.owners().items()}
        waiting = sum(ticket.waiting for ticket in leases.tickets())
    except LeaseError:  # a launch will say it, in words
        owners, waiting = {}, 0
    return Machine(tuple(found), memory, owners, waiting)


def _gpu_memory(found: list[Device]) -> dict[str, int]:
    if not found:
        return {}
    import pynvml

    memory = {}
    for device in found:
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(device.key)
            memory[device.key] = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
        except pynvml.NVMLError:  # one that has its memory in common with the host
            continue
    return memory


def _owner(record: dict[str, Any]) -> str:
    run = record.get("run")
    return f"run {Path(str(run)).name}" if run else "a process that is still ending"
