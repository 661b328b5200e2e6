"""Runs laid over each other: one series of each in a chart, their figures, and where their configs differ.

Which runs are compared, and how, is kept while the terminal is open and goes nowhere else: `daisy runs compare` with
the same names tells the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.text import plural, printable
from daisy_tui.actions import Action
from daisy_tui.lines import Line, next_smoothing
from daisy_tui.naming import told_apart
from daisy_tui.polling import Poll
from daisy_tui.runs.compare_look import CompareLook, CompareReader, Wanted, series_label
from daisy_tui.screens.base import DaisyScreen, Open
from daisy_tui.screens.pick import PickScreen
from daisy_tui.settings import X_KINDS
from daisy_tui.widgets.chart import BrailleChart
from daisy_tui.widgets.compare_list import CompareList
from daisy_tui.widgets.compare_table import CompareTable
from daisy_tui.widgets.pick_entries import series_entries

_EVERY_S = 0.5
_COMPARE = "daisy runs compare RUN RUN"
_LAYOUTS = ("", "-only-chart", "-only-table")
_NO_RUNS = "No runs here yet: Compose (2) starts one, and so does `daisy train demo`."


class CompareScreen(DaisyScreen):
    """Any number of runs over each other."""

    NAME, TITLE, AUTO_FOCUS = "compare", "Compare", "CompareList"
    CSS_PATH = "compare.tcss"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("overlay", "space", "Overlay", "Add the run under the cursor, or take it away.", _COMPARE),
        Action("open", "o", "Open", "Open the run under the cursor, as Enter does.", "daisy runs show RUN"),
        Action("series", "s", "Series", "Choose what is drawn: losses, learning rates, speed and more."),
        Action("axis", "a", "Axis", "Align the runs by steps, tokens or time trained."),
        Action("log_y", "y", "Log y", "A logarithmic y, or a linear one."),
        Action("smoother", "m", "Smooth", "Smooth the lines more."),
        Action("rougher", "M", "Smooth less", "Smooth the lines less.", footer=False),
        Action(
            "find",
            "slash",
            "Filter",
            "Narrow the list: state:running val<3.5 -debug …",
            "daisy runs list QUERY",
        ),
        Action("layout", "z", "Layout", "Chart and table, only the chart, or only the table."),
        Action("next(1)", "n", "Next series", "Draw the next series.", footer=False),
        Action("next(-1)", "N", "Series before", "Draw the series before.", footer=False),
        Action("none", "u", "Overlay none", "Take all runs away.", footer=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self._wanted = Wanted()
        self._styles: dict[Path, int] = {}
        self._look: CompareLook | None = None
        self._reader: CompareReader | None = None
        self._poll: Poll[CompareLook]

    def body(self) -> ComposeResult:
        yield Static("", id="compare-problem", markup=False)
        with Horizontal(id="compare-main"):
            with Vertical(id="compare-side"):
                yield Input(placeholder="state:running val<3.5 -debug", compact=True, id="compare-filter")
                yield CompareList()
            yield BrailleChart("train loss", id="compare-chart")
        yield CompareTable()

    def on_mount(self) -> None:
        settings = self.daisy.settings
        self._wanted = Wanted(x=settings.x, smoothing=settings.smoothing)
        self.chart.log_y, self.chart.x = settings.log_y, settings.x
        self.query_one("#compare-filter").display = False
        self._poll = self.poll("runs", _EVERY_S, self._read, self._show)
        self.daisy.theme_changed_signal.subscribe(self, lambda _: self._repaint())

    def context(self, runs: Sequence[Path] = (), **_: object) -> None:
        """Compare these runs, and no others."""
        self._choose(tuple(dict.fromkeys(self.services.runs / path.name for path in runs)))

    def command_for(self, action: str) -> list[str] | None:
        current = self.query_one(CompareList).current
        if action == "overlay" and len(self._chosen) > 1:
            return ["runs", "compare", *(path.name for path in self._chosen)]
        if action == "open" and current is not None:
            return ["runs", "show", current.name]
        return ["runs", "list", *self._wanted.text.split()] if action == "find" else None

    @property
    def chart(self) -> BrailleChart:
        return self.query_one(BrailleChart)

    # Looking

    def _read(self) -> CompareLook:
        """In a thread: what is wanted now."""
        if self._reader is None:
            self._reader = CompareReader(self.services.watch)
        return self._reader.look(self._wanted, self.services.clock())

    @property
    def _chosen(self) -> tuple[Path, ...]:
        return self._wanted.runs or ()

    def _want(self, **what: Any) -> None:
        """Look at once at something else, or otherwise."""
        self._wanted = self._wanted._replace(**what)
        self._poll.now()

    def _show(self, look: CompareLook) -> None:
        """Show what was read, unless something else is wanted by now: the next look brings that."""
        if look.wanted != self._wanted:
            return
        if look.wanted.runs is None and look.runs:
            self._wanted = self._wanted._replace(runs=look.runs)
            self._hand_out_styles()
        self._look = look
        self._repaint()

    def _repaint(self) -> None:
        if (look := self._look) is None or look.wanted.x != self._wanted.x:
            return
        label, unit, _ = series_label(look.wanted.series)
        chart = self.chart
        chart.title = label
        smoothing = look.wanted.smoothing
        words = [unit, f"over {look.wanted.x}", f"smoothed {smoothing:g}" if smoothing else ""]
        chart.unit = ", ".join(word for word in words if word)
        names = told_apart([(one.id, one.name) for one in look.comparison.figures])
        lines = [
            Line(name, curve, self._styles[path])
            for name, curve, path in zip(names, look.curves, look.runs, strict=True)
        ]
        chart.show(lines, origin=0.0, why=self._why_empty(look, label))
        self.query_one(CompareList).show(look.rows, {path: self._styles[path] for path in self._chosen})
        self.query_one(CompareTable).show(look.comparison, look.runs, self._styles)
        none = f"none of {plural(look.every, 'run')} is picked by: {look.wanted.text}"
        problem = look.problem or (none if look.every and not look.rows else "")
        line = self.query_one("#compare-problem", Static)
        line.update(Content(printable("; ".join(filter(None, [problem, *look.problems])))))
        line.display = bool(problem or look.problems)

    def _why_empty(self, look: CompareLook, label: str) -> str:
        if not look.every:
            return _NO_RUNS
        if not look.runs:
            return "space overlays the run under the cursor"
        return f"no {label} is recorded of {plural(len(look.runs), 'run')}; s chooses another series"

    # Which runs

    def action_overlay(self) -> None:
        if (current := self.query_one(CompareList).current) is not None:
            self._toggle(current)

    def action_none(self) -> None:
        self._choose(())

    @on(CompareList.Toggled)
    def _toggle_clicked(self, event: CompareList.Toggled) -> None:
        self._toggle(event.path)

    @on(CompareList.Opened)
    def action_open(self) -> None:
        if (current := self.query_one(CompareList).current) is not None:
            self.post_message(Open("run", run=current))

    def _toggle(self, path: Path) -> None:
        chosen = self._chosen
        self._choose(tuple(one for one in chosen if one != path) if path in chosen else (*chosen, path))

    def _choose(self, runs: tuple[Path, ...]) -> None:
        self._want(runs=runs)
        self._hand_out_styles()

    def _hand_out_styles(self) -> None:
        """A run keeps its style for as long as it is compared, and gets it again where nobody else has it by then."""
        taken: set[int] = set()
        for path in self._chosen:
            style = self._styles.get(path)
            if style is None or style in taken:
                others = {self._styles.get(one) for one in self._chosen if one != path}
                style = next(number for number in range(len(taken) + len(others) + 1) if number not in taken | others)
            self._styles[path] = style
            taken.add(style)

    # How they are drawn

    def action_series(self) -> None:
        if self._look is not None and self._look.series:
            entries = series_entries(self._look.series)
            picker = PickScreen("Which series?", "a few letters of its name", entries, current=self._wanted.series)
            self.app.push_screen(picker, self._draw)
        else:
            self.notify("The runs have recorded nothing yet.", severity="warning")

    def action_next(self, by: int) -> None:
        series = self._look.series if self._look is not None else ()
        if series:
            here = series.index(self._wanted.series) if self._wanted.series in series else -by
            self._draw(series[(here + by) % len(series)])

    def _draw(self, series: str | None) -> None:
        if series is not None:
            self._want(series=series)

    def action_axis(self) -> None:
        x = X_KINDS[(X_KINDS.index(self._wanted.x) + 1) % len(X_KINDS)]
        chart = self.chart
        chart.show(())
        chart.x, chart.view, chart.cursor = x, None, None
        self._want(x=x)

    def action_log_y(self) -> None:
        self.chart.log_y = not self.chart.log_y

    def action_smoother(self) -> None:
        self._smooth(1)

    def action_rougher(self) -> None:
        self._smooth(-1)

    def _smooth(self, by: int) -> None:
        self._want(smoothing=next_smoothing(self._wanted.smoothing, by))

    def action_layout(self) -> None:
        here = next((place for place, name in enumerate(_LAYOUTS) if name and self.has_class(name)), 0)
        name = _LAYOUTS[(here + 1) % len(_LAYOUTS)]
        for one in filter(None, _LAYOUTS):
            self.set_class(one == name, one)
        table = self.query_one(CompareTable)
        if name == "-only-table":
            table.focus()
        elif name == "-only-chart" and self.focused is table:
            self.chart.focus()

    # The filter

    def action_find(self) -> None:
        field = self.query_one("#compare-filter", Input)
        field.display = True
        self.set_focus(field)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._want(text=event.value.strip())

    def on_input_submitted(self) -> None:
        self._leave_filter()

    def step_out(self) -> None:
        field = self.query_one("#compare-filter", Input)
        if field.display:
            field.value = ""
        self._leave_filter()

    def _leave_filter(self) -> None:
        field = self.query_one("#compare-filter", Input)
        field.display = bool(field.value)
        if self.focused is field or self.focused is None:
            self.query_one(CompareList).focus()
