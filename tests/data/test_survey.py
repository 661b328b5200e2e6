import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.config.compose import Composed
from core.config.errors import ConfigError
from core.data.demo import demo_documents, prepare_demo
from core.data.documents import TextSource
from core.data.errors import ShardError
from core.data.prepare import PrepareOptions, prepare
from core.data.shards import write_shard
from core.data.survey import survey
from core.data.tokenizers import ByteTokenizer

ComposeText = Callable[..., Composed]


def _bytes_dataset(folder: Path, texts: list[str]) -> None:
    prepare(TextSource("t", texts), ByteTokenizer(), folder, PrepareOptions("x", val_fraction=0.3, shard_tokens=200))


def test_the_facts_of_the_shards(compose_text: ComposeText, workspace: Path) -> None:
    _bytes_dataset(workspace / "shards", ["a" * 99] * 10)
    found = survey(compose_text("val_shards: {one: shards/x_val_*.bin}\n"))
    assert found.missing == []
    assert found.train_tokens == 700
    assert found.document_tokens == 100
    assert [shard.tokens for shard in found.train] == [200, 200, 200, 100]
    assert found.tokenizer_folder == Path("shards")
    assert list(found.val) == ["one"]
    assert found.tokenizer is not None
    assert found.tokenizer.name == "bytes"


def test_missing_shards_are_told_with_their_key_and_line(compose_text: ComposeText) -> None:
    found = survey(compose_text("val_shards: nothing/*.bin\n"))
    assert [problem.key for problem in found.missing] == ["train_shards", "val_shards"]
    assert found.missing[1].message.startswith("configs/small.yml:5: val_shards: no shard matches nothing/*.bin")
    assert found.train_tokens is None


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("vocab_size=256", "vocab_size 256 is smaller than the tokenizer of the shards, 'bytes', which has 257 ids"),
        ("eos_token_id=10", "eos_token_id 10 is not the end-of-text of the tokenizer of the shards, 'bytes'"),
        ("begin_shard=9", "begin_shard 9 is past the last of 2 training shards"),
    ],
)
def test_shards_that_do_not_fit_the_model_are_refused(
    compose_text: ComposeText, workspace: Path, override: str, said: str
) -> None:
    _bytes_dataset(workspace / "shards", ["a" * 300, "b" * 300])
    overrides = [override] if override != "vocab_size=256" else [override, "eos_token_id=255"]
    with pytest.raises(ConfigError) as caught:
        survey(compose_text("", *overrides))
    assert str(caught.value).startswith(f"override '{override}': {said}")


def test_shards_of_two_tokenizers_are_never_mixed(compose_text: ComposeText, workspace: Path) -> None:
    _bytes_dataset(workspace / "shards", ["a" * 300, "b" * 300])
    (workspace / "other").mkdir()
    write_shard(workspace / "other/y_val_000000.bin", np.arange(300), 50257)
    with pytest.raises(ConfigError, match=r"different tokenizers are mixed: shards/x_train_000000.bin is 'bytes'"):
        survey(compose_text("val_shards: other/*.bin\n"))


def test_two_trained_tokenizers_of_one_size_are_told_apart(compose_text: ComposeText, workspace: Path) -> None:
    from core.data.tokenizers import train_bpe

    text = " ".join(demo_documents()[:3])
    for folder, words in (("shards", text), ("other", text[::-1])):
        tokenizer = train_bpe(iter([words]), 290)
        prepare(
            TextSource(folder, ["one", "two"]), tokenizer, workspace / folder, PrepareOptions("x", val_fraction=0.3)
        )
    with pytest.raises(ConfigError, match="different tokenizers are mixed"):
        survey(compose_text("val_shards: other/*_val_*.bin\n"))


def test_a_validation_shard_never_trains(compose_text: ComposeText, workspace: Path) -> None:
    _bytes_dataset(workspace / "shards", ["a" * 300, "b" * 300])
    with pytest.raises(ConfigError, match=r"x_val_000000\.bin is a validation shard and a training shard \(2 in all\)"):
        survey(compose_text("val_shards: shards/x_val_*.bin\n", "train_shards=shards/*.bin"))


def test_a_shard_named_by_two_globs_counts_once(compose_text: ComposeText, workspace: Path) -> None:
    _bytes_dataset(workspace / "shards", ["a" * 300, "b" * 300])
    once = survey(compose_text("", "train_shards=shards/x_train_*.bin")).train_tokens
    assert survey(compose_text("", "train_shards=[shards/x_train_*.bin, shards/*_train_*.bin]")).train_tokens == once


def test_shards_too_short_for_one_sequence_are_refused(compose_text: ComposeText, workspace: Path) -> None:
    _bytes_dataset(workspace / "shards", ["a" * 300, "b" * 20])
    with pytest.raises(ConfigError, match=r"val_shards \(val\): 21 tokens in all cannot fill one sequence of 256"):
        survey(compose_text("val_shards: shards/x_val_*.bin\n"))


def test_shards_on_their_way_into_the_folder_are_not_read(compose_text: ComposeText, workspace: Path) -> None:
    _bytes_dataset(workspace / "shards", ["a" * 300, "b" * 300])
    state = {"plan": {}, "position": {}, "current": "train", "splits": {}, "moving": ["x_train_000000.bin"]}
    state["position"] = {"file": 0, "offset": 0, "inside": False}
    (workspace / "shards/dataset.json").unlink()
    (workspace / "shards/.preparing").mkdir()
    (workspace / "shards/.preparing/progress.json").write_text(json.dumps(state))
    with pytest.raises(ShardError, match="shards: holds an unfinished preparation; repeat its command"):
        survey(compose_text())


def test_a_stray_shard_in_a_dataset_is_refused(compose_text: ComposeText, workspace: Path) -> None:
    _bytes_dataset(workspace / "shards", ["a" * 300, "b" * 300])
    write_shard(workspace / "shards/z_train_000000.bin", np.array([1, 2]), 257)
    with pytest.raises(ShardError, match=r"z_train_000000\.bin: not listed in"):
        survey(compose_text())


def test_a_truncated_shard_is_refused(compose_text: ComposeText, workspace: Path) -> None:
    _bytes_dataset(workspace / "shards", ["a" * 300, "b" * 300])
    shard = workspace / "shards/x_train_000000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ShardError, match="truncated"):
        survey(compose_text())


def test_the_demo_config_fits_the_demo_data(workspace: Path) -> None:
    from core.config.compose import compose

    prepare_demo(workspace / "data/demo")
    for name in ("demo", "debug"):
        found = survey(compose(name))
        assert found.missing == []
        assert found.train_tokens is not None
        assert found.train_tokens > 900_000


@pytest.mark.parametrize("key", ["train_shards", "val_shards"])
def test_a_file_that_may_not_be_looked_at_is_told_with_the_key_that_names_it(
    compose_text: ComposeText, workspace: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    def matched(pattern: str, *, recursive: bool) -> list[str]:
        if pattern.startswith("/"):
            raise PermissionError(13, "Permission denied", "/proc/1/cwd")
        return []

    monkeypatch.setattr("core.data.survey.glob", matched)
    override = f"{key}=/*/*/*" if key == "train_shards" else "val_shards={far: /*/*/*}"
    with pytest.raises(ConfigError) as error:
        survey(compose_text("", override))
    (problem,) = error.value.problems
    assert problem.key == key
    assert f"override '{override}': {key}" in problem.message
    assert ": /proc/1/cwd: Permission denied" in problem.message
