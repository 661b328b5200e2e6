"""Picking one of many by a few letters, in order and in any place: the dialogue behind every such choice.

What there is to pick comes as data, so that who asks says what is searched, what is shown and what is returned, and
keys, ranking and looks are the same everywhere. Rejected: a subclass for each kind of entry, with a method for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.fuzzy import FuzzySearch
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from daisy_tui.widgets.dialogue import Dialogue
from daisy_tui.widgets.pick_entries import Entry

Answer = TypeVar("Answer")
_MOST = 200


class PickScreen(Dialogue[Answer | None], Generic[Answer]):
    """Entries narrowed by what is typed; Enter or a click returns the answer of one, Escape None.

    `current` is the answer to begin on, `noun` what is counted, and `none` is said where there are no entries. `free`
    makes an entry of what was typed itself, where that is no entry's name. `footer` stands below the list.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back"),
        # The list is gone through while the field has the focus.
        Binding("up", "move('cursor_up')", "Up", show=False),
        Binding("down", "move('cursor_down')", "Down", show=False),
        Binding("pageup", "move('page_up')", "Page up", show=False),
        Binding("pagedown", "move('page_down')", "Page down", show=False),
    ]

    def __init__(
        self,
        title: str,
        placeholder: str,
        entries: Sequence[Entry[Answer]],
        *,
        current: Answer | None = None,
        noun: str = "",
        none: str = "there is nothing to pick",
        free: Callable[[str], Entry[Answer]] | None = None,
        footer: Widget | None = None,
    ) -> None:
        super().__init__()
        self._title, self._placeholder, self._entries = title, placeholder, entries
        self._current, self._noun, self._none = current, noun, none
        self._free, self._footer = free, footer
        self._fuzzy = FuzzySearch()
        self._typed: str | None = None  # what `_found` was found by
        self._found: list[Entry[Answer]] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue pick"):
            yield Static(Content(self._title), classes="dialogue-title")
            yield Input(placeholder=self._placeholder, compact=True)
            yield OptionList(markup=False, compact=True)
            if self._footer is not None:
                yield self._footer
            yield Static(classes="hint pick-count")

    def on_mount(self) -> None:
        self._narrow()

    def on_input_changed(self) -> None:
        self._narrow()

    def on_input_submitted(self) -> None:
        self._take(self._options.highlighted)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._take(event.option_index)

    async def action_move(self, how: str) -> None:
        await self._options.run_action(how)

    @property
    def _options(self) -> OptionList:
        return self.query_one(".pick > OptionList", OptionList)

    def _take(self, place: int | None) -> None:
        if place is not None and place < len(self._found):  # the list may have become shorter since the click
            self.dismiss(self._found[place].answer)

    def _narrow(self) -> None:
        """Show what fits: the best names first, then what was typed, then what fits by its note."""
        typed = self.query_one(Input).value.strip()
        if typed == self._typed:
            return
        self._typed = typed
        scored = [(self._score(typed, entry.name), entry) for entry in self._entries]
        named = [entry for score, entry in sorted(scored, key=lambda pair: -pair[0]) if score]
        noted = [entry for score, entry in scored if not score and self._score(typed, entry.note)]
        names = {entry.name for entry in named}
        own = [self._free(typed)] if self._free is not None and typed and typed not in names else []
        self._found = [*named, *own, *noted][:_MOST]
        options = self._options
        options.set_options(Option(entry.line) for entry in self._found)
        if self._found:
            current = (at for at, entry in enumerate(self._found) if not typed and entry.answer == self._current)
            options.highlighted = next(current, 0)
        self._count(len(named) + len(noted))

    def _score(self, typed: str, text: str) -> float:
        return self._fuzzy.match(typed, text)[0] if typed else 1.0

    def _count(self, number: int) -> None:
        counted = f"{number} of {len(self._entries)} {self._noun}".rstrip()
        more = f", the first {_MOST} are shown" if number > _MOST else ""
        words = f"{counted}{more} · ⏎ takes it, esc goes back" if self._entries or self._free else self._none
        self.query_one(".pick-count", Static).update(Content(words))
