"""The token lens on the screen: seen without colours too, gone through by keys and clicks, and forked from."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chatting import ask, chat, chat_app, send, serve_from, spelled, talk_to, tell, until
from serving import WAIT_S, Running, ScriptedBackend, ScriptedEngine, running
from terminal import finish, words
from textual.pilot import Pilot

from core.inference.request import Piece, Scored
from daisy_tui.app import DaisyApp
from daisy_tui.services import Services
from daisy_tui.widgets.chat_alternatives import ChatAlternatives
from daisy_tui.widgets.chat_tokens import TokenText


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(spelled("about é\nand"))


@pytest.fixture
def app(services: Services, server: Running) -> DaisyApp:
    serve_from(services, server.url)
    return chat_app(services)


def tokens(app: DaisyApp) -> TokenText:
    """The last answer's."""
    return [text for text in app.screen.query(TokenText) if text.said][-1]


def styles(text: TokenText) -> list[str]:
    """How the letters of the first line are marked."""
    strip = text.render_line(0)
    found = []
    for segment in strip:
        style = segment.style
        assert style is not None
        mark = (
            "b" * bool(style.bold) + "u" * bool(style.underline) + "i" * bool(style.italic) + "r" * bool(style.reverse)
        )
        found += [mark] * len(segment.text)
    return found


async def look(pilot: Pilot[Any]) -> None:
    """Have the lens on an answer."""
    await talk_to(pilot)
    await ask(pilot, "Hi")
    await pilot.press("f3")
    await finish(pilot)


def test_tokens_are_marked_by_their_probability_and_by_entropy_without_colours(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await look(pilot)
        assert "about ·é⏎" in words(app), "every token is seen"
        assert styles(tokens(app))[1:6] == ["", "bu", "", "", "bu"], "each third one had two in a hundred"
        assert "by probability  plain ≥ 50%  italic ≥ 20%  underlined ≥ 5%  bold < 5%" in words(app)
        await pilot.press("f3")
        await finish(pilot)
        assert "by entropy  plain < 0.5 nats" in words(app)
        assert "bu" in styles(tokens(app))
        await pilot.press("f3")
        await finish(pilot)
        assert not app.screen.query(TokenText)[:-1] or all(not text.said for text in app.screen.query(TokenText))
        assert "about é" in words(app)

    tell(app, story)


def test_a_token_is_picked_by_keys_and_its_alternatives_have_probabilities(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await look(pilot)
        assert app.focused is tokens(app)
        await pilot.press("space")
        await finish(pilot)
        shown = words(app)
        assert "⟨o⟩  2.0%  place 2  id 111  entropy ≥" in shown
        assert "X                       6.0%" in shown
        assert "▸ o                       2.0%" in shown
        await pilot.press("space", "space", "backspace", "home", "right", "end", "up", "down")
        await finish(pilot)
        assert tokens(app).cursor is not None
        await pilot.press("home", "down")
        await finish(pilot)
        assert "⟨a⟩" in words(app), "the line below begins with it"

    tell(app, story)


def test_a_token_is_picked_by_a_click(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await look(pilot)
        text = tokens(app)
        await pilot.click(text, offset=(4, 0))
        await finish(pilot)
        assert "⟨t⟩  90.0%  place 1  id 116" in words(app)

    tell(app, story)


def test_an_answer_goes_on_from_an_alternative_by_its_exact_ids(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await look(pilot)
        await pilot.press("space", "enter")
        await finish(pilot)
        assert app.screen.query_one(ChatAlternatives).has_focus_within
        engine.says = spelled("-ray")
        await pilot.press("up", "enter")
        await finish(pilot)
        assert "abX-ray" in words(app)
        assert "‹ 2/2 ›" in words(app)
        await pilot.press("escape", "escape", "f3", "f3")
        await finish(pilot)
        assert "abX-ray" in words(app)

    tell(app, story)
    assert bytes(engine.requests[1].prompt) == b"Hi\nabX"


def test_an_alternative_inside_a_character_is_written_out_and_can_be_taken(
    app: DaisyApp, engine: ScriptedEngine
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await look(pilot)
        await pilot.click(tokens(app), offset=(6, 0))
        await finish(pilot)
        assert "⟨\\xc3⟩" in words(app), "it is only half of a character"
        engine.says = lambda _: [Piece("ä!", (Scored(0xA4, -0.1), Scored(33, -0.1)), "stop", completion_tokens=2)]
        await pilot.press("enter", "enter")
        await finish(pilot)
        await pilot.press("f3", "f3")
        await finish(pilot)
        assert "about ä!" in words(app)

    tell(app, story)
    assert bytes(engine.requests[1].prompt) == b"Hi\nabout \xc3"


def test_the_lens_is_there_while_the_answer_comes(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await look(pilot)
        engine.says = None
        await send(pilot, "More")
        number = await asyncio.to_thread(lambda: [engine.asked.get(timeout=WAIT_S) for _ in range(2)][-1])
        for letter in "yes":
            engine.tell(number, Piece(letter, (Scored(ord(letter), -4.0, ((88, -0.1),)),), completion_tokens=1))
        await until(pilot, lambda: "yes" in words(app))
        assert styles(tokens(app))[:3] == ["bu", "bu", "bu"]
        await pilot.press("escape")
        await finish(pilot)

    tell(app, story, (80, 40))


def test_answers_without_alternatives_say_what_helps(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        chat(app).side.query_one("#parameter-alternatives").value = ""  # type: ignore[attr-defined]
        await ask(pilot, "Hi")
        await pilot.press("f3")
        await finish(pilot)
        assert "nothing is known of these tokens: ctrl+r asks again" in words(app)
        chat(app).side.query_one("#parameter-alternatives").value = "2"  # type: ignore[attr-defined]
        await pilot.press("ctrl+r")
        await finish(pilot)
        assert tokens(app).said

    tell(app, story)


def test_what_a_stop_string_took_away_is_not_shown(app: DaisyApp, engine: ScriptedEngine) -> None:
    engine.says = lambda _: [
        Piece("one", tuple(Scored(ord(letter), -0.1) for letter in "oneEND"), "stop", "END", completion_tokens=6)
    ]

    async def story(pilot: Pilot[Any]) -> None:
        await look(pilot)
        assert "one" in words(app)
        assert "oneE" not in words(app)

    tell(app, story)


def test_a_text_is_looked_at_as_a_whole(services: Services, engine: ScriptedEngine) -> None:
    with running(ScriptedBackend(engine, template=None)) as base:
        serve_from(services, base.url)
        app = chat_app(services)

        async def story(pilot: Pilot[Any]) -> None:
            pane = await talk_to(pilot)
            pane.editor.insert("It is ")
            await pilot.press("ctrl+g")
            await finish(pilot)
            await pilot.press("f3")
            await finish(pilot)
            assert "It is about ·é⏎" in words(app)
            await pilot.press("space", "enter", "up", "enter")
            await finish(pilot)
            assert "It is abXabout" in words(app)
            await pilot.press("escape", "f3", "f3")
            await finish(pilot)
            assert pane.editor.text == "It is abXabout é\nand"

        tell(app, story)


def test_alternatives_go_with_their_conversation(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        alternatives = chat(app).query_one(ChatAlternatives)
        await look(pilot)
        assert "⟨a⟩" in words(app)
        stale = alternatives.said
        assert stale is not None
        await pilot.press("ctrl+n")
        await finish(pilot)
        assert "⟨a⟩" not in words(app)
        assert "arrows or a click pick a token" in words(app)
        assert chat(app).prompt.has_focus
        alternatives.post_message(ChatAlternatives.Forked(stale, stale.token.choices[1]))
        await finish(pilot)
        assert chat(app).prompt.has_focus

    tell(app, story)
    assert len(engine.requests) == 1


def test_alternatives_are_those_of_the_answer_that_is_shown(services: Services, engine: ScriptedEngine) -> None:
    with running(ScriptedBackend(engine, template=None)) as base:
        serve_from(services, base.url)
        app = chat_app(services)

        async def story(pilot: Pilot[Any]) -> None:
            await talk_to(pilot)
            await pilot.press(*"It ", "ctrl+g")
            await finish(pilot)
            engine.says = spelled("is")
            await pilot.press("ctrl+r")
            await finish(pilot)
            await pilot.press("f3")
            await finish(pilot)
            assert "⟨i⟩" in words(app)
            await pilot.press("alt+left")
            await finish(pilot)
            assert "⟨a⟩" in words(app), "the cursor stands on another answer's token"
            await pilot.press("enter", "alt+left")
            await finish(pilot)
            assert tokens(app).has_focus, "there is no list any more that could have it"
            assert "⟨i⟩" in words(app)

        tell(app, story)
