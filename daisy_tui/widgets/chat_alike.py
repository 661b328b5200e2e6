"""Containers that are quick to grow: every line of what lies below their children is alike, so one line is painted.

Textual paints a container anew, all lines in sight, whenever its height changes, and lays the whole screen out a second
time whenever what is in it becomes higher. In a chat three of them, in each other, do so with every word that comes.
"""

from __future__ import annotations

from collections.abc import Callable

from textual.containers import Vertical, VerticalScroll
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownParagraph


class Column(Vertical):
    """Widgets below each other."""

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:
        return super()._size_updated(size, virtual_size, container_size, layout=False)

    def render_lines(self, crop: Region) -> list[Strip]:
        return _alike(super().render_lines, crop)


class ChatLog(VerticalScroll):
    """Widgets below each other that scroll."""

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:
        return super()._size_updated(size, virtual_size, container_size, layout=False)

    def render_lines(self, crop: Region) -> list[Strip]:
        return _alike(super().render_lines, crop)


class Paragraph(MarkdownParagraph):
    """A paragraph, which grows too."""

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:
        return super()._size_updated(size, virtual_size, container_size, layout=False)


class Document(Markdown):
    """Markdown, laid out."""

    BLOCKS = {**Markdown.BLOCKS, "paragraph_open": Paragraph}  # noqa: RUF012 - Textual's

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:
        return super()._size_updated(size, virtual_size, container_size, layout=False)

    def render_lines(self, crop: Region) -> list[Strip]:
        return _alike(super().render_lines, crop)


def _alike(render_lines: Callable[[Region], list[Strip]], crop: Region) -> list[Strip]:
    """The lines of a widget without anything above or below its content, be it a border or a title."""
    return render_lines(Region(crop.x, crop.y, crop.width, 1)) * crop.height
