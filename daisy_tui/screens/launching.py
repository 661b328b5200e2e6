"""What can be done with a draft: launch it, queue it, make a grid of it, measure it, save it.

Each is one `daisy` command, or for a grid one for each of its runs; the screen that holds the draft is the Compose
screen, which is made of this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from textual import work

from core.config.errors import ConfigError
from core.text import duration, plural, printable, size
from daisy_tui.actions import Action
from daisy_tui.commands import Done, command_line
from daisy_tui.composing import effects
from daisy_tui.composing.composition import Composition, compose_draft
from daisy_tui.composing.drafts import Draft
from daisy_tui.composing.grids import grid_drafts
from daisy_tui.composing.preflights import Preflights
from daisy_tui.composing.saving import check_name
from daisy_tui.composing.targets import Machine
from daisy_tui.screens.base import DaisyScreen, Open
from daisy_tui.widgets.form_prompt import Prompt

LAUNCH_ACTIONS = (
    Action("launch", "l", "Launch", "Train this now.", "daisy train CONFIG KEY=VALUE… --detach", acts=True),
    Action("queue", "w", "Queue", "Train this once its devices are free.", "daisy train CONFIG --queue", acts=True),
    Action("grid", "x", "Grid", "Queue a run for each value: lr_scale=0.5,1,2.", "daisy train … --queue", acts=True),
    Action(
        "preflight", "f", "Preflight", "Measure three real steps; again, or esc, cancels.", "daisy preflight", acts=True
    ),
    Action("save", "s", "Save", "Save this as a config of its own.", "daisy config save CONFIG NEW", acts=True),
)
_DETACHED = ("--detach", "--json")
_ENDING = "ending"


class LaunchScreen(DaisyScreen):
    """A screen with a draft."""

    def __init__(self) -> None:
        super().__init__()
        self._preflights = Preflights()
        self._progress = ""  # what the preflight said last that is under way

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

    def show_line(self) -> None:
        """Show in one line what is being measured, or else what the draft comes to."""
        raise NotImplementedError

    def measured(self) -> None:
        """Measuring has ended: what the draft comes to may be known better now."""
        raise NotImplementedError

    def saved(self, draft: Draft, name: str) -> None:
        """A draft is a config of its own now."""
        raise NotImplementedError

    @property
    def took(self) -> Mapping[str, Any] | None:
        """What a preflight of this draft printed, or of another with the same steps."""
        return self._preflights.of(self.composition)

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
        if (speed := effects.speed(known, self.took, self.services.clock())) is not None:
            lines.append(printable(speed))
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
        draft, machine, folder = self.draft, self.machine, self.services.folder

        def lines(text: str) -> Iterator[str]:
            drafts = grid_drafts(draft, text)
            yield f"{plural(len(drafts), 'run')}, one after the other as devices are free:"
            for one in drafts:
                if (problem := _first_problem(one, machine, folder)) is not None:
                    raise ConfigError(problem)
                yield command_line(self._queued(one))

        prompt = Prompt("A grid: a run for each value", lines, placeholder="lr_scale=0.5,1,2", hint="queues them all")
        text = await self.app.push_screen_wait(prompt)
        if text is not None and not self.services.readonly:
            self._queue_each(grid_drafts(draft, text))

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

    @property
    def is_measuring(self) -> bool:
        """Whether a preflight is under way, or ending."""
        return bool(self._progress)

    def action_preflight(self) -> None:
        if self.is_measuring:
            self.cancel_preflight()
        elif (known := self._ready()) is not None and (arguments := self.command_for("preflight")) is not None:
            self._tell_progress("begins")
            self._preflight(known, arguments)

    def cancel_preflight(self) -> None:
        """End the preflight that is under way. Its processes are given a while to do so in order, once."""
        if self._progress != _ENDING:
            self.workers.cancel_group(self, "preflight")
            self.notify("preflight cancelled", markup=False)
            self._tell_progress(_ENDING)

    def _tell_progress(self, text: str) -> None:
        self._progress = text
        self.show_line()

    @property
    def progress_line(self) -> str:
        """What the preflight is at, and first how to cancel it, which has to be in sight however long that is."""
        keys = "" if self._progress == _ENDING else "esc or f cancels the "
        return f"⋯ {keys}preflight: {self._progress}"

    @work(group="preflight", exit_on_error=False)
    async def _preflight(self, known: Composition, arguments: list[str]) -> None:
        said: list[str] = []
        line = command_line(arguments)
        self.bar.begin(line)
        try:
            async with aclosing(self.services.commands.lines(*arguments)) as lines:
                async for text in lines:
                    said += [text] if said or text == "{" else []
                    if not said:
                        self._tell_progress(text)
            took = json.loads("\n".join(said))
            memory, rate = size(took["peak_memory"]), f"{took['tokens_per_s']:,.0f} tokens/s"
            steps = f"{plural(took['steps'], 'step')} with full windows"
            self.notify(f"measured in {steps}: {memory}, {rate}, ETA {duration(took['eta_s'])}", markup=False)
            self._preflights.keep(known, took, self.services.clock())
        finally:
            self._progress = ""
            self.bar.end(line)
            self.measured()

    # Saving

    @work(group="act", exit_on_error=False)
    async def action_save(self) -> None:
        if self._ready() is None:
            return
        draft = self.draft

        def lines(name: str) -> Sequence[str]:
            return command_line(draft.save_arguments(name)), f"makes {check_name(name)}"

        hint = "saves what was touched with the file's own keys"
        name = await self.app.push_screen_wait(Prompt("Save as", lines, placeholder="name of the config", hint=hint))
        if name is not None:
            saved = re.sub(r"\.ya?ml$", "", name)
            self.run_command(draft.save_arguments(name), then=lambda _done: self.saved(draft, saved))


def _first_problem(draft: Draft, machine: Machine, folder: Path) -> str | None:
    """What is wrong with a draft that cannot be trained."""
    problems = compose_draft(draft, machine, folder).problems
    return problems[0].message if problems else None
