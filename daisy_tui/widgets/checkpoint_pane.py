"""The pane beside the list of checkpoints: what one is, its tensors, layers and settings, and how two differ.

It is given everything that is known, and shows the part that is in sight.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static, TabbedContent, TabPane

from core.checkpoint.inspect import Inspection
from core.text import size
from daisy_tui.checkpoints import checkpoint_lines as make
from daisy_tui.checkpoints.catalog import Found
from daisy_tui.checkpoints.checkpoint_look import Look, said
from daisy_tui.checkpoints.checkpoint_rows import Line, called, name_of
from daisy_tui.checkpoints.checkpoint_text import cell
from daisy_tui.checkpoints.inspection_text import wrapped
from daisy_tui.checkpoints.lineage import Row
from daisy_tui.checkpoints.weights import Reading, Weights
from daisy_tui.widgets.run_lines import LineList

TABS = {"about": "About", "tensors": "Tensors", "layers": "Layers", "settings": "Settings", "difference": "Difference"}
_BAR = 20
_UNKNOWN_WIDTH = 78


class Shown(NamedTuple):
    """What the pane is about: a `row` of the list, and what a look at it brought, once it has.

    `verified` says how its hashes were found, `tensor` whose histogram is wanted, and `marked` which one it is compared
    with.
    """

    row: Row | None = None
    found: Found = Found((), ())
    look: Look | None = None
    verified: str = ""
    tensor: str | None = None
    marked: Path | None = None

    @property
    def inspection(self) -> Inspection | None:
        return self.look.inspection if self.look is not None else None


class CheckpointPane(Vertical):
    """One checkpoint. `weights` holds the figures that were read."""

    class TabShown(Message):
        """Another part is in sight."""

    class TensorChosen(Message):
        """A tensor was chosen, by its name."""

        def __init__(self, tensor: str) -> None:
            super().__init__()
            self.tensor = tensor

    DEFAULT_CLASSES: ClassVar[str] = "checkpoint-pane"

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self._weights = weights
        self._shown = Shown()
        self._names: list[str | None] = []  # of the tensors, by line

    def compose(self) -> ComposeResult:
        yield Static("", id="checkpoint-name", markup=False)
        with TabbedContent(initial="about", id="checkpoint-tabs"):
            for name, title in TABS.items():
                with TabPane(title, id=name):
                    yield LineList(id=f"{name}-lines")
                    if name == "tensors":
                        yield Static(id="histogram")
        yield Static(id="reading")

    @property
    def tabs(self) -> TabbedContent:
        return self.query_one("#checkpoint-tabs", TabbedContent)

    @property
    def tab(self) -> str:
        """The part that is in sight."""
        return self.tabs.active or "about"

    @property
    def lines(self) -> LineList:
        """The lines that are in sight."""
        return self.query_one(f"#{self.tab}-lines", LineList)

    @property
    def tensor(self) -> str | None:
        """The tensor under the cursor."""
        cursor = self.query_one("#tensors-lines", LineList).cursor
        return self._names[cursor] if self.tab == "tensors" and cursor < len(self._names) else None

    def show(self, shown: Shown) -> None:
        """Show this; what is of another checkpoint begins at its first line."""
        if shown.row is None or self._shown.row is None or shown.row.path != self._shown.row.path:
            for name in TABS:
                lines = self.query_one(f"#{name}-lines", LineList)
                lines.cursor = 0
                lines.scroll_home(animate=False)
        self._shown = shown
        self.query_one("#checkpoint-name", Static).update(Content(name_of(shown.row)), layout=False)
        self.paint()

    def paint(self) -> None:
        """Show what is known now."""
        lines, made = self.lines, self._made()
        lines.show(len(made), lambda index: made[index], lines.scrollable_content_region.width)
        if self._names and lines.cursor == 0:
            lines.cursor = next((index for index, name in enumerate(self._names) if name is not None), 0)
        self._paint_histogram()

    def show_reading(self, reading: Reading | None, stop_key: str) -> None:
        """Say how far a reading is; nothing while there is none."""
        line = self.query_one("#reading", Static)
        line.display = reading is not None
        if reading is None:
            return
        share = reading.done / reading.total if reading.total else 0.0
        done = round(_BAR * share)
        bar = Content.assemble(("█" * done, "$success"), ("░" * (_BAR - done), "$text-muted"))
        of = f"{size(reading.done)} of {size(reading.total)}" if reading.total else "beginning"
        rest = Content.assemble(f" {share:4.0%}  {of}", (f"  {stop_key} stops", "dim"), f"  {cell(reading.what)}")
        line.update(bar + rest, layout=False)

    def _made(self) -> list[Line]:
        shown, width = self._shown, self.lines.scrollable_content_region.width or _UNKNOWN_WIDTH
        self._names = []
        inspection = shown.inspection
        if self.tab == "difference":
            return self._difference(width)
        if inspection is None or self.tab == "about":
            return self._about(width)
        statistics = self._weights.statistics(inspection)
        if self.tab == "tensors":
            tensors = make.tensors(inspection, statistics, width)
            self._names = [line.name for line in tensors]
            return [line.line for line in tensors]
        if self.tab == "layers":
            return make.layers(inspection, statistics, width)
        return make.settings(inspection.meta.hparams, width)

    def _about(self, width: int) -> list[Line]:
        shown = self._shown
        if shown.inspection is not None:
            return make.about(shown.inspection, width, shown.verified)
        problem = shown.look.problem if shown.look is not None else ""
        return make.folded(said(shown.row, shown.found, width, problem), width)

    def _difference(self, width: int) -> list[Line]:
        """How it differs from the marked one; or else why that is not shown, and what it is."""
        look = self._shown.look
        if look is None or look.inspection is None or look.other is None or look.comparison is None:
            why = f"the marked one: {look.other_problem}" if look is not None and look.other_problem else ""
            words = wrapped(why or self._no_difference(), "", width)
            return [*([(line, "error" if why else "muted")] for line in words), [], *self._about(width)]
        movements = self._weights.movements(look.other, look.inspection)
        return make.difference(look.other, look.inspection, look.comparison, movements, width)

    def _no_difference(self) -> str:
        row, marked = self._shown.row, self._shown.marked
        if row is None or marked is None:
            return "m marks a checkpoint; how another one differs from it is then shown here"
        if row.path == marked:
            return "◆ It is the marked one: another one shows here how it differs from this"
        name = called(marked, self._shown.found)
        if row.run is not None:
            return f"A run: each of its checkpoints shows here how it differs from ◆ {name}"
        if row.kind == "gone" or (self._shown.look is not None and self._shown.inspection is None):
            return f"Not to be compared with ◆ {name}:"
        return f"Looking how it differs from ◆ {name} …"

    def _paint_histogram(self) -> None:
        shown, picture = self._shown, self.query_one("#histogram", Static)
        found = None
        if shown.inspection is not None and shown.tensor is not None:
            found = self._weights.histogram(shown.inspection, shown.tensor)
        picture.display = found is not None
        if found is not None:
            lines = make.histogram(found, self.lines.size.width or _UNKNOWN_WIDTH)
            styles = {"strong": "bold", "muted": "$text-muted", "good": "$success", "error": "$text-error"}
            content = [Content.assemble(*((text, styles.get(part, "")) for text, part in line)) for line in lines]
            picture.update(Content("\n").join(content))

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self.paint)

    @on(TabbedContent.TabActivated)
    def _tab_shown(self, event: TabbedContent.TabActivated) -> None:
        event.stop()
        self.call_after_refresh(self.paint)
        self.post_message(self.TabShown())

    @on(LineList.Chosen)
    def _line_chosen(self, event: LineList.Chosen) -> None:
        event.stop()
        if self.tensor is not None:
            self.post_message(self.TensorChosen(self.tensor))
