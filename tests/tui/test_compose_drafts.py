"""Drafts: nothing but what was touched, the line that trains them, undo, and grids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.errors import ConfigError
from daisy_tui.composing.drafts import Draft, History
from daisy_tui.composing.grids import grid_drafts, split_outside


def test_a_fresh_draft_is_its_config_alone() -> None:
    assert Draft("demo").train_arguments() == ["train", "demo"]


def test_overrides_in_every_spelling_become_touched_keys() -> None:
    draft = Draft.of("demo", ["lr_scale=0.5", "--full-windows", "--seed=7", "val_shards.books=a b"], "step_10")
    assert draft.touched == (
        ("lr_scale", "0.5"),
        ("full_windows", "true"),
        ("seed", "7"),
        ("val_shards.books", "a b"),
        ("init_checkpoint", "step_10"),
    )
    with pytest.raises(ConfigError, match="is not an override"):
        Draft.of("demo", ["seed"])


def test_the_line_has_options_for_what_is_no_override() -> None:
    draft = Draft.of("demo", ["seed=7"], "some/step_10").having("devices", "0,1").having("nproc", "2")
    draft = draft.having("name", "long one").having("force", "true")
    options = ["-p", "some/step_10", "--devices", "0,1", "-n", "2", "-r", "long one", "--force"]
    assert draft.train_arguments() == ["train", "demo", *options, "seed=7"]
    assert draft.save_arguments("mine") == ["config", "save", "demo", "mine", "-p", "some/step_10", "seed=7"]
    followed = draft.preflight_arguments(["num_layers=3"])
    assert followed == ["preflight", "demo", "--devices", "0,1", "-n", "2", "num_layers=3", "seed=7"]


def test_setting_a_key_again_keeps_its_place_and_null_takes_an_option_away() -> None:
    draft = Draft("demo").having("seed", "1").having("lr_scale", "2").having("seed", "3").having("nproc", "2")
    assert draft.touched == (("seed", "3"), ("lr_scale", "2"), ("nproc", "2"))
    assert draft.having("nproc", "null").keys == ["seed", "lr_scale"]
    assert draft.having("grad_clip_norm", "null").value("grad_clip_norm") == "null", "which is a value of the config"


def test_a_whole_value_takes_the_place_of_what_was_set_inside_it() -> None:
    draft = Draft.of("demo", ["optimizers[0].momentum=0.9", "optimizers.AdamW.eps=1e-8", "val_shards.x=a"])
    assert draft.having("optimizers", "[]").keys == ["val_shards.x", "optimizers"]
    assert draft.having("val_shards", "b").keys == ["optimizers[0].momentum", "optimizers.AdamW.eps", "val_shards"]


def test_without_a_parent_nothing_is_forced() -> None:
    draft = Draft.of("demo", [], "step_10").having("force", "yes")
    assert draft.without("init_checkpoint").touched == ()
    assert draft.having("init_checkpoint", "null").touched == ()
    assert draft.having("force", "false").keys == ["init_checkpoint"]


def test_undo_goes_back_change_by_change_and_redo_forward() -> None:
    history = History("a")
    assert not history.undo()
    assert not history.change("a"), "what is the same is no change"
    assert history.change("b")
    assert history.change("c")
    assert (history.undo(), history.now) == (True, "b")
    assert (history.undo(), history.now) == (True, "a")
    assert (history.redo(), history.now) == (True, "b")
    history.change("x")
    assert not history.redo(), "another way was taken"
    assert (history.undo(), history.now) == (True, "b")


def test_the_letters_of_one_word_are_undone_together() -> None:
    history = History("")
    for typed in ("0", "0.", "0.5"):
        history.change(typed, "lr_scale")
    history.settle()
    history.change("0.57", "lr_scale")
    assert (history.undo(), history.now) == (True, "0.5")
    assert (history.undo(), history.now) == (True, "")


@given(st.lists(st.sampled_from(["a", "b", "c", "undo", "redo"]), max_size=40))
def test_undoing_everything_ends_where_it_began(steps: list[str]) -> None:
    history = History("start")
    for step in steps:
        if step in ("undo", "redo"):
            getattr(history, step)()
        else:
            history.change(step)
    last = history.now
    count = 0
    while history.undo():
        count += 1
    assert history.now == "start"
    for _ in range(count):
        assert history.redo()
    assert history.now == last


def test_three_values_make_three_runs_with_names_of_their_own() -> None:
    drafts = grid_drafts(Draft.of("demo", ["seed=7"]), "lr_scale=0.5,1,2")
    assert [draft.train_arguments() for draft in drafts] == [
        ["train", "demo", "-r", f"demo-lr_scale-{value}", "seed=7", f"lr_scale={value}"] for value in ("0.5", "1", "2")
    ]


def test_several_axes_are_tried_all_with_all() -> None:
    drafts = grid_drafts(Draft("configs/demo.yml"), "seed=1,2 optimizers.AdamW.betas=[0.8, 0.95],[0.9, 0.95]")
    assert [draft.overrides for draft in drafts] == [
        [f"seed={seed}", f"optimizers.AdamW.betas={betas}"]
        for seed in (1, 2)
        for betas in ("[0.8, 0.95]", "[0.9, 0.95]")
    ]
    assert drafts[0].value("name") == "demo-seed-1-betas-_0.8_0.95_"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write the values to try"),
        ("lr_scale", "write key=value,value"),
        ("lr_scale=", "write key=value,value"),
        ("lr_scale=1,,2", "write key=value,value"),
        ("lr_scale=1,1", "has a value twice"),
        ("seed=1,2 seed=3", "named twice"),
        ("nproc=1,2", "the same for all runs"),
        (".x=1", "is not a key"),
        ("seed=1,2,3,4,5 lr_scale=1,2,3,4,5 cooldown_frac=0,0.5,1", "75 runs; a grid has at most 64"),
    ],
)
def test_a_grid_that_means_nothing_says_what_would_work(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        grid_drafts(Draft("demo"), text)


@given(st.lists(st.text("ab ,", max_size=6), min_size=1, max_size=4))
def test_brackets_and_quotes_hide_what_divides(parts: list[str]) -> None:
    hidden = [f'["{part}"]' for part in parts]
    assert split_outside(",".join(hidden), ",") == hidden
