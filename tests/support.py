"""What tests of real processes have in common: starting `daisy`, waiting for what they do, and finding what is left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from core.runs.directory import RunDirectory, find_run

ROOT = Path(__file__).parents[1]


def start_daisy(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `daisy ARGUMENTS` in a folder, with one thread, for two that share two cores slow each other down."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "daisy_tui", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=environment)


def run_daisy(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What `daisy ARGUMENTS` prints to stdout and stderr, once it has ended with a code."""
    process = start_daisy(folder, *arguments)
    out, err = process.communicate()
    assert process.returncode == code, err
    return out, err


def until(holds: Callable[[], object]) -> None:
    """Look until something holds, for five minutes at most."""
    between = threading.Event()
    assert any(holds() or between.wait(0.02) for _ in range(15_000))


def processes(folder: Path, what: str = "") -> list[psutil.Process]:
    """The processes that work in a folder and have `what` in their command line; never this one."""
    found = psutil.process_iter(["cmdline", "cwd"])
    here = (process for process in found if process.info["cwd"] == str(folder) and process.pid != os.getpid())
    return [process for process in here if what in " ".join(process.info["cmdline"] or [])]


def run_named(name: str) -> RunDirectory:
    """A run in ./runs."""
    return find_run(Path("runs"), name)


def weights(name: str) -> bytes:
    """The weights of a run's latest checkpoint, as they lie on disk."""
    return (run_named(name).checkpoints / "latest/model.safetensors").read_bytes()
