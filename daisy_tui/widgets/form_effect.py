"""What a composition comes to, beside the form: figures, memory, schedules, what differs from the file, the command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from core.config.train_config import TrainConfig
from core.runs.curves import Curve
from core.text import printable, size
from daisy_tui.commands import command_line
from daisy_tui.composing import effects
from daisy_tui.composing.composition import Composition
from daisy_tui.composing.configs import shown_file
from daisy_tui.composing.schedules import learning_rate_shapes, long_windows, token_samples
from daisy_tui.lines import Line
from daisy_tui.widgets.chart import BrailleChart

_SAMPLES = 400
_NAME, _FIGURE = 17, 12
_WITH_NOTES = 64  # columns
_WIDEST_BAR, _KEY_WIDTH = 76, 26
_PARTS = "█▓▒░▚"  # of the memory bar: told apart without colour
_COLOURS = ("$primary", "$secondary", "$accent", "$success", "$warning")


class Effect(VerticalScroll, can_focus=True):
    """The pane. `show` is given the whole of it anew; what stays the same is not drawn again."""

    DEFAULT_CSS = """
    Effect {
        padding: 0 1;
        Static { height: auto; }
        #effect-figures { text-wrap: nowrap; text-overflow: ellipsis; }
        .effect-title { text-style: bold; margin-top: 1; color: $text-primary; }
        #effect-problems { color: $text-error; }
        #effect-risks { color: $text-warning; }
        #effect-command { color: $text-accent; }
        BrailleChart { height: 8; margin-top: 1; }
        &.-empty BrailleChart { display: none; }
    }
    """

    def compose(self) -> ComposeResult:
        for part in ("problems", "risks", "figures", "memory"):
            yield Static(id=f"effect-{part}")
        yield from _titled("command", "Command")
        yield from _titled("difference", "Changed")
        yield BrailleChart("learning rate", "of its peak", x="tokens", id="effect-rate")
        yield BrailleChart("long window", "tokens", x="tokens", id="effect-window")
        yield from _titled("details", "In detail")

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._shown: tuple[Composition, Mapping[str, Any] | None, float] | None = None

    def show(self, composition: Composition, took: Mapping[str, Any] | None, now: float) -> None:
        """Show a composition; `took` is what a preflight of it printed, `now` the time of day in seconds."""
        self._shown = composition, took, now
        if self.size.width:  # else it is out of sight, and will be resized before it is seen
            self._update()

    def on_resize(self) -> None:
        self._update()

    def _update(self) -> None:
        if self._shown is None:
            return
        composition, took, now = self._shown
        width = self.scrollable_content_region.width
        problems = [shown_file(problem.message) for problem in composition.problems]
        self._put("problems", Content("\n".join(f"✗ {printable(line)}" for line in problems)))
        self._put("risks", Content("\n".join(f"! {printable(line)}" for line in effects.risks(composition))))
        self._put("figures", _figures(effects.figures(composition, took, now), width))
        self._put("memory", _memory(composition, took, width))
        self._put("command", Content(printable(command_line(composition.draft.train_arguments()))))
        self._put("difference", _difference(composition))
        self._put("details", _table(effects.details(composition)))
        shown = composition.composed
        self.set_class(shown is None, "-empty")
        self.query_one("#title-details").display = shown is not None
        if shown is not None:
            self._draw(shown.config)

    def _put(self, part: str, content: Content) -> None:
        there = self.query_one(f"#effect-{part}", Static)
        if there.content != content:
            there.update(content)
        there.display = bool(content.plain)

    def _draw(self, config: TrainConfig) -> None:
        tokens = token_samples(config, _SAMPLES)
        x = np.array(tokens)
        shapes = learning_rate_shapes(config, tokens)
        rates = [Line(name, Curve(x, np.array(y)), at) for at, (name, y) in enumerate(shapes.items())]
        window = np.array(long_windows(config, tokens), float)
        self.query_one("#effect-rate", BrailleChart).show(rates)
        self.query_one("#effect-window", BrailleChart).show([Line("window", Curve(x, window), 2)])


def _titled(part: str, title: str) -> Iterator[Static]:
    yield Static(Content(title), classes="effect-title", id=f"title-{part}")
    yield Static(id=f"effect-{part}")


def _figures(rows: Sequence[effects.Figure], width: int) -> Content:
    """Estimates and what was measured beside them; notes where there is room."""
    if not rows:
        return Content("")
    lines = [Content.styled(f"{'':<{_NAME}}{'estimate':>{_FIGURE}}{'measured':>{_FIGURE}}", "dim")]
    for row in rows:
        figures = Content.assemble(
            (f"{row.name:<{_NAME}}", "dim"),
            (f"{row.estimate:>{_FIGURE}}", "bold"),
            (f"{row.measured:>{_FIGURE}}", "bold $text-success"),
        )
        has_note = row.note and width >= _WITH_NOTES
        lines.append(figures + Content.styled(f"  {printable(row.note)}" if has_note else "", "dim"))
    return Content("\n").join(lines)


def _memory(composition: Composition, took: Mapping[str, Any] | None, width: int) -> Content:
    """The memory of the device as a bar, the parts that are estimated one after the other."""
    fits = effects.fit(composition, took)
    if fits is None:
        return Content("")
    cells_there = max(8, min(width, _WIDEST_BAR))
    parts = effects.memory_parts(composition)
    scale = cells_there * fits.needed / max(fits.there or 0, fits.needed, 1) / max(sum(part for _, part in parts), 1)
    bar, keys, filled, drawn = Content(""), [], 0.0, 0
    for (name, part), sign, colour in zip(parts, _PARTS, _COLOURS, strict=True):
        filled += part * scale
        cells = round(filled) - drawn
        drawn += cells
        bar += Content.styled(sign * cells, colour)
        keys.append(Content.assemble((sign, colour), f" {name:<12}{size(part):<12}"))
    bar += Content.styled("·" * (cells_there - drawn), "dim")
    over = fits.share is not None and fits.share > 1
    said = Content.styled(f"memory {fits}", "bold $text-error" if over else "bold")
    note = Content.styled(effects.memory_note(composition, took), "dim")
    columns = max(1, width // _KEY_WIDTH)
    lines = [Content("").join(keys[at : at + columns]) for at in range(0, len(keys), columns)]
    return Content("\n").join([Content(""), said, bar, *lines, note])


def _difference(composition: Composition) -> Content:
    rows = effects.difference_lines(composition)
    if composition.base is None:
        return Content.styled("the file by itself is not valid", "dim")
    if not rows:
        return Content.styled("nothing, beside the file", "dim")
    lines = [
        Content.assemble(
            printable(key), ": ", (printable(before), "$text-error strike"), " → ", (printable(after), "bold")
        )
        for key, before, after in rows
    ]
    return Content("\n").join(lines)


def _table(rows: Sequence[tuple[str, str]]) -> Content:
    return Content("\n").join(
        Content.styled(f"{name:<{_NAME}}", "dim") + Content(printable(text)) for name, text in rows
    )
