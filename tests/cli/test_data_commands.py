import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.data.shards import open_shard
from core.text import count, duration, plural, printable, size
from daisy_tui.cli.progress import _plain
from daisy_tui.cli.text import table


@pytest.fixture
def texts(workspace: Path) -> Path:
    folder = workspace / "texts"
    folder.mkdir()
    for n in range(5):
        (folder / f"{n}.txt").write_text(f"Document {n}: the quick brown fox. " * 5)
    return folder


def test_prepare_preview_and_verify_by_the_readme(texts: Path, daisy: Any) -> None:
    ran = daisy("data", "prepare", "texts", "--out", "data/mine", "--val-fraction", "0.2")
    assert ran.code == 0, ran.err
    assert "data/mine: 'mine', tokenizer 'gpt2'" in ran.out
    assert sorted(path.name for path in Path("data/mine").iterdir()) == [
        "dataset.json",
        "mine_train_000000.bin",
        "mine_val_000000.bin",
    ]
    shown = daisy("data", "preview", "data/mine", "--document", "0", "--tokens", "0:6")
    assert shown.out.endswith("<|endoftext|>|Document| 0|:| the| quick ...\n")
    assert "sound: headers, lengths, hashes and tokens checked" in daisy("data", "verify", "data/mine").out


def test_preview_json_has_positions_ids_and_bytes(texts: Path, daisy: Any) -> None:
    daisy("data", "prepare", "texts", "--out", "d", "--tokenizer", "bytes", "--val-fraction", "0")
    data = json.loads(daisy("data", "preview", "d", "--tokens", "1:3", "--json").out)
    assert data["tokens"] == [
        {"position": 1, "id": 68, "text": "D", "bytes": "44"},
        {"position": 2, "id": 111, "text": "o", "bytes": "6f"},
    ]


def test_preview_shows_bytes_and_control_characters_safely(workspace: Path, daisy: Any) -> None:
    (workspace / "a.txt").write_text("\x1b[2J\n中")
    daisy("data", "prepare", "a.txt", "--out", "d", "--tokenizer", "bytes", "--val-fraction", "0")
    shown = daisy("data", "preview", "d").out
    assert "\x1b" not in shown
    assert "|\\x1b|[|2|J|↵\n|\\xe4|\\xb8|\\xad" in shown


def test_numbers_may_be_written_short(texts: Path, daisy: Any) -> None:
    ran = daisy("data", "prepare", "texts", "--out", "d", "--shard-tokens", "0.1k", "--val-fraction", "0")
    assert ran.code == 0, ran.err
    assert len(open_shard(Path("d/d_train_000000.bin"))) == 100


def test_standard_input_is_one_document_or_json_lines(
    workspace: Path, daisy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"some text")))
    ran = daisy("data", "prepare", "-", "--out", "one", "--tokenizer", "bytes", "--val-fraction", "0")
    assert "1 document " in ran.out
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b'{"text": "a"}\n{"text": "b"}\n')))
    ran = daisy("data", "prepare", "-", "--out", "two", "--tokenizer", "bytes", "--format", "jsonl")
    assert "train  2 tokens (50.0%)  1 document" in ran.out


def test_a_trained_tokenizer_is_used_by_its_folder(texts: Path, daisy: Any) -> None:
    ran = daisy("data", "train-tokenizer", "texts", "--vocab-size", "270", "--out", "tok")
    assert ran.out == "tok/tokenizer.tiktoken: 270 ids, end-of-text is 269\n"
    assert daisy("data", "prepare", "texts", "--out", "d", "--tokenizer", "tok").code == 0
    assert Path("d/tokenizer.tiktoken").read_bytes() == Path("tok/tokenizer.tiktoken").read_bytes()
    assert daisy("data", "verify", "d").code == 0


def test_verify_fails_with_every_problem(texts: Path, daisy: Any) -> None:
    daisy("data", "prepare", "texts", "--out", "d", "--tokenizer", "bytes", "--shard-tokens", "300")
    for name in ("d_train_000000.bin", "d_train_000001.bin"):
        Path("d", name).write_bytes(b"")
    ran = daisy("data", "verify", "d")
    assert ran.code == 1
    assert ran.err.count("error: d/d_train_00000") == 2
    report = daisy("data", "verify", "d", "--json")
    assert report.code == 1
    assert json.loads(report.out)["ok"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["prepare", "nope", "--out", "d"], 2, "nope: no such file or folder"),
        (["prepare", "texts", "--out", "d", "--tokenizer", "gpt9"], 2, "tokenizer 'gpt9' is unknown"),
        (["prepare", "texts", "--out", "d", "--shard-tokens", "many"], 2, "'many' is not a whole number"),
        (["prepare", "texts", "--out", "d", "--val-fraction", "2"], 2, "must be at least 0 and below 1"),
        (["prepare", "texts", "--out", "d", "--name", "a/b"], 2, "'a/b' cannot begin a file name"),
        (["prepare", "texts", "--out", "texts/0.txt"], 1, "texts/0.txt: cannot be written: File exists"),
        (["prepare", "texts", "--out", "d", "--text-key"], 2, "requires an argument"),
        (["train-tokenizer", "texts", "--vocab-size", "100", "--out", "d"], 2, "need 257"),
        (["train-tokenizer", "texts", "--vocab-size", "99k", "--out", "d"], 1, "pairs to merge"),
        (["preview", "texts"], 2, "texts: no shards (*.bin) in this folder"),
        (["preview", "texts", "--tokens", "5"], 2, "'5' is not a range; write A:B, A: or :B"),
        (["preview", "texts", "--tokens", "5:5"], 2, "'5:5' is empty"),
        (["verify", "nope"], 2, "nope: no such folder or shard"),
    ],
)
def test_bad_input_is_one_line(texts: Path, daisy: Any, arguments: list[str], code: int, said: str) -> None:
    ran = daisy("data", *arguments)
    assert ran.code == code, ran.err
    assert ran.err.count("error: ") == 1
    assert said in ran.err
    assert not Path("d").exists() or not list(Path("d").iterdir())


def test_plain_progress_says_rate_and_eta_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    update = _plain("preparing", lambda: now[0])
    update(100 << 20, 1 << 30, "1M tokens")  # an earlier run had come so far
    now[0] = 10.0
    update(200 << 20, 1 << 30, "2M tokens")
    now[0] = 11.0
    update(210 << 20, 1 << 30, "2M tokens")
    assert capsys.readouterr().err == "preparing: 200.0 MiB of 1.00 GiB (20%), 2M tokens, 10.00 MiB/s, ETA 1:22\n"


def test_numbers_for_people() -> None:
    assert [count(n) for n in (0, 999, 9999, 12_345, 3_344_392, 1.613e9)] == [
        "0",
        "999",
        "9,999",
        "12.3k",
        "3.34M",
        "1.61B",
    ]
    assert [size(n) for n in (10, 2048, 1 << 20, 150 << 20)] == ["10 B", "2.00 KiB", "1.00 MiB", "150.0 MiB"]
    assert [duration(s) for s in (5, 65, 3661)] == ["0:05", "1:05", "1:01:01"]
    assert [plural(n, "doc") for n in (0, 1, 1234)] == ["0 docs", "1 doc", "1,234 docs"]
    assert printable("a\x1b\u202eb\nc") == "a\\x1b\\u202eb\nc"
    assert table([("a", "bb"), ("ccc", "d")]) == ["a    bb", "ccc  d"]
