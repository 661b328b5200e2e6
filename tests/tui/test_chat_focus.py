"""Who leaves the field reads and gives commands, until they go back in; nothing takes them back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from chatting import ask, chat, chat_app, get_ready, serve_from, talk_to, tell
from serving import Running, ScriptedBackend, ScriptedEngine, running, says
from terminal import finish, settle, words
from textual.pilot import Pilot

from daisy_tui.services import Services
from daisy_tui.widgets.chat_turn import TurnView


@pytest.fixture(params=["plain", None], ids=["chat", "text"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(ScriptedBackend(ScriptedEngine(says("one\n" * 100)), template=request.param)) as found:
        yield found


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    await pilot.press(*keys)
    await finish(pilot)


@pytest.fixture
def app(services: Services, server: Running) -> Any:
    serve_from(services, server.url)
    return chat_app(services)


async def _say_much(pilot: Pilot[Any]) -> None:
    """Have more on the screen than it holds."""
    pane = await talk_to(pilot)
    if pane.is_text:
        pane.editor.insert("zero\n" * 50)
        await _press(pilot, "ctrl+g")
    else:
        await ask(pilot, "\n".join(["zero"] * 50))


def test_what_was_said_is_scrolled_by_keys(app: Any) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _say_much(pilot)
        await _press(pilot, "escape")
        seen = chat(app).panes.left.scrolled
        end = seen.max_scroll_y
        assert end > 30
        assert seen.scroll_y == end
        await _press(pilot, "up", "up")
        assert seen.scroll_y == end - 2
        await _press(pilot, "pageup", "down")
        assert seen.scroll_y == end - 2 - seen.scrollable_content_region.height + 1
        for first, last in (("home", "end"), ("g", "G"), ("ctrl+home", "ctrl+end")):
            await _press(pilot, first)
            assert "zero" in words(app)
            assert "one" not in words(app)
            assert seen.scroll_y == 0
            await _press(pilot, last)
            assert seen.scroll_y == end
        assert app.focused is None

    tell(app, story)


def test_the_tokens_of_a_text_are_scrolled_too(app: Any) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _say_much(pilot)
        await _press(pilot, "f3")
        chat(app).set_focus(None)
        await _press(pilot, "G")
        seen = chat(app).panes.left.scrolled
        assert seen.scroll_y == seen.max_scroll_y > 0
        await _press(pilot, "g")
        assert seen.scroll_y == 0

    tell(app, story)


@pytest.mark.parametrize("key", ["enter", "i"])
def test_a_key_that_is_named_goes_back_in(app: Any, key: str) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        field = pane.editor if pane.is_text else chat(app).prompt
        assert field.has_focus
        if not pane.is_text:
            await ask(pilot, "Hi")
            assert "Ask something: ⏎ sends" in words(app)
        assert "i Type" not in words(app)
        await _press(pilot, "escape")
        assert "i Type" in words(app)
        assert "⏎ sends" not in words(app)
        assert pane.is_text or "⏎ or i goes back in" in words(app)
        await _press(pilot, key, *"ai")
        assert field.has_focus
        assert field.text == "ai"
        assert "goes back in" not in words(app)

    tell(app, story)


def test_enter_is_a_new_line_in_every_field_of_several(app: Any) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        system = chat(app).side.query_one("#system")
        for field in [system, *([pane.editor] if pane.is_text else [])]:
            field.focus()
            await _press(pilot, "a", "enter", "i")
            assert field.has_focus
            assert field.text == "a\ni"  # type: ignore[attr-defined]

    tell(app, story, (120, 40))


def test_enter_on_a_turn_goes_back_in_too(app: Any) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        if pane.is_text:
            return
        await ask(pilot, "Hi")
        pane.views[0].focus()
        await pilot.pause()
        assert isinstance(app.focused, TurnView)
        assert "⏎ or i goes back in" in words(app)
        await _press(pilot, "enter")
        assert chat(app).prompt.has_focus

    tell(app, story)


@pytest.mark.parametrize("is_in", [True, False], ids=["in the field", "outside"])
def test_neither_a_model_beside_nor_a_checkpoint_moves_the_focus(app: Any, server: Running, is_in: bool) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        screen = chat(app)
        if not is_in:
            await _press(pilot, "escape")
        at = app.focused
        assert (at is None) is not is_in
        screen.panes.add_class("-beside")
        screen._take_server(screen.panes.right, screen.services.serving.attach(server.url))
        await get_ready(pilot)
        assert app.focused is at
        assert pane.server is not None
        await asyncio.to_thread(pane.server.client.post, "/v1/admin/load", {"checkpoint": "next"})
        await settle(pilot)
        assert words(app).count("● tiny step 8") == 2
        assert app.focused is at
        await _press(pilot, "f9")
        assert not screen.panes.is_beside
        assert app.focused is at

    tell(app, story, (120, 30))


def test_who_types_on_the_side_that_ends_goes_on_on_the_other(app: Any, server: Running) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        screen = chat(app)
        if not pane.is_text:
            return
        screen.panes.add_class("-beside")
        screen._take_server(screen.panes.right, screen.services.serving.attach(server.url))
        await get_ready(pilot)
        screen.panes.right.editor.focus()
        await _press(pilot, "f9")
        assert pane.editor.has_focus

    tell(app, story, (120, 30))
