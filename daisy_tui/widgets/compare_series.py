"""Picking what is drawn of the compared runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from core.text import printable
from daisy_tui.runs.compare_look import series_label


class SeriesScreen(ModalScreen[str | None]):
    """The series that the compared runs have; Enter or a click takes one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,s,q", "dismiss(None)", "Back")]

    def __init__(self, series: Sequence[str], here: str) -> None:
        super().__init__()
        self._series, self._here = list(series), here

    def compose(self) -> ComposeResult:
        width = max((len(series_label(name)[0]) for name in self._series), default=0)
        with Vertical(classes="dialogue series-picker"):
            yield Static(Content("Which series?"), classes="dialogue-title")
            yield OptionList(
                *(
                    Option(Content.assemble(printable(f"{series_label(name)[0]:<{width}}  "), (printable(name), "dim")))
                    for name in self._series
                ),
                markup=False,
            )

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = self._series.index(self._here) if self._here in self._series else 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._series[event.option_index])
