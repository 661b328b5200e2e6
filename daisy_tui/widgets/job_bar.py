"""One command under way: what it is, how far, and how it is ended. Out of sight while there is none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.text import printable
from daisy_tui.child_progress import Told, told
from daisy_tui.commands import Commands, command_line

_BAR = 16


class JobBar(Widget):
    """Runs a command as a child and shows its progress; `said` is what else it has printed so far, `command` what it
    is."""

    DEFAULT_CSS = """
    JobBar {
        display: none;
        height: auto;
        background: $panel;
        padding: 0 1;
        &.-busy { display: block; }
        Static { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    def __init__(self, cancel_key: str = "x") -> None:
        super().__init__()
        self._cancel_key = cancel_key
        self.said: list[str] = []
        self.command = ""

    def compose(self) -> ComposeResult:
        yield Static(id="job-command")
        yield Static(id="job-progress")

    @property
    def is_busy(self) -> bool:
        return self.has_class("-busy")

    async def follow(self, commands: Commands, arguments: Sequence[str]) -> list[str]:
        """Run `daisy ARGUMENTS` to its end. Returns what it printed beside its progress; raises CommandError.

        Who cancels this interrupts the command.
        """
        self.said, self.command = [], printable(command_line(arguments))
        line = Content.assemble((f"⋯ {self.command}", "bold"), (f"  {self._cancel_key} cancels", "dim"))
        self.query_one("#job-command", Static).update(line)
        self.query_one("#job-progress", Static).update(Content("starting"))
        self.add_class("-busy")
        try:
            async with aclosing(commands.lines(*arguments[:2], "--progress-json", *arguments[2:])) as lines:
                async for said in lines:
                    if (progress := told(said)) is not None:
                        self.query_one("#job-progress", Static).update(_progress(progress))
                    elif said.strip():
                        self.said.append(said)
        finally:
            self.remove_class("-busy")
        return self.said


def _progress(progress: Told) -> Content:
    if progress.share is None:
        return Content(printable(f"{progress.what}: {progress.words}"))
    done = round(_BAR * progress.share)
    bar = Content.assemble(("█" * done, "$success"), ("░" * (_BAR - done), "$text-muted"))
    return bar + Content(f" {progress.share:4.0%}  {printable(progress.words)}")
