"""The devices of this machine, and which of them a run is to have. Asks the NVIDIA driver; never CUDA, never torch."""

from __future__ import annotations

import os
from itertools import takewhile
from typing import NamedTuple

from core.errors import DaisyError
from core.runs.leases import Wanted

CPU = "cpu"
# The environment in which a supervisor tells its ranks their devices, by local rank.
DEVICES = "DAISY_DEVICES"


class DeviceError(DaisyError):
    """Devices that this machine does not have."""

    exit_code = 2


class Device(NamedTuple):
    """`key` is what leases and CUDA_VISIBLE_DEVICES call it (a UUID, or "cpu"), `label` what people call it."""

    key: str
    label: str
    name: str


def gpus() -> list[Device]:
    """The GPUs that this process may use; none where there is no NVIDIA driver.

    Without CUDA_VISIBLE_DEVICES in the order of `nvidia-smi`, which is that of the bus; its indices mean that order.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        found = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        every = [(pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)) for handle in found]
    except pynvml.NVMLError:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        chosen = (_visible(every, item.strip()) for item in visible.split(",") if item.strip())
        every = [device for device in takewhile(bool, chosen) if device]  # behind one that is none CUDA shows no more
    return [Device(uuid, str(index), name) for index, (uuid, name) in enumerate(every)]


def choose(asked: str | None, nproc: int | None, have: list[Device]) -> tuple[int, Wanted]:
    """The number of ranks and the devices wanted, for `--devices` and `-n` as they were given.

    `asked`: "0,1", "any:2", "cpu", or None for the first ones there are. The CPU is one device for any number
    of ranks. Raises DeviceError.
    """
    if asked is None and not have:
        asked = CPU
    if asked == CPU:
        return nproc or 1, Wanted((CPU,), 1)
    labels = ", ".join(device.label for device in have) or "none"
    if not have:
        raise DeviceError(f"--devices {asked}: this machine has no GPU that can be used; it has cpu")
    keys = tuple(device.key for device in have)
    if asked is None:
        number = nproc or 1
        if number > len(have):
            raise DeviceError(f"-n {number}: this machine has {len(have)} GPUs ({labels}); --devices cpu takes none")
        return number, Wanted(keys[:number], number)
    word, _, of = asked.partition(":")
    if word == "any":
        number = int(of) if is_number(of) else (nproc or 1) if not of else 0
        if not 1 <= number <= len(have):
            raise DeviceError(f"--devices {asked}: any:K takes K of this machine's {len(have)} GPUs")
        wanted = Wanted(keys, number)
    else:
        chosen = [device.key for item in asked.split(",") for device in have if device.label == item.strip()]
        if len(chosen) != len(asked.split(",")) or len(set(chosen)) != len(chosen):
            raise DeviceError(f"--devices {asked}: not among this machine's GPUs ({labels}); also any:K, cpu")
        wanted = Wanted(tuple(chosen), len(chosen))
    if nproc is not None and nproc != wanted.number:
        raise DeviceError(f"-n {nproc} ranks need as many GPUs; --devices {asked} names {wanted.number}")
    return wanted.number, wanted


def is_number(text: str) -> bool:
    """Whether a text is a whole number as people type it."""
    return text.isascii() and text.isdigit()


def _visible(every: list[tuple[str, str]], item: str) -> tuple[str, str] | None:
    """The GPU that an item of CUDA_VISIBLE_DEVICES means: an index, or the beginning of a UUID."""
    if is_number(item):
        return every[int(item)] if int(item) < len(every) else None
    return next((device for device in every if device[0].startswith(item)), None)
