"""What is typed before there is a model, in a burst, or while a dialogue is on its way runs no command."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from chatting import CHECKPOINT, Children, chat, chat_app, get_ready, send, serve_from, talk_to, tell, until
from made_checkpoints import write_checkpoint
from serving import Running, ScriptedBackend, ScriptedEngine, running, says
from terminal import finish, toasts, words
from textual import events
from textual.pilot import Pilot

from daisy_tui.app import DaisyApp
from daisy_tui.chatting.transcripts import listed
from daisy_tui.screens import chat as chat_screen
from daisy_tui.screens import chat_servers
from daisy_tui.screens.chat_attach import AttachScreen
from daisy_tui.screens.pick import PickScreen
from daisy_tui.services import Services


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(says("fine"))


@pytest.fixture
def app(services: Services, children: Children) -> DaisyApp:
    return chat_app(services)


def burst(app: DaisyApp, *keys: str) -> None:
    """Keys that have all come before any of them is looked at."""
    for key in keys:
        app.post_message(events.Key({" ": "space", "?": "question_mark"}.get(key, key), key if len(key) == 1 else None))


def test_what_is_typed_before_there_is_a_model_is_kept_and_runs_nothing(app: DaisyApp, children: Children) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        assert "f2 chooses a model; what is typed here is kept" in words(app)
        burst(app, *"Who is Emma?", "enter")
        await finish(pilot)
        assert app.screen_stack == [chat(app)]
        assert chat(app).prompt.text == "Who is Emma?"
        assert "there is no model yet: f2 chooses one" in words(app)
        assert children.started == []
        await talk_to(pilot)
        await pilot.press("enter")
        await finish(pilot)
        assert "fine" in words(app)
        assert "Ask something: ⏎ sends" in words(app)

    tell(app, story)


def test_what_was_typed_before_a_model_without_a_template_was_there_is_in_the_text(services: Services) -> None:
    with running(ScriptedBackend(ScriptedEngine(says(" x")), template=None)) as server:
        serve_from(services, server.url)
        app = chat_app(services)

        async def story(pilot: Pilot[Any]) -> None:
            await pilot.press(*"Emma")
            pane = await talk_to(pilot)
            await pilot.press(*" was")
            assert pane.editor.text == "Emma was"

        tell(app, story)


def test_every_key_that_the_empty_screen_names_works_while_one_types(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        for key, opened in (("f2", PickScreen), ("f7", AttachScreen), ("f6", PickScreen)):
            assert f"{key}  " in words(app)
            assert chat(app).prompt.has_focus
            await pilot.press(key)
            await finish(pilot)
            assert isinstance(app.screen, opened)
            await pilot.press("escape")
            await finish(pilot)
        await pilot.press(*"ab")
        assert chat(app).prompt.text == "ab", "the field has the focus again"

    tell(app, story)


def test_no_dialogue_is_opened_above_another_by_keys_in_a_burst(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        for keys in (("f2", "f7", "f6", "f9"), ("f8", "f2"), ("f2", "f8")):
            burst(app, *keys)
            await until(pilot, lambda: len(app.screen_stack) > 1)
            await finish(pilot)
            assert len(app.screen_stack) == 2
            app.screen.dismiss(None)
            await finish(pilot)
            assert app.screen_stack == [chat(app)]
        await pilot.press("escape")
        burst(app, "z", "z", "a", "s")
        await until(pilot, lambda: len(app.screen_stack) > 1)
        await finish(pilot)
        assert len(app.screen_stack) == 2

    tell(app, story)


def test_no_dialogue_is_opened_above_another_whatever_asks_for_it(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        screen = chat(app)
        for ask_for in (screen.action_source, screen.action_attach, screen.action_transcripts, screen.action_beside):
            ask_for()
            screen.action_attach()
            await until(pilot, lambda: len(app.screen_stack) > 1)
            await finish(pilot)
            screen.action_source()
            screen.action_end()
            await finish(pilot)
            assert len(app.screen_stack) == 2
            app.screen.dismiss(None)
            await finish(pilot)
            assert app.screen_stack == [screen]

    tell(app, story)


def test_the_palette_opens_the_dialogues_too(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("ctrl+p")
        await pilot.press(*"attach")
        await until(pilot, lambda: "Talk to a server that runs already." in words(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, AttachScreen))
        await finish(pilot)
        assert len(app.screen_stack) == 2

    tell(app, story)


def test_letters_that_follow_a_key_are_for_its_dialogue_however_long_it_takes(
    app: DaisyApp, make_run: Any, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("emma", "noise"):
        write_checkpoint(make_run(name) / "checkpoints/step_000000007", 7)
    looks, look = threading.Event(), chat_servers.sources

    def slow(*arguments: Any) -> Any:
        assert looks.wait(60)
        return look(*arguments)

    monkeypatch.setattr(chat_servers, "sources", slow)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press(*"kept")
        burst(app, "f2", *"emm", "f9")
        await pilot.pause()
        assert app.screen_stack == [chat(app)]
        looks.set()
        await until(pilot, lambda: isinstance(app.screen, PickScreen))
        await finish(pilot)
        assert "noise" not in words(app), "it is narrowed by what was typed"
        await pilot.press("enter")
        await get_ready(pilot)
        assert chat(app).prompt.text == "kept"
        assert chat(app).prompt.has_focus

    tell(app, story)
    assert [checkpoint for checkpoint, _ in children.asked] == [CHECKPOINT]


def test_a_preview_that_comes_late_opens_no_dialogue_above_another(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look, looked = threading.Event(), chat_screen.preview, threading.Event()

    def slow(*arguments: Any) -> Any:
        assert looks.wait(60)
        looked.set()
        return look(*arguments)

    monkeypatch.setattr(chat_screen, "preview", slow)

    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await pilot.press("f8", "f7")
        await until(pilot, lambda: isinstance(app.screen, AttachScreen))
        looks.set()
        await finish(pilot)
        assert looked.is_set()
        assert isinstance(app.screen, AttachScreen)

    tell(app, story)


def test_the_field_says_how_it_is_left(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        assert "esc leaves" in words(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "esc leaves" not in words(app)
        assert app.focused is None
        pane = await talk_to(pilot)
        engine.says = None
        await send(pilot, "Hi")
        await until(pilot, lambda: pane.answering is not None)
        await pilot.pause()
        assert "esc stops the answer" in words(app)
        await pilot.press("escape")
        await finish(pilot)
        assert "esc leaves" in words(app)
        assert pane.editor.placeholder == "Write something: ctrl+g has the model go on with it, esc leaves"

    tell(app, story)


def test_beside_asks_for_a_model_beside(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await pilot.press("f9")
        await finish(pilot)
        assert "Beside it: which model?" in words(app)
        await pilot.press("escape")
        await finish(pilot)
        assert not chat(app).panes.is_beside
        await pilot.press("f2")
        await finish(pilot)
        assert "Talk to which model?" in words(app)

    tell(app, story)


def test_a_read_only_terminal_says_why_it_chooses_nothing_and_what_it_can(services: Services, server: Running) -> None:
    services.readonly = True
    children = serve_from(services, server.url)
    write_checkpoint(services.folder / CHECKPOINT, 7)
    app = chat_app(services)

    async def story(pilot: Pilot[Any]) -> None:
        assert "f2" not in words(app).splitlines()[3]
        assert "f7  attach to a server that runs already" in words(app)
        assert "f7 attaches to a server; what is typed here is kept" in words(app)
        await pilot.press(*"Hi", "enter")
        await finish(pilot)
        assert "there is no model yet: f7 attaches to a server" in words(app)
        await pilot.press("f2")
        await finish(pilot)
        assert toasts(app) == ["this terminal is read-only: it starts no server; f7 attaches to one"]
        assert app.screen_stack == [chat(app)]
        chat(app)._take_server(chat(app).panes.left, services.serving.attach(server.url))
        await get_ready(pilot)
        await pilot.press("f9")
        await finish(pilot)
        assert isinstance(app.screen, AttachScreen), "beside it, too, is only what runs already"

    tell(app, story)
    assert children.started == []


def test_a_chat_is_named_after_what_answered_first(app: DaisyApp, services: Services, server: Running) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        other = ScriptedBackend(ScriptedEngine(says("I am.")), template="plain")
        other.served = other.served._replace(name="demo", step=220)
        with running(other) as second:
            chat(app)._take_server(pane, services.serving.attach(second.url))
            await get_ready(pilot)
            await send(pilot, "Who?")
            await finish(pilot)
            chat(app)._take_server(pane, services.serving.attach(server.url))
            await get_ready(pilot)
            await send(pilot, "And you?")
            await finish(pilot)

    tell(app, story)
    (kept,) = listed(services.folder)
    assert kept.path.stem.endswith("-demo-step-220")
    assert kept.source.startswith("http://127.0.0.1:")


def test_bound_keys_and_letters_of_a_burst_keep_their_order(app: DaisyApp, children: Children) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        burst(app, *"abx", "backspace", "c", "home", "z", "end", "d")
        await finish(pilot)
        assert chat(app).prompt.text == "zabcd"

    tell(app, story)
