"""Tokens as the model reads them: each on a ground of its own with a mark at its boundary, special tokens named.

Lines are broken here, between tokens, and only those in sight are drawn. Rejected: one `Static`, which draws a page of
a thousand styled pieces whole, in a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import ClassVar, NamedTuple

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from textual import events
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from core.data.preview import TokenView
from core.text import printable
from daisy_tui.data.documents import Page

BOUNDARY, NEWLINE = "│", "↵"


class Piece(NamedTuple):
    """Text on one line; `kind` is even or odd (tokens in turn), mark, special, or bytes, or with -end a line's end."""

    text: str
    kind: str


Line = list[Piece]


def document_lines(page: Page, width: int, *, marks: bool = True) -> list[Line]:
    """A page broken into lines of at most `width` cells; without `marks` the grounds alone tell tokens apart."""
    lines: list[Line] = [[]]
    room = width
    for view in page.shown.tokens:
        for number, (pieces, ends_line) in enumerate(_parts(view, page.special)):
            text = [Piece(BOUNDARY, "mark"), *pieces] if marks and number == 0 else pieces
            needed = sum(cell_len(piece.text) for piece in text)
            if needed > room and lines[-1]:
                lines.append([])
                room = width
            for piece in _chopped(text, width):
                cells = cell_len(piece.text)
                if cells > room:
                    lines.append([])
                    room = width
                lines[-1].append(piece)
                room -= cells
            if ends_line:
                lines.append([])
                room = width
    return lines


def _parts(view: TokenView, special: frozenset[int]) -> Iterator[tuple[Line, bool]]:
    """What a token shows on each line that it has a part of, and whether that line ends with it."""
    kind = "odd" if view.position % 2 else "even"
    if view.id in special:
        yield [Piece(f"⟨{printable(view.data.decode(errors='replace'))} {view.id}⟩", "special")], False
        return
    try:
        *whole, last = printable(view.data.decode()).split("\n")
    except UnicodeDecodeError:  # a part of a character
        yield [Piece("".join(f"\\x{byte:02x}" for byte in view.data), f"{kind}-bytes")], False
        return
    for text in whole:
        yield [Piece(text, kind), Piece(NEWLINE, f"{kind}-end")], True
    if last or not whole:
        yield [Piece(last, kind)], False


def _chopped(pieces: Line, width: int) -> Iterator[Piece]:
    """The pieces, those longer than a line in several."""
    for piece in pieces:
        if cell_len(piece.text) <= width:
            yield piece
        else:
            yield from (Piece(text, piece.kind) for text in chop_cells(piece.text, max(2, width)))


def document_head(page: Page, documents: int | None) -> str:
    """Where a page stands: document, tokens, shard."""
    shown, place = page.shown, page.place
    of = f" of 0–{documents - 1:,}" if documents else ""
    last = shown.first + len(shown.tokens) - 1
    part = "" if page.pages == 1 else f" · page {place.page + 1}/{page.pages}: tokens {shown.first:,}–{last:,}"
    begin = shown.tokens[0].position - shown.first if shown.tokens else 0
    where = f" · at {begin:,} in {printable(shown.shard.name)}"
    return f"{place.split} document {place.document:,}{of} · {shown.length:,} tokens{part}{where}"


class DocumentView(ScrollView, can_focus=True):
    """One page, scrolled by line."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("document--even", "document--odd", "document--even-end", "document--odd-end"),
        *("document--even-bytes", "document--odd-bytes", "document--mark", "document--special", "document--words"),
    }
    DEFAULT_CSS = """
    DocumentView {
        height: 1fr;
        padding: 0 1;
        & > .document--even { background: $primary-muted; }
        & > .document--odd { background: $panel; }
        & > .document--even-end { background: $primary-muted; color: $text-muted; }
        & > .document--odd-end { background: $panel; color: $text-muted; }
        & > .document--even-bytes { background: $primary-muted; text-style: italic underline; }
        & > .document--odd-bytes { background: $panel; text-style: italic underline; }
        & > .document--mark { color: $foreground 50%; }
        & > .document--special { text-style: bold reverse; }
        & > .document--words { color: $text-muted; }
    }
    """

    def __init__(self, words: str = "", *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self._page: Page | None = None
        self._words = words
        self._marks = True
        self._lines: list[Line] = []

    @property
    def marks(self) -> bool:
        """Whether boundaries have marks."""
        return self._marks

    @marks.setter
    def marks(self, marks: bool) -> None:
        self._marks = marks
        self._break()

    def show(self, page: Page) -> None:
        """Show a page from its beginning."""
        self._page = page
        self._break()
        self.scroll_home(animate=False)

    def say(self, words: str) -> None:
        """Show words in the place of a page."""
        self._page, self._words = None, words
        self._break()
        self.scroll_home(animate=False)

    def on_resize(self, _event: events.Resize) -> None:
        self._break()

    def _break(self) -> None:
        width = max(8, self.scrollable_content_region.width)
        if self._page is not None:
            self._lines = document_lines(self._page, width, marks=self._marks)
        else:
            lines = printable(self._words).split("\n")
            self._lines = [[Piece(text, "words")] for line in lines for text in wrap(line, width) or [""]]
        self.virtual_size = Size(width, len(self._lines))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        at = y + round(self.scroll_offset.y)
        line = self._lines[at] if at < len(self._lines) else []
        segments = [Segment(text, self.get_component_rich_style(f"document--{kind}")) for text, kind in line]
        return Strip(segments).extend_cell_length(self.scrollable_content_region.width, self.rich_style)
