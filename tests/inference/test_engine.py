"""The engine over a tiny model: answers are those of the model alone, whoever else asks, stays or leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.data.tokenizers import ByteTokenizer
from core.inference import steps
from core.inference.engine import Engine
from core.inference.loaded import Loaded
from core.inference.request import (
    EngineClosedError,
    OtherModelError,
    Piece,
    QueueFullError,
    Request,
    SamplingError,
    SamplingParams,
)
from core.inference.steps import TorchStep
from core.model.daisy_core import DaisyCore

GREEDY = SamplingParams(temperature=0.0, ignore_eos=True)
HOT = SamplingParams(temperature=1.0, top_k=0, ignore_eos=True)
FOX = b"the quick brown fox jumps over the lazy dog "
EOS = 256

Make = Callable[..., Engine]


@pytest.fixture
def loaded(tiny_model: DaisyCore) -> Loaded:
    return Loaded(tiny_model, ByteTokenizer(), {}, Path("step_1"))


@pytest.fixture(params=["torch", "fastest"])
def make(request: pytest.FixtureRequest, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make an engine that decodes by the definition, or in the fastest form of this machine."""
    if request.param == "torch":
        monkeypatch.setattr(
            "core.inference.engine.best_step",
            lambda model, cache, weights, *, deterministic: TorchStep(model, cache, one_by_one=deterministic),
        )
    return lambda **options: Engine(loaded, **{"slots": 3, "prefill_chunk": 16} | options)


class Heard:
    """What an answer's listener was told."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def __call__(self, piece: Piece) -> None:
        assert not self.ended, "nothing comes behind the end"
        self.pieces.append(piece)

    @property
    def ended(self) -> bool:
        return bool(self.pieces) and self.pieces[-1].finish is not None

    @property
    def last(self) -> Piece:
        return self.pieces[-1]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def tokens(self) -> list[int]:
        return [scored.id for piece in self.pieces for scored in piece.tokens]


def ask(engine: Engine, prompt: bytes, max_tokens: int = 40, params: SamplingParams = GREEDY, **more: Any) -> Heard:
    heard = Heard()
    heard.number = engine.submit(Request(tuple(prompt), max_tokens, params, **more), heard)  # type: ignore[attr-defined]
    return heard


def run(engine: Engine) -> None:
    while engine.step():
        pass


def alone(model: DaisyCore, prompt: bytes, count: int) -> list[int]:
    """The likeliest tokens that follow, by the whole model without a cache."""
    history = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            history.append(int(model(torch.tensor([history]))[0, -1].argmax()))
    return history[len(prompt) :]


@pytest.mark.parametrize("prompt", [b"a", FOX, FOX * 3])
def test_an_answer_is_the_models_own(make: Make, loaded: Loaded, prompt: bytes) -> None:
    engine = make()
    heard = ask(engine, prompt)
    run(engine)
    assert heard.tokens == alone(loaded.model, prompt, 40)
    assert heard.text == bytes(token for token in heard.tokens if token < 256).decode(errors="replace")
    last = heard.last
    assert (last.finish, last.prompt_tokens, last.completion_tokens) == ("length", len(prompt), 40)
    assert last.timing is not None
    assert min(last.timing) >= 0


def test_answers_do_not_know_of_each_other_as_they_come_and_go(make: Make, loaded: Loaded) -> None:
    prompts = [FOX[shift:] + FOX[: shift * 3] for shift in range(7)]
    lengths = [40, 3, 17, 25, 1, 33, 8]
    engine = make()
    heard = [ask(engine, prompt, length) for prompt, length in zip(prompts, lengths, strict=True)]
    assert engine.stats().waiting == 7
    run(engine)
    for prompt, length, answer in zip(prompts, lengths, heard, strict=True):
        assert answer.tokens == alone(loaded.model, prompt, length)
    assert [slot.state for slot in engine.stats().slots] == ["idle"] * 3


def test_a_drawn_answer_alone_is_the_one_among_mixed_neighbours_bit_for_bit(make: Make) -> None:
    params = SamplingParams(temperature=1.2, top_k=0, top_p=0.9, seed=11, repetition_penalty=1.1)
    single = make(slots=8, deterministic=True)
    expected = ask(single, FOX, 60, params, logprobs=5)
    run(single)
    engine = make(slots=8, deterministic=True)
    others = [ask(engine, FOX[:shift] + b"!", 10 * shift, HOT) for shift in range(1, 5)]
    for _ in range(7):
        engine.step()
    heard = ask(engine, FOX, 60, params, logprobs=5)
    others += [ask(engine, FOX * shift, 50, GREEDY, logprobs=1) for shift in range(1, 4)]
    run(engine)
    assert all(other.ended for other in others)
    assert [piece.tokens for piece in heard.pieces] == [piece.tokens for piece in expected.pieces]


def test_a_long_prompt_keeps_nobody_waiting_for_longer_than_a_chunk(make: Make) -> None:
    engine = make()
    talking = ask(engine, b"a", 30)
    engine.step()
    reading = ask(engine, FOX * 4, 5)  # 176 tokens: 11 chunks
    for step in range(10):
        before = len(talking.tokens)
        engine.step()
        assert len(talking.tokens) == before + 1
        state = engine.stats().slots[1]
        assert (state.state, state.held) == ("prefill", 16 * (step + 1))
        assert reading.pieces == []
    engine.step()
    assert len(reading.tokens) == 2  # the first follows the prompt, the second is decoded in the same step


def test_a_second_turn_goes_on_from_the_first(make: Make, loaded: Loaded) -> None:
    engine = make()
    first = ask(engine, FOX * 2, 30)
    run(engine)
    prompt = FOX * 2 + bytes(first.tokens) + b" and then?"
    second = ask(engine, prompt, 20)
    run(engine)
    # The last token of an answer was told and never read.
    assert second.last.cached_tokens == len(FOX) * 2 + 29
    assert second.tokens == alone(loaded.model, prompt, 20)
    again = ask(engine, prompt, 20)
    other = ask(engine, FOX[:10], 20)
    run(engine)
    assert (again.last.cached_tokens, other.last.cached_tokens) == (0, 0), "rings that came round are not cut back"
    assert (again.tokens, other.tokens) == (second.tokens, alone(loaded.model, FOX[:10], 20))
    stats = engine.stats()
    assert stats.cached_tokens == second.last.cached_tokens
    assert stats.prompt_tokens == 2 * len(FOX) + 2 * len(prompt) + 10


@pytest.mark.parametrize(("prompt", "cached"), [(b"abcde", 4), (b"abcdz", 4), (b"abz", 2), (b"zzz", 0)])
def test_what_fits_the_shortest_ring_is_gone_on_from_anywhere(
    make: Make, loaded: Loaded, prompt: bytes, cached: int
) -> None:
    engine = make(slots=1)
    ask(engine, b"abcde", 3)  # 7 tokens are held, the shortest ring has 8
    run(engine)
    heard = ask(engine, prompt, 20)
    run(engine)
    assert heard.last.cached_tokens == cached
    assert heard.tokens == alone(loaded.model, prompt, 20)


def test_the_same_prompt_goes_on_from_its_own_rings_though_they_came_round(make: Make, loaded: Loaded) -> None:
    engine = make(slots=1)
    ask(engine, FOX, 1)  # one token: nothing of it is read
    run(engine)
    heard = ask(engine, FOX, 20)
    run(engine)
    assert heard.last.cached_tokens == len(FOX) - 1
    assert heard.tokens == alone(loaded.model, FOX, 20)


def test_a_prompt_takes_the_slot_that_holds_most_of_it_or_else_the_oldest(make: Make) -> None:
    engine = make()
    for prompt in (b"aaaa", b"bbbb", b"cccc"):
        ask(engine, prompt, 1)
        engine.step()
    run(engine)
    heard = ask(engine, b"bbbb!", 1)
    run(engine)
    assert heard.last.cached_tokens == 4
    ask(engine, b"dddd", 1)
    run(engine)
    assert [ask(engine, prompt + b"!", 1) and prompt for prompt in (b"cccc", b"bbbb")]
    run(engine)
    assert engine.stats().cached_tokens == 4 + 4 + 4, "the slot of a was taken for d"


def scripted(engine: Engine, said: bytes | list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a model say something, one token after the other, whatever it was asked."""
    follows = dict(enumerate(said))

    def logits(hidden: Tensor) -> Tensor:
        step = sum(slot.done for slot in engine._snapshot().slots)
        return torch.nn.functional.one_hot(torch.tensor([follows.get(step, EOS)] * len(hidden)), 257).float() * 10

    monkeypatch.setattr(engine._model, "logits", logits)
    monkeypatch.setattr(engine, "_step", lambda tokens, slots, positions: logits(torch.zeros(len(tokens), 1)))


def says(make: Make, monkeypatch: pytest.MonkeyPatch, said: bytes | list[int], **more: Any) -> Heard:
    engine = make()
    scripted(engine, said, monkeypatch)
    params = more.pop("params", SamplingParams(temperature=0.0))
    heard = ask(engine, b"say", more.pop("max_tokens", 40), params, **more)
    run(engine)
    return heard


def test_an_answer_ends_with_end_of_text_which_is_counted_and_no_part_of_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = says(make, monkeypatch, " a🙂".encode())
    assert heard.text == " a🙂"
    assert [piece.text for piece in heard.pieces] == [" ", "a", "", "", "", "🙂", ""]
    assert (heard.last.finish, heard.last.stopped_by, heard.last.completion_tokens) == ("stop", None, 7)
    assert heard.tokens == list(" a🙂".encode())


def test_end_of_text_may_be_ignored_and_has_no_text_then(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    params = SamplingParams(temperature=0.0, ignore_eos=True)
    heard = says(make, monkeypatch, [97, EOS, 98], max_tokens=3, params=params)
    assert (heard.text, heard.last.finish, heard.tokens) == ("ab", "length", [97, EOS, 98])


@pytest.mark.parametrize(
    ("said", "stop", "text", "by"),
    [
        (b"one two three", ("two",), "one ", "two"),
        (b"one tw", ("two",), "one tw", None),
        (b"one tw\xf0\x9f", ("two", "\ufffd"), "one tw", "\ufffd"),
    ],
)
def test_stop_strings_over_several_tokens(
    make: Make, monkeypatch: pytest.MonkeyPatch, said: bytes, stop: tuple[str, ...], text: str, by: str | None
) -> None:
    heard = says(make, monkeypatch, said, stop=stop)
    assert (heard.text, heard.last.finish, heard.last.stopped_by) == (text, "stop", by)
    assert heard.last.completion_tokens == (7 if by == "two" else len(said) + 1)


def test_what_was_held_back_is_told_at_max_tokens(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = says(make, monkeypatch, b"one two", stop=("two!",), max_tokens=6)
    assert (heard.text, heard.last.finish) == ("one tw", "length")
    heard = says(make, monkeypatch, "a🙂".encode(), max_tokens=3)
    assert (heard.text, heard.last.finish) == ("a\ufffd", "length")


def test_stop_tokens_end_an_answer_and_min_tokens_keep_all_ends_away(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = SamplingParams(temperature=0.0, stop_tokens=(ord("b"),))
    heard = says(make, monkeypatch, b"abc", params=params)
    assert (heard.text, heard.last.finish, heard.last.stopped_by) == ("a", "stop", ord("b"))
    params = SamplingParams(temperature=0.0, stop_tokens=(ord("b"),), min_tokens=4)
    heard = says(make, monkeypatch, b"abcab", params=params, stop=("c",))
    assert heard.tokens[1] != ord("b")
    assert (len(heard.tokens), heard.last.stopped_by) == (4, ord("b"))


@pytest.mark.parametrize("chunk", [5, 16, 400])
def test_an_echo_has_the_prompt_and_the_logprobs_of_all_its_tokens(make: Make, loaded: Loaded, chunk: int) -> None:
    engine = make(prefill_chunk=chunk)
    heard = ask(engine, FOX, 1, logprobs=3, echo=True)
    run(engine)
    with torch.no_grad():
        expected = loaded.model(torch.tensor([list(FOX) + heard.tokens[-1:]]))[0].log_softmax(-1)
    scored = [scored for piece in heard.pieces for scored in piece.tokens]
    assert [token.id for token in scored[:-1]] == list(FOX)
    assert scored[0].logprob is None
    for place, token in enumerate(scored[1:]):
        assert token.logprob == pytest.approx(expected[place, token.id].item(), abs=1e-4)
        best = expected[place].topk(3)
        assert [logprob for _, logprob in token.top] == pytest.approx(best.values.tolist(), abs=1e-4)
    assert heard.text.startswith(FOX.decode())
    nothing = ask(engine, FOX, 0, echo=True)
    run(engine)
    assert (nothing.text, nothing.last.finish, nothing.last.completion_tokens) == (FOX.decode(), "length", 0)


def test_whoever_leaves_frees_the_slot_within_a_step(make: Make) -> None:
    engine = make(slots=1)
    gone, next_one = ask(engine, FOX, 200), ask(engine, b"b", 5)
    never = ask(engine, b"c", 5)
    for _ in range(8):
        engine.step()
    engine.cancel(gone.number)  # type: ignore[attr-defined]
    engine.cancel(never.number)  # type: ignore[attr-defined]
    engine.cancel(999)
    engine.step()
    assert (gone.last.finish, gone.last.text) == ("cancelled", "")
    assert (never.last.finish, never.tokens) == ("cancelled", [])
    assert engine.stats().slots[0].state != "idle"
    run(engine)
    assert next_one.last.finish == "length"
    assert engine.stats().finished == {"cancelled": 2, "length": 1}


def test_a_listener_that_fails_ends_its_own_answer_only(make: Make, loaded: Loaded) -> None:
    def fails(piece: Piece) -> None:
        raise RuntimeError("the loop is closed")

    engine = make()
    engine.submit(Request(tuple(FOX), 200, GREEDY), fails)
    heard = ask(engine, FOX, 20)
    run(engine)
    assert heard.tokens == alone(loaded.model, FOX, 20)
    assert engine.stats().steps < 100
    assert engine.stats().finished == {"cancelled": 1, "length": 1}


def test_a_step_that_fails_fails_its_requests_and_not_the_engine(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()
    whole = engine._step

    def fails(*_: object) -> Tensor:
        raise RuntimeError("out of\n memory")

    monkeypatch.setattr(engine, "_step", fails)
    heard = ask(engine, FOX, 20)
    run(engine)
    assert (heard.last.finish, heard.last.error) == ("error", "out of memory")
    monkeypatch.setattr(engine, "_step", whole)
    again = ask(engine, FOX, 20)
    run(engine)
    assert again.last.finish == "length"


def test_logits_that_are_no_numbers_fail_one_answer_and_leave_nothing_behind(
    make: Make, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(slots=2)
    whole = engine._step

    def fails(tokens: Any, slots: Any, positions: Any) -> Tensor:
        logits = whole(tokens, slots, positions)
        if 0 in slots and positions[list(slots).index(0)] > len(FOX) + 3:
            for layer in engine._cache.layers:
                layer.keys[0].fill_(float("nan"))
            logits[list(slots).index(0)] = float("nan")
        return logits

    monkeypatch.setattr(engine, "_step", fails)
    bad, good = ask(engine, FOX, 20), ask(engine, FOX[3:], 20)
    run(engine)
    assert bad.last.finish == "error"
    assert "not finite" in str(bad.last.error)
    assert good.tokens == alone(loaded.model, FOX[3:], 20)
    monkeypatch.setattr(engine, "_step", whole)
    after = ask(engine, b"zz", 20)
    run(engine)
    assert after.tokens == alone(loaded.model, b"zz", 20)


def other_weights(loaded: Loaded, windows: list[int] | None = None) -> Loaded:
    model = DaisyCore(loaded.model.spec)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for own, parameter in zip(model.parameters(), loaded.model.parameters(), strict=True):
            own.copy_(parameter + 0.2 * torch.randn(parameter.shape, generator=generator))
    model.windows = windows or list(loaded.model.windows)
    return loaded._replace(model=model.eval(), folder=Path("step_2"))


def test_other_weights_are_taken_between_steps_and_answers_under_way_go_on(make: Make, loaded: Loaded) -> None:
    loaded.model.windows = [4, 4, 8]
    engine = make(slots=2)
    others = other_weights(loaded, [8, 8, 16])
    expected = alone(loaded.model, FOX, 10)
    heard = ask(engine, FOX, 30)
    finished = ask(engine, b"abc", 2)
    while len(heard.tokens) < 10:
        engine.step()
    assert finished.ended
    assert engine.swap(others) == engine.stats().version == 1
    assert engine.loaded.folder == Path("step_2")
    run(engine)
    assert heard.tokens[:10] == expected
    assert (len(heard.tokens), heard.last.finish) == (30, "length")
    fresh, again = ask(engine, FOX, 20), ask(engine, b"abc", 20)
    run(engine)
    assert (fresh.tokens, again.tokens) == (alone(others.model, FOX, 20), alone(others.model, b"abc", 20))
    assert (fresh.last.cached_tokens, again.last.cached_tokens) == (0, 0), "what other weights made is not gone on from"


def test_another_model_or_tokenizer_is_refused(make: Make, loaded: Loaded) -> None:
    engine = make()
    another = DaisyCore(loaded.model.spec.model_copy(update={"num_layers": 2}))
    with pytest.raises(OtherModelError, match="step_9: another model than that of step_1"):
        engine.swap(loaded._replace(model=another, folder=Path("step_9")))

    class Other(ByteTokenizer):
        def fingerprint(self) -> str:
            return "other"

    with pytest.raises(OtherModelError, match="another tokenizer"):
        engine.swap(loaded._replace(tokenizer=Other()))


@pytest.mark.parametrize(
    ("prompt", "more", "parameter", "message"),
    [
        (b"", {}, "prompt", "at least one token"),
        (b"a" * 300, {"max_tokens": 101}, "max_tokens", "300 tokens and max_tokens 101 are more than the model's 400"),
        (b"a", {"max_tokens": -1}, "max_tokens", "at least 0; got -1"),
        (b"a", {"logprobs": 21}, "logprobs", "from 0 to 20; got 21"),
        (b"a", {"params": SamplingParams(logit_bias=((257, 1.0),))}, "logit_bias", "no token 257; ids are 0 to 256"),
        (b"a", {"params": SamplingParams(stop_tokens=(-1,))}, "stop_token_ids", "there is no token -1"),
    ],
)
def test_what_cannot_be_answered_is_refused_at_once(
    make: Make, prompt: bytes, more: dict[str, Any], parameter: str, message: str
) -> None:
    engine = make()
    with pytest.raises(SamplingError, match=message) as refused:
        ask(engine, prompt, **more)
    assert refused.value.parameter == parameter


def test_no_more_may_wait_than_was_said(make: Make) -> None:
    engine = make(slots=1, max_queue=2)
    ask(engine, FOX)
    engine.step()
    ask(engine, FOX)
    ask(engine, FOX)
    with pytest.raises(QueueFullError, match="2 requests wait already"):
        ask(engine, FOX)


@pytest.fixture
def threaded(make: Make) -> Iterator[Engine]:
    engine = make()
    engine.start()
    yield engine
    engine.close()


def test_an_engine_of_its_own_thread_answers_many_at_once(threaded: Engine, loaded: Loaded) -> None:
    ended = [threading.Event() for _ in range(6)]
    heard = [Heard() for _ in ended]

    def tell(index: int, piece: Piece) -> None:
        assert threading.current_thread().name == "engine"
        heard[index](piece)
        if piece.finish:
            ended[index].set()

    for index in range(6):
        threaded.submit(Request(tuple(FOX[index:]), 20, GREEDY), lambda piece, index=index: tell(index, piece))  # type: ignore[misc]
    others = other_weights(loaded)
    assert all(event.wait(60) for event in ended)
    for index, answer in enumerate(heard):
        assert answer.tokens == alone(loaded.model, FOX[index:], 20)
    assert threaded.swap(others) == 1


def test_a_defect_between_the_steps_fails_those_under_way_and_not_the_thread(
    threaded: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, whole = threading.Event(), threaded._snapshot
    heard = Heard()

    def tell(piece: Piece) -> None:
        heard(piece)
        if piece.finish:
            ended.set()
        else:
            monkeypatch.setattr(threaded, "_snapshot", fails)

    def fails() -> Any:
        monkeypatch.setattr(threaded, "_snapshot", whole)
        raise KeyError("a defect")

    threaded.submit(Request(tuple(FOX), 300, GREEDY), tell)
    assert ended.wait(60)
    assert (heard.last.finish, heard.last.error) == ("error", "'a defect'")
    again, over = Heard(), threading.Event()
    threaded.submit(Request(tuple(FOX), 5, GREEDY), lambda piece: (again(piece), piece.finish and over.set()))  # type: ignore[func-returns-value]
    assert over.wait(60)
    assert again.last.finish == "length"


def test_an_engine_that_nothing_helps_tells_everybody_and_takes_no_more(
    make: Make, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(slots=1)

    def fails(*_: object) -> Any:
        raise RuntimeError("an illegal memory access")

    heard, waits = ask(engine, FOX, 300), ask(engine, FOX, 300)
    engine.step()
    monkeypatch.setattr(engine, "_step", fails)
    monkeypatch.setattr(engine._cache, "layers", None)  # nor can anything be cleared
    engine.start()
    assert engine._thread is not None
    engine._thread.join(60)
    assert not engine._thread.is_alive()
    assert (heard.last.finish, waits.last.finish) == ("error", "error")
    assert "illegal memory access" in str(engine.failure) or "NoneType" in str(engine.failure)
    with pytest.raises(EngineClosedError, match="has failed"):
        ask(engine, b"a")
    with pytest.raises(EngineClosedError):
        engine.swap(other_weights(loaded))
    engine.close()


def test_closing_lets_answers_end_in_their_time_and_ends_the_others(make: Make) -> None:
    for grace, how in ((60.0, "length"), (0.0, "cancelled")):
        engine, begun = make(slots=1), threading.Event()
        engine.start()
        heard, waits = Heard(), Heard()

        def tell(piece: Piece, heard: Heard = heard, begun: threading.Event = begun) -> None:
            heard(piece)
            begun.set()

        engine.submit(Request(tuple(FOX), 300, GREEDY), tell)
        engine.submit(Request(tuple(FOX), 300, GREEDY), waits)
        assert begun.wait(60)
        engine.close(grace)
        assert (heard.last.finish, waits.last.finish) == (how, "cancelled")
        with pytest.raises(EngineClosedError):
            ask(engine, b"a")


def test_weights_that_this_machine_does_not_have_are_refused(make: Make) -> None:
    with pytest.raises(steps.StepError, match="weights int3: there are auto, float32, bfloat16, int8"):
        steps.best_step(make()._model, make()._cache, "int3")
