import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data.documents import TextSource
from core.data.errors import ShardError
from core.data.folder import document_starts
from core.data.prepare import PrepareOptions, prepare
from core.data.preview import Documents, preview
from core.data.shards import HEADER_BYTES, write_shard
from core.data.tokenizers import ByteTokenizer, load_tokenizer
from core.data.verify import verify

TEXTS = ["a" * n for n in (5, 10, 3, 40, 2, 7)]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Documents of known lengths, in shards so short that documents run over several."""
    prepare(
        TextSource("texts", TEXTS), ByteTokenizer(), tmp_path, PrepareOptions("x", val_fraction=0.2, shard_tokens=9)
    )
    return tmp_path


def test_a_sound_dataset_has_no_problems_and_the_right_counts(dataset: Path) -> None:
    report = verify(dataset)
    assert report.problems == []
    assert report.hashes_checked
    train = report.splits["train"]
    assert train.documents + report.splits["val"].documents == len(TEXTS)
    lengths = [
        n for name in ("train", "val") for n in [report.splits[name].lengths[0], report.splits[name].lengths[100]]
    ]
    assert min(lengths) == 2
    assert max(lengths) == 40
    assert sum(s.mean_length * s.documents for s in report.splits.values()) == pytest.approx(sum(map(len, TEXTS)))


def test_lengths_are_whole_documents_also_across_many_shards(tmp_path: Path) -> None:
    prepare(TextSource("t", TEXTS), ByteTokenizer(), tmp_path, PrepareOptions("x", val_fraction=0, shard_tokens=4))
    split = verify(tmp_path).splits["train"]
    assert (split.lengths[0], split.lengths[50], split.lengths[100]) == (2, 6, 40)


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip, "its hash differs from dataset.json"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "truncated"),
        (lambda p: p.write_bytes(p.read_bytes()[:100]), "truncated: 100 bytes"),
        (lambda p: p.write_bytes(b""), "the file is empty"),
        (lambda p: p.write_bytes(b"\1" + p.read_bytes()[1:]), "not a token shard"),
        (lambda p: write_shard(p, np.array([1, 2]), 257), "2 tokens, but dataset.json lists 9"),
        (
            lambda p: write_shard(p, np.array([300] * 9), 400),
            "token 300 at position 0 is outside the vocabulary of 'bytes' (0 to 256)",
        ),
    ],
)
def test_every_kind_of_damage_is_found_and_named(dataset: Path, damage: object, said: str) -> None:
    shard = dataset / "x_train_000001.bin"
    damage(shard)  # type: ignore[operator]
    problems = verify(dataset).problems
    assert any(problem.startswith(f"{shard}: ") and said in problem for problem in problems), problems


def test_a_shard_of_another_dataset_is_found(dataset: Path) -> None:
    write_shard(dataset / "y_train_000000.bin", np.array([256, 1]), 257)
    assert any("y_train_000000.bin: not listed in dataset.json" in problem for problem in verify(dataset).problems)


def test_a_missing_shard_and_an_empty_folder_are_named(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (dataset / "x_train_000000.bin").unlink()
    with pytest.raises(ShardError, match=r"x_train_000000\.bin: listed in dataset.json, but missing"):
        verify(dataset)
    with pytest.raises(ShardError, match="no shards"):
        verify(tmp_path_factory.mktemp("empty"))
    with pytest.raises(ShardError, match="no such folder or shard"):
        verify(dataset / "nope")


def test_community_shards_are_read_as_gpt2s(tmp_path: Path) -> None:
    ids = np.concatenate(
        [[50256], load_tokenizer("gpt2").encode("Hello world"), [50256], load_tokenizer("gpt2").encode(" the")]
    )
    write_shard(tmp_path / "fineweb_val_000000.bin", ids, 50257)
    report = verify(tmp_path)
    assert (report.problems, report.hashes_checked, report.splits["val"].documents) == ([], False, 2)
    assert [view.data for view in preview(tmp_path, split="val", document=1).tokens] == [b"<|endoftext|>", b" the"]


def test_a_damaged_dataset_json_is_one_line(dataset: Path) -> None:
    for content in ("{", "[]", "{}", json.dumps({"format": 9}), json.dumps({"format": 1, "name": "x"})):
        (dataset / "dataset.json").write_text(content)
        with pytest.raises(ShardError, match=r"dataset\.json"):
            verify(dataset)


def _text(path: Path, **options: object) -> bytes:
    return b"".join(view.data for view in preview(path, **options).tokens)  # type: ignore[arg-type]


def test_preview_shows_documents_and_ranges(tmp_path: Path) -> None:
    prepare(TextSource("t", ["first one", "second"]), ByteTokenizer(), tmp_path, PrepareOptions("x", val_fraction=0))
    assert _text(tmp_path) == b"<|endoftext|>first one<|endoftext|>second"
    assert _text(tmp_path, document=1) == b"<|endoftext|>second"
    assert _text(tmp_path, start=1, stop=6) == b"first"
    assert _text(tmp_path, document=1, start=1) == b"second"
    assert preview(tmp_path, document=1, start=2, stop=3).tokens[0].position == 12
    assert preview(tmp_path, stop=3).continues
    assert not preview(tmp_path, document=1).continues


def test_preview_counts_documents_over_shards(dataset: Path) -> None:
    shards = sorted(dataset.glob("x_train_*.bin"))
    documents = verify(dataset).splits["train"].documents
    assert len(shards) > documents
    for document in range(documents):
        assert preview(dataset, document=document).tokens[0].id == 256


def test_walking_through_documents_counts_each_shard_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    def counting(tokens: Any, eot: int) -> Any:
        counted.append(len(tokens))
        return document_starts(tokens, eot)

    number = verify(dataset).splits["train"].documents
    alone = [preview(dataset, document=document) for document in range(number)]
    monkeypatch.setattr("core.data.preview.document_starts", counting)
    documents = Documents(dataset)
    assert [documents.show(document) for document in range(number)] == alone
    assert len(counted) <= len(list(dataset.glob("x_train_*.bin")))
    assert documents.show(0) == alone[0], "and back again"
    assert alone[0].length == len(alone[0].tokens)
    part = documents.show(0, 1, 3)
    assert (part.first, part.length, part.continues) == (1, alone[0].length, True)


def test_what_is_not_there_is_named(dataset: Path) -> None:
    with pytest.raises(ShardError, match=r"no document 99; there are \d \(0 to \d\)"):
        preview(dataset, document=99)
    with pytest.raises(ShardError, match="position 9 is past the end of this shard of 9 tokens"):
        preview(dataset, start=9)
    with pytest.raises(ShardError, match="no shards of split 'test'; there are train, val"):
        preview(dataset, split="test")


def test_the_header_is_a_kilobyte_as_documented(dataset: Path) -> None:
    assert (dataset / "x_train_000000.bin").stat().st_size == HEADER_BYTES + 2 * 9


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("splits", "train", "tokens"), None),
        (("tokenizer", "vocab_size"), "x"),
        (("tokenizer", "file"), -1),
        (("tokenizer", "name"), []),
        (("tokenizer", "eot_token_id"), []),
        (("splits", "train", "shards"), [{"file": None}]),
        (("tokenizer", "file"), "../tokenizer.tiktoken"),
    ],
)
def test_a_dataset_json_of_the_wrong_shape_is_one_line(dataset: Path, key: tuple[str, ...], value: object) -> None:
    data = json.loads((dataset / "dataset.json").read_text())
    holder = data
    for part in key[:-1]:
        holder = holder[part]
    holder[key[-1]] = value
    (dataset / "dataset.json").write_text(json.dumps(data))
    for read in (verify, preview):
        with pytest.raises(ShardError, match=r"dataset.json: damaged: ") as caught:
            read(dataset)  # type: ignore[operator]
        assert len(str(caught.value).splitlines()) == 1


def test_a_document_is_shown_whole_however_many_shards_it_spans(tmp_path: Path) -> None:
    texts = ["a" * 31, "b" * 2, "c" * 25]
    prepare(TextSource("t", texts), ByteTokenizer(), tmp_path, PrepareOptions("x", val_fraction=0, shard_tokens=10))
    for number, text in enumerate(texts):
        shown = preview(tmp_path, document=number)
        assert b"".join(view.data for view in shown.tokens[1:]).decode() == text
        assert not shown.continues
    assert preview(tmp_path, document=0, start=12, stop=14).tokens[0].position == 12


def test_a_broken_link_and_a_pipe_are_named_and_not_waited_for(dataset: Path) -> None:
    (dataset / "x_train_000001.bin").unlink()
    (dataset / "x_train_000001.bin").symlink_to("nowhere")
    with pytest.raises(ShardError, match=r"x_train_000001.bin: listed in dataset.json, but missing"):
        verify(dataset)
    (dataset / "dataset.json").unlink()
    assert any("x_train_000001.bin: cannot be read" in problem for problem in verify(dataset).problems)
    os.mkfifo(dataset / "y_train_000000.bin")
    assert any("y_train_000000.bin: not a regular file" in problem for problem in verify(dataset).problems)


def test_shards_without_any_end_of_text_are_not_called_sound(tmp_path: Path) -> None:
    for number in range(2):
        write_shard(tmp_path / f"x_train_{number:06d}.bin", np.arange(50), 50257)
    assert any("train has no end-of-text (50256)" in problem for problem in verify(tmp_path).problems)
