"""BrailleChart: lines over steps, tokens or time, with a cursor and a zoom, that costs nothing while nothing changes.

Data come down by `show` and by the reactives, what the person does goes up as messages; setting `cursor` or `view` from
outside posts none, so that charts can share both. The picture (plot.py) is made when it is next painted and kept as
strips; a cursor that moves repaints over them. Rejected: the plotting widgets there are, which take about ten times as
long for a redraw and join over NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from core.runs.curves import Mark
from daisy_tui.lines import Line, colours_for, look
from daisy_tui.widgets.legend import footing, heading, heading_rows, nearest
from daisy_tui.widgets.plot import Chart, Picture, Row, extent, picture
from daisy_tui.widgets.strips import strip_of, with_chosen, with_cursor

View = tuple[float, float]

_WHEEL, _KEYS = 1.25, 2.0  # how much nearer one notch and one key press go
_LEAST_DRAG = 2  # columns: less is a click
_FAR = 10
_TRACED = 64  # points by which a line is known again
_PARTS = ("title", "label", "value", "axis", "grid", "event", "warning", "cursor", "place", "chosen", "empty")


class BrailleChart(Widget, can_focus=True):
    """Lines over steps, tokens or time, drawn in braille."""

    ALLOW_SELECT = False  # dragging chooses what to zoom into
    DEFAULT_CSS = """
    BrailleChart {
        width: 1fr;
        height: 1fr;
        min-height: 3;
        pointer: crosshair;
        .chart--title { text-style: bold; }
        .chart--label { color: $text-muted; }
        .chart--value { text-style: bold; }
        .chart--axis { color: $foreground 45%; }
        .chart--grid { color: $foreground 15%; }
        .chart--event { color: $text-accent; }
        .chart--warning { color: $text-error; text-style: bold; }
        .chart--cursor { color: $foreground 80%; background: $foreground 20%; }
        .chart--place { text-style: reverse; }
        .chart--chosen { text-style: reverse; }
        .chart--empty { color: $text-muted; text-style: italic; }
        &:focus .chart--title { color: $block-cursor-foreground; background: $block-cursor-background; }
        &:ansi .chart--axis, &:ansi .chart--label { color: ansi_default; text-style: dim; }
        &:ansi .chart--grid { color: ansi_bright_black; }
        &:ansi:focus .chart--title { color: ansi_default; background: ansi_default; text-style: bold reverse; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"chart--{part}" for part in _PARTS}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Cursor", show=False),
        Binding("right", "move(1)", "Cursor", show=False),
        Binding("shift+left", f"move(-{_FAR})", "Cursor", show=False),
        Binding("shift+right", f"move({_FAR})", "Cursor", show=False),
        Binding("home", "end(0)", "First", show=False),
        Binding("end", "end(1)", "Last", show=False),
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False),
        Binding("minus", "zoom(-1)", "Zoom out", show=False),
        Binding("0", "whole", "All", show=False),
        Binding("escape", "clear", "No cursor", show=False),
    ]

    title: reactive[str] = reactive("")
    unit: reactive[str] = reactive("")
    log_y: reactive[bool] = reactive(False)
    x: reactive[str] = reactive("step")
    view: reactive[View | None] = reactive(None)  # from and to, in x's own numbers; None: all there is
    cursor: reactive[float | None] = reactive(None)  # in x's own numbers

    class CursorMoved(Message):
        """The person moved the cursor in this chart, or took it away (None)."""

        def __init__(self, chart: BrailleChart, x: float | None) -> None:
            super().__init__()
            self.chart, self.x = chart, x

        @property
        def control(self) -> BrailleChart:
            return self.chart

    class Zoomed(Message):
        """The person chose another view in this chart."""

        def __init__(self, chart: BrailleChart, view: View | None) -> None:
            super().__init__()
            self.chart, self.view = chart, view

        @property
        def control(self) -> BrailleChart:
            return self.chart

    def __init__(
        self,
        title: str,
        unit: str = "",
        *,
        log_y: bool = False,
        x: str = "step",
        id: str | None = None,  # noqa: A002 - Textual's name
    ) -> None:
        super().__init__(id=id)
        self._lines: tuple[Line, ...] = ()
        self._marks: tuple[Mark, ...] = ()
        self._origin, self._why = 0.0, ""
        self._picture: Picture | None = None
        self._strips: list[Strip] = []
        self._around: dict[int, Row] = {}
        self._styles_of: dict[str, Style] = {}
        self._drag: tuple[int, int] | None = None  # columns, from where to where
        self._hovered: float | None = None  # where the mouse put the cursor; one put elsewhere stays when it passes
        self.pictures = 0  # how many were made: what stays the same is not drawn again
        self.set_reactive(BrailleChart.title, title)
        self.set_reactive(BrailleChart.unit, unit)
        self.set_reactive(BrailleChart.log_y, log_y)
        self.set_reactive(BrailleChart.x, x)

    def show(
        self, lines: Sequence[Line], marks: Sequence[Mark] = (), *, origin: float | None = None, why: str = ""
    ) -> None:
        """Show these lines and marks instead; paints only if anything changed.

        `origin` is the time of day that elapsed time counts from, where x is time and the curves hold times of day;
        without it the first x of the lines. Charts that share a cursor want the same one. `why` says why there are no
        points, where the chart cannot know.
        """
        lines, marks = tuple(lines), tuple(marks)
        span = extent(lines) if origin is None and self.x == "time" else None
        origin = span[0] if span is not None else origin or 0.0
        now, before = (lines, marks, origin, why), (self._lines, self._marks, self._origin, self._why)
        if now[1:] == before[1:] and [*map(_trace, lines)] == [*map(_trace, before[0])]:
            return
        self._lines, self._marks, self._origin, self._why = now
        self._redraw()

    # Painting

    def render_line(self, y: int) -> Strip:
        frame = self._made()
        if y in self._around:
            return strip_of(self._around[y], self._style)
        row = y - frame.heading_rows
        if not 0 <= row < len(self._strips):
            return Strip.blank(self.size.width, self.rich_style)
        strip = self._strips[row]
        is_plot = row < len(self._strips) - 1 or not frame.footing_rows
        if not frame.is_empty and is_plot:
            if self._drag is not None:
                first, last = sorted(self._drag)
                strip = with_chosen(strip, frame.left + first, frame.left + last + 1, self._style("chosen"))
            elif self.cursor is not None and frame.low <= self.cursor <= frame.high:
                strip = with_cursor(strip, frame.left + frame.column(self.cursor), self._style("cursor"))
        return strip

    def _made(self) -> Picture:
        """The picture as things stand, and the rows around it that follow the cursor."""
        width, height = self.size
        chart = self._chart()
        if self._picture is None:
            self.pictures += 1
            self._styles_of = {}
            self._picture = picture(chart, width, height, heading_rows(chart, width, height))
            self._strips = [strip_of(row, self._style) for row in self._picture.rows]
            self._around = {}
        if not self._around:
            frame = self._picture
            cursor = None if frame.is_empty else self.cursor
            self._around = dict(enumerate(heading(chart, frame, width, cursor)))
            if frame.footing_rows:
                self._around[height - 1] = footing(chart, frame, cursor, self._drag)
        return self._picture

    def _chart(self) -> Chart:
        return Chart(
            *(self._lines, self._marks, self.title, self.unit, self.x, self.log_y),
            *(self.view, self._origin, self._why),
        )

    def _redraw(self) -> None:
        """Make the picture anew when it is next painted."""
        self._picture = None
        self._around = {}
        self.refresh()

    def _move_over(self) -> None:
        """Paint again what follows the cursor."""
        self._around = {}
        self.refresh()

    def _style(self, part: str) -> Style:
        found = self._styles_of.get(part)
        if found is None:
            found = self._styles_of[part] = self._style_of(part)
        return found

    def _style_of(self, part: str) -> Style:
        kind, _, number = part.partition("-")
        if not number:
            return self.get_component_rich_style(f"chart--{part}")
        colours = colours_for(dark=self.app.current_theme.dark, ansi=self.app.native_ansi_color)
        colour = look(int(number), colours).rich_colour
        return self.rich_style + Style(color=colour, dim=kind == "faint")

    # What changes

    def watch_title(self) -> None:
        self._redraw()

    watch_unit = watch_log_y = watch_x = watch_view = watch_title

    def watch_cursor(self) -> None:
        self._move_over()

    def on_resize(self) -> None:
        self._redraw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._picture = None
        self._around = {}

    # The cursor

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "clear":
            return self.cursor is not None or self._drag is not None  # otherwise Escape is the screen's
        return super().check_action(action, parameters)

    def action_move(self, columns: int) -> None:
        frame = self._made()
        if frame.is_empty:
            return
        middle = frame.width // 2
        is_seen = self.cursor is not None and frame.low <= self.cursor <= frame.high
        column = frame.column(self.cursor) + columns if is_seen and self.cursor is not None else middle
        self._hovered = None
        if not 0 <= column < frame.width:
            frame = self._shifted(frame, column if column < 0 else column - frame.width + 1)
            column = max(0, min(frame.width - 1, column))
        if not is_seen or self.cursor is None:
            self._place(self._near(frame, column))
        elif column != frame.column(self.cursor):
            self._place(self._onward(frame, column, columns > 0))

    def action_end(self, which: int) -> None:
        span = extent(self._lines)
        if span is None or self._made().is_empty:
            return
        if self.view is not None:
            length = self.view[1] - self.view[0]
            self._zoom_to((span[0], span[0] + length) if which == 0 else (span[1] - length, span[1]))
        self._hovered = None
        self._place(span[which])

    def action_clear(self) -> None:
        if self._drag is not None:
            self._end_drag()
        else:
            self._place(None)

    def _near(self, frame: Picture, column: int) -> float:
        """The x of the point nearest to the middle of a column; that middle where no point is in sight."""
        centre = frame.centre(column)
        found = [float(line.curve.x[nearest(line.curve, centre)]) for line in self._lines if len(line.curve.x)]
        closest = min(found, key=lambda x: abs(x - centre), default=centre)
        return closest if frame.low <= closest <= frame.high else centre

    def _onward(self, frame: Picture, column: int, is_right: bool) -> float:
        """The x of a point in a column, or else of the next one on the right or left, which comes into sight."""
        near, centre = self._near(frame, column), frame.centre(column)
        if frame.column(near) == column:
            return near
        curves = [line.curve.x for line in self._lines]
        if is_right:
            found = [float(x[at]) for x in curves if (at := int(np.searchsorted(x, centre, "right"))) < len(x)]
        else:
            found = [float(x[at - 1]) for x in curves if (at := int(np.searchsorted(x, centre)))]
        if not found:
            return self.cursor if self.cursor is not None else near
        onward = min(found) if is_right else max(found)
        if not frame.low <= onward <= frame.high:
            self._shifted(frame, frame.column(onward) - (frame.width - 1 if is_right else 0))
        return onward

    def _place(self, x: float | None) -> None:
        if x != self.cursor:
            self.cursor = x
            self.post_message(self.CursorMoved(self, x))

    # The view

    def action_zoom(self, direction: int) -> None:
        frame = self._made()
        if not frame.is_empty or self.view is not None:
            at = self.cursor if self.cursor is not None else (frame.low + frame.high) / 2
            self._zoom(_KEYS if direction > 0 else 1 / _KEYS, at)

    def action_whole(self) -> None:
        self._zoom_to(None)

    def _zoom(self, factor: float, at: float) -> None:
        """Show `factor` times as much detail; `at` stays where it is."""
        span = self._chart().whole
        if span is None:
            return
        low, high = self.view or span
        at = max(low, min(high, at))
        self._zoom_to((at - (at - low) / factor, at + (high - at) / factor))

    def _zoom_to(self, view: View | None) -> None:
        """Show a part of what there is: no more than all of it, and no less than a few steps or seconds."""
        span = self._chart().whole
        if view is not None and span is not None:
            length = max(view[1] - view[0], 2.0)
            low = max(span[0], min(view[0], span[1] - length))
            view = None if length >= span[1] - span[0] else (low, low + length)
        if view != self.view:
            self.view = view
            self.post_message(self.Zoomed(self, view))

    def _shifted(self, frame: Picture, columns: int) -> Picture:
        """The picture after the view was moved by so many columns, as far as it goes."""
        if self.view is None:
            return frame
        by = columns / frame.width * (frame.high - frame.low)
        self._zoom_to((self.view[0] + by, self.view[1] + by))
        return self._made()

    # The mouse

    def on_mouse_move(self, event: events.MouseMove) -> None:
        column = self._column_at(event)
        if self._drag is not None and column is not None:
            self._drag = (self._drag[0], column)
            self._move_over()
        elif column is not None and self.cursor in (None, self._hovered):
            self._hovered = self._near(self._made(), column)
            self._place(self._hovered)

    def on_leave(self) -> None:
        if self._drag is None and self.cursor == self._hovered:
            self._place(None)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        column = self._column_at(event)
        if event.button == 1 and column is not None:
            self._drag = (column, column)
            self.capture_mouse()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._drag is None:
            return
        first, last = sorted(self._drag)
        frame = self._made()
        self._end_drag()
        if last - first >= _LEAST_DRAG:
            half = (frame.high - frame.low) / frame.width / 2
            self._zoom_to((frame.centre(first) - half, frame.centre(last) + half))
            return
        x = self._near(frame, last)
        self._hovered = x if x == self.cursor != self._hovered else None  # the second click lets it go
        self._place(x)

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2:
            self.action_whole()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._scroll_zoom(event, _WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._scroll_zoom(event, 1 / _WHEEL)

    def _scroll_zoom(self, event: events.MouseEvent, factor: float) -> None:
        column = self._column_at(event)
        if column is not None and not (event.ctrl or event.shift):
            event.stop()
            event.prevent_default()
            self._zoom(factor, self._made().centre(column))

    def _end_drag(self) -> None:
        self._drag = None
        self.release_mouse()
        self._move_over()

    def _column_at(self, event: events.MouseEvent) -> int | None:
        """The column of the plot under the mouse; beyond its ends the nearest. None where there is no plot."""
        frame = self._made()
        if frame.is_empty:
            return None
        return max(0, min(frame.width - 1, event.x - self.gutter.left - frame.left))


def _trace(line: Line) -> tuple[object, ...]:
    """What tells a line from itself a moment later: a few points, for a curve changes at its end or everywhere."""
    x, y = line.curve
    apart = max(1, len(x) // _TRACED)
    few = (*(values[::apart].tobytes() for values in line.curve), x[-1:].tobytes(), y[-1:].tobytes())
    return line.label, line.style, line.faint, line.smoothing, len(x), *few
