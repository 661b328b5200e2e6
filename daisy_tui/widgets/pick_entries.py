"""What can be picked, as a picker lists it (`screens.pick`): the choices of a field, runs, and series."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from textual.content import Content

from core.text import printable
from daisy_tui.composing.picks import Pick
from daisy_tui.glyphs import state_glyph
from daisy_tui.runs.compare_look import series_label
from daisy_tui.runs.watching import RunRow

Answer = TypeVar("Answer")
_WIDEST = 32


class Entry(NamedTuple, Generic[Answer]):
    """`line` is what is shown of it; `name` is searched first, and `note` where the name does not fit."""

    answer: Answer
    line: Content
    name: str
    note: str = ""


def choice_entries(picks: Sequence[Pick]) -> list[Entry[str]]:
    """The values that a field can have."""
    width = min(max((len(pick.value) for pick in picks), default=0), _WIDEST)
    return [_choice(pick, width) for pick in picks]


def typed_entry(typed: str) -> Entry[str]:
    """A value that is none of those, as it was typed."""
    return _choice(Pick(typed, "as typed"))


def _choice(pick: Pick, width: int = 0) -> Entry[str]:
    mark, style = ("✗ ", "$text-error") if pick.wrong else ("  ", "dim")
    line = Content.assemble(mark, f"{printable(pick.value):<{width}}", (f"  {printable(pick.note)}", style))
    return Entry(pick.value, line, pick.value, pick.note)


def run_entries(rows: Iterable[RunRow], here: Path | None) -> list[Entry[Path]]:
    """Runs, found by name, state or config; the one at `here` is said to be shown."""
    return [
        Entry(row.path, _run_line(row, here), f"{row.id} {row.state} {Path(row.config or '').stem}") for row in rows
    ]


def _run_line(row: RunRow, here: Path | None) -> Content:
    glyph = state_glyph(row.state)
    step = f"step {row.step:,}" if row.step is not None else ""
    shown = "  (shown)" if row.path == here else ""
    state = Content.styled(f"{glyph.sign} {row.state:<9} ", glyph.colour)
    return state + Content.assemble(printable(row.id), (f"  {step}{shown}", "dim"))


def series_entries(names: Iterable[str]) -> list[Entry[str]]:
    """What can be drawn of runs, as people call it and as their files do."""
    labels = {name: series_label(name)[0] for name in names}
    width = max(map(len, labels.values()), default=0)
    return [
        Entry(name, Content.assemble(printable(f"{label:<{width}}  "), (printable(name), "dim")), f"{label} {name}")
        for name, label in labels.items()
    ]
