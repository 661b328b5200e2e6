"""The logs of a run: those of its ranks, torchrun's and the supervisor's, with follow, search and levels.

It says what it wishes to see (`Wished`) and shows what a look brought; where the person comes to an end of what is
there, it wishes for more. Enter on a line that was found shows the lines around it.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, HorizontalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from core.text import plural, size
from daisy_tui.runs.log_lines import ALL, ERROR, LEVELS, PLAIN, WARNING, LogLine, Wanted
from daisy_tui.runs.log_look import EARLIER, LATER, LogLook, LogWish
from daisy_tui.widgets.cursor_list import Row
from daisy_tui.widgets.run_lines import LineList
from daisy_tui.widgets.run_panes import ListPane

_LEVEL_WORDS = {PLAIN: "lines", WARNING: "warnings and errors", ERROR: "errors"}
_SIGNS = {ERROR: "✗ ", WARNING: "! ", PLAIN: "  "}


class LogName(Static):
    """One log in the line above: a click shows it."""

    def __init__(self, name: str) -> None:
        super().__init__(Content(name), classes="log-name")
        self.log_name = name

    def on_click(self) -> None:
        self.post_message(LogPane.Named(self.log_name))


class LogPane(ListPane):
    """The log that is looked at."""

    class Wished(Message):
        """Something else is to be looked at: `LogPane.wish` and `LogPane.more` say what."""

    class Named(Message):
        """A log was chosen by its name."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self) -> None:
        super().__init__(why="No log yet.", follow=True, id="run-log")
        self.wish = LogWish()
        self.more = ""
        self._look: LogLook | None = None
        self._names: tuple[str, ...] = ()

    def head(self) -> ComposeResult:
        with Horizontal(classes="pane-head"):
            yield HorizontalScroll(id="log-names")
            yield Static(classes="pane-facts")

    @property
    def shown_name(self) -> str | None:
        """The log that is shown: rank0, torchrun, ..."""
        return self._look.name if self._look is not None else None

    def begin(self) -> None:
        """Begin with another run: the end of its first log."""
        self._look = None
        self.lines.show(0, lambda index: (), 0)
        self._wish(name=None, wanted=Wanted(self.text, self.wish.wanted.level), at=None)

    def show(self, look: LogLook) -> None:
        """Show what was found; what an earlier wish brought is dropped."""
        if look.wish != self.wish:
            return
        before, self._look, self.more = self._look, look, ""
        self._show_names(look)
        lines = self.lines
        is_same = before is not None and before.wish == look.wish and bool(before.lines)
        if is_same and before is not None and not lines.follow:
            at = before.lines[min(lines.cursor, len(before.lines) - 1)].begin
            moved = look.line_at(at) - lines.cursor
        else:
            moved = 0
            lines.follow = lines.follow or look.wish.at is None
        lines.show(len(look.lines), self._row, look.width + 2, moved=moved, why=self._empty(look))
        if not is_same and look.wish.at is not None:
            lines.centre_on(look.line_at(look.wish.at))
        self._say_facts(look)
        if look.searches:
            self._more(EARLIER)

    # What a person changes

    def set_level(self) -> None:
        """All lines, warnings and errors, errors, and over again."""
        level = LEVELS[(LEVELS.index(self.wish.wanted.level) + 1) % len(LEVELS)]
        self._wish(wanted=self.wish.wanted._replace(level=level), at=None)

    def toggle_follow(self) -> None:
        """Follow the end of the log, or stay."""
        if self.lines.follow:
            self.lines.set_follow(False)
        elif self.wish.at is not None or (self._look is not None and self._look.end < self._look.size):
            self.lines.follow = True
            self._wish(at=None)
        else:
            self.lines.set_follow(True)

    def next_log(self, by: int) -> None:
        """The log of the next rank, or of the one before."""
        if self._look is not None and self._look.name in self._names:
            self._wish(name=self._names[(self._names.index(self._look.name) + by) % len(self._names)], at=None)

    def open_log(self, name: str, at: int | None = None) -> None:
        """A log with all its lines, around a byte of it or at its end."""
        self.lines.follow = at is None
        self.text = self.field.value = ""
        self.field.display = False
        self._wish(name=name, wanted=ALL, at=at)

    def step_out(self) -> bool:
        if super().step_out():
            return True
        if self.wish.wanted != ALL or self.wish.at is not None:
            self._wish(wanted=ALL, at=None)
            return True
        return False

    def searched(self) -> None:
        self._wish(wanted=self.wish.wanted._replace(text=self.text), at=None)

    def on_log_pane_named(self, event: Named) -> None:
        event.stop()
        self._wish(name=event.name, at=None)

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        event.stop()
        if self._look is not None and self._look.name is not None and self.wish.wanted != ALL:
            self.open_log(self._look.name, self._look.lines[event.index].begin)

    def on_line_list_reached(self, event: LineList.Reached) -> None:
        event.stop()
        look = self._look
        if look is None:
            return
        if not event.end and look.begin > 0:
            self._more(EARLIER)
        elif event.end and look.end < look.size and self.wish.at is not None:
            self._more(LATER)
        elif event.end and not self.lines.follow:
            self.lines.set_follow(True)

    def on_line_list_followed(self, event: LineList.Followed) -> None:
        event.stop()
        if self._look is not None:
            self._say_facts(self._look)

    # Inside

    def _wish(self, **changes: object) -> None:
        self.wish = self.wish._replace(number=self.wish.number + 1, **changes)  # type: ignore[arg-type]
        self.post_message(self.Wished())

    def _more(self, which: str) -> None:
        self.more = which
        self.post_message(self.Wished())

    def _row(self, index: int) -> Row:
        assert self._look is not None
        line = self._look.lines[index]
        return [(_SIGNS[line.level], line.level), *_found(line, self.text)]

    def _empty(self, look: LogLook) -> str:
        if look.name is None:
            return "No log yet."
        if look.searches:
            return "Searching …"
        sought = f" that hold '{self.text}'" if self.text else ""
        return f"No {_LEVEL_WORDS[look.wish.wanted.level]}{sought} in {look.name}.log."

    def _show_names(self, look: LogLook) -> None:
        names = self.query_one("#log-names", HorizontalScroll)
        if look.names != self._names:
            self._names = look.names
            names.remove_children()
            names.mount_all([LogName(name) for name in look.names])
        for child in names.query(LogName):
            child.set_class(child.log_name == look.name, "-current")

    def _say_facts(self, look: LogLook) -> None:
        words = ["follows" if self.lines.follow else "stays (f: follow)"]
        if look.wish.wanted.level != PLAIN:
            words.append(_LEVEL_WORDS[look.wish.wanted.level])
        words.append(plural(len(look.lines), "line"))
        if look.begin:
            words.append(f"the last {size(look.size - look.begin)} of {size(look.size)}")
        self.say(" · ".join(words))


def _found(line: LogLine, text: str) -> Row:
    """A line with what was searched for set apart."""
    part = line.level
    if not text:
        return [(line.text, part)]
    pieces: list[tuple[str, str]] = []
    rest, folded, sought = line.text, line.text.lower(), text.lower()
    if len(folded) != len(rest):  # a letter that is longer in lower case
        return [(rest, part)]
    at = folded.find(sought)
    while at >= 0:
        pieces += [(rest[:at], part), (rest[at : at + len(text)], "found")]
        rest, folded = rest[at + len(text) :], folded[at + len(text) :]
        at = folded.find(sought)
    return [*pieces, (rest, part)]
