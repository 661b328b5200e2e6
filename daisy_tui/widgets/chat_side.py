"""How the model is to choose and what it is told first: fields that hold from the next answer on, as they are typed."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Label, Static, TextArea

from daisy_tui.chatting.sampling import ALTERNATIVES, PARAMETERS, Parameter, SamplingValueError

FIELDS = (*PARAMETERS, ALTERNATIVES)


class ParameterRow(Horizontal):
    """One parameter: its name, what is typed, and a mark where that cannot be."""

    def __init__(self, parameter: Parameter) -> None:
        super().__init__()
        self.parameter = parameter

    def compose(self) -> ComposeResult:
        parameter = self.parameter
        yield Label(parameter.title, markup=False)
        field = Input(parameter.default, id=f"parameter-{parameter.name}", compact=True)
        field.tooltip = Content(f"{parameter.help} Takes {parameter.range}.")
        yield field
        yield Label("", markup=False, classes="mark")


class ChatSide(VerticalScroll):
    """The parameters, and the system prompt. `values` are those that hold: what is typed wrongly changes nothing."""

    DEFAULT_CSS = """
    ChatSide {
        padding: 0 1;
        background: $surface;
        .side-title { text-style: bold; color: $text-muted; }
        ParameterRow {
            height: 1;
            Label { width: 14; }
            Input { width: 1fr; }
            .mark { width: 2; color: $text-error; text-style: bold; }
            &:focus-within Label { text-style: bold; color: $text-accent; }
        }
        .side-help { height: auto; min-height: 2; margin: 1 0; color: $text-muted; &.-wrong { color: $text-error; } }
        TextArea { height: auto; min-height: 3; max-height: 8; border: round $panel-lighten-2; padding: 0; }
        TextArea:focus { border: round $primary; }
    }
    """

    class Changed(Message):
        """Another value holds from now on."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, can_focus=False)
        self.values: dict[str, Any] = {field.name: field.parse(field.default) for field in FIELDS}
        self._wrong: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield Label("Parameters", classes="side-title")
        with Vertical(classes="side-fields"):
            for field in FIELDS:
                yield ParameterRow(field)
        yield Static(markup=False, classes="side-help")
        yield Label("The model is told first", classes="side-title")
        yield TextArea(id="system", show_line_numbers=False, placeholder="nothing")

    def on_mount(self) -> None:
        self.query_one(".side-fields").styles.height = len(FIELDS)

    @property
    def system(self) -> str:
        return self.query_one("#system", TextArea).text

    def set_system(self, text: str) -> None:
        """Show what a conversation has."""
        area = self.query_one("#system", TextArea)
        with area.prevent(TextArea.Changed):
            area.load_text(text)

    @property
    def wrong(self) -> str:
        """What is typed wrongly, in one line; nothing where all is right."""
        return next(iter(self._wrong.values()), "")

    def on_input_changed(self, event: Input.Changed) -> None:
        row = event.input.parent
        if not isinstance(row, ParameterRow):
            return
        event.stop()
        parameter = row.parameter
        try:
            value = parameter.parse(event.value)
        except SamplingValueError as error:
            self._wrong[parameter.name] = str(error)
        else:
            self._wrong.pop(parameter.name, None)
            if value != self.values[parameter.name]:
                self.values[parameter.name] = value
                self.post_message(self.Changed())
        row.query_one(".mark", Label).update("✗" if parameter.name in self._wrong else "")
        if event.input.has_focus or parameter.name in self._wrong:
            self._say(parameter)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    def on_descendant_focus(self) -> None:
        row = self.screen.focused.parent if self.screen.focused is not None else None
        if isinstance(row, ParameterRow):
            self._say(row.parameter)

    def _say(self, parameter: Parameter) -> None:
        words = self._wrong.get(parameter.name)
        said = self.query_one(".side-help", Static)
        said.set_class(words is not None, "-wrong")
        said.update(Content(words or parameter.help))
