from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.errors import ConfigError
from core.config.overrides import apply_overrides, format_path, parse_override, parse_path


@pytest.mark.parametrize(
    ("typed", "path", "value"),
    [
        ("seed=3", ("seed",), "3"),
        ("--seed=3", ("seed",), "3"),
        ("--full_windows", ("full_windows",), "true"),
        ("--full-windows", ("full_windows",), "true"),
        ("optimizers[1].params[0].lr=0.02", ("optimizers", 1, "params", 0, "lr"), "0.02"),
        ("optimizers.Muon.hidden_matrix_params.lr=0.02", ("optimizers", "Muon", "hidden_matrix_params", "lr"), "0.02"),
        ("tags=[a, b]", ("tags",), ["a", "b"]),
        ('name="null"', ("name",), "null"),
        ("name=null", ("name",), None),
        ("name=", ("name",), None),
        ("name=a: b #c", ("name",), "a: b #c"),
        ("shards=*.bin", ("shards",), "*.bin"),
        ("a=b=c", ("a",), "b=c"),
        ("val_shards.my-set=x", ("val_shards", "my-set"), "x"),
        ("optimizers.Muon.weight-decay=0", ("optimizers", "Muon", "weight_decay"), "0"),
    ],
)
def test_the_grammar(typed: str, path: tuple[Any, ...], value: Any) -> None:
    override = parse_override(typed)
    assert (override.path, override.value) == (path, value)


@pytest.mark.parametrize(
    "typed", ["seed", "=3", "--=3", ".a=1", "a.=1", "a[=1", "a[x]=1", "[0]=1", "a b=1", "a..b=1", "--", "a[-1]=2"]
)
def test_what_is_no_override_says_what_would_be(typed: str) -> None:
    with pytest.raises(ConfigError, match=r"write|such as|for example") as caught:
        parse_override(typed)
    assert typed in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


names = st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True)


@given(names, st.lists(st.one_of(names, st.integers(0, 999))))
def test_a_path_survives_being_written_and_read(first: str, rest: list[str | int]) -> None:
    path = (first, *rest)
    assert parse_path(format_path(path), "") == path


def _optimizers() -> dict[str, Any]:
    return {
        "seed": 1,
        "optimizers": [
            {"type": "Muon", "params": [{"group": "hidden_matrix_params", "lr": 1}]},
            {"type": "AdamW", "params": [{"group": "embed_params", "lr": 2}]},
            {"type": "AdamW", "params": [{"group": "head_params", "lr": 3}]},
        ],
    }


def _apply(*typed: str) -> dict[str, Any]:
    values = _optimizers()
    apply_overrides(values, {}, [parse_override(text) for text in typed])
    return values


def test_a_group_is_found_by_name_among_optimizers_of_one_type() -> None:
    assert _apply("optimizers.AdamW.head_params.lr=9")["optimizers"][2]["params"][0]["lr"] == "9"


def test_the_last_override_of_a_key_wins() -> None:
    assert _apply("seed=2", "seed=3")["seed"] == "3"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("optimizers[3].lr=1", "out of range; positions are 0 to 2"),
        ("optimizers[0].params[1].lr=1", "the only position is 0"),
        ("optimizers.SGD.lr=1", "no optimizer of type 'SGD'; there are Muon, AdamW"),
        ("optimizers.Muon.head_params.lr=1", "Muon has no group 'head_params'; it has hidden_matrix_params"),
        ("optimizers.Muon.hidden_matrix_params=1", "names a group; set its lr"),
        ("optimizers.AdamW.eps=1", "write optimizers[1] or optimizers[2]"),
        ("optimizers[0].params.lr=1", "is a list; write optimizers[0].params[0].lr"),
        ("seed.x=1", "seed is a single value"),
        ("seed[0]=1", "seed is not a list"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(typed: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _apply(typed)
    assert said in str(caught.value)
    assert f"override '{typed}'" in str(caught.value)
