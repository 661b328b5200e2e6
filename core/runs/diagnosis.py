"""Why a run failed, in words with what to do: from what its ranks noted, from their logs, and from how they ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.runs.directory import RunDirectory
from core.runs.opening import open_regular

_TAIL_BYTES = 1 << 16
_FULL = "the disk is full"
# What the logs of torch, CUDA, NCCL and Linux say, and what that means. The first that is found counts.
_KNOWN = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (
            r"CUDA out of memory|OutOfMemoryError|DefaultCPUAllocator: can't allocate memory|MemoryError",
            "out of memory: fewer tokens at once help (training_sequence_length, loss_chunk_tokens), so does "
            "activation_checkpointing=true; `daisy config show` estimates what a config needs",
        ),
        (
            r"No space left on device|Disk quota exceeded",
            f"{_FULL}: make room and resume",
        ),
        (
            r"Watchdog caught collective operation timeout|NCCL.*timeout|Timed out waiting \d+ms",
            "ranks waited for each other in vain (a collective timed out): one of them hung or was lost; its log "
            "ends first",
        ),
        (
            r"ModuleNotFoundError: (?P<what>[^\n]*)|ImportError: (?P<why>[^\n]*)",
            "a package is missing or broken; `daisy doctor` looks for what is needed",
        ),
        (
            r"no kernel image is available|CUDA driver version is insufficient",
            "this build of torch does not fit the GPU or its driver; `daisy doctor` says which they are",
        ),
        (
            r"Address already in use|EADDRINUSE",
            "the port at which the ranks meet is taken: another --rdzv-endpoint, or once more",
        ),
    )
)
_ENDED = re.compile(r"(?<!local_)rank\s*:\s*(\d+)[^\[\]]*?exitcode\s*:\s*(-?\d+) \(pid: (\d+)\)")
_SENT_BY_TORCHRUN = -15


def log_sizes(run: RunDirectory) -> dict[Path, int]:
    """How long the logs of a run are: what is behind was said later."""
    return {path: path.stat().st_size for path in run.logs.glob("*.log")}


def failure_reason(
    run: RunDirectory, events: list[dict[str, Any]], code: int | None, before: Mapping[Path, int] | None = None
) -> tuple[str, bool]:
    """One line on why, and whether a rank explained it itself, so that another try would end the same.

    `events` are those since the ranks were started, and `before` the log_sizes then; `code` is torchrun's exit code,
    which says little.
    """
    failed = [event for event in events if event.get("event") == "failed" and "message" in event]
    explained = [event for event in failed if event.get("explained")]
    if explained:
        return str(explained[0]["message"]), True
    paths = [*sorted(run.logs.glob("rank*.log")), run.logs / "torchrun.log"]
    logs = {path.stem: _tail(path, (before or {}).get(path, 0)) for path in paths}
    said = str(failed[0]["message"]) if failed else ""
    words = next((words for text in (said, *logs.values()) if (words := known_words(text))), None)
    if words is not None and words.startswith(_FULL) and _has_spare_checkpoints(run):
        words += "; `daisy runs prune` frees checkpoints"
    rank = _ended(logs["torchrun"])
    if said and not (rank is not None and "signal" in rank):  # what the others say of a killed rank is that it is gone
        return f"{said}: {words}" if words else said, False
    if rank is not None:
        return rank if words is None else f"{rank}; {words}", False
    return words or f"torchrun ended with {code} before any rank said why; its log is in {run.logs}", False


def known_words(text: str) -> str | None:
    """What a log's end means, where it is something known."""
    return next((words for pattern, words in _KNOWN if pattern.search(text)), None)


def _has_spare_checkpoints(run: RunDirectory) -> bool:
    """Whether it has checkpoints that are neither the last nor the best one."""
    saved = sorted(path.parent.name for path in run.checkpoints.glob("step_*/manifest.json"))
    return any(name != (run.checkpoints / "best").resolve().name for name in saved[:-1])


def _ended(torchrun: str) -> str | None:
    """How the rank ended that ended first: by a signal, or by an exit code. torchrun tells of those that it noticed at
    once, and its root cause may be one that only lost the killed one."""
    found = [tuple(map(int, match.groups())) for match in _ENDED.finditer(torchrun)]
    if not found:
        return None
    by_signal = [entry for entry in found if entry[1] < 0 and entry[1] != _SENT_BY_TORCHRUN]
    rank, code, pid = (by_signal or found)[-1]
    who = f"rank {rank} (process {pid})"
    if code == -9:
        return f"{who} was killed by signal 9: by somebody, or by Linux for want of memory (`dmesg` says)"
    return f"{who} was ended by signal {-code}" if code < 0 else f"{who} ended with exit code {code}"


def _tail(path: Path, begin: int) -> str:
    try:
        with open_regular(path) as file:
            file.seek(max(begin, file.seek(0, 2) - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
