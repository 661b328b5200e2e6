"""The form that prepares data: what to read and where to put it, with the command that it comes to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widgets import Button, Checkbox, Input, Label, Select, Static

from core.data.prepare import dataset_name
from core.text import printable
from daisy_tui.commands import command_line
from daisy_tui.data.prepare_form import FORMATS, TOKENIZERS, PrepareForm
from daisy_tui.widgets.dialogue import Dialogue
from daisy_tui.widgets.tick import Tick

if TYPE_CHECKING:
    from textual_fspicker import Filters

_SUFFIXES = frozenset({".txt", ".md", ".jsonl", ".parquet"})
# Field, label, and what an empty one means.
_LINES = (
    ("source", "source", "a file, a folder or a glob: .txt .md .jsonl .parquet"),
    ("out", "into folder", "data/mine"),
    ("tokenizer", "tokenizer", "gpt2; also bytes, cl100k_base, or the path of a trained one"),
    ("name", "name", "the folder's name"),
)
_SHORT = (
    ("val_fraction", "validation", "0.01"),
    ("shard_tokens", "shard tokens", "100M"),
    ("text_key", "text key", "text"),
)


class PrepareScreen(Dialogue[PrepareForm | None]):
    """Returns what was filled in, or None."""

    BINDINGS: ClassVar = [Binding("escape", "back", "Back"), Binding("ctrl+s", "prepare", "Prepare")]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._typed: set[str] = set()  # fields
        self._asked = False  # whether somebody wanted to prepare what had problems

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialogue prepare"):
            yield Static(Content("Prepare text"), classes="dialogue-title")
            for name, label, empty in _LINES:
                with Horizontal(classes="prepare-line"):
                    yield Label(label)
                    yield self._input(name, empty)
                    if name == "source":
                        yield Button("File …", id="pick-file", compact=True)
                        yield Button("Folder …", id="pick-folder", compact=True)
                yield Static("", id=f"problem-{name}", classes="dialogue-error", markup=False)
            with Horizontal(classes="prepare-line"):
                for name, label, empty in _SHORT:
                    yield Label(label)
                    yield self._input(name, empty)
            yield Static("", id="problem-short", classes="dialogue-error", markup=False)
            with Horizontal(classes="prepare-line"):
                yield Label("holds")
                yield Select(
                    [(kind, kind) for kind in FORMATS], value="auto", allow_blank=False, id="format", compact=True
                )
                yield Tick("replace bad bytes", id="replace_errors", compact=True)
                yield Tick("overwrite", id="overwrite", compact=True)
            yield Static("", id="prepare-command", classes="dialogue-command", markup=False)
            with Horizontal(classes="dialogue-buttons"):
                yield Button("Prepare (ctrl+s)", variant="primary", id="prepare", compact=True)
                yield Button("Back (esc)", id="back", compact=True)

    def _input(self, name: str, empty: str) -> Input:
        suggester = SuggestFromList(TOKENIZERS) if name == "tokenizer" else None
        return Input(placeholder=empty, id=name, compact=True, suggester=suggester)

    def on_mount(self) -> None:
        self.query_one("#source").focus()
        self._show()

    @property
    def form(self) -> PrepareForm:
        """What is filled in."""
        typed = {name: self.query_one(f"#{name}", Input).value for name, *_ in (*_LINES, *_SHORT)}
        return PrepareForm(
            **typed,
            format=str(self.query_one("#format", Select).value),
            replace_errors=self.query_one("#replace_errors", Checkbox).value,
            overwrite=self.query_one("#overwrite", Checkbox).value,
        )

    def on_input_changed(self, event: Input.Changed) -> None:
        self._typed.add(str(event.input.id))
        if event.input.id == "source" and "out" not in self._typed:
            self._suggest_out(event.value)
        self._show()

    def on_select_changed(self) -> None:
        self._show()

    def on_checkbox_changed(self) -> None:
        self._show()

    def on_input_submitted(self) -> None:
        self.action_prepare()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "prepare":
            self.action_prepare()
        elif event.button.id == "back":
            self.action_back()
        else:
            self._pick(files=event.button.id == "pick-file")

    def action_back(self) -> None:
        self.dismiss(None)

    def action_prepare(self) -> None:
        form = self.form
        if problems := form.problems(self._folder):
            self._asked = True
            self._show()
            self.query_one(f"#{next(iter(problems))}").focus()
            return
        self.dismiss(form)

    @work(group="act", exit_on_error=False)
    async def _pick(self, *, files: bool) -> None:
        from textual_fspicker import FileOpen, SelectDirectory

        title = "What to prepare"
        screen = FileOpen(self._folder, title, filters=_filters()) if files else SelectDirectory(self._folder, title)
        chosen = await self.app.push_screen_wait(screen)
        if chosen is not None:
            self.query_one("#source", Input).value = self._short(chosen)
            self.query_one("#out").focus()

    def _short(self, path: Path) -> str:
        return os.path.relpath(path, self._folder) if path.is_relative_to(self._folder) else str(path)

    def _suggest_out(self, source: str) -> None:
        stem = Path(source.strip().rstrip("/*")).stem
        out = self.query_one("#out", Input)
        try:
            suggested = f"data/{dataset_name(Path(stem))}" if stem.strip(".*") else ""
        except (OSError, ValueError):  # no path
            suggested = ""
        with out.prevent(Input.Changed):
            out.value = suggested

    def _show(self) -> None:
        """The problems of what was filled in, and the command."""
        form = self.form
        found = form.problems(self._folder)
        problems = {name: said for name, said in found.items() if self._asked or name in self._typed}
        for name, *_ in _LINES:
            self._say(f"#problem-{name}", problems.get(name, ""))
        short = next((f"{label}: {problems[name]}" for name, label, _ in _SHORT if name in problems), "")
        self._say("#problem-short", short)
        self.query_one("#prepare-command", Static).update(Content(f"$ {printable(command_line(form.arguments()))}"))

    def _say(self, where: str, problem: str) -> None:
        said = self.query_one(where, Static)
        said.update(Content(problem))
        said.display = bool(problem)


def _filters() -> Filters:
    from textual_fspicker import Filters

    return Filters(("Texts", lambda path: path.suffix.lower() in _SUFFIXES), ("All", lambda path: True))
