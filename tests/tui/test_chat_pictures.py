"""The chat as pictures: empty, busy and failing, small and large, dark, light and without colours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chatting import ask, chat_app, send, serve_from, spelled, talk_to, tell, until
from serving import WAIT_S, ScriptedBackend, ScriptedEngine, running
from snapshots import check_picture
from terminal import finish, words
from textual.pilot import Pilot
from textual.widgets import TextArea

from core.inference.request import Piece, Scored
from daisy_tui.app import DaisyApp
from daisy_tui.services import Services
from daisy_tui.settings import Settings

SIZES = ((80, 24), (120, 40))
LOOKS = [*((size, "dark") for size in SIZES), ((80, 24), "light"), ((120, 40), "no-colour")]
SAID = "Emma is **handsome**, clever, and rich:\n\n- a comfortable home\n- a happy disposition\n"


def drawn(app: DaisyApp, name: str, look: str = "dark") -> None:
    """Compare the screen with its picture, the cursor standing still."""
    name += "" if look == "dark" else f"-{look}"
    for area in app.screen.query(TextArea):
        area.cursor_blink = False
    check_picture(app, name)


@pytest.mark.parametrize("size", SIZES)
def test_the_empty_screen(services: Services, size: tuple[int, int]) -> None:
    serve_from(services)
    app = chat_app(services)

    async def story(_pilot: Pilot[Any]) -> None:
        drawn(app, f"chat-empty-{size[0]}")

    tell(app, story, size)


def lit(services: Services, monkeypatch: pytest.MonkeyPatch, look: str) -> DaisyApp:
    """The app in a light: dark, light, or without colours."""
    if look == "no-colour":
        monkeypatch.setenv("NO_COLOR", "1")
    app = chat_app(services)
    if look == "light":
        app.settings = Settings(theme="textual-light")
    return app


@pytest.mark.parametrize(("size", "look"), LOOKS)
def test_an_answer_and_another_that_comes(
    services: Services, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], look: str
) -> None:
    engine = ScriptedEngine(spelled(SAID))
    with running(ScriptedBackend(engine, template="instruction")) as server:
        serve_from(services, server.url)
        app = lit(services, monkeypatch, look)

        async def story(pilot: Pilot[Any]) -> None:
            await talk_to(pilot)
            await ask(pilot, "Who is Emma?")
            engine.says = None
            await send(pilot, "And who is Mr. Knightley?")
            number = await asyncio.to_thread(lambda: [engine.asked.get(timeout=WAIT_S) for _ in range(2)][-1])
            engine.tell(number, Piece("A gentleman of", (Scored(65, -0.1),), completion_tokens=1))
            await until(pilot, lambda: "gentleman" in words(app))
            drawn(app, f"chat-busy-{size[0]}", look)

        tell(app, story, size)


@pytest.mark.parametrize(("size", "look"), LOOKS)
def test_what_fails(services: Services, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], look: str) -> None:
    engine = ScriptedEngine(lambda _: [Piece("It is", (Scored(65, -0.1),)), Piece(finish="error", error="no numbers")])
    with running(ScriptedBackend(engine, template="plain")) as server:
        serve_from(services, server.url)
        app = lit(services, monkeypatch, look)

        async def story(pilot: Pilot[Any]) -> None:
            pane = await talk_to(pilot)
            await ask(pilot, "How is it?")
            assert pane.turn is not None
            pane.turn.failure = pane.turn.failure.replace(server.url, "http://127.0.0.1:8000")
            await pane.views[-1].paint()
            await pilot.pause()
            drawn(app, f"chat-failing-{size[0]}", look)

        tell(app, story, size)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
def test_the_lens(services: Services, theme: str) -> None:
    with running(ScriptedBackend(ScriptedEngine(spelled(SAID, every=5)), template="plain")) as server:
        serve_from(services, server.url)
        app = chat_app(services)

        async def story(pilot: Pilot[Any]) -> None:
            app.theme = theme
            await talk_to(pilot)
            await ask(pilot, "Who is Emma?")
            await pilot.press("f3")
            await finish(pilot)
            await pilot.press("space")
            await finish(pilot)
            drawn(app, f"chat-lens-{theme}")

        tell(app, story)


def test_without_colours(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with running(ScriptedBackend(ScriptedEngine(spelled(SAID, every=5)), template="plain")) as server:
        serve_from(services, server.url)
        app = chat_app(services)

        async def story(pilot: Pilot[Any]) -> None:
            await talk_to(pilot)
            await ask(pilot, "Who is Emma?")
            await pilot.press("f3")
            await finish(pilot)
            drawn(app, "chat-lens-without-colours")

        tell(app, story)
