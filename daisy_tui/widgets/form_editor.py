"""What is known of one field, and the line in which its value is typed: there is one editor for all fields.

It says what was typed, letter by letter, and what became of it; what a value means and whether it is right is told to
it. Rejected: editing in the list itself, where the help and a problem of two lines have no room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Label, Static

from core.text import printable
from daisy_tui.composing.form_rows import Row

_HINTS = {
    "flag": "⏎ turns it over",
    "choice": "⏎ chooses, ← → step through",
    "config": "⏎ chooses a config",
    "spec": "⏎ chooses a model spec",
    "devices": "⏎ chooses devices",
    "optimizers": "⏎ opens the table",
}
TYPED = frozenset({"whole", "count", "real", "numbers", "text", "globs", "sets", "words", "checkpoint"})


class ValueInput(Input):
    """The line that is typed into: Enter keeps what was typed in it, Escape takes it back. It `ends` at once."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "let_go", "Take back", show=False),
        Binding("up,down", "leave", "Keep", show=False),
    ]

    def __init__(self, ends: Callable[[bool], None]) -> None:
        super().__init__(id="field-input", compact=True)
        self._ends = ends

    async def action_submit(self) -> None:
        self._ends(True)

    def action_leave(self) -> None:
        self._ends(True)

    def action_let_go(self) -> None:
        self._ends(False)


class FieldEditor(Vertical):
    """The field with the cursor."""

    DEFAULT_CSS = """
    FieldEditor {
        height: 7;
        background: $surface;
        padding: 0 1;
        Static { height: auto; }
        #field-about { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        #field-line { height: 1; }
        #field-said { color: $text-error; }
        #field-help { height: 1fr; color: $text-muted; }
        #field-line Label { width: auto; text-style: bold; }
        #field-input { width: 1fr; display: none; }
        #field-hint { width: 1fr; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
        &.-editing #field-input { display: block; }
        &.-editing #field-hint { display: none; }
        &.-editing { background: $panel; }
        &.-warning #field-said { color: $text-warning; }
    }
    """

    class Typed(Message):
        """A letter was typed or taken away: `text` is the whole of it now."""

        def __init__(self, row: Row, text: str) -> None:
            super().__init__()
            self.row, self.text = row, text

    class Ended(Message):
        """No more is typed; `keeps` says whether it shall hold."""

        def __init__(self, row: Row, keeps: bool) -> None:
            super().__init__()
            self.row, self.keeps = row, keeps

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._row: Row | None = None
        self._edited: Row | None = None
        self._told = ""  # the text that was told last

    def compose(self) -> ComposeResult:
        yield Static(id="field-about")
        with Horizontal(id="field-line"):
            yield Label("", id="field-key", markup=False)
            yield ValueInput(self._end)
            yield Static(id="field-hint")
        yield Static(id="field-said")  # below the line, which so stays where it is, and above the help, which may go
        yield Static(id="field-help")

    @property
    def edited(self) -> Row | None:
        """The row that is being typed for."""
        return self._edited

    def show(self, row: Row | None) -> None:
        """Tell of a row; while one is typed for, of that one alone."""
        if self._edited is not None and (row is None or row.key != self._edited.key):
            return
        self._row = row
        about, hint, help_text, said, key = Content(""), Content(""), "", "", ""
        if row is not None:
            about = Content.assemble((printable(row.key), "bold"), (f"  {row.field.what}", "dim"))
            help_text, key = row.field.help, f"{printable(row.key.rpartition('.')[2])} = "
            mark = "✗" if row.problems else "!"
            said = "\n".join(f"{mark} {printable(line)}" for line in row.said)
            resets = "   ⌫ resets" if row.touched else ""
            hint = Content.assemble(
                (printable(row.value), "bold"), f"   {_HINTS.get(row.field.kind, '⏎ edits')}{resets}", _origin(row)
            )
        self.query_one("#field-about", Static).update(about)
        self.query_one("#field-help", Static).update(Content(help_text))
        self.query_one("#field-key", Label).update(Content(key))
        self.query_one("#field-hint", Static).update(hint)
        self.query_one("#field-said", Static).update(Content(said))
        self.set_class(row is not None and not row.problems, "-warning")

    def edit(self, row: Row) -> None:
        """Begin to type a value."""
        self._edited = None
        self.show(row)
        self._edited = row
        line = self.query_one(ValueInput)
        with line.prevent(Input.Changed):
            line.value = "" if row.value == "null" else row.value
        line.placeholder = "null" if row.field.nullable else (row.field.default or "")
        self.add_class("-editing")
        self.screen.set_focus(line)  # at once: the first letters may be on their way
        line.cursor_position = len(line.value)
        self._told = line.value

    def end(self) -> None:
        """Type no more."""
        self._edited = None
        self.remove_class("-editing")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._tell(event.value)

    def on_input_blurred(self, event: Input.Blurred) -> None:
        event.stop()
        self._end(True)

    def _tell(self, text: str) -> None:
        if self._edited is not None and text != self._told:
            self._told = text
            self.post_message(self.Typed(self._edited, text))

    def _end(self, keeps: bool) -> None:
        row = self._edited
        if keeps:
            self._tell(self.query_one(ValueInput).value)  # what was typed last may be on its way yet
        self.end()
        if self.screen.focused is self.query_one(ValueInput):
            self.screen.set_focus(None)  # at once: what is typed next is no part of the value
        if row is not None:
            self.post_message(self.Ended(row, keeps))


def _origin(row: Row) -> str:
    """Where the value comes from, and what it would be by default."""
    default = "required" if row.field.default is None else f"default {row.field.default}" if row.field.default else ""
    source = "" if row.source == "default" else row.source
    return "".join(f"   {part}" for part in (source, default) if part)
