"""What this machine has that runs depend on, what would fail, and how to mend it: `daisy doctor` and the first screen.

Looks, and changes nothing. Never imports torch: its version and build are in its package's name.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from core.errors import DaisyError
from core.runs.devices import gpus
from core.runs.leases import Leases, lease_folder
from core.text import size

_NEEDED = ("torch", "numpy", "pydantic", "pyyaml", "click", "psutil", "safetensors", "tiktoken", "nvidia-ml-py")
_LEAST_DISK = 5 << 30
_LEAST_SHARED = 1 << 30
MARKS = {"ok": "✓", "note": "·", "problem": "✗"}


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is (`ok`, `note` or `problem`), and what would mend it."""

    what: str
    verdict: str
    found: str
    mend: str = ""


def examine() -> Iterator[Finding]:
    """Everything that a run on this machine depends on."""
    yield Finding("python", "ok", platform.python_version())
    yield from (_package(name) for name in _NEEDED)
    yield from _devices()
    yield _compiler()
    memory = psutil.virtual_memory()
    yield Finding("memory", "ok", f"{size(memory.available)} free of {size(memory.total)}, {os.cpu_count()} cores")
    yield _shared_memory()
    yield _disk()
    yield from _leases()


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "problem", "not installed", f"pip install {name}")


def _devices() -> Iterator[Finding]:
    found = gpus()
    build = version("torch").partition("+")[2] if _package("torch").verdict == "ok" else ""
    for device in found:
        yield Finding(f"GPU {device.label}", "ok", device.name)
    if not found:
        yield Finding("GPU", "note", "none that the NVIDIA driver shows", "runs train on the CPU, in fp32")
    elif build == "cpu":
        yield Finding("torch", "problem", "is a build for CPUs", "install a CUDA build: make install TORCH='torch==…'")


def _compiler() -> Finding:
    names = [name for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name]
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is not None:
        return Finding("compiler", "ok", found)
    needed = "problem" if gpus() else "note"
    return Finding("compiler", needed, "none", "torch.compile needs gcc or clang on GPUs; or set compile_blocks=false")


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Finding("shared memory", "note", "no /dev/shm")
    free = shutil.disk_usage(folder).free
    if free < _LEAST_SHARED and gpus():
        return Finding("shared memory", "problem", f"{size(free)} free", "NCCL needs more: docker run --shm-size=8g")
    return Finding("shared memory", "ok", f"{size(free)} free in /dev/shm")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    if not os.access(Path.cwd(), os.W_OK):
        return Finding("disk", "problem", f"{Path.cwd()} cannot be written", "go to a folder of your own")
    if free < _LEAST_DISK:
        return Finding("disk", "note", f"{size(free)} free here", "`daisy runs prune` frees checkpoints")
    return Finding("disk", "ok", f"{size(free)} free here")


def _leases() -> Iterator[Finding]:
    try:
        leases = Leases(lease_folder())
    except DaisyError as error:
        yield Finding("leases", "problem", str(error))
        return
    owners = leases.owners()
    yield Finding("leases", "ok", f"{leases.folder}; {len(owners)} devices in use, {len(leases.tickets())} waiting")
    for device, owner in owners.items():
        who = f"{owner.get('run')} (process {owner.get('pid')}, user {owner.get('user')})"
        yield Finding(f"  {device}", "note", who)
    if sys.platform != "linux":
        yield Finding("supervision", "note", "orphans of a killed run are not ended by the kernel here")
