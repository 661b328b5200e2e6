"""Plain texts that a base model goes on with, in place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from chatting import CHECKPOINT, chat, chat_app, get_ready, scripted, serve_from, talk_to, tell, until
from serving import WAIT_S, Running, ScriptedBackend, ScriptedEngine, running, says
from terminal import finish, words
from textual.pilot import Pilot

from core.inference.request import Piece, Scored
from daisy_tui.app import DaisyApp
from daisy_tui.chatting.transcripts import listed, read
from daisy_tui.services import Services


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(says(" was", " rich"))


@pytest.fixture
def server(engine: ScriptedEngine) -> Iterator[Running]:
    with running(ScriptedBackend(engine, template=None)) as found:
        yield found


@pytest.fixture
def app(services: Services, server: Running) -> DaisyApp:
    serve_from(services, server.url)
    return chat_app(services)


def prompts(engine: ScriptedEngine) -> list[str]:
    return [bytes(request.prompt).decode() for request in engine.requests]


async def type_text(pilot: Pilot[Any], text: str) -> None:
    """Write at the end of the text."""
    editor = chat(pilot.app).panes.left.editor  # type: ignore[arg-type]
    editor.focus()
    editor.move_cursor(editor.document.end)
    editor.insert(text)
    await pilot.pause()


async def go_on(pilot: Pilot[Any]) -> None:
    await pilot.press("ctrl+g")
    await finish(pilot)


def test_a_text_is_gone_on_with_in_place_and_typed_on(
    app: DaisyApp, services: Services, engine: ScriptedEngine
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        assert app.focused is pane.editor, "there is nothing else to type into"
        await pilot.press(*"Emma")
        await go_on(pilot)
        assert pane.editor.text == "Emma was rich"
        assert "2 tokens, 3.3 tokens/s, first after 0.30 s" in words(app)
        await pilot.press(*", and")
        await go_on(pilot)
        assert pane.editor.text == "Emma was rich, and was rich"
        assert chat(app).command_for("go_on") == [*("sample", CHECKPOINT, "--prompt", "Emma was rich, and was rich")]

    tell(app, story)
    assert prompts(engine) == ["Emma", "Emma was rich, and"]
    (kept,) = listed(services.folder)
    saved = read(kept.path)
    assert saved.form == "text"
    assert [turn.text for turn in saved.tree.path] == ["Emma", " was rich", ", and", " was rich"]


def test_another_way_to_go_on_replaces_the_last_one_and_both_are_kept(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await type_text(pilot, "Emma")
        await go_on(pilot)
        engine.says = says(" slept")
        await pilot.press("ctrl+r")
        await finish(pilot)
        assert pane.editor.text == "Emma slept"
        assert "‹ 2/2 ›" in words(app)
        await pilot.press("alt+left")
        await finish(pilot)
        assert pane.editor.text == "Emma was rich"

    tell(app, story)
    assert prompts(engine) == ["Emma", "Emma"]


def test_a_text_that_was_changed_is_gone_on_with_as_it_stands(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await type_text(pilot, "Emma")
        await go_on(pilot)
        pane.editor.load_text("Emma w")
        await go_on(pilot)
        assert pane.editor.text == "Emma w was rich"

    tell(app, story)
    assert prompts(engine) == ["Emma", "Emma w"]


def test_while_the_text_comes_it_is_not_typed_into_and_escape_stops_it(app: DaisyApp, engine: ScriptedEngine) -> None:
    engine.says = None

    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await type_text(pilot, "Emma")
        await pilot.press("ctrl+g")
        number = await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        engine.tell(number, Piece(" was", (Scored(65),), completion_tokens=1))
        await until(pilot, lambda: pane.editor.text == "Emma was")
        await pilot.press("x", "m", "2")
        assert pane.editor.text == "Emma was", "and the letters are no keys of the screen's either"
        await pilot.resize_terminal(60, 20)
        engine.tell(number, Piece(" quite", (Scored(65),), completion_tokens=2))
        await until(pilot, lambda: pane.editor.text == "Emma was quite")
        await pilot.press("escape")
        await finish(pilot)
        await pilot.press(*" ok")
        assert pane.editor.text == "Emma was quite ok"

    tell(app, story)


def test_what_is_not_seen_is_still_what_the_model_reads(app: DaisyApp, engine: ScriptedEngine) -> None:
    engine.says = says("a\x1bb\r")

    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await type_text(pilot, "x")
        await go_on(pilot)
        assert pane.editor.text == "xa\ufffdb\ufffd"
        await type_text(pilot, "y")
        await go_on(pilot)

    tell(app, story)
    assert prompts(engine) == ["x", "xa\x1bb\ry"]


def test_a_refusal_is_said_below_the_text(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await type_text(pilot, "x" * 401)
        await go_on(pilot)
        assert "more than the model's 400" in " ".join(words(app).split())
        assert pane.editor.text == "x" * 401

    tell(app, story)


def test_both_models_go_on_with_the_text_on_the_left(
    services: Services, server: Running, engine: ScriptedEngine
) -> None:
    other = scripted(" was poor", template=None)
    with running(other) as second:
        serve_from(services, server.url, second.url)
        app = chat_app(services)

        async def story(pilot: Pilot[Any]) -> None:
            await talk_to(pilot)
            screen = chat(app)
            screen.panes.add_class("-beside")
            screen._take_server(screen.panes.right, services.serving.start("other"))
            await get_ready(pilot)
            await type_text(pilot, "Emma")
            await go_on(pilot)
            assert screen.panes.left.editor.text == "Emma was rich"
            assert screen.panes.right.editor.text == "Emma was poor"
            await go_on(pilot)
            assert screen.panes.right.editor.text == "Emma was rich was poor"

        tell(app, story, (120, 30))
    assert prompts(other.engine) == prompts(engine) == ["Emma", "Emma was rich"]
    assert [r.params.seed for r in engine.requests] == [r.params.seed for r in other.engine.requests]


def test_a_chat_with_a_model_without_a_template_is_plain_text(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await pilot.press("escape", "m")
        await finish(pilot)
        assert "no chat template" in words(app)
        screen = chat(app)
        screen.prompt.load_text("Emma *is*")
        screen.prompt.focus()
        await pilot.press("enter")
        await finish(pilot)
        assert "Emma *is*" in words(app)
        assert " was rich" in words(app)
        screen.prompt.load_text("and")
        await pilot.press("enter")
        await finish(pilot)

    tell(app, story)
    assert prompts(engine)[-1] == "Emma *is* was rich\nand"
