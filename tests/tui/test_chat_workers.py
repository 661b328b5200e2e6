"""Whatever fails behind the chat in a way that nobody expected is said, and the chat goes on."""

from __future__ import annotations

from typing import Any

import pytest
from chatting import CHECKPOINT, Children, ask, chat, chat_app, get_ready, send, serve_from, talk_to, tell, until
from serving import Running, ScriptedEngine, says
from terminal import finish, settle, toasts, words
from textual.pilot import Pilot
from textual.widgets import Input

from daisy_tui.app import DaisyApp
from daisy_tui.chatting.serving import Serving
from daisy_tui.chatting.transcripts import Transcript
from daisy_tui.screens.chat_attach import AttachScreen
from daisy_tui.screens.chat_preview import PreviewScreen
from daisy_tui.screens.confirm import ConfirmScreen
from daisy_tui.screens.pick import PickScreen
from daisy_tui.services import Services
from daisy_tui.widgets.chat_panes import ChatPanes

ODD = "RuntimeError: odd [x]"
FAILURES = [RuntimeError, OSError]


def _broken(*_arguments: object, **_named: object) -> Any:
    raise RuntimeError("odd [x]")


async def _broken_later(*_arguments: object, **_named: object) -> Any:
    raise RuntimeError("odd [x]")


def _raising(error: type[Exception]) -> Any:
    def broken(*_arguments: object, **_named: object) -> Any:
        raise error("odd [x]")

    return broken


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(says("It is fine."))


@pytest.fixture
def app(services: Services, children: Children) -> DaisyApp:
    return chat_app(services)


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


# Who is talked to


@pytest.mark.parametrize("error", FAILURES)
def test_a_model_that_cannot_be_looked_for_is_said_and_another_can_be_opened(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.screens.chat_servers.source_named", _raising(error))
            chat(app).context(source=CHECKPOINT)
            await finish(pilot)
        assert toasts(app) == [f"{error.__name__}: odd [x]"]
        assert "no model yet" in words(app)
        await talk_to(pilot)
        await ask(pilot, "Hi")
        assert "It is fine." in words(app)

    tell(app, story)


@pytest.mark.parametrize("key", ["f2", "f6", "f7"])
def test_a_dialogue_that_cannot_be_filled_is_said_and_keys_act_again(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    looks = {"f2": "sources", "f6": "listed", "f7": "servers"}

    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(f"daisy_tui.screens.chat_servers.{looks[key]}", _broken)
            await pilot.press(key)
            await until(pilot, lambda: toasts(app))
        assert toasts(app) == [ODD]
        await pilot.press(*"abc")
        assert chat(app).prompt.text == "abc", "what is typed is not kept for a dialogue that never came"
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, PickScreen | AttachScreen))

    tell(app, story)


def test_what_fails_at_every_look_in_the_same_way_is_said_once(app: DaisyApp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        monkeypatch.setattr(ChatPanes, "adopt", _broken_later)
        await talk_to(pilot)
        for _ in range(3):
            await settle(pilot)

    tell(app, story)
    assert toasts(app) == [ODD], "it is looked at again every second"


def test_a_server_that_was_not_adopted_at_once_is_adopted_by_a_later_look(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(ChatPanes, "adopt", _broken_later)
            await talk_to(pilot)
            assert ODD in toasts(app)
            await pilot.press(*"abc")
            assert chat(app).prompt.text == "abc"
        await get_ready(pilot)
        await ask(pilot, "Hi")
        assert "It is fine." in words(app)

    tell(app, story)


def test_servers_that_cannot_be_looked_at_are_said_as_stale_and_the_chat_goes_on(
    app: DaisyApp, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = False
    look = Serving.look

    def failing(serving: Serving) -> Any:
        return _broken() if fails else look(serving)

    monkeypatch.setattr(Serving, "look", failing)

    async def story(pilot: Pilot[Any]) -> None:
        nonlocal fails
        await talk_to(pilot)
        fails, services.monotonic = True, lambda: 112.0
        await settle(pilot)
        assert "stale 0:12: servers: " in words(app)
        assert "odd [x]" in words(app)
        await ask(pilot, "Hi")
        assert "It is fine." in words(app)
        fails = False
        await settle(pilot)
        assert "stale" not in words(app)

    tell(app, story, (160, 30))
    assert toasts(app) == []


def test_weights_that_cannot_be_changed_say_why_in_the_pane_and_the_old_ones_answer(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        with monkeypatch.context() as patched:
            patched.setattr(Serving, "change", _broken)
            chat(app).context(source=CHECKPOINT)
            await finish(pilot)
        assert "odd [x]" in words(app)
        assert "⋯" not in words(app).splitlines()[0]
        await ask(pilot, "Hi")
        assert "It is fine." in words(app)

    tell(app, story, (120, 30))
    assert toasts(app) == []


def test_a_server_whose_end_fails_is_said_and_the_chat_can_be_used(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await _press(pilot, "escape", "z")
        assert isinstance(app.screen, ConfirmScreen)
        with monkeypatch.context() as patched:
            patched.setattr(Serving, "end", _broken)
            await _press(pilot, "y")
            await until(pilot, lambda: toasts(app))
        assert toasts(app) == [ODD]
        await ask(pilot, "Hi")
        assert "It is fine." in words(app)

    tell(app, story)


@pytest.mark.parametrize("error", FAILURES)
def test_attaching_that_fails_is_said_and_the_dialogue_can_be_used(
    services: Services, monkeypatch: pytest.MonkeyPatch, server: Running, error: type[Exception]
) -> None:
    serve_from(services)
    app = chat_app(services)

    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(services.serving, "attach", _raising(error))
            await pilot.press("f7")
            await until(pilot, lambda: isinstance(app.screen, AttachScreen))
            await finish(pilot)
            app.screen.query_one("#attach-url", Input).value = server.url
            await _press(pilot, "enter")
            assert toasts(app) == [f"{error.__name__}: odd [x]"]
            assert isinstance(app.screen, AttachScreen)
            assert "asking …" not in words(app)
            assert app.screen.query_one("#attach-url", Input).value == server.url
        await _press(pilot, "escape")
        await pilot.press("f7")
        await until(pilot, lambda: isinstance(app.screen, AttachScreen))
        await finish(pilot)
        app.screen.query_one("#attach-url", Input).value = server.url
        await pilot.press("enter")
        await get_ready(pilot)
        await ask(pilot, "Hi")
        assert "It is fine." in words(app)

    tell(app, story)


# What is asked


@pytest.mark.parametrize(
    ("key", "method"),
    [
        ("ctrl+r", "retry"),
        ("ctrl+b", "branch"),
        ("alt+left", "step"),
        ("ctrl+n", "new"),
        ("m", "new"),
        ("f3", "look"),
    ],
)
def test_what_a_key_does_to_the_chat_and_fails_is_said_once_and_the_chat_goes_on(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, key: str, method: str
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "Hi")
        if key == "m":
            await _press(pilot, "escape")
        with monkeypatch.context() as patched:
            patched.setattr(ChatPanes, method, _broken_later)
            await _press(pilot, key)
        assert toasts(app) == [ODD]
        assert "It is fine." in words(app)
        await ask(pilot, "And now?")
        assert words(app).count("It is fine.") == 2

    tell(app, story, (80, 40))


def test_going_on_that_fails_is_said_and_the_text_can_be_gone_on_with(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await _press(pilot, "escape", "m")
        await pilot.press(*"Once")
        with monkeypatch.context() as patched:
            patched.setattr(ChatPanes, "go_on", _broken_later)
            await _press(pilot, "ctrl+g")
        assert toasts(app) == [ODD]
        assert chat(app).panes.left.editor.text == "Once"
        await _press(pilot, "ctrl+g")
        assert "OnceIt is fine." in words(app)

    tell(app, story)


def test_a_question_that_cannot_be_asked_is_said_and_kept(app: DaisyApp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        with monkeypatch.context() as patched:
            patched.setattr(ChatPanes, "ask", _broken_later)
            await send(pilot, "Hi")
            await finish(pilot)
        assert toasts(app) == [ODD]
        assert chat(app).prompt.text == "Hi", "nothing that was typed is lost"
        await _press(pilot, "enter")
        assert "It is fine." in words(app)

    tell(app, story)


# What stands beside


@pytest.mark.parametrize("error", FAILURES)
def test_a_preview_that_fails_says_why_in_the_pane_and_can_be_asked_for_again(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        chat(app).prompt.load_text("Hi")
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.screens.chat.preview", _raising(error))
            await _press(pilot, "f8")
        assert "odd [x]" in words(app)
        assert app.screen is chat(app)
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.screens.chat_preview._tokens", lambda *_: [])
            await _press(pilot, "f8")
        assert isinstance(app.screen, PreviewScreen)

    tell(app, story)
    assert toasts(app) == []


@pytest.mark.parametrize("error", FAILURES)
def test_a_document_that_cannot_be_written_says_why_in_the_pane_and_can_be_written_later(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "Hi")
        await _press(pilot, "escape")
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.widgets.chat_panes.write_markdown", _raising(error))
            await _press(pilot, "w")
        assert "odd [x]" in words(app)
        assert toasts(app) == []
        await _press(pilot, "w")
        (said,) = toasts(app)
        assert said.startswith("written: chats/")

    tell(app, story)


@pytest.mark.parametrize(
    ("key", "work"), [("f8", "daisy_tui.screens.chat.preview"), ("w", "daisy_tui.widgets.chat_panes.write_markdown")]
)
def test_what_failed_in_the_pane_is_not_said_any_more_once_it_is_done(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, key: str, work: str
) -> None:
    monkeypatch.setattr("daisy_tui.screens.chat_preview._tokens", lambda *_: [])

    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "Hi")
        await _press(pilot, "escape")
        with monkeypatch.context() as patched:
            patched.setattr(work, _broken)
            await _press(pilot, key)
        assert "odd [x]" in words(app)
        await _press(pilot, key, "escape")
        assert "odd [x]" not in words(app)

    tell(app, story)


async def _open_earlier(pilot: Pilot[Any]) -> None:
    """Take the chat that was held before from its list."""
    await pilot.press("f6")
    await until(pilot, lambda: isinstance(pilot.app.screen, PickScreen))
    await finish(pilot)
    await pilot.press("end", "down", "enter")
    await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
    await finish(pilot)


@pytest.mark.parametrize("what", ["reopened", "reopen"])
def test_a_chat_that_cannot_be_opened_again_is_said_and_this_one_goes_on(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "Hi")
        await _press(pilot, "ctrl+n")
        with monkeypatch.context() as patched:
            if what == "reopened":
                patched.setattr(Transcript, "reopened", _broken)
            else:
                patched.setattr(ChatPanes, "reopen", _broken_later)
            await _open_earlier(pilot)
            await until(pilot, lambda: "odd [x]" in words(app) or toasts(app))
        assert toasts(app) == ([] if what == "reopened" else [ODD])
        await ask(pilot, "And now?")
        assert words(app).count("It is fine.") == 1

    tell(app, story, (80, 40))


@pytest.mark.parametrize("what", ["reopened", "reopen", "adopt"])
def test_a_chat_that_could_not_be_opened_can_be_opened_later(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "Hi")
        await _press(pilot, "ctrl+n")
        with monkeypatch.context() as patched:
            if what == "reopened":
                patched.setattr(Transcript, "reopened", _broken)
            else:
                patched.setattr(ChatPanes, what, _broken_later)
            await _open_earlier(pilot)
            await until(pilot, lambda: "odd [x]" in words(app) or toasts(app))
        await settle(pilot)
        await _open_earlier(pilot)
        assert "is open already" not in words(app)
        assert "It is fine." in words(app)

    tell(app, story, (80, 40))
