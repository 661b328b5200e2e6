"""What is said below a chat is said as long as it is so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chatting import Children, ask, chat, chat_app, get_ready, send, serve_from, talk_to, tell, until
from serving import WAIT_S, Running, ScriptedBackend, ScriptedEngine, running, says
from terminal import finish, settle, words
from textual.pilot import Pilot

from core.inference.request import Piece, Scored
from daisy_tui.app import DaisyApp
from daisy_tui.services import Services


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(says("It is fine."))


@pytest.fixture
def app(services: Services, children: Children) -> DaisyApp:
    return chat_app(services)


@pytest.mark.parametrize("key", ["enter", "f8"])
def test_that_an_answer_is_under_way_is_said_until_it_has_ended(
    app: DaisyApp, engine: ScriptedEngine, key: str
) -> None:
    engine.says = None

    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await send(pilot, "Hi")
        number = await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        await pilot.press(*"So?", key)
        await until(pilot, lambda: "an answer is under way: esc stops it" in words(app))
        engine.tell(number, Piece("Yes.", (Scored(65),), "stop", completion_tokens=1))
        await finish(pilot)
        assert "Yes." in words(app)
        assert "under way" not in words(app)

    tell(app, story)


def test_why_a_server_has_ended_is_said_until_another_answers(
    app: DaisyApp, services: Services, children: Children, server: Running
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        children.started[0].end(-9)
        await until(pilot, lambda: pane.server is not None and pane.server.state == "failed")
        await settle(pilot)
        assert "has ended with exit code -9" in " ".join(words(app).split())
        await ask(pilot, "Hi")
        assert "has ended with exit code -9; f2 starts one again" in " ".join(words(app).split())
        chat(app)._take_server(pane, services.serving.attach(server.url))
        await get_ready(pilot)
        assert "exit" not in words(app)
        await pilot.press("enter")
        await finish(pilot)
        assert "It is fine." in words(app)

    tell(app, story)


def test_that_there_is_no_model_is_said_until_one_is_chosen(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        for keys in (["f9"], ["a", "enter"], ["f8"]):
            await pilot.press(*keys)
            await until(pilot, lambda: "f2 chooses one" in words(app))
        await talk_to(pilot)
        assert "f2 chooses one" not in words(app)

    tell(app, story)


def test_what_a_text_said_when_it_failed_goes_with_it(services: Services) -> None:
    with running(ScriptedBackend(ScriptedEngine(says("x")), template=None)) as base:
        serve_from(services, base.url)
        app = chat_app(services)

        async def story(pilot: Pilot[Any]) -> None:
            pane = await talk_to(pilot)
            pane.editor.insert("x" * 401)
            await pilot.press("ctrl+g")
            await finish(pilot)
            assert "more than the model's 400" in " ".join(words(app).split())
            await pilot.press("ctrl+n")
            await finish(pilot)
            assert "more than" not in words(app)

        tell(app, story)
