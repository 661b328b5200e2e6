"""Names and paths cut to a width, and names of several runs: what tells them apart stays to be seen."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from daisy_tui.cutting import cut_apart, cut_end, cut_front
from daisy_tui.naming import told_apart

SWEEP = ["demo-lr_scale-0.5", "demo-lr_scale-1", "demo-lr_scale-2"]


@pytest.mark.parametrize("width", range(3, 20))
def test_names_that_begin_alike_are_told_apart_in_any_width(width: int) -> None:
    cut = cut_apart(SWEEP, width)
    assert len(set(cut)) == 3
    assert max(map(cell_len, cut)) <= width


def test_names_that_begin_alike_are_cut_at_their_beginning_and_others_at_their_end() -> None:
    assert cut_apart([*SWEEP, "a-long-name-of-another"], 8) == ["…ale-0.5", "…scale-1", "…scale-2", "a-long-…"]
    assert cut_apart(["val books", "val code"], 40) == ["val books", "val code"]


def test_names_that_differ_at_once_keep_their_beginning_however_short() -> None:
    groups = ["embed_params", "head_params", "hidden_matrix_params"]
    assert cut_apart(groups, 3) == ["em…", "he…", "hi…"]
    assert cut_apart(groups, 6) == ["embed…", "head_…", "hidde…"]


def test_what_differs_is_seen_where_the_ends_are_alike() -> None:
    assert cut_apart(["a-common-beginning-1-and-a-common-end", "a-common-beginning-2-and-a-common-end"], 10) == [
        "…1-and-a-…",
        "…2-and-a-…",
    ]


@pytest.mark.parametrize("width", range(9))
@pytest.mark.parametrize("text", ["", "a", "/a/path/to.yml", "名前名前名前", "e\u0301" * 9])
def test_nothing_is_wider_than_its_room(text: str, width: int) -> None:
    assert cell_len(cut_front(text, width)) <= width
    assert cell_len(cut_end(text, width)) <= width
    assert cell_len(cut_apart([text, text + "x"], width)[0]) <= width


def test_of_a_path_the_end_stays() -> None:
    assert cut_front("/long/path/model_specs/daisy_pico.yml:4", 20) == "…cs/daisy_pico.yml:4"
    assert cut_front("short.yml:4", 20) == "short.yml:4"


@pytest.mark.parametrize(
    ("ids", "called"),
    [
        (["20260301-110000-demo", "20260301-110000-wide"], ["demo", "wide"]),
        (["20260301-110000-demo", "20260301-120500-demo"], ["demo 11:00", "demo 12:05"]),
        (["20260301-110000-demo", "20260301-110007-demo"], ["demo 11:00:00", "demo 11:00:07"]),
        (["20260301-110000-demo", "20260302-110000-demo"], ["demo 03-01", "demo 03-02"]),
        (
            ["20260301-110000-demo", "20260302-110000-demo", "20260302-120000-demo", "20260302-120000-wide"],
            ["demo 03-01 11:00", "demo 03-02 11:00", "demo 03-02 12:00", "wide"],
        ),
        (["20250301-110000-demo", "20260301-110000-demo"], ["demo 2025-03-01 11:00:00", "demo 2026-03-01 11:00:00"]),
        (["20260301-110000-demo", "20260301-110000-demo-2"], ["20260301-110000-demo", "20260301-110000-demo-2"]),
        (["20260301-110000-demo", "mine"], ["20260301-110000-demo", "mine"]),
    ],
)
def test_runs_of_one_name_are_told_apart_by_when_they_began(ids: list[str], called: list[str]) -> None:
    names = ["wide" if run_id.endswith("wide") else "demo" for run_id in ids]
    assert told_apart(list(zip(ids, names, strict=True))) == called
