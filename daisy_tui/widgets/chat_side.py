"""How the model is to choose and what it is told first: fields that hold from the next answer on, as they are typed.

Names and marks of all parameters are one widget each, for everything in sight is laid out with every word of an answer.
"""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Label, Static, TextArea

from daisy_tui.chatting.sampling import ALTERNATIVES, PARAMETERS, Parameter, SamplingValueError
from daisy_tui.widgets.chat_prompt import ChatField

FIELDS = (*PARAMETERS, ALTERNATIVES)


class ParameterField(Input):
    """What is typed for one parameter."""

    def __init__(self, parameter: Parameter) -> None:
        name = f"parameter-{parameter.name}"
        super().__init__(parameter.default, id=name, placeholder=parameter.blank, compact=True)
        self.parameter = parameter
        self.tooltip = Content(f"{parameter.help} Takes {parameter.range}.")


class ChatSide(VerticalScroll):
    """The parameters, and the system prompt. `values` are those that hold: what is typed wrongly changes nothing."""

    DEFAULT_CSS = """
    ChatSide {
        padding: 0 1;
        background: $surface;
        .side-title { text-style: bold; color: $text-muted; }
        .side-fields { width: 1fr; }
        .side-names { width: 14; height: 1fr; }
        .side-values { width: 1fr; height: 1fr; }
        .side-marks { width: 2; height: 1fr; color: $text-error; text-style: bold; }
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
        with Horizontal(classes="side-fields"):
            yield Static(_names(None), markup=False, classes="side-names")
            with Vertical(classes="side-values"):
                for field in FIELDS:
                    yield ParameterField(field)
            yield Static(markup=False, classes="side-marks")
        yield Static(markup=False, classes="side-help")
        yield Label("The model is told first", classes="side-title")
        yield ChatField(id="system", show_line_numbers=False, placeholder="nothing")

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

    def set_limit(self, tokens: int) -> None:
        """Show how long an answer is where nothing is typed."""
        self.query_one("#parameter-max_tokens", Input).placeholder = f"{tokens} by default"

    @property
    def wrong(self) -> str:
        """What is typed wrongly, in one line; nothing where all is right."""
        return next(iter(self._wrong.values()), "")

    def on_input_changed(self, event: Input.Changed) -> None:
        if not isinstance(event.input, ParameterField):
            return
        event.stop()
        parameter = event.input.parameter
        try:
            value = parameter.parse(event.value)
        except SamplingValueError as error:
            self._wrong[parameter.name] = str(error)
        else:
            self._wrong.pop(parameter.name, None)
            if value != self.values[parameter.name]:
                self.values[parameter.name] = value
                self.post_message(self.Changed())
        marks = "\n".join("✗" if field.name in self._wrong else "" for field in FIELDS)
        self.query_one(".side-marks", Static).update(Content(marks), layout=False)
        if event.input.has_focus or parameter.name in self._wrong:
            self._say(parameter)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    def on_descendant_focus(self) -> None:
        field = self.screen.focused
        if isinstance(field, ParameterField):
            self._name_fields(field.parameter)
            self._say(field.parameter)

    def on_descendant_blur(self) -> None:
        self._name_fields(None)

    def _name_fields(self, focused: Parameter | None) -> None:
        self.query_one(".side-names", Static).update(_names(focused), layout=False)

    def _say(self, parameter: Parameter) -> None:
        words = self._wrong.get(parameter.name)
        said = self.query_one(".side-help", Static)
        said.set_class(words is not None, "-wrong")
        said.update(Content(words or parameter.help))


def _names(focused: Parameter | None) -> Content:
    """A line for each; that which is typed into stands out."""
    return Content("\n").join(
        Content.styled(field.title, "bold $text-accent" if field is focused else "") for field in FIELDS
    )
