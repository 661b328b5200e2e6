"""Dialogues that make a `daisy runs …` command from fields, show it as it changes, and stay where it is refused.

What the fields hold is checked as it is typed, in a thread; the command checks again.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Checkbox, Input, Label, Select, Static

from core.errors import DaisyError
from core.text import printable
from daisy_tui.commands import CommandError, Commands, Done, command_line
from daisy_tui.runs.run_requests import COOLDOWN, SETTABLE
from daisy_tui.widgets.dialogue import Dialogue
from daisy_tui.widgets.tick import Tick

if TYPE_CHECKING:
    pass


class FormError(DaisyError):
    """What a field holds and cannot be."""


class CommandForm(Dialogue[Done | None]):
    """Fields, and the command that they make. It returns what the command said, or None where nothing was done."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back")]
    CONFIRM = "Do it"

    def __init__(self, title: str, commands: Commands) -> None:
        super().__init__()
        self._title, self._commands = title, commands
        self._is_running = False

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialogue run-form", can_focus=False):
            yield Static(Content(printable(self._title)), classes="dialogue-title")
            yield from self.fields()
            yield Static("", id="problem", classes="dialogue-error")
            yield Static("", id="command", classes="dialogue-command")
            with Horizontal(classes="dialogue-buttons"):
                yield Button(self.CONFIRM, variant="primary", id="confirm", compact=True)
                yield Button("Back (esc)", id="back", compact=True)

    def on_mount(self) -> None:
        self.changed()

    # What a form is made of

    def fields(self) -> ComposeResult:
        """The fields, each in a row."""
        return ()

    def arguments(self) -> list[str]:
        """The command as the fields are. Raises FormError."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """What would be refused; called in a thread."""
        return []

    @property
    def word(self) -> str:
        """What the button says that it does."""
        return self.CONFIRM

    @property
    def is_ready(self) -> bool:
        """Whether the button does it."""
        return True

    async def proceed(self) -> None:
        """Do what the button says. A CommandError or FormError is said in place."""
        arguments = self.arguments()
        if problems := await self._found():
            self.say(*problems)
        else:
            self.dismiss(await self._commands.run(*arguments))

    # What all forms do

    def changed(self) -> None:
        """Show the command, and what is wrong with it."""
        try:
            command = f"$ {command_line(self.arguments())}"
            self.judge()
        except FormError as error:  # who is still typing is told, and not blamed
            command = str(error)
            self.say()
        self.query_one("#command", Static).update(Content(printable(command)))
        self._show_button()

    def judge(self) -> None:
        """Say what would be refused of the fields as they are."""
        self._check()

    def say(self, *lines: str) -> None:
        """Say what is wrong; nothing where nothing is."""
        self.query_one("#problem", Static).update(Content(printable("\n".join(lines))))

    def confirm(self) -> None:
        """Do what the button says, once."""
        if not self._is_running and self.is_ready:
            self._is_running = True
            self._show_button()
            self._proceed()

    @work(group="check", exclusive=True, exit_on_error=False)
    async def _check(self) -> None:
        problems = await self._found()
        if not self._is_running:
            self.say(*problems)

    async def _found(self) -> list[str]:
        try:
            return await asyncio.to_thread(self.problems)
        except (DaisyError, OSError) as error:
            return [str(error)]

    @work(group="confirm", exit_on_error=False)
    async def _proceed(self) -> None:
        try:
            await self.proceed()
        except (FormError, CommandError) as error:
            self.say(*error.lines)
        finally:
            self._is_running = False
            if self.is_attached:
                self._show_button()

    def _show_button(self) -> None:
        button = self.query_one("#confirm", Button)
        button.disabled = self._is_running or not self.is_ready
        button.label = f"{self.word} …" if self._is_running else self.word

    def action_leave(self) -> None:
        self.dismiss(None)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "confirm":
            self.confirm()
        else:
            self.action_leave()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.confirm()

    def on_input_changed(self) -> None:
        self.changed()

    def on_checkbox_changed(self) -> None:
        self.changed()

    def on_select_changed(self) -> None:
        self.changed()


class SetForm(CommandForm):
    """What may be set while a run trains. `now` are the values in force, `check` says what the run would refuse."""

    CONFIRM = "Set"

    def __init__(
        self, name: str, commands: Commands, now: Mapping[str, str], check: Callable[[dict[str, str]], list[str]]
    ) -> None:
        super().__init__(f"Set {name}, from its next step on", commands)
        self._run_name, self._now, self._would_refuse = name, now, check

    def fields(self) -> ComposeResult:
        for key, meaning in SETTABLE.items():
            with Horizontal(classes="form-row"):
                yield Label(Content(key))
                yield Input(placeholder=self._now.get(key, ""), id=key, compact=True)
                yield Label(Content(meaning), classes="hint")
        yield Tick("begin the cooldown now", id=COOLDOWN, compact=True)

    def values(self) -> dict[str, str]:
        """What was typed, by key."""
        typed = {key: self.query_one(f"#{key}", Input).value.strip() for key in SETTABLE}
        now = {COOLDOWN: "now"} if self.query_one(f"#{COOLDOWN}", Checkbox).value else {}
        return {key: value for key, value in typed.items() if value} | now

    def arguments(self) -> list[str]:
        values = self.values()
        if not values:
            raise FormError("Nothing is set yet: type a value, or begin the cooldown.")
        return ["runs", "set", self._run_name, *(f"{key}={value}" for key, value in values.items()), "--json"]

    def problems(self) -> list[str]:
        return self._would_refuse(self.values())


class ExportForm(CommandForm):
    """A run's metrics as a table or as lines, or all of it as an archive. The name of the file says which."""

    CONFIRM = "Export"
    KINDS = (
        (".csv", "metrics as a table (CSV)"),
        (".jsonl", "metrics as JSON lines"),
        (".tar.gz", "archive of the run"),
    )
    KEPT = ("none", "latest", "best", "all")

    def __init__(self, name: str, commands: Commands) -> None:
        super().__init__(f"Export {name}", commands)
        self._run_name = name

    def fields(self) -> ComposeResult:
        with Horizontal(classes="form-row"):
            yield Label("as")
            options = [(Content(words), suffix) for suffix, words in self.KINDS]
            yield Select(options, value=self.KINDS[0][0], allow_blank=False, id="kind", compact=True)
        with Horizontal(classes="form-row"):
            yield Label("to")
            yield Input(f"{self._run_name.rpartition('/')[2]}.csv", id="out", compact=True)
        with Horizontal(classes="form-row", id="kept-row"):
            yield Label("checkpoints")
            yield Select([(kept, kept) for kept in self.KEPT], value="none", allow_blank=False, id="kept", compact=True)

    def on_select_changed(self) -> None:
        field, kind = self.query_one("#out", Input), str(self.query_one("#kind", Select).value)
        for suffix, _ in self.KINDS:
            if field.value.endswith(suffix) and suffix != kind:
                field.value = field.value.removesuffix(suffix) + kind
        self.query_one("#kept-row").display = kind == ".tar.gz"
        self.changed()

    def arguments(self) -> list[str]:
        out = self.query_one("#out", Input).value.strip()
        if not out:
            raise FormError("Name the file that it becomes.")
        kept = str(self.query_one("#kept", Select).value)
        archive = str(self.query_one("#kind", Select).value) == ".tar.gz"
        which = ["--checkpoints", kept] if archive and kept != "none" else []
        return ["runs", "export", self._run_name, "--out", out, *which]


class ResumeForm(CommandForm):
    """Go on with a run: first it is said how that would be with the settings that are wanted, then it is done."""

    def __init__(self, name: str, commands: Commands, checkpoint: str | None, *, queue: bool = False) -> None:
        super().__init__(f"Resume {name}", commands)
        self._run_name, self._checkpoint, self._queue = name, checkpoint, queue
        self._judged: list[str] | None = None  # the settings that the verdict is about
        self._kind = ""
        self._verdict = Content("")

    def fields(self) -> ComposeResult:
        yield Static("", id="verdict")
        with Horizontal(classes="form-row"):
            yield Label("with")
            yield Input(placeholder="key=value …, such as target_tokens=10M", id="overrides", compact=True)
        yield Tick("wait in the queue where its devices are busy", self._queue, id="queue", compact=True)
        yield Tick("go on all the same, though it becomes another run", id="force", compact=True)

    def on_mount(self) -> None:
        self.query_one("#force").display = False
        self.confirm()  # what it makes of the fields, the mounting of every form shows

    def arguments(self) -> list[str]:
        options = [f"--{name}" for name in ("force", "queue") if self.query_one(f"#{name}", Checkbox).value]
        return ["runs", "resume", self._run_name, *self.overrides(), *options, "--detach", "--json"]

    def overrides(self) -> list[str]:
        """The settings as typed. Raises FormError."""
        try:
            return shlex.split(self.query_one("#overrides", Input).value)
        except ValueError as error:
            raise FormError(f"The settings cannot be read: {error}") from error

    @property
    def is_judged(self) -> bool:
        """Whether it was said how it would go on with just these settings."""
        try:
            return self.overrides() == self._judged
        except FormError:
            return False

    @property
    def word(self) -> str:
        return "Resume" if self.is_judged else "Check"

    @property
    def is_ready(self) -> bool:
        is_refused = self._kind == "different" and not self.query_one("#force", Checkbox).value
        return not self.is_judged or not (self._kind == "finished" or is_refused)

    def judge(self) -> None:
        self.say()  # what was said was of other fields; they are judged when the button is pressed

    def changed(self) -> None:
        if self._judged is not None:
            self._show_verdict()
        super().changed()

    async def proceed(self) -> None:
        if self.is_judged:
            self.dismiss(await self._commands.run(*self.arguments()))
            return
        verdict, overrides = self.query_one("#verdict", Static), self.overrides()
        verdict.update("Looking how it would go on …")
        try:
            done = await self._commands.run("runs", "resume", self._run_name, *overrides, "--dry-run", "--json")
            kind, differs = str(done.json["kind"]), [str(reason) for reason in done.json["differs"]]
        except Exception:
            self._judged = None
            verdict.update("")
            raise
        self._judged, self._kind, self._verdict = overrides, kind, self._worded(kind, differs)
        self._show_verdict()
        self.say()

    def _show_verdict(self) -> None:
        """Say how it would go on with the settings that are there; of others than were judged, that nobody looked."""
        is_judged = self.is_judged
        force = self.query_one("#force", Checkbox)
        force.display = is_judged and self._kind == "different"
        if not force.display:  # what was agreed to was of other settings
            with self.prevent(Checkbox.Changed):
                force.value = False
        unknown = Content("? How it would go on with these settings is not checked yet.")
        self.query_one("#verdict", Static).update(self._verdict if is_judged else unknown)

    def _worded(self, kind: str, differs: list[str]) -> Content:
        """How it would go on, in words."""
        begin = f"from {self._checkpoint}" if self._checkpoint else "anew, for it has no checkpoint"
        words = {
            "exact": f"✓ It goes on {begin}, exactly: as if it had never stopped.",
            "approximate": f"≈ It goes on {begin}, but not exactly:",
            "different": f"✗ It would go on {begin} as another run:",
            "finished": "■ It has reached its target:",
        }.get(kind, f"It goes on {begin}: {kind}")
        return Content(printable("\n".join([words, *(f"  {d}" for d in differs)])))
