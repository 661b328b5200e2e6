"""The tree of turns: what stands beside what, and the path that is chosen."""

from __future__ import annotations

from daisy_tui.chatting.turns import Speed, Turns


def said(tree: Turns) -> str:
    return " ".join(turn.text for turn in tree.path)


def test_another_answer_stands_beside_the_first_and_each_keeps_what_came_behind_it() -> None:
    tree = Turns()
    assert (tree.path, bool(tree), tree.tip) == ([], False, tree.root)
    question = tree.add("user", tree.tip, "q1")
    first = tree.add("assistant", question, "a1")
    tree.add("user", first, "q2")
    second = tree.add("assistant", question, "b1")
    assert said(tree) == "q1 b1"
    assert (second.place, len(second.siblings)) == (2, 2)
    assert tree.step(second, -1) is first
    assert said(tree) == "q1 a1 q2", "the branch goes on as it last went"
    assert tree.step(first, -1) is second, "around the end"


def test_choosing_deep_in_another_branch_leads_the_whole_path_there() -> None:
    tree = Turns()
    one = tree.add("user", tree.root, "one")
    deep = tree.add("assistant", one, "deep")
    tree.add("user", tree.root, "two")
    tree.choose(deep)
    assert said(tree) == "one deep"


def test_leaving_ends_the_path_so_that_the_next_turn_stands_beside_the_old_one() -> None:
    tree = Turns()
    question = tree.add("user", tree.root, "q")
    answer = tree.add("assistant", question, "a")
    old = tree.add("user", answer, "old")
    tree.leave(answer)
    assert said(tree) == "q a"
    new = tree.add("user", tree.tip, "new")
    assert new.siblings == [old, new]
    tree.leave(tree.root)
    assert tree.path == []


def test_what_is_removed_gives_its_place_to_the_last_of_its_siblings() -> None:
    tree = Turns()
    question = tree.add("user", tree.root, "q")
    tree.add("assistant", question, "a")
    gone = tree.add("assistant", question, "gone")
    tree.remove(gone)
    assert said(tree) == "q a"
    assert [turn.number for turn in tree] == [1, 2]
    assert tree.add("assistant", question, "new").number == 4, "a number is never used again"


def test_a_conversation_of_thousands_of_turns_is_no_deeper_than_one() -> None:
    tree = Turns()
    turn = tree.root
    for number in range(2_000):
        turn = tree.add("user" if number % 2 else "assistant", turn, str(number))
    assert len(tree.path) == 2_000
    repr(tree.tip)


def test_speed_counts_from_the_first_token() -> None:
    assert Speed(11, 0.5, 2.0).rate == 5.0
    assert Speed(1, 0.5, 0.0).rate is None
    cut = Speed(11, 0.5, 2.0, "cut at max_tokens 11")
    assert str(cut) == "11 tokens, 5.0 tokens/s, first after 0.50 s, cut at max_tokens 11"
