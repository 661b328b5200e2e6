"""The chat as a person uses it: choosing, asking, stopping, and what is said where something goes wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chatting import (
    CHECKPOINT,
    Children,
    ask,
    chat,
    chat_app,
    get_ready,
    scripted,
    send,
    serve_from,
    talk_to,
    tell,
    until,
)
from made_checkpoints import write_checkpoint
from serving import WAIT_S, Running, ScriptedBackend, ScriptedEngine, running, says
from terminal import finish, settle, toasts, words
from textual import events
from textual.pilot import Pilot

from core.errors import DaisyError
from core.inference.request import Piece, Scored
from core.runs.leases import Leases, lease_folder
from daisy_tui.app import DaisyApp
from daisy_tui.chatting.answering import Answering
from daisy_tui.chatting.transcripts import listed, read
from daisy_tui.screens.chat_attach import AttachScreen
from daisy_tui.screens.chat_preview import PreviewScreen
from daisy_tui.screens.pick import PickScreen
from daisy_tui.services import Services
from daisy_tui.widgets.chat_pane import Earlier
from daisy_tui.widgets.chat_turn import TurnView


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(says("It is ", "*fine*."))


@pytest.fixture
def app(services: Services, children: Children) -> DaisyApp:
    return chat_app(services)


def prompts(engine: ScriptedEngine) -> list[str]:
    return [bytes(request.prompt).decode() for request in engine.requests]


def test_a_checkpoint_is_chosen_by_a_few_letters_and_talked_to(
    app: DaisyApp, services: Services, make_run: Any, children: Children, engine: ScriptedEngine
) -> None:
    for name in ("emma", "noise"):
        write_checkpoint(make_run(name) / "checkpoints/step_000000007", 7, val_loss=3.25)

    async def story(pilot: Pilot[Any]) -> None:
        assert "f2  choose a checkpoint" in words(app)
        await pilot.press("f2")
        await finish(pilot)
        assert isinstance(app.screen, PickScreen)
        assert "Talk to which model?" in words(app)
        assert "noise  step 7 · val 3.250" in words(app)
        await pilot.press(*"emm")
        await finish(pilot)
        assert "noise" not in words(app)
        await pilot.press("enter")
        await get_ready(pilot)
        assert "● tiny step 7  template plain" in words(app)
        assert app.focused is chat(app).prompt
        await ask(pilot, "How is it?")
        shown = words(app)
        assert "How is it?" in shown
        assert "It is fine." in shown, "laid out"
        assert "2 tokens, 3.3 tokens/s, first after 0.30 s" in shown, "by the server's clock"
        assert chat(app).prompt.text == ""

    tell(app, story)
    assert children.asked == [(CHECKPOINT, ["--device=auto", "--weights=auto", "--slots=1"])]
    assert prompts(engine) == ["How is it?\n"]
    (kept,) = listed(services.folder)
    assert [turn.text for turn in read(kept.path).tree.path] == ["How is it?", "It is *fine*."]
    assert children.started[0].returncode == -15, "the server ends with the terminal"


def test_how_it_is_served_is_chosen_below_the_list_and_kept(app: DaisyApp, make_run: Any, children: Children) -> None:
    write_checkpoint(make_run("emma") / "checkpoints/step_000000007", 7, val_loss=3.25)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("f2")
        await finish(pilot)
        await pilot.press("tab", "tab", "tab", "tab", "enter", "end", "enter")
        await finish(pilot)
        await pilot.press("shift+tab", "shift+tab", "shift+tab", "enter")
        await get_ready(pilot)
        await pilot.press("f2")
        await finish(pilot)
        assert "weights int8" in words(app)

    tell(app, story)
    assert children.asked == [(CHECKPOINT, ["--device=auto", "--weights=int8", "--slots=1"])]


def test_a_run_that_trains_is_followed_to_its_newer_checkpoints(
    app: DaisyApp, make_run: Any, children: Children, backend: ScriptedBackend
) -> None:
    make_run("[b]live", "running")

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("f2")
        await finish(pilot)
        assert "● [b]live  running: each newer checkpoint" in words(app)
        await pilot.press("enter")
        await get_ready(pilot)
        assert "follows the run" in words(app)
        await ask(pilot, "Hi")
        backend.change("runs/x/step_8")
        server = chat(app).panes.left.server
        assert server is not None
        await asyncio.to_thread(server.client.post, "/v1/admin/load", {"checkpoint": "step_9"})
        await settle(pilot)
        await ask(pilot, "And now?")
        assert "tiny step 9" in words(app)
        assert "tiny step 7" in words(app), "what was said before was said by an earlier one"

    tell(app, story, (100, 40))
    assert children.asked == [("20260301-110000-[b]live", ["--device=auto", "--weights=auto", "--slots=1", "--follow"])]


def test_loading_is_seen_and_a_question_asked_meanwhile_is_kept(services: Services, server: Running) -> None:
    children = serve_from(services, server.url, wait=True)
    app = chat_app(services)

    async def story(pilot: Pilot[Any]) -> None:
        chat(app).context(source=CHECKPOINT)
        await until(pilot, lambda: children.started)
        children.started[0].say("emma has no checkpoint yet; waiting for its first")
        await until(pilot, lambda: chat(app).panes.left.server.lines)  # type: ignore[union-attr]
        await settle(pilot)
        assert "◐ emma step_000000007  loading · emma has no checkpoint yet; waiting for its first" in words(app)
        await send(pilot, "Hello")
        await finish(pilot)
        assert chat(app).prompt.text == "Hello"
        assert "is loading; ask again once it is ready" in words(app)
        children.get_ready()
        await get_ready(pilot)
        await pilot.press("enter")
        await finish(pilot)
        assert "It is fine." in words(app)

    tell(app, story, (160, 30))


def test_a_checkpoint_that_fails_to_load_says_why_and_another_can_be_chosen(
    services: Services, server: Running
) -> None:
    children = serve_from(services, server.url, wait=True)
    app = chat_app(services)

    async def story(pilot: Pilot[Any]) -> None:
        chat(app).context(source="runs/x/checkpoints/[b]torn")
        await until(pilot, lambda: children.started)
        children.started[0].say("error: runs/x/checkpoints/[b]torn: is damaged")
        children.started[0].end(1)
        await get_ready(pilot)
        assert "✗ x [b]torn  failed" in words(app)
        assert "runs/x/checkpoints/[b]torn: is damaged" in words(app)
        chat(app).context(source=CHECKPOINT)
        await until(pilot, lambda: len(children.started) == 2)
        children.get_ready()
        await get_ready(pilot)
        await ask(pilot, "Hi")
        assert "It is fine." in words(app)
        assert "is damaged" not in words(app)

    tell(app, story)


def test_escape_stops_an_answer_in_mid_stream_and_keeps_what_came(
    app: DaisyApp, services: Services, engine: ScriptedEngine
) -> None:
    engine.says = None

    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await send(pilot, "Hi")
        number = await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        assert "waiting …" in words(app)
        engine.tell(number, Piece("half of an ", (Scored(65),), completion_tokens=1))
        await until(pilot, lambda: "half of an" in words(app))
        await send(pilot, "something else")
        await pilot.pause()
        assert chat(app).prompt.text == "something else", "one at a time, and nothing typed is lost"
        await pilot.press("escape")
        await finish(pilot)
        assert await asyncio.to_thread(engine.cancelled.get, True, WAIT_S) == number
        assert "stopped" in words(app)
        assert "half of an" in words(app)
        engine.says = says("again")
        await ask(pilot, "So?")

    tell(app, story)
    assert prompts(engine)[1] == "Hi\nhalf of an \nSo?\n"
    (kept,) = listed(services.folder)
    assert [turn.ended for turn in read(kept.path).tree] == [None, "cut", None, "stop"]


def test_what_is_typed_fast_is_sent_whole(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        for key in [*"one", "ctrl+j", *"two", "enter"]:  # all of them before any is looked at
            letter = key if len(key) == 1 else None
            app.post_message(events.Key(key, letter))
        await until(pilot, lambda: engine.requests)
        await finish(pilot)
        await pilot.press("pageup", "pagedown")
        assert chat(app).prompt.text == ""

    tell(app, story)
    assert prompts(engine) == ["one\ntwo\n"]


def test_a_stop_before_the_first_token_ends_the_waiting(app: DaisyApp, engine: ScriptedEngine) -> None:
    engine.says = None

    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await send(pilot, "Hi")
        await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        await pilot.press("escape")
        await finish(pilot)
        assert pane.answering is None
        assert pane.turn is not None
        assert pane.turn.ended == "cut"

    tell(app, story)


def test_a_terminal_that_closes_in_mid_stream_keeps_what_came(
    app: DaisyApp, services: Services, engine: ScriptedEngine
) -> None:
    engine.says = None

    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await send(pilot, "Hi")
        number = await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        engine.tell(number, Piece("half", (Scored(65),), completion_tokens=1))
        await until(pilot, lambda: "half" in words(app))

    tell(app, story)
    (kept,) = listed(services.folder)
    assert [turn.text for turn in read(kept.path).tree.path] == ["Hi", "half"]


def test_resizing_in_mid_stream_loses_nothing(app: DaisyApp, engine: ScriptedEngine) -> None:
    engine.says = None

    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await send(pilot, "Hi")
        number = await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        for width, word in ((200, "one "), (60, "two "), (80, "three ")):
            engine.tell(number, Piece(word, (Scored(65),), completion_tokens=1))
            await pilot.resize_terminal(width, 30)
            await until(pilot, lambda word=word: word.strip() in words(app))  # type: ignore[misc]
        engine.tell(number, Piece("end", (), "stop", completion_tokens=3))
        await finish(pilot)
        assert "one two three end" in words(app)

    tell(app, story)


def test_a_server_that_dies_in_mid_stream_is_said_in_place_and_another_takes_its_place(
    services: Services, children: Children
) -> None:
    engine = ScriptedEngine()
    app = chat_app(services)

    async def story(pilot: Pilot[Any]) -> None:
        with running(ScriptedBackend(engine, template="plain")) as dying:
            live, children.urls = children.urls[0], [dying.url]
            pane = await talk_to(pilot)
            await send(pilot, "Hi")
            number = await asyncio.to_thread(engine.asked.get, True, WAIT_S)
            engine.tell(number, Piece("half ", (Scored(65),), completion_tokens=1))
            await until(pilot, lambda: "half" in words(app))
            children.started[0].end(-9)
        await finish(pilot)
        await until(pilot, lambda: pane.server is not None and pane.server.state == "failed")
        await settle(pilot)
        shown = words(app)
        assert "half" in shown
        assert "✗ http" in shown
        assert "ctrl+r asks again" in shown
        assert "has ended with exit code -9" in shown
        await ask(pilot, "Are you there?")
        assert chat(app).prompt.text == "Are you there?"
        children.urls = [live]
        await talk_to(pilot)
        chat(app).prompt.focus()
        await pilot.press("enter")
        await finish(pilot)
        assert "It is fine." in words(app)

    tell(app, story, (100, 40))


def test_a_refusal_is_one_line_in_place_and_the_question_can_be_asked_again(
    app: DaisyApp, engine: ScriptedEngine
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await ask(pilot, "x" * 500)
        assert "are more than the model's 400; ctrl+t asks otherwise" in " ".join(words(app).split())
        await pilot.press("ctrl+t")
        assert chat(app).prompt.text == "x" * 500, "nothing typed is lost"
        chat(app).prompt.load_text("short")
        await pilot.press("enter")
        await finish(pilot)
        assert "It is fine." in words(app)
        assert pane.turn is not None
        assert (pane.turn.parent.place, len(pane.turn.parent.siblings)) == (2, 2)  # type: ignore[union-attr]

    tell(app, story)
    assert prompts(engine) == ["short\n"]


def test_a_retry_after_a_failure_takes_the_failures_place(app: DaisyApp, engine: ScriptedEngine) -> None:
    engine.says = lambda _: [Piece(finish="error", error="no numbers")]

    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await ask(pilot, "Hi")
        assert "no numbers; ctrl+r asks again" in words(app)
        engine.says = says("better")
        await pilot.press("ctrl+r")
        await finish(pilot)
        assert "better" in words(app)
        assert "no numbers" not in words(app)
        assert pane.turn is not None
        assert len(pane.turn.siblings) == 1

    tell(app, story)


def test_an_answer_can_be_asked_for_again_and_gone_back_to_and_the_question_put_otherwise(
    app: DaisyApp, engine: ScriptedEngine
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "one")
        engine.says = says("second answer")
        await pilot.press("ctrl+r")
        await finish(pilot)
        assert "‹ 2/2 ›" in words(app)
        await ask(pilot, "two")
        views = chat(app).panes.left.views
        views[3].focus()
        await pilot.press("up", "up")
        assert views[1].has_focus
        await pilot.press("y", "left_square_bracket")
        assert app.clipboard == "second answer"
        await finish(pilot)
        assert "‹ 1/2 ›" in words(app)
        assert "It is fine." in words(app)
        assert "two" not in words(app), "that branch had no second question"
        await pilot.press("alt+right")
        await finish(pilot)
        assert "two" in words(app)
        chat(app).panes.left.views[0].focus()
        await pilot.press("e")
        assert chat(app).prompt.text == "one"
        chat(app).prompt.load_text("uno")
        await pilot.press("enter")
        await finish(pilot)
        assert [view.turn.text for view in chat(app).panes.left.views] == ["uno", "second answer"]

    tell(app, story, (100, 40))
    assert prompts(engine)[-1] == "uno\n"


def test_a_click_on_the_sign_goes_to_the_answer_beside(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "one")
        await pilot.press("ctrl+r")
        await finish(pilot)
        head = chat(app).panes.left.views[-1].query_one(".turn-head")
        line = words(app).splitlines()[head.region.y]
        await pilot.click(offset=(line.index("‹"), head.region.y))
        await finish(pilot)
        assert "‹ 1/2 ›" in words(app)

    tell(app, story)


def test_a_branch_goes_on_from_an_earlier_answer(app: DaisyApp, engine: ScriptedEngine) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "one")
        await ask(pilot, "two")
        chat(app).panes.left.views[1].focus()
        await pilot.press("b")
        await finish(pilot)
        assert "two" not in words(app)
        await ask(pilot, "three")
        chat(app).panes.left.views[2].focus()
        await pilot.press("left_square_bracket")
        await finish(pilot)
        assert "two" in words(app)

    tell(app, story, (80, 40))
    assert prompts(engine)[-1] == "one\nIt is *fine*.\nthree\n"


def test_parameters_hold_from_the_next_answer_on_and_wrong_ones_change_nothing(
    app: DaisyApp, engine: ScriptedEngine
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await pilot.press("f4")
        await pilot.press(*"0.3", "tab")
        await pilot.press(*"4", "tab", "tab", "tab", "tab", *"33", "tab", *"9", "tab", *"END|\\n")
        await ask(pilot, "Hi")
        await pilot.press("f4")
        await pilot.press(*"9")
        await finish(pilot)
        assert "temperature: a number from 0 to 2;" in words(app)
        assert "got 9" in words(app)
        chat(app).side.query_one("#system").focus()
        await pilot.press(*"Be brief.")
        await ask(pilot, "So?")
        assert chat(app).command_for("retry") == [
            *("chat", CHECKPOINT, "--temperature=0.3", "--top_k=4", "--max_tokens=33", "--seed=9"),
            *("--system", "Be brief."),
        ]

    tell(app, story, (120, 40))
    first, second = engine.requests
    assert (first.params.temperature, first.params.top_k, first.max_tokens, first.params.seed) == (0.3, 4, 33, 9)
    assert first.stop == ("END", "\n")
    assert second.params.temperature == 0.3
    assert prompts(engine)[1].startswith("Be brief.\n\nHi\n")


def test_the_preview_shows_the_prompt_by_the_template_with_every_id(app: DaisyApp, engine: ScriptedEngine) -> None:
    engine.says = lambda request: [
        Piece("", tuple(Scored(token, -1.0) for token in request.prompt)),
        Piece(finish="length"),
    ]

    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        chat(app).prompt.load_text("é?")
        await pilot.press("f8")
        await finish(pilot)
        assert isinstance(app.screen, PreviewScreen)
        shown = words(app)
        assert "4 tokens of 400, 396 left" in shown
        assert "é?" in shown
        assert "\\xc3=195   \\xa9=169   ?=63   ⏎=10" in shown
        await pilot.press("escape")
        assert chat(app).prompt.text == "é?"

    tell(app, story)


def test_two_models_get_the_same_question_and_seed(services: Services, server: Running, engine: ScriptedEngine) -> None:
    other = scripted("I am the other.", template="plain")
    other.served = other.served._replace(name="other")
    with running(other) as second:
        children = serve_from(services, server.url, second.url)
        app = chat_app(services)
        write_checkpoint(services.folder / "runs/20260301-110000-b/checkpoints/step_000000009", 9)
        (services.folder / "runs/20260301-110000-b/config.yaml").write_text("{}")

        async def story(pilot: Pilot[Any]) -> None:
            await talk_to(pilot)
            await ask(pilot, "Hello?")
            await pilot.press("f9")
            await finish(pilot)
            await pilot.press("enter")
            await get_ready(pilot)
            assert words(app).count("Hello?") == 2, "the other begins with what was said"
            await ask(pilot, "Who are you?")
            assert "I am the other." in words(app)
            assert "● other step 7" in words(app)
            await pilot.press("ctrl+r")
            await finish(pilot)
            await pilot.press("f9")
            await finish(pilot)
            assert "other" not in words(app)

        tell(app, story, (160, 40))
    left, right = engine.requests[1:], other.engine.requests
    assert [request.params.seed for request in left] == [request.params.seed for request in right]
    assert left[0].params.seed != left[1].params.seed
    assert [bytes(r.prompt) for r in right] == [b"Hello?\nIt is *fine*.\nWho are you?\n"] * 2
    assert len(listed(services.folder)) == 2
    assert [child.returncode for child in children.started] == [-15, -15]


def test_attaching_says_what_is_wrong_and_loses_nothing_that_was_typed(services: Services) -> None:
    serve_from(services)
    app = chat_app(services)
    with running(scripted("attached."), api_key="right") as locked:

        async def story(pilot: Pilot[Any]) -> None:
            await pilot.press("f7")
            await finish(pilot)
            assert isinstance(app.screen, AttachScreen)
            url, key = app.screen.query("Input")
            url.value, key.value = locked.url, "wrong"  # type: ignore[attr-defined]
            await pilot.press("enter")
            await finish(pilot)
            assert "wrong or missing API key" in words(app)
            assert "DAISY_API_KEY" not in words(app), "the key is asked for here"
            assert url.value == locked.url  # type: ignore[attr-defined]
            key.value = "right"  # type: ignore[attr-defined]
            await pilot.press("enter")
            await get_ready(pilot)
            assert f"● tiny step 7  template instruction · {locked.url}" in words(app)
            await ask(pilot, "Hi")
            assert "attached." in words(app)
            assert chat(app).command_for("retry") == ["chat", "--url", locked.url]
            server = chat(app).panes.left.server
            assert server is not None
            server.key = "taken-away"
            await settle(pilot)
            chat(app).panes.left.conversation.client = server.client  # type: ignore[union-attr]
            await ask(pilot, "Still?")
            assert "wrong or missing API key" in words(app)

        tell(app, story, (120, 30))


def test_servers_of_this_machine_are_offered_but_not_the_terminals_own(app: DaisyApp, children: Children) -> None:
    leases, (url,) = Leases(lease_folder()), children.urls

    async def story(pilot: Pilot[Any]) -> None:
        leases.serve({"server": url, "model": "mine", "user": "me"})
        await pilot.press("f2")
        await finish(pilot)
        assert "mine  by me" in words(app), "nobody here has started it yet"
        await pilot.press("escape")
        await talk_to(pilot)
        await pilot.press("f2")
        await finish(pilot)
        assert "mine" not in words(app)

    try:
        tell(app, story)
    finally:
        leases.release()


def test_a_defect_in_a_worker_is_said_and_the_chat_goes_on(app: DaisyApp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        with monkeypatch.context() as patched:
            patched.setattr(Answering, "run", _broken)
            await ask(pilot, "Hi")
        assert toasts(app) == ["RuntimeError: a defect"]
        assert pane.is_ready
        await ask(pilot, "Hi again")
        assert "It is fine." in words(app)

    tell(app, story)


def _broken(_self: object) -> None:
    raise RuntimeError("a defect")


@pytest.mark.parametrize("what", ["sources", "listed", "servers"])
def test_what_fails_while_choosing_is_said(app: DaisyApp, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def broken(*_arguments: object) -> None:
        raise DaisyError("the disk is gone")

    monkeypatch.setattr(f"daisy_tui.screens.chat_servers.{what}", broken)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press({"sources": "f2", "listed": "f6", "servers": "f7"}[what])
        await until(pilot, lambda: toasts(app))

    tell(app, story)
    assert toasts(app) == ["the disk is gone"]


def test_what_a_model_says_cannot_act_on_the_terminal(app: DaisyApp, engine: ScriptedEngine) -> None:
    engine.says = says("[red]a\x1b[2Jb\u202e[/red] <b>")

    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "[bold]Hi")
        assert "[red]a\ufffd[2Jb\ufffd[/red]" in words(app)
        assert "[bold]Hi" in words(app)

    tell(app, story)


def test_long_conversations_are_on_the_disk_and_not_all_on_the_screen(app: DaisyApp, services: Services) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        assert pane.conversation is not None
        for number in range(40):
            pane.conversation.tree.add(
                "user" if number % 2 == 0 else "assistant", pane.conversation.tree.tip, f"t{number}"
            )
        await ask(pilot, "last")
        assert len(list(app.screen.query(TurnView))) == 30
        (earlier,) = app.screen.query(Earlier)
        earlier.focus()
        await pilot.press("enter")
        await finish(pilot)
        assert len(list(app.screen.query(TurnView))) == 42
        assert not list(app.screen.query(Earlier))

    tell(app, story)
    (kept,) = listed(services.folder)
    assert len(read(kept.path).tree.path) == 42


def test_a_chat_is_gone_on_with_in_another_terminal_and_written_as_a_document(
    services: Services, children: Children, engine: ScriptedEngine
) -> None:
    first = chat_app(services)

    async def hold(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "one")
        await pilot.press("ctrl+r")
        await finish(pilot)
        await ask(pilot, "two")
        await pilot.press("escape", "w")
        await finish(pilot)
        (written,) = (services.folder / "chats").glob("*.md")
        assert toasts(first) == [f"written: chats/{written.name}"]
        assert written.read_text().count("It is *fine*.") == 2

    tell(first, hold)
    serve_from(services, children.urls[0])
    again = chat_app(services)

    async def go_on(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await pilot.press("escape", "t")
        await finish(pilot)
        assert "one" in words(again)
        await pilot.press("enter")
        await finish(pilot)
        assert "‹ 2/2 ›" in words(again)
        await ask(pilot, "three")

    tell(again, go_on, (100, 40))
    assert prompts(engine)[-1].startswith("one\nIt is *fine*.\ntwo\n")
    paths = [entry.path for entry in listed(services.folder)]
    assert len(paths) == 1, "in the same file"
    assert [turn.text for turn in read(paths[0]).tree.path][-2:] == ["three", "It is *fine*."]


def test_a_read_only_terminal_starts_no_server_and_writes_nothing(services: Services, server: Running) -> None:
    services.readonly = True
    children = serve_from(services, server.url)
    app = chat_app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("f2")
        chat(app).context(source=CHECKPOINT)
        await finish(pilot)
        assert children.started == []
        pane = chat(app).panes.left
        chat(app)._take_server(pane, services.serving.attach(server.url))
        await get_ready(pilot)
        await ask(pilot, "Hi")
        assert "It is fine." in words(app)

    tell(app, story)
    assert not (services.folder / "chats").exists()


def test_a_disk_that_is_full_is_said_and_the_chat_goes_on(app: DaisyApp, services: Services) -> None:
    (services.folder / "chats").write_text("no folder")

    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "Hi")
        assert "It is fine." in words(app)
        assert "this chat is not saved" in " ".join(words(app).split())

    tell(app, story)


def test_other_weights_take_over_and_the_conversation_goes_on(
    app: DaisyApp, children: Children, engine: ScriptedEngine, backend: ScriptedBackend
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await ask(pilot, "one")
        chat(app).context(source="runs/other/checkpoints/step_8")
        await get_ready(pilot)
        assert "● tiny step 8" in words(app)
        await ask(pilot, "two")
        backend.fails = DaisyError("runs/bad: is damaged")
        chat(app).context(source="runs/bad")
        await get_ready(pilot)
        assert "runs/bad: is damaged" in words(app)
        assert "● tiny step 8" in words(app), "what was served is served on"

    tell(app, story, (100, 40))
    assert len(children.started) == 1
    assert prompts(engine)[-1] == "one\nIt is *fine*.\ntwo\n"


def test_nothing_is_painted_on_a_screen_that_nobody_sees_and_all_of_it_afterwards(
    app: DaisyApp, engine: ScriptedEngine
) -> None:
    engine.says = None

    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await send(pilot, "Hi")
        number = await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        app.switch_mode("start")
        await until(pilot, lambda: chat_is_hidden(app))
        engine.tell(number, Piece("came meanwhile", (Scored(65),), completion_tokens=1))
        assert pane.answering is not None
        turn = pane.answering.turn
        await until(pilot, lambda: turn.pieces)
        engine.tell(number, Piece("", (), "stop", completion_tokens=1))
        app.switch_mode("chat")
        await finish(pilot)
        await until(pilot, lambda: "came meanwhile" in words(app))

    tell(app, story)


def chat_is_hidden(app: DaisyApp) -> bool:
    return app.current_mode != "chat"
