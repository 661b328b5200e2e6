import hashlib
import lzma
from pathlib import Path

import numpy as np
import pytest
import requests
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from core.data.demo import demo_documents
from core.data.errors import ShardError
from core.data.tokenizers import RANKS_FILE, ByteTokenizer, Tokenizer, demo_tokenizer, load_tokenizer, train_bpe

GPT2 = load_tokenizer("gpt2")
DEMO = demo_tokenizer()
ALL: list[Tokenizer] = [GPT2, DEMO, ByteTokenizer()]


def test_gpt2_ids_are_the_published_ones_without_a_network() -> None:
    assert GPT2.encode("Hello world").tolist() == [15496, 995]
    assert GPT2.encode(" the").tolist() == [262]
    assert (GPT2.eot_token_id, GPT2.vocab_size) == (50256, 50257)
    assert GPT2.token_bytes(50256) == b"<|endoftext|>"
    # The first ids are the printable bytes, then the others, in GPT-2's order.
    assert GPT2.token_bytes(0) == b"!"
    assert GPT2.token_bytes(188) == b"\x00"
    assert GPT2.token_bytes(220) == b" "


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.name)
@given(text=st.text())
def test_every_text_comes_back_from_its_ids(tokenizer: Tokenizer, text: str) -> None:
    if any(0xD800 <= ord(c) < 0xE000 for c in text):
        return
    ids = tokenizer.encode(text)
    assert ids.dtype == np.uint32
    assert tokenizer.decode_bytes(ids).decode() == text
    assert b"".join(tokenizer.token_bytes(int(i)) for i in ids).decode() == text


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.name)
def test_special_tokens_typed_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a<|endoftext|>b")
    assert tokenizer.eot_token_id not in ids
    assert tokenizer.decode_bytes(ids) == b"a<|endoftext|>b"


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.name)
def test_half_a_surrogate_pair_becomes_the_replacement_character(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode_bytes(tokenizer.encode("a\ud800b")).decode() == "a\ufffdb"


@pytest.mark.parametrize("tokenizer", [GPT2, DEMO], ids=lambda t: t.name)
def test_a_million_blanks_are_encoded(tokenizer: Tokenizer) -> None:
    text = "x" + " \n" * 600_000 + "y"
    assert tokenizer.decode_bytes(tokenizer.encode(text)).decode() == text


def test_end_of_text_is_the_last_id_of_a_trained_tokenizer() -> None:
    trained = train_bpe(iter(["the cat and the hat and the bat " * 20]), 270)
    assert (trained.vocab_size, trained.eot_token_id) == (270, 269)
    assert len(trained.encode("the hat")) < 7


def test_too_little_text_says_which_vocabulary_it_can_fill() -> None:
    with pytest.raises(ShardError, match=r"only \d+ pairs to merge, .* or --vocab-size (\d+)") as caught:
        train_bpe(iter(["ab ab"]), 5000)
    size = int(str(caught.value).rsplit(" ", 1)[1])
    assert train_bpe(iter(["ab ab"]), size).vocab_size == size
    with pytest.raises(ShardError, match="need 257"):
        train_bpe(iter(["ab"]), 256)


def test_the_bundled_tokenizer_is_what_training_on_the_novels_gives() -> None:
    assert train_bpe(iter(demo_documents()), 4096).ranks_file() == DEMO.ranks_file()


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_ranks_file_alone_is_the_tokenizer(tmp_path: Path, form: str) -> None:
    ranks = DEMO.ranks_file()
    assert ranks is not None
    (tmp_path / RANKS_FILE).write_bytes(ranks)
    loaded = load_tokenizer(str(tmp_path if form == "folder" else tmp_path / RANKS_FILE))
    assert loaded.fingerprint() == DEMO.fingerprint()
    assert loaded.encode("Emma Woodhouse").tolist() == DEMO.encode("Emma Woodhouse").tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hello\n", ":1: not a tiktoken ranks file"),
        (b"!!!! 0\n", ":1: not a tiktoken ranks file"),
        (b"YQ== 0\nYg== x\n", ":2: not a tiktoken ranks file"),
        (b"YQ== 0\n", "not a complete ranks file"),
    ],
)
def test_a_damaged_ranks_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.tiktoken").write_bytes(content)
    with pytest.raises(ShardError) as caught:
        load_tokenizer(str(tmp_path / "x.tiktoken"))
    assert said in str(caught.value)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="known: gpt2, bytes, r50k_base"):
        load_tokenizer("gpt5")
    with pytest.raises(ShardError, match="no tokenizer in this folder"):
        load_tokenizer(str(tmp_path))


def test_an_encoding_that_cannot_be_downloaded_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> tiktoken.Encoding:
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(tiktoken, "get_encoding", offline)
    with pytest.raises(ShardError, match="go online once, set TIKTOKEN_CACHE_DIR"):
        load_tokenizer("cl100k_base")


def test_gpt2_is_tiktokens_own_vocabulary() -> None:
    # tiktoken's published hash of vocab.bpe: what ships here is that file, so the ids are the published ones.
    import core.data.tokenizers as room

    packed = (Path(room.__file__).parent / "assets/gpt2_vocab.bpe.xz").read_bytes()
    published = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
    assert hashlib.sha256(lzma.decompress(packed)).hexdigest() == published
