"""The lens: what tokens were said, how likely they were, and what might have stood in their place."""

from __future__ import annotations

import json
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daisy_tui.chatting.lens import Alternative, Token, forked, ids, level, name, packed, texts, tokens_of, unpacked


def token(probability: float, *others: float, raw: bytes = b"a", number: int | None = 1) -> Token:
    top = tuple(Alternative(10 + n, b"o%d" % n, log(p)) for n, p in enumerate(others))
    return Token(number, raw, log(probability), top)


def test_a_chat_with_ids_is_read_as_it_was_said() -> None:
    top = [
        {"id": 65, "token": "A", "logprob": -0.5, "bytes": [65]},
        {"id": 7, "token": "x", "logprob": -9999.0, "bytes": [9]},
    ]
    (found,) = tokens_of({"logprobs": {"content": [{**top[0], "top_logprobs": top}], "refusal": None}})
    assert (found.id, found.raw, found.logprob) == (65, b"A", -0.5)
    assert [(one.id, one.raw, one.probability) for one in found.top] == [(65, b"A", exp(-0.5)), (7, b"\t", 0.0)]
    assert found.rank == 1


def test_completions_of_other_servers_are_read_by_name_and_have_no_ids() -> None:
    said = {
        "tokens": ["bytes:\\xc3", " b"],
        "token_logprobs": [-1.0, None],
        "top_logprobs": [{"bytes:\\xc3": -1.0, "z": -0.25}, None],
        "text_offset": [0, 0],
    }
    first, second = tokens_of({"logprobs": said})
    assert (first.raw, first.id, first.rank) == (b"\xc3", None, 2)
    assert [one.raw for one in first.top] == [b"z", b"\xc3"], "the likeliest first"
    assert (second.raw, second.logprob, second.top) == (b" b", 0.0, ())
    assert ids([first]) is None
    assert tokens_of({"logprobs": None}) == tokens_of({}) == []


@pytest.mark.parametrize("wrong", [{"content": [{"token": "a"}]}, {"tokens": ["a"]}, {"content": 3}, {"tokens": 1}])
def test_what_has_no_known_form_is_an_error_that_is_caught(wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        tokens_of({"logprobs": wrong})


def test_text_split_inside_a_character_comes_with_the_token_that_completes_it() -> None:
    raws = [b"a", "é".encode()[:1], "é".encode()[1:] + b"!", b"\xf0\x9f", b"\x8c\xbc"]
    assert texts(Token(n, raw, -1.0) for n, raw in enumerate(raws)) == ["a", "", "é!", "", "🌼"]
    assert (name(b"\xc3"), name(b" the\n"), name(b""), name(b"\x1b[0m")) == ("\\xc3", "␣the⏎", "(nothing)", "\\x1b[0m")


def test_the_least_entropy_is_exact_where_all_is_known() -> None:
    known = [0.5, 0.25, 0.25]
    found = Token(10, b"o0", log(0.5), token(0.5, *known).top)
    assert found.least_entropy == pytest.approx(-sum(p * log(p) for p in known))
    assert Token(1, b"a", 0.0).least_entropy == 0.0


@given(st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=40), st.integers(1, 20), st.integers(0, 39))
def test_the_least_entropy_is_never_above_the_true_one(weights: list[float], top: int, said: int) -> None:
    weights = sorted(weights, reverse=True)
    every = [weight / sum(weights) for weight in weights]
    place = min(said, len(every) - 1)
    others = tuple(Alternative(n, b"%d" % n, log(p)) for n, p in enumerate(every[:top]))
    found = Token(place, b"%d" % place, log(every[place]), others)
    assert found.least_entropy <= -sum(p * log(p) for p in every) + 1e-9


def test_what_was_said_is_among_its_choices_once() -> None:
    unlikely = token(0.01, 0.6, 0.3, raw=b"zz")
    assert [one.raw for one in unlikely.choices] == [b"o0", b"o1", b"zz"]
    likely = Token(10, b"o0", log(0.6), unlikely.top)
    assert [one.raw for one in likely.choices] == [b"o0", b"o1"]


def test_levels_go_from_certain_to_surprising() -> None:
    assert [level(token(p), "probability") for p in (0.9, 0.5, 0.3, 0.1, 0.01)] == [0, 0, 1, 2, 3]
    assert level(token(0.97, 0.97, 0.01), "entropy") == 0
    assert level(token(0.1, *[0.1] * 9), "entropy") == 2, "ten equal ones have 2.3 nats"
    assert level(token(0.02, *[0.02] * 20), "entropy") == 3, "and so have fifty, of which twenty are known, 3.9"


def test_a_fork_keeps_what_was_before_and_what_could_have_been() -> None:
    said = [token(0.5, 0.5, number=n) for n in (1, 2, 3)]
    other = Alternative(99, b"q", -2.0)
    kept = forked(said, 1, other)
    assert ids(kept) == [1, 99]
    assert kept[1].top == said[1].top


@given(
    st.builds(
        lambda n, raw, p, top: Token(n, raw, p, tuple(Alternative(*one) for one in top)),
        st.none() | st.integers(0, 2**31),
        st.binary(max_size=8),
        st.floats(-20, 0).map(lambda value: round(value, 4)),
        st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=4), st.just(-1.5)), max_size=3),
    )
)
def test_tokens_survive_being_written_down(said: Token) -> None:
    assert unpacked(json.loads(json.dumps(packed(said)))) == said
