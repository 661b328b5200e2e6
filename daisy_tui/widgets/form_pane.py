"""The form: what is composed and how much of it was touched, the search, the list of fields, and the editor below.

It shows the rows that it is given, or of them those that were asked for, by words or because they were touched. What a
row is and what becomes of a change it does not know. A field with a problem is shown whatever was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.text import printable
from daisy_tui.composing.drafts import Draft
from daisy_tui.composing.form_rows import Row, best_match
from daisy_tui.widgets.form_editor import FieldEditor
from daisy_tui.widgets.form_list import FieldList


class FormPane(Vertical):
    """`edit` is called for the row that is to be edited."""

    DEFAULT_CSS = """
    FormPane {
        #form-head { height: 1; padding: 0 1; background: $surface; text-wrap: nowrap; text-overflow: ellipsis; }
        #form-search { display: none; height: 1; }
        &.-searching #form-search { display: block; }
        #fields { height: 1fr; }
    }
    """

    def __init__(self, edit: Callable[[Row], None], *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._edit = edit
        self._rows: Sequence[Row] = ()
        self._head = Content("")
        self._words, self._only_touched = "", False

    def compose(self) -> ComposeResult:
        yield Static(id="form-head")
        yield Input(placeholder="words to search for; esc shows all", id="form-search", compact=True)
        yield FieldList(self._edit, id="fields")
        yield FieldEditor(id="editor")

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows instead."""
        self._rows = rows
        self._show_rows()
        editor = self.query_one(FieldEditor)
        if (edited := editor.edited) is not None:
            editor.show(next((row for row in rows if row.key == edited.key), None))

    def show_head(self, draft: Draft, can_undo: bool) -> None:
        """Say what is composed, and how much of it was touched."""
        touched = f"{len(draft.touched)} touched" if draft.touched else "nothing touched"
        undo = "   u undoes" if can_undo else ""
        self._head = Content.assemble((printable(draft.config), "bold"), f"   {touched}{undo}")
        self._update_head()

    def _update_head(self) -> None:
        shown = [f"only those with '{self._words}'"] if self._words else []
        shown += ["only touched"] if self._only_touched else []
        filtered = Content.styled(f"   {', '.join(shown)}" if shown else "", "$text-warning")
        self.query_one("#form-head", Static).update(self._head + filtered)

    def _show_rows(self) -> None:
        rows = [row for row in self._rows if row.fits(self._words) and (row.touched or not self._only_touched)]
        why = "nothing touched; t shows all fields" if self._only_touched else "no field has these words; esc shows all"
        self.query_one(FieldList).show(rows, why)
        self._update_head()

    def on_field_list_highlighted(self, event: FieldList.Highlighted) -> None:
        self.query_one(FieldEditor).show(event.row)

    # What of it is shown

    def search(self) -> None:
        """Ask for words, and show the fields that have them."""
        self.add_class("-searching")
        self.screen.set_focus(self.query_one("#form-search", Input))  # at once: the first letters may be on their way

    def toggle_touched(self) -> None:
        """Show only what was touched, or everything again."""
        self._only_touched = not self._only_touched
        self._show_rows()

    def step_out(self) -> bool:
        """Take back the search, or else the touched alone; whether there was something to take back."""
        if self.has_class("-searching"):
            self._ask_for("", self._only_touched)
            return True
        if self._only_touched:
            self._ask_for("", False)
            return True
        return False

    def _ask_for(self, words: str, only_touched: bool) -> None:
        self.remove_class("-searching")
        with self.prevent(Input.Changed):
            self.query_one("#form-search", Input).value = words
        self._words, self._only_touched = words, only_touched
        self._show_rows()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._words = event.value.strip()
        self._show_rows()
        if self._words and (best := best_match(self.query_one(FieldList).rows, self._words)) is not None:
            self._go_to(best.key)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one(FieldList).focus()

    def _go_to(self, key: str) -> None:
        fields = self.query_one(FieldList)
        if (at := fields.line_of(key)) is not None:
            fields.go_to(at)

    def go_to_problem(self) -> bool:
        """Go to the next field with a problem; whether there is one. What would hide one is no longer asked for."""
        fields = self.query_one(FieldList)
        wrong = [row.key for row in self._rows if row.problems]
        if any(fields.line_of(key) is None for key in wrong):
            self._ask_for("", False)
        lines = [at for key in wrong if (at := fields.line_of(key)) is not None]
        if lines:
            fields.focus()
            fields.go_to(next((at for at in lines if at > fields.cursor), lines[0]))
        return bool(lines)
