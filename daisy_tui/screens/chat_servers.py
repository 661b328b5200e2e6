"""The part of the Chat screen that chooses who is talked to: its servers, from their start to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from textual import work
from textual.screen import ModalScreen

from core.runs.devices import gpus
from daisy_tui.chatting.serving import Options, Server, ServerStatus
from daisy_tui.chatting.sources import Source, servers, source_named, sources
from daisy_tui.chatting.transcripts import Saved, Transcript, listed
from daisy_tui.checkpoints.catalog import Catalog
from daisy_tui.screens.base import DaisyScreen
from daisy_tui.screens.chat_attach import AttachScreen
from daisy_tui.screens.chat_choose import Chosen, ServeOptions, source_picker, transcript_picker
from daisy_tui.widgets.chat_pane import ChatPane
from daisy_tui.widgets.chat_panes import ChatPanes

Found = TypeVar("Found")
_LOOK_EVERY_S = 1.0
_READONLY = "this terminal is read-only: it starts no server; f7 attaches to one"


class ChatServers(DaisyScreen):
    """A screen with `ChatPanes`, each of which talks to a server of `services.serving`."""

    def __init__(self) -> None:
        super().__init__()
        self._options = Options()
        self._reopen: Path | None = None  # a transcript to go on with once its model is there
        self._following = asyncio.Lock()
        self._failed: dict[str, Exception] = {}  # what was tried last, and why it failed

    def on_mount(self) -> None:
        self._catalog = Catalog(self.services.folder)
        self.poll("servers", _LOOK_EVERY_S, self.services.serving.look, self._take_servers)

    def context(self, **what: Any) -> None:
        """`source`: the path of a checkpoint, or a run's id."""
        source = what.get("source")
        if source is None:
            return
        if self.services.readonly:
            self.notify(_READONLY, severity="warning", markup=False)
            return

        def serve(found: Source) -> None:
            self._serve(self.panes.left, Chosen(found, self._options._replace(follow=found.follow)))

        self.in_thread("context", partial(source_named, self.services.folder, str(source)), serve)

    @property
    def panes(self) -> ChatPanes:
        return self.query_one(ChatPanes)

    @property
    def pane(self) -> ChatPane:
        """The side that is meant: the one with the focus, or else the left one."""
        return self.panes.chosen[0]

    def show_mode(self, *, begins: bool = False) -> None:
        """Lay the screen out for questions, or for one text; one that `begins` is typed into, if nothing else is."""

    def show_state(self) -> None:
        """Say whether there is a model to ask."""

    def focus_words(self) -> None:
        """Go where something is typed."""

    # What becomes of servers

    def _take_servers(self, _found: list[ServerStatus]) -> None:
        for pane in (self.panes.left, self.panes.right):
            self._follow(pane)

    @work(group="follow", exit_on_error=False)
    async def _follow(self, pane: ChatPane) -> None:
        """Have a side know what became of its server."""
        async with self._following:
            server, conversation = pane.server, pane.conversation
            if server is None:
                return
            is_known = conversation is not None and pane.talks_to is server and conversation.model == server.what
            if server.state == "ready" and not is_known:
                await self.panes.adopt(pane, server)
                self.show_mode(begins=conversation is None and pane is self.panes.left)
                self._reopen_wanted(pane)
            elif server.state == "failed":
                pane.note(server.failure, lambda: pane.server is server and server.state == "failed")
            pane.paint_head()
            self.show_state()

    def _reopen_wanted(self, pane: ChatPane) -> None:
        if self._reopen is not None and pane is self.panes.left:
            path, self._reopen = self._reopen, None
            self._read_transcript(path)

    def _serve(self, pane: ChatPane, chosen: Chosen) -> None:
        """Have a side's server serve this: new weights where that can be, another child where not."""
        serving, server = self.services.serving, pane.server
        pane.note("")
        if server is None or not server.is_own or server.state in ("failed", "ended"):
            if server is not None:
                serving.end(server)
            self._take_server(pane, serving.start(chosen.source.where, chosen.options))
            return
        doing = f"loading {chosen.source.name}"
        self.bar.begin(doing)

        def done(now: Server) -> None:
            self.bar.end(doing)
            self._take_server(pane, now)

        def failed(error: Exception) -> None:
            self.bar.end(doing)
            pane.note(str(error))

        work = partial(serving.change, server, chosen.source.where, chosen.options)
        self.in_thread(f"change {pane.side}", work, done, failed)

    def _take_server(self, pane: ChatPane, server: Server) -> None:
        pane.server = server
        pane.paint_head()
        self.show_state()
        self._follow(pane)
        self.refresh_polls()

    # Choosing

    def action_source(self) -> None:
        pane = self.pane
        if self.services.readonly:
            self.notify(_READONLY, severity="warning", markup=False)
        elif self.hold_keys():
            self._act(self._choose(pane))

    def _act(self, work: Coroutine[Any, Any, Any]) -> None:
        self.run_worker(work, group="act", exit_on_error=False)

    async def _choose(self, pane: ChatPane) -> bool:
        """Have the person choose what a side talks to; returns whether they did."""
        if self.services.readonly:
            return await self._attach_to(pane)
        serve: ServeOptions | None = None
        title = "Talk to which model?" if pane is self.panes.left else "Beside it: which model?"

        def dialogue(found: tuple[list[Source], tuple[str, ...]]) -> ModalScreen[Source | None]:
            nonlocal serve
            entries, devices = found
            serve = ServeOptions(self._options, devices)
            return source_picker(title, entries, serve)

        source = await self.dialogue(self._look, dialogue)
        if source is None or serve is None:
            return False
        if source.kind == "server":
            return self.hold_keys() and await self._attach_to(pane, source.where)
        self._options = serve.options
        self._serve(pane, Chosen(source, self._options._replace(follow=source.follow)))
        return True

    def _look(self) -> tuple[list[Source], tuple[str, ...]]:
        devices = ("auto", "cpu", *(f"cuda:{number}" for number in range(len(gpus()))))
        return self._others(sources(self.services.folder, self._catalog)), devices

    def _others(self, found: list[Source]) -> list[Source]:
        """Without the servers of this terminal's own, which nobody else has the key of."""
        own = {status.url for status in self.services.serving.status()}
        return [source for source in found if source.where not in own]

    def action_attach(self) -> None:
        pane = self.pane
        if self.hold_keys():
            self._act(self._attach_to(pane))

    async def _attach_to(self, pane: ChatPane, url: str | None = None) -> bool:
        def dialogue(found: list[Source]) -> AttachScreen:
            return AttachScreen(self.services.serving.attach, self._others(found), *([url] if url else []))

        server = await self.dialogue(servers, dialogue)
        if server is None:
            return False
        if pane.server is not None:
            self.services.serving.end(pane.server)
        self._take_server(pane, server)
        return True

    def action_beside(self) -> None:
        panes = self.panes
        if panes.is_beside:
            self._act(self._end_beside())
        elif panes.left.server is None:
            key = "f7 attaches to one" if self.services.readonly else "f2 chooses one"
            panes.left.note(f"first the model on the left: {key}", lambda: panes.left.server is None)
        elif self.hold_keys():
            self._act(self._begin_beside())

    async def _begin_beside(self) -> None:
        if await self._choose(self.panes.right):
            self.panes.add_class("-beside")

    async def _end_beside(self) -> None:
        panes = self.panes
        had_focus = panes.right.has_focus_within
        if panes.right.server is not None:
            self.services.serving.end(panes.right.server)
        await panes.close(panes.right)
        panes.remove_class("-beside")
        if had_focus:
            self.focus_words()

    @work(group="act", exit_on_error=False)
    async def action_end(self) -> None:
        pane = self.pane
        if pane.server is not None and self.app.screen is self:
            title = "End this server?" if pane.server.is_own else "Let go of this server?"
            if await self.ask(title, [pane.server.what, "What was said is kept."]):
                self.services.serving.end(pane.server)
                await self.panes.close(pane)
                self.show_state()

    # Chats that were held before

    def action_transcripts(self) -> None:
        if self.hold_keys():
            self._act(self._choose_transcript())

    async def _choose_transcript(self) -> None:
        look = partial(listed, self.services.folder)
        chosen = await self.dialogue(look, lambda found: transcript_picker(found, self.services.clock()))
        if chosen is None:
            return
        pane = self.panes.left
        if pane.conversation is not None:
            self._read_transcript(chosen.path)
            return
        self._reopen = chosen.path
        if pane.server is None and (self.services.readonly or not self.hold_keys() or not await self._choose(pane)):
            words = "a chat goes on with a model: f2 chooses one, f7 attaches to a server; then f6 opens it"
            pane.note(words, lambda: pane.server is None)
            self._reopen = None

    def _read_transcript(self, path: Path) -> None:
        pane = self.panes.left
        if pane.transcript is not None and pane.transcript.path == path:
            return

        def done(found: tuple[Transcript, Saved]) -> None:
            self._go_on_with(*found)

        self._attempt("reopen", pane, partial(Transcript.reopened, path), done)

    @work(group="ask", exit_on_error=False)
    async def _go_on_with(self, transcript: Transcript, saved: Saved) -> None:
        pane = self.panes.left
        self.take_system(saved.system)
        try:
            await self.panes.reopen(pane, transcript, saved)
        finally:
            if pane.transcript is not transcript:  # nobody goes on with it: its file is for who opens it next
                self.in_thread("close", transcript.close, lambda _: None)
        self.show_mode()

    def _attempt(self, group: str, pane: ChatPane, work: Callable[[], Found], done: Callable[[Found], None]) -> None:
        """Do work in a thread as `in_thread` does; why it failed is said below a side until it is tried again."""
        self._failed.pop(group, None)
        pane.paint_head()

        def failed(error: Exception) -> None:
            self._failed[group] = error
            pane.note(str(error), lambda: self._failed.get(group) is error)

        self.in_thread(group, work, done, failed)

    def take_system(self, text: str) -> None:
        """Show what the model is told first, as a conversation has it."""
