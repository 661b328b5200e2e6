"""What every screen is: a bar with all screens above, a footer below, actions, and work that never holds up the keys.

A screen shows what polls and threads bring it, and acts by running the `daisy` command that it can show: `command_for`
gives the arguments of an action as things stand, and `act` asks, runs them and says what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen, Screen
from textual.timer import Timer
from textual.worker import Worker

from daisy_tui.actions import Action, bindings
from daisy_tui.commands import Done, command_line
from daisy_tui.polling import Poll
from daisy_tui.widgets.dialogue import SaysErrors
from daisy_tui.widgets.key_line import KeyLine
from daisy_tui.widgets.topbar import TopBar

if TYPE_CHECKING:
    from daisy_tui.app import DaisyApp
    from daisy_tui.key_order import Held
    from daisy_tui.services import Services

T = TypeVar("T")
Answer = TypeVar("Answer")


class Open(Message):
    """Go to another screen by name, with something to show there: the keywords are those of its `context`."""

    def __init__(self, screen: str, **context: Any) -> None:
        super().__init__()
        self.screen, self.context = screen, context


class DaisyScreen(SaysErrors, Screen[None]):
    """The base of all screens that stand in the bar above."""

    NAME: ClassVar[str]
    TITLE: ClassVar[str]
    ACTIONS: ClassVar[tuple[Action, ...]] = ()
    SIGNS: ClassVar[tuple[tuple[str, str], ...]] = ()  # signs and figures on the screen, and what they mean

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "step_out", "Back", show=False)]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        cls.BINDINGS = [*cls.__dict__.get("BINDINGS", ()), *bindings(cls.__dict__.get("ACTIONS", ()))]
        super().__init_subclass__(**kwargs)

    def __init__(self) -> None:
        super().__init__()
        self._polls: list[Poll[Any]] = []
        self._held: Held | None = None

    # What a screen is made of

    def compose(self) -> ComposeResult:
        # Textual does it on the first resize, when every widget would be styled once more before the first frame.
        self.add_class(*self._size_classes(), update=False)
        yield TopBar(self.NAME)
        yield from self.body()
        yield KeyLine()

    def body(self) -> ComposeResult:
        """The widgets between the bar and the footer."""
        return ()

    def context(self, **what: Any) -> None:
        """Show what the screen was opened with."""

    def leading_to(self, screen: str) -> dict[str, Any]:
        """What another screen is to show when its number is pressed here; by itself it shows what it did before."""
        return {}

    def command_for(self, action: str) -> list[str] | None:
        """The arguments of the `daisy` command behind an action as things stand; None where there is none now."""
        return None

    def step_out(self) -> None:
        """What Escape does: one layer less. Here: what is typed into is left."""
        if self.is_typing:
            self.set_focus(None)

    @property
    def is_typing(self) -> bool:
        """Whether what is typed goes into a field."""
        return self.focused is not None and self.focused.check_consume_key("a", "a")

    def once_painted(self, call: Callable[[], object]) -> None:
        """Call back behind the first frame, or later the next one, so that no thread is in its way.

        By way of the app, whose messages wait for the first frame; `call_after_refresh` alone does not.
        """
        self.app.call_later(self.call_after_refresh, call)

    # Services

    @property
    def daisy(self) -> DaisyApp:
        return cast("DaisyApp", self.app)

    @property
    def services(self) -> Services:
        return self.daisy.services

    @property
    def bar(self) -> TopBar:
        return self.query_one(TopBar)

    # Looking

    def poll(self, name: str, every_s: float, work: Callable[[], T], done: Callable[[T], None]) -> Poll[T]:
        """Do `work` in a thread every so often while the screen is seen, and hand its result to `done`.

        To be called while the screen is mounted.
        """
        poll = Poll(self, name, every_s, work, done, is_automatic=self.services.polls)
        self._polls.append(poll)
        return poll

    def in_thread(
        self,
        group: str,
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> Worker[None]:
        """Do `work` in a thread once, and hand its result to `done`, or else its error to `failed`, or to the person.

        A later one of the same group takes its place: what the earlier one brings then is dropped.
        """

        async def run() -> None:
            try:
                result = await asyncio.to_thread(work)
            except Exception as error:
                if failed is None:
                    raise
                failed(error)
                return
            done(result)

        return self.run_worker(run(), group=group, exclusive=True, exit_on_error=False)

    def refresh_polls(self) -> None:
        """Look at everything at once."""
        for poll in self._polls:
            poll.now()

    def tell_ages(self) -> None:
        """Say how old what is shown is, where it does not become newer."""
        now = self.monotonic()
        for poll in self._polls:
            if (since := poll.late_since(now)) is not None:
                self.bar.set_stale(poll.name, since, "no answer yet", now)
        self.bar.grow_old(now)

    # Acting

    def act(
        self,
        action: str,
        *,
        question: tuple[str, list[str]] | None = None,
        danger: bool = False,
        then: Callable[[Done], None] | None = None,
        said: Callable[[Done], str] | None = None,
    ) -> None:
        """Run the command behind an action: after a `question` (title, lines) if there is one.

        What came of it is shown (`said` words it), `then` gets it, and everything is looked at again.
        """
        arguments = self.command_for(action)
        if arguments is not None:
            self.run_command(arguments, question=question, danger=danger, then=then, said=said)

    def run_command(
        self,
        arguments: list[str],
        *,
        question: tuple[str, list[str]] | None = None,
        danger: bool = False,
        then: Callable[[Done], None] | None = None,
        said: Callable[[Done], str] | None = None,
    ) -> None:
        """Run one `daisy` command as `act` does."""
        if self.services.readonly:
            self._say_readonly()
            return
        key_order = self.daisy.key_order
        if question is not None and key_order.are_held:
            return  # what was clicked twice is asked once
        held = key_order.hold() if question is not None else None

        async def run() -> None:
            if question is not None:
                title, lines = question
                try:
                    agreed = await self.ask(title, lines, command=command_line(arguments), danger=danger)
                finally:
                    if held is not None:
                        key_order.release(held)
                if not agreed:
                    return
            self.bar.begin(command_line(arguments))
            try:
                done = await self.services.commands.run(*arguments, codes=(0, 3))
            finally:
                self.bar.end(command_line(arguments))
            words = said(done) if said else next(iter(done.out.strip().splitlines()), "")
            if words and not words.startswith(("{", "[")):
                self.notify(words, markup=False)
            if then is not None:
                then(done)
            self.refresh_polls()

        self.run_worker(run(), group="act", exit_on_error=False)

    def hold_keys(self) -> bool:
        """Keep what is typed from now on for what `dialogue` will bring; False where there is something already."""
        self._held = self.daisy.key_order.hold()
        return self._held is not None

    async def dialogue(self, look: Callable[[], T], made: Callable[[T], ModalScreen[Answer | None]]) -> Answer | None:
        """The answer to a dialogue about what a look in a thread brings. In a worker, behind `hold_keys`."""
        held, self._held = self._held, None
        try:
            found = await asyncio.to_thread(look)
            if self.app.screen is not self:
                return None
            answer = self.app.push_screen(made(found), wait_for_dismiss=True)
        finally:
            if held is not None:
                self.daisy.key_order.release(held)
        return await answer

    async def ask(
        self, title: str, lines: list[str], *, command: str | None = None, confirm: str = "Yes", danger: bool = False
    ) -> bool:
        """Ask the person; to be awaited in a worker."""
        from daisy_tui.screens.confirm import ConfirmScreen  # which the first frame need not wait for

        answer = await self.app.push_screen_wait(ConfirmScreen(title, lines, command, confirm, danger=danger))
        return bool(answer)

    # What Textual calls

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.services.readonly and any(known.id == action and known.acts for known in self.ACTIONS):
            return None  # dimmed, and without effect
        return super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """A key that a read-only terminal refuses says so. No binding takes it, for its action is disabled."""
        if self.services.readonly and not self.is_typing:
            bound = {key for action in self.ACTIONS if action.acts for key in action.keys}
            if event.key in bound:
                event.stop()
                self._say_readonly()

    def _say_readonly(self) -> None:
        self.notify("this terminal is read-only: it looks, and changes nothing", severity="warning", markup=False)

    def action_step_out(self) -> None:
        self.step_out()

    def on_screen_resume(self, _event: events.ScreenResume) -> None:
        self.once_painted(self._resume_polls)

    def _resume_polls(self) -> None:
        if self in self.app.screen_stack:
            for poll in self._polls:
                poll.resume()

    def _size_classes(self) -> list[str]:
        size = self.app.size
        found = ((size.width, self.app.HORIZONTAL_BREAKPOINTS), (size.height, self.app.VERTICAL_BREAKPOINTS))
        return [max(step for step in steps or () if step[0] <= cells)[1] for cells, steps in found]

    def on_screen_suspend(self, _event: events.ScreenSuspend) -> None:
        if self not in self.app.screen_stack:  # a dialogue above leaves it in sight
            for poll in self._polls:
                poll.pause()

    # What a poll asks of its stage

    def look_now(self, name: str, look: Callable[[], Any]) -> object:
        return self.run_worker(look(), group=f"poll {name}", exit_on_error=False)

    def look_later(self, seconds: float, look: Callable[[], None]) -> Timer:
        return self.set_timer(seconds, look)

    def poll_failed(self, name: str, error: Exception, since: float) -> None:
        self.bar.set_stale(name, since, str(error), self.monotonic())

    def poll_succeeded(self, name: str) -> None:
        self.bar.set_fresh(name)

    def monotonic(self) -> float:
        return self.services.monotonic()

    @property
    def has_attention(self) -> bool:
        return self.app.app_focus
