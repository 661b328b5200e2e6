"""What might have stood in a token's place, with probabilities: the choice from which an answer can be taken up."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from daisy_tui.chatting.lens import Alternative, By, level_names, name
from daisy_tui.widgets.chat_tokens import Said

_BAR, _NAME = 24, 20
_MARKS = (("plain", ""), ("italic", "italic"), ("underlined", "underline"), ("bold", "bold underline"))


class ChatAlternatives(Vertical):
    """The alternatives of one token. Enter or a click on one has the answer go on from there."""

    DEFAULT_CSS = """
    ChatAlternatives {
        height: auto;
        max-height: 9;
        border: round $panel-lighten-2;
        border-title-color: $text-muted;
        border-subtitle-color: $text-muted;
        &:focus-within { border: round $primary; }
        .alternatives-head { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
        OptionList { height: auto; max-height: 6; border: none; padding: 0; &:focus { border: none; } }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back", show=False)]

    class Forked(Message):
        """The person wants the answer with this alternative in the token's place."""

        def __init__(self, said: Said, alternative: Alternative) -> None:
            super().__init__()
            self.said, self.alternative = said, alternative

    class Left(Message):
        """The person goes back to the text."""

    def __init__(self) -> None:
        super().__init__()
        self._said: Said | None = None
        self._by: By = "probability"

    def compose(self) -> ComposeResult:
        yield Static(markup=False, classes="alternatives-head")
        yield OptionList(markup=False)

    def explain(self, by: By) -> None:
        """Say what the marks of the letters mean."""
        levels = zip(_MARKS, level_names(by), strict=True)
        marks = [(f" {mark} {words} ", style) for (mark, style), words in levels]
        self.border_title = Content.assemble(f"by {by} ", *marks)
        self.border_subtitle = "space next surprise · ⏎ alternatives, ⏎ goes on from one"

    @property
    def said(self) -> Said | None:
        """The token whose alternatives are shown."""
        return self._said

    def forget(self) -> None:
        """Show no token's."""
        if self._said is not None:
            self.show(None, self._by)

    def show(self, said: Said | None, by: By) -> None:
        """Show a token's alternatives; with None only what the marks mean."""
        self._said, self._by = said, by
        options = self.query_one(OptionList)
        options.clear_options()
        self.explain(by)
        options.display = said is not None
        if said is None:
            self._say(Content.styled("arrows or a click pick a token", "dim"))
            return
        token = said.token
        rank = f"place {token.rank}" if token.rank is not None else f"not among the {len(token.top)} likeliest"
        number = f"id {token.id}  " if token.id is not None else ""
        facts = f"  {_percent(token.probability)}  {rank}  {number}entropy ≥ {token.least_entropy:.2f} nats"
        self._say(Content.assemble((f"⟨{name(token.raw)}⟩", "bold"), facts))
        options.add_options([Option(_entry(other, other[:2] == token[:2])) for other in token.choices])
        options.display = bool(token.choices)
        if token.choices:
            place = next((at for at, other in enumerate(token.choices) if other[:2] == token[:2]), 0)
            options.highlighted = place

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self._said is not None:
            self.post_message(self.Forked(self._said, self._said.token.choices[event.option_index]))

    def action_leave(self) -> None:
        self.post_message(self.Left())

    def _say(self, words: Content) -> None:
        self.query_one(".alternatives-head", Static).update(words)


def _entry(other: Alternative, is_said: bool) -> Content:
    width = round(other.probability * _BAR)
    sign = "▸" if is_said else " "
    bar = "━" * width + ("╸" if not width and other.probability > 0 else "")
    shown = name(other.raw)
    shown = shown if len(shown) <= _NAME else shown[: _NAME - 1] + "…"
    return Content.assemble(f"{sign} {shown:<{_NAME}} {_percent(other.probability):>7}  ", (bar, "$text-accent"))


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f}%" if probability >= 0.001 or probability == 0 else "<0.1%"
