import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.dataset import STAGING, Dataset, read_dataset
from core.data.documents import FileSource, TextSource
from core.data.errors import ShardError
from core.data.prepare import PrepareOptions, Progress, dataset_name, prepare
from core.data.shards import open_shard
from core.data.tokenizers import ByteTokenizer, load_tokenizer
from core.errors import StoppedError

BYTES = ByteTokenizer()


def _prepare(out: Path, texts: Sequence[str], **options: Any) -> Dataset:
    return prepare(TextSource("texts", texts), BYTES, out, PrepareOptions("x", **options)).dataset


def _split(out: Path, split: str) -> list[int]:
    shards = [open_shard(path) for path in sorted(out.glob(f"x_{split}_*.bin"))]
    return np.concatenate(shards).tolist() if shards else []


def _documents(tokens: list[int]) -> list[str]:
    data = "".join(chr(t) if t < 256 else "\0" for t in tokens)
    return data.split("\0")[1:]


def _files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_each_document_begins_with_the_separator_and_none_is_lost(tmp_path: Path) -> None:
    texts = [f"document {n}" for n in range(40)]
    dataset = _prepare(tmp_path, texts, val_fraction=0.2)
    train, val = _documents(_split(tmp_path, "train")), _documents(_split(tmp_path, "val"))
    assert _split(tmp_path, "train")[0] == 256
    assert sorted(train + val) == sorted(texts)
    assert (dataset.splits["train"].documents, dataset.splits["val"].documents) == (len(train), len(val))
    assert dataset.splits["val"].text_bytes == sum(map(len, val))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 300), min_size=2, max_size=40), st.floats(0.001, 0.999))
def test_the_split_is_within_one_document_and_never_empty(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], fraction: float
) -> None:
    splits = _prepare(tmp_path_factory.mktemp("s"), ["x" * n for n in lengths], val_fraction=fraction).splits
    total = splits["train"].tokens + splits["val"].tokens
    assert splits["train"].documents >= 1
    assert splits["val"].documents >= 1
    assert abs(splits["val"].tokens - fraction * total) <= max(lengths) + 1


@pytest.mark.parametrize("shard_tokens", [1, 7, 64, 10_000])
def test_shards_are_full_but_the_last_and_hold_the_same_stream(tmp_path: Path, shard_tokens: int) -> None:
    texts = [f"document {n}" for n in range(10)]
    _prepare(tmp_path / "one", texts, val_fraction=0)
    dataset = _prepare(tmp_path / "many", texts, val_fraction=0, shard_tokens=shard_tokens)
    assert _split(tmp_path / "many", "train") == _split(tmp_path / "one", "train")
    assert all(entry.tokens == shard_tokens for entry in dataset.splits["train"].shards[:-1])


def test_the_number_of_workers_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.tokenise._TASK_BYTES", 64)
    texts = [f"document {n} " * (n % 7 + 1) for n in range(200)]
    results = []
    for workers in (1, 2, 5):
        _prepare(tmp_path / str(workers), texts, val_fraction=0.1, shard_tokens=500, workers=workers)
        results.append(_files(tmp_path / str(workers)))
    assert results[0] == results[1] == results[2]


def test_dataset_json_says_what_is_there(tmp_path: Path) -> None:
    _prepare(tmp_path, ["one", "two", "three"], val_fraction=0.3)
    data = json.loads((tmp_path / "dataset.json").read_text())
    assert data["tokenizer"] == {
        "name": "bytes",
        "vocab_size": 257,
        "eot_token_id": 256,
        "fingerprint": BYTES.fingerprint(),
        "file": None,
        "pattern": None,
        "special_tokens": None,
    }
    assert sum(split["documents"] for split in data["splits"].values()) == 3
    assert not (tmp_path / STAGING).exists()


def test_a_trained_tokenizer_travels_with_its_shards(tmp_path: Path) -> None:
    from core.data.demo import prepare_demo

    prepare_demo(tmp_path)
    info = read_dataset(tmp_path).tokenizer  # type: ignore[union-attr]
    assert load_tokenizer(str(tmp_path)).fingerprint() == info.fingerprint


def test_the_same_command_again_does_nothing(tmp_path: Path) -> None:
    _prepare(tmp_path, ["one", "two"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    _prepare(tmp_path, ["one", "two"])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_another_dataset_is_never_overwritten_unasked(tmp_path: Path) -> None:
    _prepare(tmp_path, ["one", "two"], shard_tokens=3)
    before = _files(tmp_path)
    with pytest.raises(ShardError, match="already holds the dataset 'x' of other input or options; use --overwrite"):
        _prepare(tmp_path, ["three", "four"])
    assert _files(tmp_path) == before
    _prepare(tmp_path, ["three", "four"], overwrite=True)
    assert _documents(_split(tmp_path, "train")) == ["three"]


def test_the_old_dataset_stands_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = [f"old {n}" for n in range(30)], [f"new {n}" for n in range(9)]
    _prepare(tmp_path / "new", new, shard_tokens=20)
    whole = _files(tmp_path / "new")
    _prepare(tmp_path / "out", old, shard_tokens=20)
    before = _files(tmp_path / "out")
    with pytest.raises(_CrashError):
        prepare(
            TextSource("texts", new),
            BYTES,
            tmp_path / "out",
            PrepareOptions("x", shard_tokens=20, overwrite=True),
            report=_after(8, _crash),
        )
    assert _files(tmp_path / "out") == before
    replace, unlink = Path.replace, Path.unlink
    for survive in range(8):
        out = tmp_path / f"crash{survive}"
        shutil.copytree(tmp_path / "out", out)
        moved = 0

        def dying(path: Path, *arguments: Any, limit: int = survive, **options: Any) -> Any:
            nonlocal moved
            if "x_" in path.name:
                moved += 1
                if moved > limit:
                    raise _CrashError
            return (replace if arguments else unlink)(path, *arguments, **options)

        monkeypatch.setattr(Path, "replace", dying)
        monkeypatch.setattr(Path, "unlink", dying)
        with pytest.raises(_CrashError):
            _prepare(out, new, shard_tokens=20, overwrite=True)
        monkeypatch.undo()
        _prepare(out, new, shard_tokens=20)
        assert _files(out) == whole


def test_a_finished_dataset_that_lost_a_shard_is_not_called_prepared(tmp_path: Path) -> None:
    _prepare(tmp_path, ["one", "two"])
    (tmp_path / "x_train_000000.bin").unlink()
    with pytest.raises(ShardError, match=r"x_train_000000.bin: missing or damaged; use --overwrite"):
        _prepare(tmp_path, ["one", "two"])


def test_shards_of_nobody_are_never_mixed_in(tmp_path: Path) -> None:
    (tmp_path / "x_train_000007.bin").write_bytes(b"mine")
    with pytest.raises(ShardError, match=r"already holds x_train_000007\.bin, of no dataset.json"):
        _prepare(tmp_path, ["one", "two"], overwrite=True)
    assert (tmp_path / "x_train_000007.bin").read_bytes() == b"mine"


class _CrashError(Exception):
    pass


def _after(calls: int, then: Callable[[], bool]) -> Callable[..., bool]:
    """A callback that does `then` at its n-th call and every one after it."""
    seen = 0

    def callback(*_: Any) -> bool:
        nonlocal seen
        seen += 1
        return then() if seen >= calls else False

    return callback


def _crash() -> bool:
    raise _CrashError


@pytest.mark.parametrize("how", ["asked to stop", "crashed"])
def test_wherever_it_is_stopped_it_goes_on_to_the_same_bytes(tmp_path: Path, how: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for n in range(6):
        (source / f"{n}.txt").write_text(f"text {n} " * (20 + n))
        (source / f"{n}.jsonl").write_text("".join(json.dumps({"text": f"line {i} of {n}"}) + "\n" for i in range(4)))
    options = PrepareOptions("x", val_fraction=0.2, shard_tokens=100)

    def run(out: Path, **callbacks: Any) -> None:
        prepare(FileSource([str(source)]), BYTES, out, options, save_every_tokens=50, **callbacks)

    pieces: list[int] = []
    run(tmp_path / "whole", report=lambda p: pieces.append(p.documents))
    expected = _files(tmp_path / "whole")
    for stop_after in range(1, len(pieces)):
        out = tmp_path / f"{stop_after}"
        if how == "crashed":
            with pytest.raises(_CrashError):
                run(out, report=_after(stop_after, _crash))
        else:
            with pytest.raises(StoppedError, match=r"stopped at [\d,]+ of [\d,]+ bytes; the same command goes on"):
                run(out, stop=_after(stop_after, lambda: True))
        assert not list(out.rglob("*.bin")), "an interrupted run left what looks like a shard"
        assert not (out / "dataset.json").exists()
        resumed: list[int] = []
        run(out, report=lambda p, seen=resumed: seen.append(p.documents))
        assert _files(out) == expected
        if how == "asked to stop":
            assert len(resumed) == len(pieces) - stop_after, "it did not go on from where it was stopped"
        elif stop_after > 20:
            assert resumed[0] > 5, "it began again from nothing"


CHILD = """
import sys
from pathlib import Path
from core.data.documents import FileSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer
source, out = sys.argv[1:]
prepare(FileSource([source]), ByteTokenizer(), Path(out), PrepareOptions("x", val_fraction=0.1, shard_tokens=5000),
        report=lambda progress: print(progress.tokens, flush=True), save_every_tokens=2000)
print("done", flush=True)
"""


def test_kill_minus_nine_leaves_nothing_finished_and_loses_nothing(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text("".join(json.dumps({"text": f"line {n} " * 10}) + "\n" for n in range(3000)))
    prepare(
        FileSource([str(source)]), BYTES, tmp_path / "whole", PrepareOptions("x", val_fraction=0.1, shard_tokens=5000)
    )
    out = tmp_path / "out"
    kills = 0
    for lines in (1, 40, 500, 900, 1300, 10_000):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(source), str(out)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        seen = [line for _, line in zip(range(lines), child.stdout, strict=False)]
        if seen[-1] != "done\n":
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.communicate()
        if seen[-1] != "done\n":
            assert not list(out.rglob("*.bin"))
    assert kills >= 3
    assert _files(out) == _files(tmp_path / "whole")


def test_a_kill_while_moving_into_place_is_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"document {n}" for n in range(30)]
    _prepare(tmp_path / "whole", texts, shard_tokens=50)
    moves = len(list((tmp_path / "whole").glob("*.bin")))
    rename = Path.replace
    for survive in range(moves):
        out = tmp_path / str(survive)
        done = 0

        def dying(path: Path, target: Path, limit: int = survive) -> Path:
            nonlocal done
            if ".partial" not in path.name:
                return rename(path, target)
            if done == limit:
                raise _CrashError
            done += 1
            return rename(path, target)

        monkeypatch.setattr(Path, "replace", dying)
        with pytest.raises(_CrashError):
            _prepare(out, texts, shard_tokens=50)
        monkeypatch.setattr(Path, "replace", rename)
        assert not (out / "dataset.json").exists()
        _prepare(out, texts, shard_tokens=50)
        assert _files(out) == _files(tmp_path / "whole")


def test_an_unfinished_preparation_is_not_dropped_unasked(tmp_path: Path) -> None:
    texts = ["one two three"] * 20
    source = TextSource("texts", texts)
    with pytest.raises(StoppedError):
        prepare(source, BYTES, tmp_path, PrepareOptions("x"), stop=_after(9, lambda: True))
    with pytest.raises(ShardError, match="unfinished preparation of other input or options"):
        _prepare(tmp_path, ["other", "text"])
    _prepare(tmp_path, ["other", "text"], overwrite=True)
    assert _documents(_split(tmp_path, "train")) == ["other"]


def test_bad_bytes_may_be_replaced_after_a_strict_run_met_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_bytes(b"good text " * 30)
    (source / "b.txt").write_bytes(b"bad \xff text")
    options = PrepareOptions("x", val_fraction=0.4)

    def run(errors: Any) -> Dataset:
        read = FileSource([str(source)], errors=errors)
        return prepare(read, BYTES, tmp_path / "out", options, save_every_tokens=1).dataset

    with pytest.raises(ShardError, match=r"b.txt: byte 4 \(0xff\)"):
        run("strict")
    assert run("replace").splits["val"].documents == 1


def test_two_preparations_never_write_the_same_folder(tmp_path: Path) -> None:
    def again(progress: Progress) -> None:
        with pytest.raises(ShardError, match="another preparation is writing there"):
            _prepare(tmp_path, ["one", "two"])

    prepare(TextSource("texts", ["one", "two"]), BYTES, tmp_path, PrepareOptions("x"), report=again)
    assert len(_documents(_split(tmp_path, "train"))) == 1


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "texts: holds no text"),
        (["one"], "texts: holds only one document, and a document is never split"),
        (["one", ""], "texts: holds only one document"),
    ],
)
def test_input_that_cannot_be_split_says_so_and_leaves_nothing(tmp_path: Path, texts: list[str], said: str) -> None:
    with pytest.raises(ShardError, match=said):
        prepare(TextSource("texts", texts), BYTES, tmp_path / "out", PrepareOptions("x"), save_every_tokens=1)
    assert not (tmp_path / "out").exists()
    if texts:
        assert _prepare(tmp_path / "out", texts, val_fraction=0).splits["val"].tokens == 0


@pytest.mark.parametrize("made", ["data/o", "data", ""])
def test_a_refusal_leaves_no_folder_that_it_made_and_every_other_one(tmp_path: Path, made: str) -> None:
    (tmp_path / made).mkdir(exist_ok=True, parents=True)
    (tmp_path / "data.jsonl").write_text("")
    source = FileSource([str(tmp_path / "data.jsonl")])
    with pytest.raises(ShardError, match="holds no text"):
        prepare(source, BYTES, tmp_path / "data/o", PrepareOptions("x"))
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert there == {"data.jsonl"} | {"data": {"data"}, "data/o": {"data", "data/o"}}.get(made, set())


def test_one_text_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("all of it")
    source = FileSource([str(tmp_path / "input.txt")])
    source.pieces = None  # type: ignore[method-assign, assignment]
    with pytest.raises(ShardError, match=r"input.txt: holds only one document"):
        prepare(source, BYTES, tmp_path / "out", PrepareOptions("x"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options", [{"val_fraction": 1.0}, {"val_fraction": -0.1}, {"shard_tokens": 0}, {"workers": 0}]
)
def test_options_out_of_range_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ShardError):
        _prepare(tmp_path, ["one", "two"], **options)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ShardError, match="out: cannot be written: File exists"):
        _prepare(tmp_path / "out", ["one", "two"])


@pytest.mark.parametrize(
    ("folder", "name"), [("data/My Set!", "My_Set"), ("data/fine.web-1", "fine.web-1"), ("/", "data")]
)
def test_a_dataset_is_named_after_its_folder(folder: str, name: str) -> None:
    assert dataset_name(Path(folder)) == name


def test_text_that_changes_while_it_is_read_is_no_dataset(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text('{"text": "one"}\n{"text": "two"}\n')

    def grow(progress: Progress) -> None:
        source.write_text('{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n')

    with pytest.raises(ShardError, match="was changed while it was read"):
        prepare(FileSource([str(source)]), BYTES, tmp_path / "out", PrepareOptions("x"), report=grow)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "3", '"x"', '{"plan": null, "moving": 5}', '{"moving": [1]}', "[" * 100_000]
)
def test_a_damaged_state_is_one_line_and_can_be_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / ".preparing").mkdir()
    (tmp_path / ".preparing/progress.json").write_text(content)
    with pytest.raises(ShardError, match=r"progress.json: damaged: .*delete .* to start over, or use --overwrite"):
        _prepare(tmp_path, ["one", "two"])
    _prepare(tmp_path, ["one", "two"], overwrite=True)
    assert not (tmp_path / ".preparing").exists()


def test_a_tokenizer_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    from core.data.tokenizers import demo_tokenizer

    (tmp_path / "tokenizer.tiktoken").write_bytes(b"somebody's")
    with pytest.raises(ShardError, match=r"tokenizer.tiktoken: another tokenizer is already there"):
        prepare(TextSource("t", ["one", "two"]), demo_tokenizer(), tmp_path, PrepareOptions("x"))
    assert (tmp_path / "tokenizer.tiktoken").read_bytes() == b"somebody's"


@pytest.mark.long
def test_an_encoding_of_tiktokens_travels_with_its_pattern(tmp_path: Path) -> None:
    from core.data.dataset import dataset_tokenizer
    from core.data.tokenizers import BpeTokenizer, demo_tokenizer

    ranks = {demo_tokenizer().token_bytes(i): i for i in range(4095)}
    gaps = {"<|endoftext|>": 5000, "<|fim|>": 5003}
    tokenizer = BpeTokenizer.from_ranks("cl100k_base", ranks, r"\p{N}|[^\p{N}]+", gaps)
    dataset = prepare(TextSource("t", ["one 123", "two"]), tokenizer, tmp_path, PrepareOptions("x")).dataset
    again = dataset_tokenizer(tmp_path, read_dataset(tmp_path).tokenizer)  # type: ignore[union-attr]
    assert again.fingerprint() == tokenizer.fingerprint() == dataset.tokenizer.fingerprint
    assert again.encode("a 12").tolist() == tokenizer.encode("a 12").tolist()
    assert (again.eot_token_id, again.token_bytes(5001)) == (5000, b"")


def test_the_demo_of_another_version_is_replaced_and_nobody_elses_data(tmp_path: Path) -> None:
    from core.data.demo import demo_documents, prepare_demo
    from core.data.tokenizers import demo_tokenizer

    older = TextSource("austen.txt", demo_documents()[:20])
    prepare(older, demo_tokenizer(), tmp_path / "demo", PrepareOptions("demo", val_fraction=0.1))
    assert prepare_demo(tmp_path / "demo").dataset.splits["train"].documents > 200
    prepare(TextSource("mine.txt", ["one", "two"]), BYTES, tmp_path / "mine", PrepareOptions("demo"))
    with pytest.raises(ShardError, match="already holds the dataset 'demo' of other input"):
        prepare_demo(tmp_path / "mine")
