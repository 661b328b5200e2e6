"""A run in words: the figures above its charts, and its checkpoints as rows. Knows no widget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.text import count, duration, printable, size, whole_percents
from daisy_tui.checkpoints.catalog import Listed
from daisy_tui.runs.event_text import clock
from daisy_tui.runs.run_files import number
from daisy_tui.runs.run_files import progress as share_done
from daisy_tui.runs.run_look import RunLook


class Progress(NamedTuple):
    """How far a run is: the share of its target in whole percents, from 0 to 1, and the tokens in words."""

    share: float
    words: str


def progress(look: RunLook) -> Progress | None:
    """How far the run is; None where it has not begun, or nobody knows how far it is to go."""
    tokens, target = look.facts["tokens"], look.facts["target_tokens"]
    share = share_done(tokens, target)
    words = f"{count(tokens)} of {count(target)} tokens" if share is not None else ""
    return None if share is None else Progress(whole_percents(share) / 100, words)


def figures(look: RunLook) -> list[tuple[str, str]]:
    """What is known of the run, as pairs of a name and a figure, what matters most first."""
    facts, point, peaks = look.facts, look.point, look.peaks
    supervisor = look.status.supervisor or {}
    is_now, is_again = look.status.alive and not look.status.stalls, supervisor.get("attempt", 1) > 1
    found: list[tuple[str, str | None]] = [
        ("step", _shown(facts["step"], "{:,}")),
        ("train", _shown(facts["train_loss"], "{:.4f}")),
        ("val", _shown(facts["val_loss"], "{:.4f}")),
        ("ETA", duration(eta) if (eta := number(facts["eta_s"])) is not None else None),
        ("tokens/s" if is_now else "last tokens/s", _shown(point.get("tokens_per_s"), "{:,.0f}")),
        ("MFU", _shown(point.get("mfu"), "{:.0%}")),
        (_process_memory(facts["devices"]), size(held) if (held := number(point.get("memory"))) is not None else None),
        ("on", ", ".join(map(str, facts["devices"] or ())) or None),
        ("grad", _shown(point.get("grad_norm"), "{:.3g}")),
        ("GPU peak", _peak(peaks, "gpu_memory")),
        ("host RAM peak", _peak(peaks, "host_memory")),
        ("restarts", str(restarts) if (restarts := supervisor.get("restarts")) else None),
        ("last started" if is_again else "started", clock(facts["started"], look.time) if facts["started"] else None),
    ]
    return [(name, printable(figure)) for name, figure in found if figure is not None]


def checkpoint_cells(one: Listed, now: float) -> tuple[str, str, str, str, str, str]:
    """A checkpoint as a row: name, tokens, validation loss, size, when, and what is to be known of it."""
    return (
        printable(one.name),
        count(one.tokens) if one.tokens is not None else "-",
        f"{one.val_loss:.4f}" if one.val_loss is not None else "-",
        size(one.bytes),
        clock(one.written, now) if one.written else "-",
        printable(one.problem or ", ".join(one.links)),
    )


CHECKPOINT_HEADINGS = ("checkpoint", "tokens", "val loss", "size", "written", "")


def _process_memory(devices: Sequence[Any] | None) -> str:
    """What a log point's memory is: of the process that has most, all of it on a CPU, and its tensors on a GPU."""
    if not devices:
        return "memory"
    return "process RAM" if all(str(device).startswith("cpu") for device in devices) else "GPU tensors"


def _peak(peaks: Mapping[str, Mapping[str, Any]], name: str) -> str | None:
    value = number(peaks.get(name, {}).get("value"))
    return None if value is None else size(value)


def _shown(value: Any, how: str) -> str | None:
    return None if value is None else str(value) if number(value) is None else how.format(value)
