import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import core.data.documents as documents
from core.data.documents import FileSource, Piece, Position
from core.data.errors import ShardError
from core.data.tokenizers import Tokenizer, demo_tokenizer, load_tokenizer

GPT2 = load_tokenizer("gpt2")
DEMO = demo_tokenizer()


def _pieces(*sources: Path | str, start: Position | None = None, **options: Any) -> list[Piece]:
    return list(FileSource([str(s) for s in sources], **options).pieces(start or Position()))


def _documents(pieces: list[Piece]) -> list[str]:
    texts: list[str] = []
    for piece in pieces:
        if piece.starts_document:
            texts.append(piece.text)
        else:
            texts[-1] += piece.text
    return texts


# Text rich in what tokenizers' patterns look at: blanks, newlines, digits, contractions, other scripts.
awkward = st.text(st.sampled_from("ab Z9'\n\r\t .,!sdé中\u0301\u00a0🙂-")) | st.text()


@pytest.mark.parametrize("tokenizer", [GPT2, DEMO], ids=lambda t: t.name)
@given(text=awkward)
def test_a_text_cut_in_pieces_has_the_tokens_of_the_whole(tokenizer: Tokenizer, text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    if raw.decode("utf-8", "ignore") != text:
        return
    pieces, rest = [], raw
    while cut := documents._safe_cut(rest):
        pieces.append(rest[cut:])
        rest = rest[:cut]
    parts = [tokenizer.encode(part.decode()) for part in [rest, *reversed(pieces)]]
    assert np.concatenate(parts).tolist() == tokenizer.encode(text).tolist()


def test_long_files_are_read_in_pieces_that_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_BLOCK", 64)
    text = "\ufeff" + "It is a truth, universally acknowledged: 中文 and 🙂!\r\n" * 50
    (tmp_path / "a.txt").write_bytes(text.encode())
    pieces = _pieces(tmp_path / "a.txt")
    assert len(pieces) > 20
    assert _documents(pieces) == [text.removeprefix("\ufeff")]
    assert sum(piece.size for piece in pieces) == len(text.encode())


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_reading_goes_on_from_behind_any_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(documents, "_BLOCK", 32)
    monkeypatch.setattr(documents, "_PARQUET_ROWS", 2)
    for name in ("a", "b", "c"):
        texts = [f"{name} document {n} with some words in it\nand a line" for n in range(5)]
        path = tmp_path / f"{name}.{kind}"
        if kind == "txt":
            path.write_text(" ".join(texts))
        elif kind == "jsonl":
            path.write_text("".join(json.dumps({"text": text}) + "\n\n" for text in texts))
        else:
            _write_parquet(path, texts)
    whole = _pieces(tmp_path)
    assert len(whole) >= 15
    for index, piece in enumerate(whole):
        rest = _pieces(tmp_path, start=piece.after)
        assert _marked(rest) == _marked(whole[index + 1 :])


def _marked(pieces: list[Piece]) -> str:
    """The stream as text, with a mark where a document starts; where it was cut does not matter."""
    return "".join(f"{'¶' if piece.starts_document else ''}{piece.text}" for piece in pieces)


def _write_parquet(path: Path, texts: list[Any], column: str = "text") -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({column: texts}), path)


def test_documents_come_in_the_order_of_names_without_hidden_and_foreign_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "sub/c.TXT", ".hidden/x.txt", "sub/.y.txt", "picture.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert _documents(_pieces(tmp_path)) == ["a.md", "b.txt", "sub/c.TXT"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    assert _documents(_pieces(tmp_path, tmp_path / "a.txt", f"{tmp_path}/*.txt")) == ["one"]


def test_blank_documents_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n\t\n")
    (tmp_path / "b.txt").write_text("")
    (tmp_path / "c.jsonl").write_text('{"text": ""}\n{"text": "  "}\n\n{"text": "x"}\n')
    assert _documents(_pieces(tmp_path)) == ["x"]


def test_another_text_key_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "x", "text": "no"}\n')
    _write_parquet(tmp_path / "b.parquet", ["y"], "body")
    assert _documents(_pieces(tmp_path, text_key="body")) == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"good\nbad \xff byte", ": byte 9 (0xff) is not UTF-8; --errors replace"),
        ("a.txt", b"cut \xe4\xb8", ": byte 4 (0xe4) is not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', ":2: not JSON"),
        ("a.jsonl", b'{"text": "a"}\n["a"]\n', ":2: a line must be a JSON object with a 'text'"),
        ("a.jsonl", b'{"text": "a"}\n\n{"body": "a", "id": 1}\n', ":3: 'text' is missing; the line has: body, id"),
        ("a.jsonl", b'{"text": 5}\n', ":1: 'text' is not text"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', ":1: character 0 is half of a surrogate pair"),
        ("a.jsonl", b"[" * 100_000, ":1: not JSON: nested too deeply, or a number too long"),
        ("a.parquet", b"nonsense", ": not a readable parquet file"),
        ("a.bin", b"", ": unknown kind of file; .txt, .md, .jsonl, .parquet are read"),
    ],
)
def test_unusable_input_is_named_by_file_and_place(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ShardError) as caught:
        _pieces(tmp_path / name)
    assert f"{tmp_path / name}{said}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    _write_parquet(tmp_path / "a.parquet", ["x"], "body")
    with pytest.raises(ShardError, match="no column 'text'; it has: body"):
        _pieces(tmp_path)
    _write_parquet(tmp_path / "a.parquet", ["x", None])
    with pytest.raises(ShardError, match="row 2: 'text' is null"):
        _pieces(tmp_path)


def test_undecodable_bytes_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"bad \xff byte")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "bad \xff"}\n{"text": "\\ud800"}\n')
    assert _documents(_pieces(tmp_path, errors="replace")) == ["bad \ufffd byte", "bad \ufffd", "\ufffd"]


@pytest.mark.parametrize(
    ("source", "said"), [("nope", "no such file or folder"), ("no*pe", "nothing to read"), (".", "nothing to read")]
)
def test_a_source_that_holds_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ShardError) as caught:
        FileSource([source])
    assert str(caught.value).startswith(f"{source}: {said}")


def test_standard_input_is_read_alone(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="cannot be mixed with files"):
        FileSource(["-", str(tmp_path)])
    with pytest.raises(ShardError, match="parquet cannot be read from standard input"):
        FileSource(["-"], kind="parquet")


@pytest.mark.parametrize(
    "text", ["中文。\n" * 400, ". , ; " * 300, "a\r\nb" * 300, "。\u3000字\n" * 300], ids=["zh", "dots", "crlf", "wide"]
)
@pytest.mark.parametrize("tokenizer", [GPT2, DEMO], ids=lambda t: t.name)
def test_long_texts_of_every_kind_have_the_tokens_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer, text: str
) -> None:
    monkeypatch.setattr(documents, "_BLOCK", 100)
    (tmp_path / "a.txt").write_bytes(text.encode())
    pieces = _pieces(tmp_path / "a.txt")
    tokens = np.concatenate([tokenizer.encode(piece.text) for piece in pieces])
    assert tokens.tolist() == tokenizer.encode(text).tolist()


def test_text_without_a_place_to_cut_is_cut_between_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_BLOCK", 64)
    monkeypatch.setattr(documents, "_LONGEST_PIECE", 256)
    text = "🙂中é" * 500
    (tmp_path / "a.txt").write_bytes(text.encode())
    pieces = _pieces(tmp_path / "a.txt")
    assert "".join(piece.text for piece in pieces) == text
    assert max(piece.size for piece in pieces) < 256 + 64
    for index, piece in enumerate(pieces):
        assert _pieces(tmp_path / "a.txt", start=piece.after) == pieces[index + 1 :]


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("one")

    def walk(folder: Path, onerror: Any) -> Any:
        onerror(PermissionError(13, "Permission denied", f"{folder}/secret"))

    monkeypatch.setattr(documents.os, "walk", walk)
    with pytest.raises(ShardError, match="secret: cannot be listed: Permission denied"):
        _pieces(tmp_path)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.txt")
    with pytest.raises(ShardError, match="not a regular file; give `-`"):
        _pieces(tmp_path / "f.txt")


def test_undecodable_bytes_in_parquet_are_named_or_replaced(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    raw = pyarrow.array([b"good", b"bad \xff"], pyarrow.binary()).view(pyarrow.utf8())
    parquet.write_table(pyarrow.table({"text": raw}), tmp_path / "a.parquet")
    with pytest.raises(ShardError, match=r"row 2: byte 4 \(0xff\) is not UTF-8"):
        _pieces(tmp_path)
    assert _documents(_pieces(tmp_path, errors="replace")) == ["good", "bad \ufffd"]


def test_progress_through_a_parquet_file_follows_its_rows(tmp_path: Path) -> None:
    _write_parquet(tmp_path / "a.parquet", ["x" * 100] * 10)
    source = FileSource([str(tmp_path)])
    done = [source.bytes_before(piece.after) for piece in source.pieces(Position())]
    assert done == sorted(done)
    assert len(set(done)) == 10
    assert done[-1] == source.total_bytes
