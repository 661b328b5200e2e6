"""What is typed into a text stays, whatever its model does, and an answer is never said to be another model's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from chatting import chat, chat_app, get_ready, scripted, serve_from, talk_to, tell
from serving import Running, ScriptedBackend, ScriptedEngine, running, says
from terminal import finish, settle, words
from textual.pilot import Pilot

from daisy_tui.app import DaisyApp
from daisy_tui.chatting.transcripts import listed, read
from daisy_tui.services import Services
from daisy_tui.widgets.chat_pane import ChatPane


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(says(" was", " rich"))


@pytest.fixture
def server(engine: ScriptedEngine) -> Iterator[Running]:
    with running(ScriptedBackend(engine, template=None)) as found:
        yield found


@pytest.fixture
def other() -> ScriptedBackend:
    backend = scripted(" was poor", template=None)
    backend.served = backend.served._replace(name="other")
    return backend


@pytest.fixture
def second(other: ScriptedBackend) -> Iterator[Running]:
    with running(other) as found:
        yield found


@pytest.fixture
def app(services: Services, server: Running) -> DaisyApp:
    serve_from(services, server.url)
    return chat_app(services)


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    await pilot.press(*keys)
    await finish(pilot)


async def _next_checkpoint(pilot: Pilot[Any], pane: ChatPane) -> None:
    """The run that is followed has another checkpoint, and the screen hears of it."""
    assert pane.server is not None
    await asyncio.to_thread(pane.server.client.post, "/v1/admin/load", {"checkpoint": "next"})
    await settle(pilot)


async def _beside(pilot: Pilot[Any], url: str) -> None:
    """Have another server on the right."""
    screen = chat(pilot.app)  # type: ignore[arg-type]
    screen.panes.add_class("-beside")
    screen._take_server(screen.panes.right, screen.services.serving.attach(url))
    await get_ready(pilot)


# What is typed


def test_the_next_checkpoint_of_a_run_leaves_what_is_typed(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await pilot.press(*"Emma")
        await _next_checkpoint(pilot, pane)
        assert "● tiny step 8" in words(app)
        assert pane.editor.text == "Emma"
        await _press(pilot, *" W", "ctrl+g", *", and", "home")
        cursor = pane.editor.cursor_location
        await _next_checkpoint(pilot, pane)
        assert "● tiny step 9" in words(app)
        assert pane.editor.text == "Emma W was rich, and"
        assert pane.editor.cursor_location == cursor

    tell(app, story)


def test_another_model_and_the_lens_leave_what_is_typed(app: DaisyApp, services: Services, second: Running) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await _press(pilot, *"Emma", "ctrl+g", *", and")
        chat(app)._take_server(pane, services.serving.attach(second.url))
        await get_ready(pilot)
        await _press(pilot, "f3", "f3", "f3")
        assert pane.editor.text == "Emma was rich, and"

    tell(app, story)


@pytest.mark.parametrize("leaves", ["ctrl+n", "f6"])
def test_what_is_typed_is_kept_where_another_text_begins(app: DaisyApp, services: Services, leaves: str) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await _press(pilot, *"One", "ctrl+g", "ctrl+n")
        await _press(pilot, *"Emma", "ctrl+g", *", and", leaves)
        if leaves == "f6":
            await _press(pilot, "down", "enter")
        assert pane.editor.text == {"ctrl+n": "", "f6": "One was rich"}[leaves]

    tell(app, story)
    texts = ["".join(turn.text for turn in read(kept.path).tree.path) for kept in listed(services.folder)]
    assert sorted(texts) == ["Emma was rich, and", "One was rich"]


def test_what_was_never_gone_on_with_is_kept_too(app: DaisyApp, services: Services) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await _press(pilot, *"Emma", "ctrl+n", "space", "ctrl+n")

    tell(app, story)
    (kept,) = listed(services.folder)
    assert [turn.text for turn in read(kept.path).tree.path] == ["Emma"]


def test_what_is_typed_behind_an_answer_goes_and_comes_with_it(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await _press(pilot, *"Emma", "ctrl+g", *", and")
        engine.says = says(" slept")
        await _press(pilot, "ctrl+r")
        assert pane.editor.text == "Emma slept"
        for text in ("Emma was rich, and", "Emma slept", "Emma was rich, and"):
            await _press(pilot, "alt+left")
            assert pane.editor.text == text
        await _press(pilot, "ctrl+g")
        assert pane.editor.text == "Emma was rich, and slept"

    tell(app, story)


# Whose answer it is


def test_another_models_figures_are_not_said_to_be_its_own(app: DaisyApp, services: Services, second: Running) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await _press(pilot, *"Emma", "ctrl+g")
        assert "● tiny step 7  2 tokens, 3.3 tokens/s" in words(app)
        chat(app)._take_server(pane, services.serving.attach(second.url))
        await get_ready(pilot)
        head = words(app).splitlines()[1]
        assert "● other step 7  the end is by tiny step 7" in head
        assert "tokens/s" not in head
        await _press(pilot, "ctrl+g")
        assert "● other step 7  1 token, first after 0.30 s" in words(app)

    tell(app, story)


def test_beside_a_text_the_other_goes_on_with_its_own_words_on_both_sides(
    app: DaisyApp, engine: ScriptedEngine, other: ScriptedBackend, second: Running
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        left = await talk_to(pilot)
        right = chat(app).panes.right
        chat(app).side.query_one("#parameter-seed").value = "5"  # type: ignore[attr-defined]
        await _press(pilot, *"Emma", "ctrl+g", "ctrl+r")
        await _beside(pilot, second.url)
        assert "● other step 7  the end is by tiny step 7" in words(app), "what it begins with is a copy"
        assert left.editor.has_focus
        await _press(pilot, "ctrl+r")
        assert left.editor.text == "Emma was rich"
        assert right.editor.text == "Emma was poor"
        assert "● other step 7  ‹ 2/2 › · 1 token" in words(app)
        await _press(pilot, "ctrl+n", *"Anne", "ctrl+g", "ctrl+r")
        assert right.editor.text == "Anne was poor"

    tell(app, story, (160, 30))
    assert [request.params.seed for request in engine.requests] == [5, 6, 7, 5, 6]
    assert [request.params.seed for request in other.engine.requests] == [7, 5, 6]
    assert bytes(other.engine.requests[0].prompt) == b"Emma"
