"""What it takes to paint a chat: few widgets, few lines, and of a long answer only what is in sight."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from chatting import ask, chat, chat_app, send, serve_from, talk_to, tell, until
from serving import WAIT_S, ScriptedBackend, ScriptedEngine, running, says
from terminal import finish, words
from textual._compositor import Compositor
from textual._styles_cache import StylesCache
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Markdown

from core.inference.request import Piece, Scored
from daisy_tui.app import DaisyApp
from daisy_tui.chatting.text_rows import TextRows
from daisy_tui.services import Services
from daisy_tui.widgets.chat_alike import ChatLog, Column, Document
from daisy_tui.widgets.chat_text import LongText

PARAGRAPH = "It is a *truth* universally acknowledged, that a single man must be in want of a wife.\n\n"


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(says(PARAGRAPH * 20))


@pytest.fixture
def app(services: Services, engine: ScriptedEngine) -> Iterator[DaisyApp]:
    with running(ScriptedBackend(engine, template="plain")) as server:
        serve_from(services, server.url)
        yield chat_app(services)


def test_few_widgets_are_laid_out_with_every_word(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        assert len(chat(app).side.query("*")) <= 20
        await ask(pilot, "Hi")
        assert len(app.screen._compositor.full_map) <= 65, "twenty of them are the answer's paragraphs"

    tell(app, story, (120, 40))


def test_containers_are_painted_as_they_would_be_line_by_line(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "Hi")
        view = chat(app).panes.left.views[-1]
        found: list[Widget] = [chat(app).panes.left.log_view, view, *view.query(Markdown)]
        assert [type(widget).__mro__[0 if index != 1 else 1] for index, widget in enumerate(found)] == [
            ChatLog,
            Column,
            Document,
        ]
        for is_focused in (False, True):
            if is_focused:
                view.focus()
                await pilot.pause()
            for widget in found:
                crop = Region(0, 0, *widget.size)
                assert widget.render_lines(crop) == Widget.render_lines(widget, crop)

    tell(app, story, (120, 40))


def test_a_word_more_paints_few_lines(app: DaisyApp, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.says = None
    painted: Counter[str] = Counter()
    render_line = StylesCache.render_line

    def count(self: Any, *arguments: Any) -> Any:
        painted["lines"] += 1
        return render_line(self, *arguments)

    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await send(pilot, "Hi")
        number = await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        engine.tell(number, Piece(PARAGRAPH * 20, (Scored(65),), completion_tokens=1))
        await until(pilot, lambda: len(pane.views[-1].query("MarkdownParagraph")) == 20)
        await pilot.pause()
        monkeypatch.setattr(StylesCache, "render_line", count)
        engine.tell(number, Piece("One\n\nmore", (Scored(65),), completion_tokens=2))
        await until(pilot, lambda: "more" in words(app))
        engine.tell(number, Piece(finish="stop", completion_tokens=2))
        await finish(pilot)

    tell(app, story, (120, 40))
    assert painted["lines"] < 80, "of 34 lines in sight, in four widgets above each other"


def test_words_that_make_an_answer_higher_lay_the_screen_out_once(
    app: DaisyApp, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.says = None
    laid_out: Counter[str] = Counter()
    reflow = Compositor.reflow

    def count(self: Any, *arguments: Any) -> Any:
        laid_out["screens"] += 1
        return reflow(self, *arguments)

    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await send(pilot, "Hi")
        number = await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        engine.tell(number, Piece(PARAGRAPH * 20 + "One", (Scored(65),), completion_tokens=1))
        await until(pilot, lambda: len(pane.views[-1].query("MarkdownParagraph")) == 21)
        await finish_painting(pilot)
        assert pane.answering is not None
        pane.answering.turn.pieces.append(" more" * 100)
        monkeypatch.setattr(Compositor, "reflow", count)
        await pane.views[-1].paint(is_coming=True)
        await until(pilot, lambda: "more more" in words(app))
        await finish_painting(pilot)
        assert laid_out["screens"] == 1
        await pilot.press("escape")

    tell(app, story, (120, 40))


async def finish_painting(pilot: Pilot[Any]) -> None:
    for _ in range(5):
        await pilot.pause()


def test_what_comes_at_once_is_laid_out_bit_by_bit(app: DaisyApp, engine: ScriptedEngine) -> None:
    engine.says = None

    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await send(pilot, "Hi")
        await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        assert pane.answering is not None
        turn, view = pane.answering.turn, pane.views[-1]
        turn.pieces += [PARAGRAPH] * 100
        await view.paint(is_coming=True)
        assert 10 < len(view.query("MarkdownParagraph")) < 25
        await pilot.press("escape")
        await finish(pilot)
        assert len(view.query("MarkdownParagraph")) == 100, "all of it is there in the end"

    tell(app, story, (120, 40))


@pytest.mark.parametrize("template", ["plain", None])
def test_a_long_answer_is_one_widget_and_whole(services: Services, template: str | None) -> None:
    engine = ScriptedEngine(says(*[PARAGRAPH] * 200, "the [b]end[/b]"))
    with running(ScriptedBackend(engine, template=template)) as server:
        serve_from(services, server.url)
        app = chat_app(services)

        async def story(pilot: Pilot[Any]) -> None:
            pane = await talk_to(pilot)
            if pane.is_text:
                await pilot.press("escape", "m")
                await finish(pilot)
            await ask(pilot, "Hi")
            shown = words(app)
            assert "the [b]end[/b]" in shown
            (text,) = app.screen.query(LongText)
            assert not app.screen.query(Markdown)
            assert "too long to be laid out" in shown or text.region.height > 30
            height = text.size.height
            await pilot.resize_terminal(45, 24)
            await finish(pilot)
            assert text.size.height > height
            assert "the [b]end[/b]" in words(app)
            pane.views[-1].focus()
            await pilot.press("y")
            assert app.clipboard == PARAGRAPH * 200 + "the [b]end[/b]"

        tell(app, story, (120, 40))


def test_rows_are_broken_behind_spaces_and_within_long_words() -> None:
    rows = TextRows(6)
    rows.add("one two\nthree\n\nabcdefghij k\tx")
    assert [rows[row] for row in range(len(rows))] == ["one ", "two", "three", "", "abcdef", "ghij k ", "   x"]
    wide = TextRows(5)
    wide.add("名前 é́é́é́é́é́é́")
    assert [wide[row] for row in range(len(wide))] == ["名前 ", "é́é́é́é́é́", "é́"]


def test_rows_are_the_same_however_the_text_comes() -> None:
    chosen = random.Random(5)
    for _ in range(200):
        text = "".join(chosen.choice("ab  \n\t名é") for _ in range(chosen.randrange(120)))
        width = chosen.randrange(1, 12)
        whole, grown = TextRows(width), TextRows(width)
        whole.add(text)
        while text:
            cut = chosen.randrange(1, 9)
            grown.add(text[:cut])
            text = text[cut:]
        assert [grown[row] for row in range(len(grown))] == [whole[row] for row in range(len(whole))]
