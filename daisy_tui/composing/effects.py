"""What a composition will cost, in words: estimates beside what was measured, one line for all, and what is at risk.

Estimates are arithmetic and come at once; a figure under `measured` was measured on this machine, by a preflight of
the same steps or by the last run of the same shape, or it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from core.config.compose import Value
from core.config.scalars import format_value
from core.config.typed import typed_values
from core.text import count, duration, plural, size
from daisy_tui.composing.composition import Composition
from daisy_tui.composing.configs import shown_file
from daisy_tui.composing.drafts import OPTIONS
from daisy_tui.composing.figures import estimate_rows
from daisy_tui.composing.throughput import PREFLIGHT

_LEAST = 0.005
_BY_PREFLIGHT = "preflight, full windows"
_ROWS_ABOVE = ("parameters", "tokens per step", "steps", "epochs", "memory per device", "checkpoint")


class Figure(NamedTuple):
    """A row: what is estimated, what was measured, and `note`, more to know about either."""

    name: str
    estimate: str
    measured: str = ""
    note: str = ""


class Fit(NamedTuple):
    """Memory needed and there, in bytes, on one device; on a CPU by all ranks together."""

    needed: int
    there: int | None

    @property
    def share(self) -> float | None:
        return self.needed / self.there if self.there else None

    def __str__(self) -> str:
        if self.there is None or self.share is None:
            return f"{size(self.needed)}; what the device has is not known"
        words = f"{size(self.needed)} of {size(self.there)}, {f'{self.share:.0%}' if self.share > _LEAST else '<1%'}"
        return words if self.share <= 1 else f"{words}: does not fit"


def fit(composition: Composition, took: Mapping[str, Any] | None = None) -> Fit | None:
    """The memory that is needed, measured where it was, else estimated; None without figures."""
    needed, target = composition.memory_needed, composition.target
    if needed is None or target is None:
        return None
    if took is not None:
        needed = int(took["peak_memory"]) * (target.world_size if target.is_cpu else 1)
    return Fit(needed, target.memory)


def figures(composition: Composition, took: Mapping[str, Any] | None = None, now: float = 0.0) -> list[Figure]:
    """The figures; `took` is what a preflight of these steps printed, `now` the time of day in seconds."""
    e, config = composition.figures, composition.composed
    if e is None or config is None:
        return []
    rate, source = _rate(composition, took, now)
    target = config.config.target_tokens
    epochs = f"{e.epochs:,.2f}" if e.epochs is not None else "-"
    over = f"over {count(e.train_tokens)} tokens" if e.train_tokens is not None else "no shards to count"
    return [
        Figure("parameters", count(e.parameters), note=f"{count(e.parameters_streamed)} streamed per token"),
        Figure("tokens per step", f"{e.tokens_per_step:,}"),
        Figure("steps", f"{e.steps:,}", note=f"to {count(target)} tokens"),
        Figure("epochs", epochs, note=over),
        Figure("memory", size(e.memory.total), size(took["peak_memory"]) if took else "", "per device"),
        Figure("tokens/s", "-", f"{rate:,.0f}" if rate else "-", source),
        Figure("ETA", "-", duration(target / rate) if rate else "-", "" if rate else "a preflight measures it"),
        Figure("checkpoint", size(e.checkpoint_bytes), size(took["checkpoint_bytes"]) if took else ""),
    ]


def speed(composition: Composition, took: Mapping[str, Any] | None, now: float) -> str | None:
    """Where the ETA comes from: tokens a second, and who measured them when; None without an ETA."""
    rate, source = _rate(composition, took, now)
    return f"ETA by {rate:,.0f} tokens/s: {source}" if rate and composition.composed is not None else None


def memory_note(composition: Composition, took: Mapping[str, Any] | None) -> str:
    """What the memory said is of: an estimate and a measurement do not count the same."""
    target = composition.target
    if target is None:
        return ""
    if took is None:
        return f"estimated: the tensors; {'Python and torch are' if target.is_cpu else 'the CUDA runtime is'} not in it"
    if not target.is_cpu:
        return "measured: the peak of all tensors"
    before = f", {size(took['memory_before'])} of it before the model" if "memory_before" in took else ""
    return f"measured: the peak of the whole process, Python and torch too{before}; the parts are estimates"


def memory_parts(composition: Composition) -> list[tuple[str, int]]:
    """The estimated memory of one device by part, in bytes."""
    if composition.figures is None:
        return []
    memory = composition.figures.memory
    return [
        ("parameters", memory.parameters),
        ("gradients", memory.gradients),
        ("optimizer", sum(memory.optimizer.values())),
        ("activations", memory.activations),
        ("logits", memory.logits),
    ]


def details(composition: Composition) -> list[tuple[str, str]]:
    """What `daisy config show` says beside the figures: parameters by group, FLOPs, documents."""
    if composition.figures is None or composition.found is None or composition.composed is None:
        return []
    rows = estimate_rows(composition.figures, composition.found, composition.composed.config.target_tokens)
    kept: list[tuple[str, str]] = []
    named = ""
    for name, text in rows:
        named = name or named
        if named not in _ROWS_ABOVE:
            kept.append((name, text))
    return kept


def summary(composition: Composition, took: Mapping[str, Any] | None = None) -> str:
    """A composition in one line, what matters most first; `took` is what a preflight of its steps printed."""
    if composition.problems:
        return f"✗ {plural(len(composition.problems), 'problem')}: {shown_file(composition.problems[0].message)}"
    e, fits, config = composition.figures, fit(composition, took), composition.composed
    if e is None or fits is None or config is None:
        return "composing"
    rate, _ = _rate(composition, took)
    eta = f"ETA {duration(config.config.target_tokens / rate)}" if rate else "ETA not measured"
    memory = f"{fits} measured" if took is not None else str(fits)
    words = [f"{count(e.parameters)} parameters", memory, f"{e.steps:,} steps", eta]
    words += [f"{e.epochs:,.2f} epochs"] if e.epochs is not None else []
    bad = fits.share is not None and fits.share > 1
    sign = "!" if bad or composition.warnings else "✓"
    return f"{sign} {' · '.join(words)}"


def risks(composition: Composition) -> list[str]:
    """What a person should know before this is launched."""
    found = [shown_file(problem.message) for problem in composition.warnings]
    fits = fit(composition)
    if fits is not None and fits.share is not None and fits.share > 1:
        found.append(f"memory: {fits}; activation_checkpointing=true or a smaller loss_chunk_tokens take less")
    return found


def difference_lines(composition: Composition) -> list[tuple[str, str, str]]:
    """Key, value in the file, and value now, as they are typed; what is wrong too, which no configuration has."""

    def typed(value: Value | None) -> str:
        return "-" if value is None else format_value(value.value)

    base, shown = composition.base, composition.shown
    in_file = typed_values(base) if base is not None else {}
    in_force = {value.source.typed for value in shown.values.values()} if shown is not None else set()
    wrong = [
        (key, typed(in_file.get(key)), text)
        for key, text in composition.draft.touched
        if composition.composed is None and key not in OPTIONS and f"{key}={text}" not in in_force
    ]
    return [(d.key, typed(d.left), typed(d.right)) for d in composition.differences] + wrong


def _rate(composition: Composition, took: Mapping[str, Any] | None, now: float = 0.0) -> tuple[float | None, str]:
    """Tokens a second, and who measured it when: a preflight, or a run that came after it."""
    known = composition.measured
    if took is not None and (known is None or known.time <= took["time"]):
        return float(took["tokens_per_s"]), _BY_PREFLIGHT
    if known is None:
        return None, "not measured on this device yet"
    return (
        known.tokens_per_s,
        f"{_BY_PREFLIGHT if known.source == PREFLIGHT else known.source}, {ago(now - known.time)}",
    )


def ago(seconds: float) -> str:
    """How long ago something was, roughly: `just now`, `5 min ago`, `3 h ago`, `2 days ago`."""
    minutes = seconds / 60
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes:.0f} min ago"
    return f"{minutes / 60:.0f} h ago" if minutes < 48 * 60 else f"{plural(round(minutes / 1440), 'day')} ago"
