"""The runs that there are, those that are compared with the look of their line before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from rich.cells import set_cell_size
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from core.text import printable
from daisy_tui.cutting import cut_apart
from daisy_tui.glyphs import state_glyph
from daisy_tui.lines import colours_for, look
from daisy_tui.naming import told_apart
from daisy_tui.runs.watching import RunRow

_BEFORE, _FIGURE = 6, 9  # columns before a name, and for a loss
_WITH_LOSS = 30  # columns from which there is room for it


class CompareList(OptionList):
    """The list. A click adds a run or takes it away, Enter opens it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open run", show=False)]

    class Toggled(Message):
        """A run was clicked."""

        def __init__(self, path: Path) -> None:
            super().__init__()
            self.path = path

    class Opened(Message):
        """Enter was pressed on a run."""

        def __init__(self, path: Path) -> None:
            super().__init__()
            self.path = path

    def __init__(self) -> None:
        super().__init__(id="compare-list", markup=False)
        self._rows: tuple[RunRow, ...] = ()
        self._prompts: list[Content] = []
        self._styles: Mapping[Path, int] = {}

    @property
    def current(self) -> Path | None:
        """The run that the cursor is on."""
        return self._rows[self.highlighted].path if self.highlighted is not None else None

    def show(self, rows: Sequence[RunRow], styles: Mapping[Path, int]) -> None:
        """Show these runs; those that are compared have a style. The cursor stays on its run."""
        current, before = self.current, [row.path for row in self._rows]
        self._rows, self._styles = tuple(rows), styles
        figure_width = _FIGURE if self.size.width >= _WITH_LOSS else 0
        room = max(1, self.size.width - _BEFORE - figure_width)
        names = cut_apart([printable(name) for name in told_apart([(row.id, row.name) for row in rows])], room)
        prompts = [self._prompt(*one, room, figure_width) for one in zip(rows, names, strict=True)]
        if [row.path for row in rows] == before:
            for place, (prompt, old) in enumerate(zip(prompts, self._prompts, strict=True)):
                if not prompt.is_same(old):  # == compares text alone
                    self.replace_option_prompt_at_index(place, prompt)
        else:
            self.set_options(Option(prompt) for prompt in prompts)
            paths = [row.path for row in rows]
            self.highlighted = paths.index(current) if current in paths else 0 if paths else None
        self._prompts = prompts

    def action_select(self) -> None:
        """What a click does."""
        if (path := self.current) is not None:
            self.post_message(self.Toggled(path))

    def action_open(self) -> None:
        if (path := self.current) is not None:
            self.post_message(self.Opened(path))

    def on_resize(self) -> None:
        self.show(self._rows, self._styles)

    def _prompt(self, row: RunRow, name: str, room: int, figure_width: int) -> Content:
        colours = colours_for(dark=self.app.current_theme.dark, ansi=self.app.native_ansi_color)
        style = self._styles.get(row.path)
        line = look(style, colours) if style is not None else None
        glyph = state_glyph(row.state)
        loss = row.val_loss if row.val_loss is not None else row.train_loss
        figure = f"{loss:>{figure_width}.4f}" if loss is not None and figure_width else ""
        return Content.assemble(
            (line.sample if line else "   ", line.colour if line else ""),
            (f" {glyph.sign} ", glyph.colour),
            (set_cell_size(name, room), "bold" if line else ""),
            (figure, "dim"),
        )
