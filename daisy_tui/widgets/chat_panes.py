"""The one or two sides of the chat, and what is asked on them: the same question, on both with the same seed.

Answers are read in threads and painted here a few times a second; every turn is written down as it comes, so that what
is on the screen is on the disk.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.worker import Worker, WorkerError

from daisy_tui.chatting.answering import Answering
from daisy_tui.chatting.client import ClientError
from daisy_tui.chatting.conversation import Conversation, Form
from daisy_tui.chatting.lens import Alternative, By
from daisy_tui.chatting.sampling import ALTERNATIVES, sampling
from daisy_tui.chatting.serving import Server
from daisy_tui.chatting.token_lines import shown
from daisy_tui.chatting.transcripts import Saved, Transcript, new_path, write_markdown
from daisy_tui.chatting.turns import Turn
from daisy_tui.widgets.chat_pane import ChatPane
from daisy_tui.widgets.chat_words import HINT, OTHER_HINT, READONLY_HINT, why_not

if TYPE_CHECKING:
    from daisy_tui.screens.base import DaisyScreen

_PAINT_S = 0.16
_UNSEEN_TICKS = 8  # of which one is painted while another window has the focus


class ChatPanes(Horizontal):
    """Both sides. Chats are kept in `folder`, unless `readonly`.

    `clock` gives the time of day, `monotonic` one that never goes back; both in seconds.
    """

    DEFAULT_CSS = """
    ChatPanes {
        height: 1fr;
        #pane-right { display: none; border-left: vkey $panel-lighten-2; }
        &.-beside #pane-right { display: block; }
    }
    """

    class Began(Message):
        """An answer is under way."""

    class Ended(Message):
        """An answer has ended."""

    class Changed(Message):
        """Another path is shown, or another conversation."""

    def __init__(
        self, folder: Path, *, readonly: bool, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        super().__init__()
        self._folder, self._readonly, self._clock, self._monotonic = folder, readonly, clock, monotonic
        self.left = ChatPane("left", READONLY_HINT if readonly else HINT)
        self.right = ChatPane("right", OTHER_HINT)
        self.is_text = False
        self.lens: By | None = None
        self.values: dict[str, Any] = {}
        self.system = ""
        self._tick = 0
        self._reading: dict[str, Worker[None]] = {}
        self._order = {pane.side: asyncio.Lock() for pane in (self.left, self.right)}

    def compose(self) -> ComposeResult:
        yield self.left
        yield self.right

    def on_mount(self) -> None:
        self._timer = self.set_interval(_PAINT_S, self._paint, pause=True)

    def on_unmount(self) -> None:
        self.stop()  # the threads that read end, and write down what came
        for pane in (self.left, self.right):
            if pane.transcript is not None:
                pane.transcript.close()

    @property
    def is_beside(self) -> bool:
        return self.has_class("-beside")

    @property
    def panes(self) -> list[ChatPane]:
        """The sides that are shown."""
        return [self.left, self.right] if self.is_beside else [self.left]

    @property
    def chosen(self) -> list[ChatPane]:
        """The side that has the focus, or else all that are shown."""
        focused = self.screen.focused
        here = [pane for pane in self.panes if focused is not None and pane in focused.ancestors]
        return here or self.panes

    @property
    def coming(self) -> list[ChatPane]:
        """The sides on which an answer is under way."""
        return [pane for pane in (self.left, self.right) if pane.answering is not None]

    # Who is talked to

    async def adopt(self, pane: ChatPane, server: Server) -> None:
        """Talk to a server that is ready: go on with what was said, or begin."""
        pane.server = pane.talks_to = server
        conversation = pane.conversation
        if conversation is None:
            if pane is self.left:
                self.is_text = server.template is None
            conversation = self._begin(pane, server)
            if pane is self.right and self.left.conversation is not None:
                conversation.copy(self.left.conversation)
        elif pane.transcript is not None and not pane.transcript.is_begun:
            self._keep(pane, conversation, server)  # under the name of whoever answers first
        # With another server, or with another checkpoint of the same.
        conversation.client, conversation.model, conversation.size = server.client, server.what, server.size
        conversation.gives_ids, conversation.end = server.is_daisy, server.end_of_text
        conversation.form = self._form(server)
        self.take_values()
        await self._show(pane)

    async def new(self, *, is_text: bool | None = None) -> None:
        """Another conversation on every side; those that were held are kept."""
        self.stop()
        self.is_text = self.is_text if is_text is None else is_text
        for pane in self.panes:
            if pane.conversation is not None and pane.server is not None:
                await self._close(pane)
                self._begin(pane, pane.server)
                await self.adopt(pane, pane.server)

    async def reopen(self, pane: ChatPane, transcript: Transcript, saved: Saved) -> None:
        """Go on with a conversation that was held before. Needs a server that is ready."""
        assert pane.server is not None
        await self._close(pane)
        self.is_text, self.system = saved.form == "text", saved.system
        conversation = Conversation(
            pane.server.client,
            system=saved.system,
            tree=saved.tree,
            keeper=transcript,
            clock=self._monotonic,
            now=self._clock,
        )
        pane.conversation, pane.transcript = conversation, transcript
        await self.adopt(pane, pane.server)

    async def close(self, pane: ChatPane) -> None:
        """End the conversation of a side; what was said is kept."""
        await self._close(pane)
        pane.conversation = pane.server = pane.talks_to = None
        pane.note("")
        await pane.show()
        pane.paint_head()
        self.post_message(self.Changed())

    def take_values(self) -> None:
        """Have the parameters hold from the next answer on."""
        values = {**self.values}
        alternatives = values.pop(ALTERNATIVES.name, None)
        for pane in (self.left, self.right):
            if (conversation := pane.conversation) is not None:
                conversation.sampling, conversation.alternatives = sampling(values), alternatives
                conversation.system = self.system

    def _begin(self, pane: ChatPane, server: Server) -> Conversation:
        conversation = Conversation(server.client, system=self.system, clock=self._monotonic, now=self._clock)
        if not self._readonly:
            self._keep(pane, conversation, server)
        pane.conversation = conversation
        return conversation

    def _keep(self, pane: ChatPane, conversation: Conversation, server: Server) -> None:
        """Have a conversation written down once there is any."""
        now = self._clock()
        name = server.what if pane is self.left else f"{server.what} beside"
        saved = Saved(server.source, self._form(server), self.system, now)
        conversation.keeper = pane.transcript = Transcript(new_path(self._folder, name, now), saved)

    async def _close(self, pane: ChatPane) -> None:
        """Have nothing under way on a side, and its chat complete on the disk."""
        if pane.answering is not None:
            pane.answering.stop()
            with suppress(WorkerError):
                await self._reading[pane.side].wait()
        typed = pane.keep_typed()
        if pane.transcript is not None:
            if typed is not None and typed.text.strip():
                self._in_thread(pane, partial(pane.transcript.said, typed))
            self._keep_path(pane)
            self._in_thread(pane, pane.transcript.close)
            pane.transcript = None
        await pane.forget()

    def _form(self, server: Server) -> Form:
        return "text" if self.is_text else "chat" if server.template else "plain"

    # What is asked

    async def ask(self, text: str, behind: Turn | None = None) -> bool:
        """Ask a question on every side; with `behind` on that turn's, in another's place. Returns whether it was."""
        panes = [pane for pane in self.panes if behind is None or self._has(pane, behind)]
        if not self.can_ask(panes) or not all(pane.has_room(behind) for pane in panes):
            return False
        await self._answers([(pane, pane.conversation.say(text, behind)) for pane in panes if pane.conversation])
        return True

    async def go_on(self) -> None:
        """Have the text on the left gone on with, on every side; a chat's last answer from where it ended."""
        panes = self._asked
        if not self.can_ask(panes):
            return
        text, questions = self.left.editor.text, []
        for pane in panes:
            conversation = pane.conversation
            assert conversation is not None
            if self.is_text:
                pane.keep_typed()
                questions.append((pane, conversation.write(text, shown)))
            elif (turn := conversation.tree.tip).role == "assistant" and turn.parent is not None:
                await self._fork(pane, turn, len(turn.tokens), None)
        await self._answers(questions)

    async def retry(self) -> None:
        """Another answer, beside the one that is meant."""
        panes, questions = self._asked, []
        if not self.can_ask(panes):
            return
        for pane in panes:
            conversation, turn = pane.conversation, pane.turn
            if conversation is None or turn is None:
                pane.note("nothing has been asked yet")
                continue
            question = turn.parent if turn.role == "assistant" else turn
            assert question is not None
            pane.keep_typed()
            if turn.role == "assistant" and turn.failure and not turn.pieces and not turn.children:
                conversation.tree.remove(turn)  # nothing was said: there is nothing to keep
                if pane.transcript is not None:
                    self._in_thread(pane, partial(pane.transcript.removed, turn))
            questions.append((pane, question))
        await self._answers(questions)

    async def fork(self, turn: Turn, place: int, alternative: Alternative) -> None:
        """Have an answer go on with an alternative in a token's place."""
        panes = [pane for pane in self.panes if self._has(pane, turn)]
        if self.can_ask(panes):
            for pane in panes:
                await self._fork(pane, turn, place, alternative)

    async def branch(self, pane: ChatPane, turn: Turn) -> None:
        """Have the conversation end with a turn: what is asked next stands beside what was asked there."""
        if pane.conversation is not None and pane.answering is None:
            pane.conversation.tree.leave(turn)
            await self._show(pane)

    async def step(self, pane: ChatPane, turn: Turn, by: int) -> None:
        """Go to what stands beside a turn."""
        if self.is_text and turn.role == "user" and len(turn.siblings) < 2 and turn.parent is not None:
            turn = turn.parent  # what was typed behind an answer goes with it
        if pane.conversation is None or pane.answering is not None or len(turn.siblings) < 2:
            return
        pane.keep_typed()
        other = pane.conversation.tree.step(turn, by)
        await self._show(pane)
        for view in pane.views:
            if view.turn is other and not self.is_text:
                view.focus()

    def stop(self) -> None:
        """Stop all that is under way; what has come stays."""
        for pane in self.coming:
            assert pane.answering is not None
            pane.answering.stop()

    async def look(self, by: By | None) -> None:
        """Show tokens by how certain they were, or the text."""
        self.lens = by
        for pane in self.panes:
            pane.lens = by
            await pane.show()

    async def show(self) -> None:
        """Show everything as it is, as after another screen was seen."""
        for pane in self.panes:
            await pane.paint()

    def write(self, pane: ChatPane) -> Path:
        """Write a side's conversation as a document; returns where. In a thread. Raises TranscriptError."""
        assert pane.conversation is not None
        conversation = pane.conversation
        source = pane.server.source if pane.server is not None else ""
        began = conversation.tree.path[0].time if conversation.tree.path else 0.0
        path = pane.transcript.path if pane.transcript is not None else new_path(self._folder, source, self._clock())
        saved = Saved(source, conversation.form, conversation.system, began, conversation.tree)
        write_markdown(path.with_suffix(".md"), saved)
        return path.with_suffix(".md")

    def shows(self, turn: Turn) -> bool:
        """Whether a turn is on the path of a side that is shown."""
        return any(pane.conversation is not None and turn in pane.conversation.tree.path for pane in self.panes)

    def can_ask(self, panes: Iterable[ChatPane]) -> bool:
        """Whether all these sides can be asked; says it where one cannot, for as long as it cannot for that reason."""
        for pane in panes:
            if words := why_not(pane, readonly=self._readonly):
                pane.note(words, partial(self._holds, pane, words))
                return False
        return True

    # Inside

    @property
    def _asked(self) -> list[ChatPane]:
        """The sides that are asked for an answer: a text is the same on all of them, wherever the cursor stands."""
        return self.panes if self.is_text else self.chosen

    async def _answers(self, questions: Sequence[tuple[ChatPane, Turn]]) -> None:
        """An answer to a turn of each side, of which all have one seed; the next one, where a side has answers."""
        seed = random.randrange(2**31) if len(questions) > 1 else None
        already = max((len(question.children) for _, question in questions), default=0)
        for pane, question in questions:
            assert pane.conversation is not None
            await self._answer(pane, pane.conversation.begin(question, seed=seed, already=already))

    async def _fork(self, pane: ChatPane, turn: Turn, place: int, alternative: Alternative | None) -> None:
        assert pane.conversation is not None
        pane.keep_typed()
        try:
            answering = pane.conversation.fork(turn, place, alternative)
        except ClientError as error:
            pane.note(f"{error}; ctrl+r asks again, with `alternatives` among the parameters")
            return
        await self._answer(pane, answering)

    async def _answer(self, pane: ChatPane, answering: Answering) -> None:
        """Have an answer read in a thread, and paint it while it comes."""
        await pane.begin(answering)
        self._timer.resume()
        self.post_message(self.Began())
        self.post_message(self.Changed())

        async def read() -> None:
            try:
                await asyncio.to_thread(answering.run)
            except ClientError:
                pass  # its turn says it
            except asyncio.CancelledError:
                answering.stop()
                raise
            except Exception:
                await self._ended(pane)
                raise
            await self._ended(pane)

        self._reading[pane.side] = self._screen.run_worker(read(), group=f"answer {pane.side}", exit_on_error=False)

    async def _ended(self, pane: ChatPane) -> None:
        await pane.end()
        transcript = pane.transcript
        if transcript is not None and transcript.failure:
            pane.note(transcript.failure, lambda: pane.transcript is transcript and bool(transcript.failure))
        self.post_message(self.Ended())

    async def _paint(self) -> None:
        self._tick += 1
        coming = self.coming
        if not coming:
            self._timer.pause()
        elif self._screen in self.app.screen_stack:
            every = 1 if not any(pane.is_heavy for pane in coming) else 2
            if self._tick % (every if self.app.app_focus else _UNSEEN_TICKS) == 0:
                for pane in coming:
                    await pane.paint()

    async def _show(self, pane: ChatPane) -> None:
        pane.is_text, pane.lens = self.is_text, self.lens
        pane.has_room()
        await pane.show()
        pane.paint_head()
        self._keep_path(pane)
        self.post_message(self.Changed())

    def _keep_path(self, pane: ChatPane) -> None:
        if pane.transcript is not None and pane.conversation is not None:
            path, system = pane.conversation.tree.path, pane.conversation.system
            self._in_thread(pane, partial(pane.transcript.chosen, path, system))

    def _in_thread(self, pane: ChatPane, work: Callable[[], None]) -> None:
        """Do work for a side's chat on the disk, in the order in which it is wanted."""

        async def run() -> None:
            async with self._order[pane.side]:
                await asyncio.to_thread(work)

        self._screen.run_worker(run(), group=f"keep {pane.side}", exit_on_error=False)

    def _holds(self, pane: ChatPane, words: str) -> bool:
        return why_not(pane, readonly=self._readonly) == words

    @staticmethod
    def _has(pane: ChatPane, turn: Turn) -> bool:
        return pane.conversation is not None and pane.conversation.tree.by_number.get(turn.number) is turn

    @property
    def _screen(self) -> DaisyScreen:
        return cast("DaisyScreen", self.screen)
