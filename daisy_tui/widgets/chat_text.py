"""A long text, shown as it came: one widget of as many lines as it takes, of which only those in sight are painted.

Rejected: `Markdown` for all of it, which is a widget a paragraph, each of them laid out with every word that comes; and
`Static`, which breaks all of its lines anew.
"""

from __future__ import annotations

from rich.segment import Segment
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from daisy_tui.chatting.text_rows import TextRows


class LongText(Widget):
    """A text that grows at its end; control characters are not in it any more."""

    DEFAULT_CSS = "LongText { height: auto; }"
    ALLOW_SELECT = False

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._pieces = [text]
        self._rows = TextRows(1)

    def append(self, text: str) -> None:
        """Show more of it."""
        self._pieces.append(text)
        rows = len(self._rows)
        self._rows.add(text)
        self.refresh(layout=len(self._rows) != rows)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._lay_out(width)
        return len(self._rows)

    def render_line(self, y: int) -> Strip:
        width, style = self.size.width, self.rich_style
        self._lay_out(width)
        if y >= len(self._rows):
            return Strip.blank(width, style)
        return Strip([Segment(self._rows[y], style)]).adjust_cell_length(width, style)

    def _lay_out(self, width: int) -> None:
        if width != self._rows.width:
            self._pieces = ["".join(self._pieces)]
            self._rows = TextRows(width)
            self._rows.add(self._pieces[0])
