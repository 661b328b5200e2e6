"""What stands above everything on the Run screen: the state of the run, how far it is, and its figures.

    ● running  20261123-140526-first  on cpu
    ━━━━━━━━━━━━╸─────────── 41%  4.92M of 12M tokens  step 1,200  ETA 3:20
    train 3.2100  val 3.3000  tokens/s 9,000  MFU 41%  memory 547 MiB

Figures flow into as many rows as there are, the most important first; what has no room is left out. Each keeps the room
that its longest figure took, so that all keep their places while they change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import Static

from core.text import printable
from daisy_tui.glyphs import state_glyph
from daisy_tui.runs.run_look import RunLook
from daisy_tui.runs.run_text import figures, progress

_GAP = "  "
_BAR = (12, 40)  # cells, at least and at most
_WIDE = 160


class RunHeader(Static):
    """The header of one run; painted only when anything in it changed."""

    def __init__(self) -> None:
        super().__init__(id="run-header")
        self._look: RunLook | None = None
        self._instead = "Looking for runs …"
        self._shown = Content("")
        self._widths: dict[str, int] = {}
        self._widths_of: tuple[Path | None, int] = None, 0

    def show(self, look: RunLook | None, instead: str = "") -> None:
        """Show a run, or these words where there is none."""
        self._look, self._instead = look, instead
        self._paint()

    def on_resize(self) -> None:
        self._paint()

    def _paint(self) -> None:
        width = max(20, self.size.width or self.app.size.width)
        rows = 2 if width >= _WIDE else 3
        subject = self._look.run.path if self._look is not None else None
        if self._widths_of != (subject, width):
            self._widths_of, self._widths = (subject, width), {}
        now = header(self._look, width, rows, self._widths) if self._look is not None else Content(self._instead)
        if now.plain != self._shown.plain or now.spans != self._shown.spans:
            self._shown = now
            self.update(now, layout=False)


def header(look: RunLook, width: int, rows: int, widths: dict[str, int]) -> Content:
    """The header in rows of a width in cells. `widths` are the most that figures took so far; they grow here."""
    status, glyph = look.status, state_glyph(look.status.state)
    title = look.run.path.name if look.facts["name"] == look.run.path.name[16:] else f"{look.facts['name']}"
    state = status.state + (", stalled" if status.stalls else "")
    state += ", not waiting" if status.state == "queued" and not status.alive else ""
    first = Content.assemble((f"{glyph.sign} {state}", f"bold {glyph.colour}"), _GAP, (printable(title), "bold"))
    if status.reason is not None and not look.advice:  # where it is bad, the banner has it
        room = width - first.cell_length - len(_GAP)
        first += Content.assemble(_GAP, (printable(status.reason), "dim")).truncate(max(0, room), ellipsis=True)
    known = [(name, _kept(f"{name} ", figure, widths)) for name, figure in figures(look)]
    lines = [first, *[Content("")] * (rows - 1)]
    if (done := progress(look)) is not None:
        words = _kept("", f" {done.share:4.0%}{_GAP}{done.words}", widths)
        room = width - cell_len(words)
        if rows == 2:
            room -= sum(len(name) + len(figure) + 3 for name, figure in known[:5])
        lines[1] = Content.assemble(_bar(done.share, max(_BAR[0], min(_BAR[1], room)), glyph.colour), words)
    return Content("\n").join(_flow(lines, known, [*range(1, rows), 0], width))


def _kept(name: str, figure: str, widths: dict[str, int]) -> str:
    """A figure with spaces behind it as far as earlier ones went."""
    widths[name] = max(widths.get(name, 0), cell_len(figure))
    return figure + " " * (widths[name] - cell_len(figure))


def _flow(lines: list[Content], known: Sequence[tuple[str, str]], order: Sequence[int], width: int) -> list[Content]:
    """Figures behind what stands on the lines already, which are filled in an order; what has no room is left out."""
    lines = list(lines)
    for name, figure in known:
        piece = Content.assemble((f"{name} ", "dim"), figure)
        for place in order:
            line = lines[place]
            gap = _GAP if line.cell_length else ""
            if line.cell_length + len(gap) + piece.cell_length <= width:
                lines[place] = line + gap + piece
                break
    return lines


def _bar(share: float, width: int, colour: str) -> Content:
    """A share as a bar of so many cells: its filled part is heavier, not only coloured."""
    halves = round(share * width * 2)
    filled = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return Content.assemble((filled, colour), ("─" * (width - len(filled)), "dim"))
