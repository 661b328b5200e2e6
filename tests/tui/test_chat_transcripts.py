"""Conversations on disk: whole again after a crash at any moment, never torn, and readable as a document."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from daisy_tui.chatting import transcripts
from daisy_tui.chatting.lens import Alternative, Token
from daisy_tui.chatting.transcripts import (
    Saved,
    Transcript,
    TranscriptError,
    listed,
    markdown,
    new_path,
    read,
    write_markdown,
)
from daisy_tui.chatting.turns import Speed, Turn, Turns


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(tmp_path: Path, clock: Clock) -> Transcript:
    saved = Saved("runs/demo", "chat", "Be brief.", 1_700_000_000.0)
    return Transcript(new_path(tmp_path, "demo", 1_700_000_000.0), saved, clock)


def told(transcript: Transcript, tree: Turns, question: str, *pieces: str, parent: Turn | None = None) -> Turn:
    """A question and its whole answer, written down as they come."""
    asked = tree.add("user", tree.tip if parent is None else parent, question)
    answer = tree.add("assistant", asked)
    answer.model, answer.asked = "demo step 7", {"seed": 3}
    transcript.begun(answer)
    for piece in pieces:
        answer.pieces.append(piece)
        answer.tokens.append(Token(len(piece), piece.encode(), -0.5, (Alternative(1, b"\xc3", -2.0),)))
        transcript.grown(answer)
    answer.ended, answer.prompt_ids, answer.speed = "full", [1, 2, 3], Speed(2, 0.5, 0.25, "the context is full")
    answer.held = 5
    transcript.ended(answer)
    return answer


def facts(tree: Turns) -> list[tuple[Any, ...]]:
    return [
        (
            t.number,
            t.parent.number if t.parent else None,
            t.role,
            t.text,
            t.tokens,
            t.ended,
            t.asked,
            t.model,
            t.speed,
            t.held,
        )
        for t in tree
    ]


def test_the_whole_tree_comes_back_with_its_path(kept: Transcript) -> None:
    tree = Turns()
    first = told(kept, tree, "Hi", "né", "🌼")
    told(kept, tree, "more", "second")
    tree.leave(first)
    told(kept, tree, "other", "branch")
    tree.choose(first.children[0])
    kept.chosen(tree.path, "Be long.")
    saved = read(kept.path)
    assert facts(saved.tree) == facts(tree)
    assert [turn.text for turn in saved.tree.path] == ["Hi", "né🌼", "more", "second"]
    assert (saved.source, saved.form, saved.system) == ("runs/demo", "chat", "Be long.")
    assert saved.tree.by_number[2].prompt_ids == [1, 2, 3]


def test_there_is_no_file_before_anything_is_said(kept: Transcript) -> None:
    kept.chosen([], "another system")
    assert not kept.path.parent.exists()
    told(kept, Turns(), "Hi", "ok")
    assert read(kept.path).system == "another system"


def test_a_crash_in_mid_stream_loses_no_more_than_a_second(kept: Transcript, clock: Clock) -> None:
    tree = Turns()
    answer = tree.add("assistant", tree.add("user", tree.root, "Hi"))
    kept.begun(answer)
    assert [turn.text for turn in read(kept.path).tree.path] == ["Hi", ""], "the question is there before it is asked"
    for piece in ("a", "b", "c"):
        answer.pieces.append(piece)
        kept.grown(answer)
        clock.now += 0.6
    left = read(kept.path).tree.path[-1]
    assert (left.text, left.ended) == ("abc", "cut"), "at once, and then no oftener than every second"
    answer.pieces.append("d")
    kept.grown(answer)
    assert read(kept.path).tree.path[-1].text == "abc"


def test_a_file_torn_at_any_byte_gives_all_that_was_whole_and_can_be_gone_on_with(kept: Transcript) -> None:
    tree = Turns()
    told(kept, tree, "Hi", "né")
    told(kept, tree, "more", "second")
    kept.close()
    data = kept.path.read_bytes()
    whole = data.index(b"\n") + 1
    for cut in range(whole, len(data), 7):
        kept.path.write_bytes(data[:cut])
        again, saved = Transcript.reopened(kept.path)
        told(again, saved.tree, "then", "went on")
        again.close()
        texts = [turn.text for turn in read(kept.path).tree.path]
        assert texts[-2:] == ["then", "went on"], cut
        assert texts[: len(saved.tree.path)] == [turn.text for turn in saved.tree.path]


def test_two_terminals_never_write_to_one_transcript(kept: Transcript) -> None:
    told(kept, Turns(), "Hi", "ok")
    with pytest.raises(TranscriptError, match="is open already, here or in another terminal"):
        Transcript.reopened(kept.path)
    kept.close()
    again, _ = Transcript.reopened(kept.path)
    again.close()


def test_a_file_is_let_go_once_the_answer_under_way_is_written(kept: Transcript) -> None:
    tree = Turns()
    answer = tree.add("assistant", tree.add("user", tree.root, "Hi"))
    kept.begun(answer)
    kept.close()
    answer.pieces.append("the end")
    answer.ended = "cut"
    with pytest.raises(TranscriptError, match="is open already"):
        Transcript.reopened(kept.path)
    kept.ended(answer)
    again, saved = Transcript.reopened(kept.path)
    again.close()
    assert [turn.text for turn in saved.tree.path] == ["Hi", "the end"]


def test_a_disk_that_is_full_ends_nothing_and_all_is_written_once_it_is_not(
    kept: Transcript, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Turns()
    told(kept, tree, "Hi", "ok")
    true_write = os.write
    monkeypatch.setattr(transcripts.os, "write", lambda file, data: true_write(file, data[:5]))
    told(kept, tree, "more", "second")
    assert kept.failure == f"{kept.path}: cannot be written: No space left on device; this chat is not saved"
    monkeypatch.undo()
    told(kept, tree, "third", "answer")
    assert kept.failure == ""
    assert [turn.text for turn in read(kept.path).tree.path] == ["Hi", "ok", "more", "second", "third", "answer"]


def test_a_folder_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "chats").write_text("a file")
    kept = Transcript(new_path(tmp_path, "demo", 0.0), Saved())
    told(kept, Turns(), "Hi", "ok")
    assert "chats" in kept.failure
    assert "this chat is not saved" in kept.failure


def test_what_is_no_transcript_is_refused_and_not_listed(tmp_path: Path, kept: Transcript) -> None:
    told(kept, Turns(), "Hi  there\nyou", "ok")
    (kept.path.parent / "other.jsonl").write_text('{"step": 1}\n')
    (kept.path.parent / "torn.jsonl").write_bytes(b'{"chat": 1')
    with pytest.raises(TranscriptError, match=r"other\.jsonl: is no transcript of a chat"):
        read(kept.path.parent / "other.jsonl")
    with pytest.raises(TranscriptError, match="No such file"):
        read(tmp_path / "none.jsonl")
    assert [(entry.path, entry.title, entry.source) for entry in listed(tmp_path)] == [
        (kept.path, "Hi there you", "runs/demo")
    ]
    assert listed(tmp_path / "nowhere") == []


LINES = [
    '{"turn": 1, "parent": 0, "role": "robot"}',
    '{"turn": 1, "parent": 9, "role": "user"}',
    '{"turn": "x", "parent": 0, "role": "user"}',
    '{"turn": 7, "text": "of nobody"}',
    '{"turn": [], "ended": "stop"}',
    '{"path": [4]}',
    '{"removed": 4}',
    "null",
    "[]",
    '{"turn": 0, "parent": 0, "role": "user"}',
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_tells_of_nothing_costs_itself(kept: Transcript, line: str) -> None:
    told(kept, Turns(), "Hi", "ok")
    kept.close()
    before = facts(read(kept.path).tree)
    with kept.path.open("a") as file:
        file.write(line + "\n")
    assert facts(read(kept.path).tree) == before


def test_the_document_is_the_path_that_is_chosen(kept: Transcript, tmp_path: Path) -> None:
    tree = Turns()
    first = told(kept, tree, "Hi", "ok")
    second = tree.add("assistant", first.siblings[0].parent or first)
    second.pieces, second.model, second.ended = ["cut he"], "demo step 7", "cut"
    saved = Saved("runs/demo", "chat", "Be\nbrief.", 0.0, tree)
    assert markdown(saved) == (
        "# Hi\n\ndemo step 7\n\n> Be\n> brief.\n\n## You\n\nHi\n\n## demo step 7 (2 of 2)\n\ncut he\n\n*stopped*\n"
    )
    write_markdown(tmp_path / "out/chat.md", saved)
    assert (tmp_path / "out/chat.md").read_text() == markdown(saved)
    saved.form = "text"
    assert markdown(saved) == "# Hi\n\ndemo step 7\n\nHicut he\n"


def test_names_of_files_are_plain_and_never_taken_twice(tmp_path: Path) -> None:
    first = new_path(tmp_path, "../a b/ü?", 0.0)
    assert first.parent == tmp_path / "chats"
    assert first.name.endswith("-a-b.jsonl")
    first.parent.mkdir()
    first.touch()
    assert new_path(tmp_path, "../a b/ü?", 0.0).name.endswith("-a-b-2.jsonl")
