"""Dialogues of the Checkpoints screen: where a copy goes and in which form, and what pruning a run leaves of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Input, Label, Select, Static

from core.checkpoint.inspect import Inspection
from core.text import plural, printable, size
from daisy_tui.checkpoints.weights import weight_bytes
from daisy_tui.commands import CommandError, Commands, Done
from daisy_tui.widgets.run_forms import CommandForm, FormError

_SHOWN_NAMES = 6
_DIGITS = 9


class CopyForm(CommandForm):
    """A copy of a checkpoint without its optimizer state. `chosen` is the command that was confirmed."""

    CONFIRM = "Export"

    def __init__(self, inspection: Inspection, source: str, out: str, folder: Path, commands: Commands) -> None:
        super().__init__(f"Export {source}", commands)
        self._inspection, self._source, self._out, self._folder = inspection, source, out, folder
        self.chosen: list[str] = []
        self._wish = (out, "")  # folder and form, as the fields are

    def fields(self) -> ComposeResult:
        with Horizontal(classes="form-row"):
            yield Label("into the folder")
            yield Input(self._out, id="out", compact=True)
        with Horizontal(classes="form-row"):
            yield Label("weights")
            forms = [("as they are", ""), ("float32", "float32"), ("bfloat16: half the size", "bfloat16")]
            yield Select(forms, value="", allow_blank=False, id="dtype", compact=True)
        yield Static("", id="becomes", classes="hint")

    def changed(self) -> None:
        dtype = self.query_one("#dtype", Select).value
        self._wish = self.query_one("#out", Input).value.strip(), dtype if isinstance(dtype, str) else ""
        now = sum(file.bytes for file in self._inspection.files)
        becomes = f"about {size(self._bytes())} of {size(now)}: no optimizer state, the tokenizer along"
        self.query_one("#becomes", Static).update(Content(becomes))
        super().changed()

    def arguments(self) -> list[str]:
        out, dtype = self._wish
        if not out:
            raise FormError("Name the folder that it becomes.")
        return ["export", self._source, "--out", out, *(["--dtype", dtype] if dtype else [])]

    def problems(self) -> list[str]:
        out, shown = self._folder / self._wish[0], self._wish[0]
        if out.is_symlink() or (any(out.iterdir()) if out.is_dir() else out.exists()):
            return [f"{shown}: already there; name a folder that does not exist or is empty"]
        free = shutil.disk_usage(next(path for path in out.parents if path.is_dir())).free
        short_of = f"{shown}: {size(self._bytes())} are wanted and {size(free)} free; name a folder on another disk"
        return [short_of] if self._bytes() > free else []

    def _bytes(self) -> int:
        """About how large it becomes."""
        width = {"float32": 4, "bfloat16": 2}.get(self._wish[1])
        if width is None:
            return weight_bytes(self._inspection)
        return width * sum(tensor.count for tensor in self._inspection.tensors)

    async def proceed(self) -> None:
        """Leave with the command: it takes a while, and its progress is shown outside."""
        arguments = self.arguments()
        if problems := await self._found():
            self.say(*problems)
            return
        self.chosen = arguments
        self.dismiss(Done(0, "", ""))


class PruneForm(CommandForm):
    """Which checkpoints of a run stay. What would go is asked of a dry run whenever a field changes."""

    FIELDS = (("keep-last", "1", "of the last ones"), ("keep-best", "1", "of the best ones, by validation loss"))

    def __init__(self, run: str, commands: Commands) -> None:
        super().__init__(f"Prune the checkpoints of {run}", commands)
        self._run_id = run
        self._wanted: list[str] = []  # the command that the plan is of
        self._plan: dict[str, Any] | None = None

    def fields(self) -> ComposeResult:
        for name, value, meaning in self.FIELDS:
            with Horizontal(classes="form-row"):
                yield Label(name.replace("-", " "))
                yield Input(value, id=name, compact=True, type="integer")
                yield Label(meaning, classes="hint")
        with Horizontal(classes="form-row"):
            yield Label("keep one in")
            yield Input(placeholder="none", id="keep-every", compact=True)
            yield Label("tokens, such as 100M", classes="hint")
        yield Static("", id="plan")

    def arguments(self) -> list[str]:
        options = []
        for name, default, _ in self.FIELDS:
            value = self.query_one(f"#{name}", Input).value.strip()
            if not value.isdecimal() or len(value) > _DIGITS or int(value) < 1:
                raise FormError(f"{name.replace('-', ' ')}: a whole number from 1")
            options += [f"--{name}", value] if value != default else []
        every = self.query_one("#keep-every", Input).value.strip()
        return ["runs", "prune", self._run_id, *options, *(["--keep-every", every] if every else []), "--yes"]

    def on_mount(self) -> None:
        self.query_one("#confirm", Button).variant = "error"  # the fields are looked at by the mounting of every form

    @property
    def word(self) -> str:
        if self._plan is None:
            return "Remove"
        going = len(self._plan["going"])
        return f"Remove {plural(going, 'checkpoint')}" if going else "Nothing to remove"

    @property
    def is_ready(self) -> bool:
        return self._plan is not None and bool(self._plan["going"])

    def changed(self) -> None:
        try:
            wanted = self.arguments()
        except FormError:
            wanted = []
        if wanted != self._wanted:
            self._wanted, self._plan = wanted, None
            self._tell(["Looking what would go …"] if wanted else [])
            self._look(wanted)
        super().changed()

    @work(group="plan", exclusive=True, exit_on_error=False)
    async def _look(self, wanted: list[str]) -> None:
        """Ask a dry run; a later change ends it."""
        if not wanted:
            return
        try:
            done = await self._commands.run(*wanted[:-1], "--dry-run", "--json")
            plan, lines = done.json, _plan_lines(done.json)
        except CommandError as error:
            self._tell(error.lines, is_refused=True)
        except Exception:
            self._tell([])
            raise
        else:
            self._tell(lines)
            self._plan = plan
            self._show_button()

    def _tell(self, words: Sequence[str], *, is_refused: bool = False) -> None:
        plan = self.query_one("#plan", Static)
        plan.set_class(is_refused, "dialogue-error")
        plan.update(Content(printable("\n".join(words))))

    async def proceed(self) -> None:
        self.dismiss(await self._commands.run(*self.arguments()))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        event.prevent_default()  # what removes is not to be set off by leaving a field
        self.query_one("#confirm").focus()


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    """What a dry run said."""
    going, kept = [str(name) for name in plan["going"]], [str(name) for name in plan["kept_for_others"]]
    lines = [f"Frees {size(plan['frees'])}; the last and the best stay."] if going else ["Nothing would go."]
    if going:
        more = f" and {len(going) - _SHOWN_NAMES} more" if len(going) > _SHOWN_NAMES else ""
        lines.append(f"Goes: {', '.join(going[:_SHOWN_NAMES])}{more}")
    return lines + [f"Stays, for another run began from it: {', '.join(kept)}"] * bool(kept)
