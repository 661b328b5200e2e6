"""What can be done with a draft: launch it, queue it, make a grid of it, measure it, save it.

Each is one `daisy` command, or for a grid one for each of its runs; the screen that holds the draft is the Compose
screen, which is made of this.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

from textual import work
from textual.content import Content
from textual.widgets import Static

from core.text import duration, plural, printable, size
from daisy_tui.actions import Action
from daisy_tui.commands import Done, command_line
from daisy_tui.composing import effects
from daisy_tui.composing.composition import Composition, compose_draft
from daisy_tui.composing.drafts import Draft
from daisy_tui.composing.grids import grid_drafts
from daisy_tui.composing.saving import check_name
from daisy_tui.composing.targets import Machine
from daisy_tui.screens.base import DaisyScreen, Open
from daisy_tui.widgets.form_prompt import Prompt

LAUNCH_ACTIONS = (
    Action("launch", "l", "Launch", "Train this now.", "daisy train CONFIG KEY=VALUE… --detach", acts=True),
    Action("queue", "w", "Queue", "Train this once its devices are free.", "daisy train CONFIG --queue", acts=True),
    Action("grid", "x", "Grid", "Queue a run for each value: lr_scale=0.5,1,2.", "daisy train … --queue", acts=True),
    Action("preflight", "f", "Preflight", "Measure three real steps; again to cancel.", "daisy preflight", acts=True),
    Action("save", "s", "Save", "Save this as a config of its own.", "daisy config save CONFIG NEW", acts=True),
)
_DETACHED = ("--detach", "--json")


class LaunchScreen(DaisyScreen):
    """A screen with a draft."""

    def __init__(self) -> None:
        super().__init__()
        self._measured: dict[tuple[str, ...], dict[str, Any]] = {}  # what preflights printed, by their arguments

    @property
    def draft(self) -> Draft:
        """What the person touched."""
        raise NotImplementedError

    @property
    def composition(self) -> Composition | None:
        """What the draft comes to; None while that is not known yet."""
        raise NotImplementedError

    @property
    def machine(self) -> Machine:
        """The devices there are."""
        raise NotImplementedError

    def measured(self) -> None:
        """Measuring has ended: what the draft comes to may be known better now."""
        raise NotImplementedError

    @property
    def took(self) -> dict[str, Any] | None:
        """What a preflight of this draft printed, or of one that differs in its length alone."""
        arguments = self.command_for("preflight")
        return self._measured.get(_measures(arguments)) if arguments is not None else None

    def command_for(self, action: str) -> list[str] | None:
        arguments = self.draft.train_arguments()
        known = self.composition
        if action == "launch":
            return [*arguments, *_DETACHED]
        if action == "queue":
            return [*arguments, "--queue", *_DETACHED]
        if action == "preflight":
            return [*self.draft.preflight_arguments(known.followed if known is not None else ()), "--json"]
        if action == "save":
            return self.draft.save_arguments("NEW")
        return arguments if action == "copy" else None

    def _ready(self) -> Composition | None:
        """The composition, where it can be trained; else what is in the way is said."""
        known = self.composition
        if known is None:
            self.notify("still composing; a moment", markup=False)
            return None
        if known.problems:
            first = printable(known.problems[0].message)
            self.notify(
                f"{plural(len(known.problems), 'problem')}; e goes to it: {first}", severity="error", markup=False
            )
            return None
        return known

    # One run

    def action_launch(self) -> None:
        self._launch("launch")

    def action_queue(self) -> None:
        self._launch("queue")

    def _launch(self, action: str) -> None:
        if (known := self._ready()) is None:
            return
        verb = "Queue" if action == "queue" else "Launch"
        self.act(action, question=(f"{verb} {known.draft.config}?", self._outlook(known)), then=self._launched)

    def _outlook(self, known: Composition) -> list[str]:
        """What a person should know before a run is made."""
        lines = [printable(effects.summary(known, self.took).partition(" ")[2])]
        if known.target is not None and (busy := self.machine.busy(known.target.wanted)):
            lines.append(f"! its devices are in use by {printable(', '.join(busy))}; the queue (w) waits for them")
        return lines + [f"! {printable(risk)}" for risk in effects.risks(known)]

    def _launched(self, done: Done) -> None:
        run = str(done.json["run"])
        self.notify(f"launched: {run}", markup=False)
        self.post_message(Open("run", run=self.services.runs / run))

    # Several runs

    @work(group="act", exit_on_error=False)
    async def action_grid(self) -> None:
        if self._ready() is None:
            return
        draft = self.draft

        def lines(text: str) -> list[str]:
            found = [command_line(self._queued(one)) for one in grid_drafts(draft, text)]
            return [f"{plural(len(found), 'run')}, one after the other as devices are free:", *found]

        prompt = Prompt("A grid: a run for each value", lines, placeholder="lr_scale=0.5,1,2", hint="queues them all")
        text = await self.app.push_screen_wait(prompt)
        if text is not None:
            drafts = grid_drafts(draft, text)
            check = partial(_first_problem, drafts, self.machine, self.services.folder)
            self.in_thread("grid", check, partial(self._queue_all, drafts))

    def _queue_all(self, drafts: Sequence[Draft], problem: str | None) -> None:
        if problem is not None:
            self.notify(printable(f"nothing queued: {problem}"), severity="error", timeout=12, markup=False)
        elif self.services.readonly:
            self.notify("this terminal is read-only", severity="warning", markup=False)
        else:
            self._queue_each(drafts)

    @work(group="act", exit_on_error=False)
    async def _queue_each(self, drafts: Sequence[Draft]) -> None:
        """Queue one run after the other; what fails ends it, and how far it came is said."""
        queued = 0
        try:
            for draft in drafts:
                line = command_line(self._queued(draft))
                self.bar.begin(line)
                try:
                    await self.services.commands.run(*self._queued(draft))
                finally:
                    self.bar.end(line)
                queued += 1
        finally:
            self.notify(f"{queued} of {plural(len(drafts), 'run')} queued", markup=False)
        self.post_message(Open("dashboard"))

    def _queued(self, draft: Draft) -> list[str]:
        return [*draft.train_arguments(), "--queue", *_DETACHED]

    # Measuring

    def action_preflight(self) -> None:
        if any(worker.group == "preflight" and not worker.is_finished for worker in self.workers):
            self.workers.cancel_group(self, "preflight")
            self.notify("preflight cancelled", markup=False)
            self.measured()
        elif self._ready() is not None and (arguments := self.command_for("preflight")) is not None:
            self._preflight(arguments)

    @work(group="preflight", exit_on_error=False)
    async def _preflight(self, arguments: list[str]) -> None:
        said: list[str] = []
        line = command_line(arguments)
        status = self.query_one("#form-line", Static)
        self.bar.begin(line)
        try:
            async with aclosing(self.services.commands.lines(*arguments)) as lines:
                async for text in lines:
                    said += [text] if said or text == "{" else []
                    if not said:
                        status.update(Content(printable(f"⋯ preflight: {text}   f cancels")))
            took = json.loads("\n".join(said))
            memory, rate = size(took["peak_memory"]), f"{took['tokens_per_s']:,.0f} tokens/s"
            self.notify(f"measured: {memory}, {rate}, ETA {duration(took['eta_s'])}", markup=False)
            self._measured[_measures(arguments)] = took
        finally:
            self.bar.end(line)
            self.measured()

    # Saving

    @work(group="act", exit_on_error=False)
    async def action_save(self) -> None:
        if self._ready() is None:
            return
        draft = self.draft

        def lines(name: str) -> list[str]:
            return [command_line(draft.save_arguments(name)), f"makes {check_name(name)}"]

        hint = "saves what was touched with the file's own keys"
        name = await self.app.push_screen_wait(Prompt("Save as", lines, placeholder="name of the config", hint=hint))
        if name is not None:
            self.run_command(draft.save_arguments(name))


def _measures(arguments: Sequence[str]) -> tuple[str, ...]:
    """The arguments of a preflight without what changes nothing that it measures."""
    return tuple(word for word in arguments if not word.startswith("target_tokens="))


def _first_problem(drafts: Sequence[Draft], machine: Machine, folder: Path) -> str | None:
    """What is wrong with the first of the drafts that cannot be trained."""
    for draft in drafts:
        if problems := compose_draft(draft, machine, folder).problems:
            return problems[0].message
    return None
