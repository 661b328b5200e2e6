"""A box that is ticked or empty. Textual's `Checkbox` shows an X in both, told apart by its shade alone."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Checkbox


class Tick(Checkbox):
    """`[✓]` or `[ ]` before its words."""

    @property
    def _button(self) -> Content:
        return Content("[✓]" if self.value else "[ ]")
