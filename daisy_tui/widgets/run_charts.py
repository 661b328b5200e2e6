"""The charts of a run: one at a time where there is little room, all of them in a grid where there is much.

They share x, cursor, zoom, smoothing and the scale of y. What they show comes down from the screen's look; which of
them are in sight, and how, goes up as `Wanted`, for only those are made.
"""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from daisy_tui.lines import next_smoothing
from daisy_tui.runs.run_charts import CHART_IDS, CHARTS
from daisy_tui.runs.run_look import Drawn, View
from daisy_tui.settings import X_KINDS
from daisy_tui.widgets.chart import BrailleChart
from daisy_tui.widgets.plot import signs_of

_GRID_WIDTH, _GRID_HEIGHT = 100, 24
_SIGNS_HEIGHT = 20  # from which there is a row to say what signs mean


class ChartName(Static):
    """The name of a chart in the line above: a click shows that one."""

    def __init__(self, kind: str, title: str) -> None:
        super().__init__(Content(title), classes="chart-name")
        self.kind = kind

    def on_click(self) -> None:
        self.post_message(RunCharts.Named(self.kind))


class RunCharts(Widget):
    """All charts of one run."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "step(-1)", "Chart above", show=False),
        Binding("down", "step(1)", "Chart below", show=False),
    ]

    class Wanted(Message):
        """Other charts are in sight, or the same otherwise: `RunCharts.wanted` says which and how."""

    class Named(Message):
        """A chart was chosen by its name."""

        def __init__(self, kind: str) -> None:
            super().__init__()
            self.kind = kind

    def __init__(self) -> None:
        super().__init__(id="run-charts")
        self._x, self._smoothing, self._log_y = "step", 0.0, False
        self._current, self._is_zoomed = CHART_IDS[0], False
        self._signs = ""

    def compose(self) -> ComposeResult:
        with Horizontal(id="chart-bar"):
            for kind in CHARTS:
                yield ChartName(kind.id, kind.title)
            yield Static(id="chart-facts")
        with Container(id="chart-grid"):
            for kind in CHARTS:
                yield BrailleChart(kind.title, kind.unit, id=f"chart-{kind.id}")
        yield Static(id="chart-signs", markup=False)

    def on_mount(self) -> None:
        self._lay_out()

    def begin(self, x: str, smoothing: float, log_y: bool) -> None:
        """Begin as the settings say."""
        self._x, self._smoothing, self._log_y = x, smoothing, log_y
        self._lay_out()

    @property
    def wanted(self) -> View:
        """What is to be drawn: only what is in sight."""
        return View(self._x, self._smoothing, (self._current,) if self.is_single else CHART_IDS)

    @property
    def is_single(self) -> bool:
        """Whether one chart has all the room: by choice, or because there is little."""
        return self._is_zoomed or self.size.width < _GRID_WIDTH or self.size.height < _GRID_HEIGHT

    @property
    def current(self) -> BrailleChart:
        """The chart that has the room, or else the one that had the focus last."""
        return self.query_one(f"#chart-{self._current}", BrailleChart)

    def show(self, drawn: Drawn, why: str) -> None:
        """Show what was drawn; lines over another x than the one wanted now are of a look before and are dropped.

        `why` says why a chart is empty.
        """
        if drawn.view.x != self._x:
            return
        self._explain(signs_of(drawn.marks))
        self._show_next(drawn, why, list(drawn.lines))

    def _show_next(self, drawn: Drawn, why: str, kinds: list[str]) -> None:
        """Show one chart, and the next once it is painted: a key waits for one of them, not for six."""
        kind, *others = kinds or [""]
        if not kind or drawn.view.x != self._x:
            return
        chart = self.query_one(f"#chart-{kind}", BrailleChart)
        chart.show(drawn.lines[kind], drawn.marks, origin=drawn.origin, why=why)
        self.call_after_refresh(self._show_next, drawn, why, others)

    def clear(self) -> None:
        """Show nothing, of another run."""
        for chart in self.query(BrailleChart):
            chart.show((), ())
            chart.view = chart.cursor = None
        self._explain("")

    # What a person changes

    def toggle_log_y(self) -> None:
        """A logarithmic y, or a linear one again."""
        self._log_y = not self._log_y
        self._lay_out()

    def smooth(self, by: int) -> None:
        """Smooth more, or less."""
        self._smoothing = next_smoothing(self._smoothing, by)
        self._lay_out()

    def next_x(self) -> None:
        """Over steps, tokens, time, and over again."""
        self._x = X_KINDS[(X_KINDS.index(self._x) + 1) % len(X_KINDS)]
        for chart in self.query(BrailleChart):
            chart.show((), ())
            chart.view = chart.cursor = None
        self._lay_out()

    def zoom_one(self) -> None:
        """All the room for one chart, or for all of them again."""
        self._is_zoomed = not self._is_zoomed
        self._lay_out()

    def choose(self, kind: str) -> None:
        """Go to a chart."""
        self._current = kind
        self._lay_out()
        self.current.focus()

    def action_step(self, by: int) -> None:
        self.choose(CHART_IDS[(CHART_IDS.index(self._current) + by) % len(CHART_IDS)])

    # What the charts share

    def on_braille_chart_cursor_moved(self, event: BrailleChart.CursorMoved) -> None:
        event.stop()
        for chart in self.query(BrailleChart):
            if chart is not event.chart:
                chart.cursor = event.x

    def on_braille_chart_zoomed(self, event: BrailleChart.Zoomed) -> None:
        event.stop()
        for chart in self.query(BrailleChart):
            if chart is not event.chart:
                chart.view = event.view
        self._say()

    def on_run_charts_named(self, event: Named) -> None:
        event.stop()
        self.choose(event.kind)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if isinstance(event.widget, BrailleChart) and event.widget.id is not None:
            self._current = event.widget.id.removeprefix("chart-")
            self._say()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        """Give the room to the charts in sight, and say what is wanted of them."""
        single = self.is_single
        self.set_class(single, "-single")
        had_focus = isinstance(self.screen.focused, BrailleChart)
        for chart in self.query(BrailleChart):
            chart.display = not single or chart.id == f"chart-{self._current}"
            chart.log_y, chart.x = self._log_y, self._x
        if had_focus and not self.current.has_focus and single:
            self.current.focus()
        self._explain(self._signs)
        self._say()
        self.post_message(self.Wanted())

    def _explain(self, signs: str) -> None:
        """Say below the charts what signs mean, where there is room."""
        line = self.query_one("#chart-signs", Static)
        if signs != self._signs:
            self._signs = signs
            line.update(Content(signs), layout=False)
        line.display = bool(signs) and self.size.height >= _SIGNS_HEIGHT

    def _say(self) -> None:
        for name in self.query(ChartName):
            name.set_class(name.kind == self._current, "-current")
        facts = ["zoomed in (0: all)"] if self.current.view is not None else []  # first, for the end may be cut
        facts += [f"over {self._x}", "log y" if self._log_y else "linear y"]
        # With one chart there is no room, and the legend says it beside every smoothed figure.
        facts += [f"smoothed {self._smoothing:g}"] if self._smoothing and not self.is_single else []
        self.query_one("#chart-facts", Static).update(Content(" · ".join(facts)))
