"""The first screen of a new folder: from nothing to a model that chats, in three steps.

What each step is and how far it is comes from `daisy_tui.first_steps`, that is, from the folder; the machine is looked
at as `daisy doctor` does. Neither is imported before the first look, for this is the first frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from core.text import printable
from daisy_tui.actions import Action
from daisy_tui.commands import Done, command_line
from daisy_tui.screens.base import DaisyScreen, Open
from daisy_tui.widgets.job_bar import JobBar

if TYPE_CHECKING:
    from daisy_tui.first_steps import Step
    from daisy_tui.machine import Finding

_ABOUT = (
    "Daisy trains GPT models of your own here, and lets you talk to them.\n"
    "Three steps lead to a small one that has read six novels by Jane Austen."
)
_SIGNS = {"todo": ("○", "$accent"), "running": ("●", "$success"), "done": ("✓", "$success")}
_MARKS = {"ok": ("✓", "$success"), "note": ("·", "$accent"), "problem": ("✗", "$error")}
_SHOWN = ("python", "torch", "GPU", "memory", "disk")
_LOOK_EVERY_S, _EXAMINE_EVERY_S = 1.0, 30.0


class StartScreen(DaisyScreen):
    """Three steps, of which Enter takes the marked one."""

    NAME, TITLE = "start", "First steps"
    CSS_PATH = "start.tcss"
    AUTO_FOCUS = "#steps"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("take", "enter", "Take this step", "Do what the marked step says.", acts=True),
        Action("skip", "s", "Skip", "Go to the dashboard.", "daisy tui"),
        Action("stop", "x", "Cancel", "End what is under way; it goes on where it was when repeated.", footer=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self._steps: tuple[Step, ...] = ()

    def body(self) -> ComposeResult:
        with VerticalScroll(id="start", can_focus=False):
            yield Static(_ABOUT, id="start-about", markup=False)
            yield Static("", id="machine", markup=False)
            yield OptionList(id="steps", markup=False)
            yield Static("⏎ takes the marked step   esc skips all this   ? help", classes="hint", markup=False)
        yield JobBar()

    def on_mount(self) -> None:
        self.query_one("#start-about").border_title = "Welcome"
        self.query_one("#machine").border_title = "This machine"
        self.query_one("#steps").border_title = "Three steps"
        self.poll("steps", _LOOK_EVERY_S, self._look, self._take_steps)
        self.poll("machine", _EXAMINE_EVERY_S, _examine, self._take_findings)

    def command_for(self, action: str) -> list[str] | None:
        if action != "take" or (step := self.step) is None:
            return None
        return [*step.command, *(["--detach"] if step.id == "train" else [])]

    def step_out(self) -> None:
        self.action_skip()

    # What there is

    @property
    def step(self) -> Step | None:
        """The marked step."""
        index = self.query_one("#steps", OptionList).highlighted
        return self._steps[index] if index is not None and index < len(self._steps) else None

    def _look(self) -> tuple[Step, ...]:
        from daisy_tui.first_steps import first_steps

        return first_steps(self.services.folder, self.services.clock())

    def _take_steps(self, steps: tuple[Step, ...]) -> None:
        if steps == self._steps:
            return
        moved_on = [step.state for step in steps] != [step.state for step in self._steps]
        self._steps = steps
        options = self.query_one("#steps", OptionList)
        marked = options.highlighted
        if moved_on:  # to what comes next
            marked = next((at for at, step in enumerate(steps) if step.state != "done"), len(steps) - 1)
        entries = [_step_entry(number, step) for number, step in enumerate(steps, 1)]
        if options.option_count == len(entries):
            for at, entry in enumerate(entries):
                options.replace_option_prompt_at_index(at, entry)
        else:
            options.set_options(map(Option, entries))
        options.highlighted = marked

    def _take_findings(self, findings: list[Finding]) -> None:
        shown = [one for one in findings if one.what.startswith(_SHOWN) or one.verdict == "problem"]
        self.query_one("#machine", Static).update(Content("   ").join(_finding(one) for one in shown))

    # What can be done

    def on_option_list_option_selected(self, _event: OptionList.OptionSelected) -> None:
        self.action_take()

    def action_take(self) -> None:
        step, arguments = self.step, self.command_for("take")
        if step is None or arguments is None:
            return
        if step.waits_for is not None:
            self.notify(f"{step.title}: {step.waits_for}", severity="warning", markup=False)
        elif step.id == "chat":
            self.post_message(Open("chat", source=step.command[-1]))
        elif step.id == "train" and step.run is not None and step.state != "todo":
            self.post_message(Open("run", run=step.run))
        elif step.id == "data" and step.state == "done":
            self.post_message(Open("data", folder=Path("data/demo")))
        elif step.state == "running":
            self.notify(f"{step.title}: {step.words}", markup=False)
        elif step.id == "train":
            self.run_command([*arguments, "--json"], then=self._open_run)
        elif self.services.readonly:
            self.notify("this terminal is read-only", severity="warning", markup=False)
        elif not self.query_one(JobBar).is_busy:
            self._prepare(arguments)

    def action_skip(self) -> None:
        self.post_message(Open("dashboard"))

    def action_stop(self) -> None:
        if (bar := self.query_one(JobBar)).is_busy:
            self.workers.cancel_group(self, "job")
            self.notify(f"cancelled: {bar.command}; repeated, it goes on from what it has done", markup=False)

    @work(group="job", exit_on_error=False)
    async def _prepare(self, arguments: list[str]) -> None:
        await self.query_one(JobBar).follow(self.services.commands, arguments)
        self.refresh_polls()

    def _open_run(self, done: Done) -> None:
        self.post_message(Open("run", run=self.services.folder / done.json["path"]))


def _examine() -> list[Any]:
    from daisy_tui.machine import examine

    return [*examine()]


def _finding(found: Finding) -> Content:
    sign, colour = _MARKS[found.verdict]
    name = found.what if found.found[:1].isdigit() else f"{found.what}:"
    mend = f"; {found.mend}" if found.mend else ""
    return Content.assemble((f"{sign} ", colour), printable(f"{name} {found.found}{mend}"))


def _step_entry(number: int, step: Step) -> Content:
    sign, colour = _SIGNS[step.state]
    words = step.waits_for or step.words
    return Content.assemble(
        (f" {sign} ", colour),
        (f"{number}  {step.title:<24}", "bold"),
        f"{step.state:<9}",
        (f"$ {printable(command_line(step.command))}\n", "dim"),
        (f"      {printable(words)}", "$text-muted"),
    )
