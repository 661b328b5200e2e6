"""Foreign files: what is read, what is refused with one clear line, and DaisyCore's own names, which are exact."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.checkpoint.foreign import read_foreign
from core.checkpoint.format import CheckpointError, check, read_meta
from core.checkpoint.importing import import_checkpoint
from core.checkpoint.load import model_from_checkpoint
from core.checkpoint.staging import CheckpointUsageError
from core.config.model_spec import ModelSpec
from core.config.windows import layer_windows
from core.model.daisy_core import DaisyCore, initialize

SPEC = ModelSpec(
    num_layers=4,
    num_heads=2,
    head_dim=8,
    model_dim=16,
    vocab_size=257,
    eos_token_id=256,
    max_seq_len=128,
    attention_window_len=32,
    depth_skips=True,
    value_embeddings=1,
)
ROOT = Path(__file__).parents[2]
TOKENIZER = {"name": "bytes", "vocab_size": 257, "eot_token_id": 256, "fingerprint": "", "file": None}


def _model() -> DaisyCore:
    model = DaisyCore(SPEC)
    initialize(model, 0)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def _save(path: Path, tensors: dict[str, Tensor] | None = None, **keys: Any) -> Path:
    content = {
        "model": _model().state_dict() if tensors is None else tensors,
        "hparams": {**SPEC.model_dump(), "target_tokens": 9000, "optimizers": [{"type": "Muon"}], "sft_root": None},
        "step": torch.tensor(30),
        "best_val": float("inf"),
        "tokens_per_step": 100,
        "progress_state": None,
    }
    torch.save({key: value for key, value in (content | keys).items() if value is not ...}, path)
    return path


def test_own_names_come_back_bit_for_bit(tmp_path: Path) -> None:
    model = _model()
    tensors = {f"module._orig_mod.{name}": tensor for name, tensor in model.state_dict().items()}
    path = _save(tmp_path / "x.pt", tensors, optimizers=[{"state": {}}], run_name="one")
    _, _, notes = import_checkpoint(path, tmp_path / "out", tokenizer=TOKENIZER)
    check(tmp_path / "out", hashes=True)
    loaded, hparams = model_from_checkpoint(tmp_path / "out")
    assert hparams == SPEC.model_dump()
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert loaded.windows == layer_windows(SPEC)
    meta = read_meta(tmp_path / "out")
    assert (meta["step"], meta["tokens"], meta["best_val"], meta["tokens_per_step"]) == (30, 3000, None, 100)
    assert meta["progress"] == pytest.approx(1 / 3)
    assert meta["tokenizer"] == TOKENIZER
    assert meta["imported"]["hparams"]["optimizers"] == [{"type": "Muon"}]
    assert meta["imported"]["other"] == {"run_name": "one"}
    assert meta["fingerprint"] is None, "no run can go on from it"
    assert notes == ["optimizers: stays behind, a warm start begins afresh"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_fp32_masters_and_what_is_not_finite_is_said(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in _model().state_dict().items()}
    tensors["head.weight"][3, 4] = float("nan")
    tensors["blocks.0.attention.qkvo"] = tensors["blocks.0.attention.qkvo"].mT.contiguous().mT
    path = _save(tmp_path / "x.pt", tensors)
    _, converted, notes = import_checkpoint(path, tmp_path / "out")
    assert {tensor.dtype for tensor in converted.tensors.values()} == {torch.float32}
    assert all(converted.tensors[name].equal(t.float()) for name, t in tensors.items() if name != "head.weight")
    assert "not finite, and kept as they are: head.weight (1)" in notes
    assert "it has no tokenizer, so it can be trained on and not sampled" in notes


def test_own_names_that_do_not_fit_are_each_named(tmp_path: Path) -> None:
    tensors = _model().state_dict()
    tensors["gates.x0"] = tensors["gates.x0"][:3]
    tensors["extra"] = torch.ones(2)
    del tensors["gates.skip"]
    path = _save(tmp_path / "x.pt", tensors)
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(path, tmp_path / "out")
    assert caught.value.lines == (
        f"{path}: extra (2,): DaisyCore of these hparams has no such parameter",
        f"{path}: gates.skip (2,): is missing",
        f"{path}: gates.x0 (3,): is (4,) in DaisyCore of these hparams",
    )
    assert sorted(tmp_path.iterdir()) == [path]


def test_hparams_may_be_stated_and_defaults_are_said(tmp_path: Path) -> None:
    hparams = {name: getattr(SPEC, name) for name in ModelSpec.model_fields if name != "logit_softcap"}
    path = _save(tmp_path / "x.pt", hparams=hparams | {"novel": 1, "max_seq_len": None})
    with pytest.raises(CheckpointError, match="hparams do not say max_seq_len; state what holds: --set max_seq_len="):
        import_checkpoint(path, tmp_path / "out")
    stated = {"max_seq_len": "64"}
    with pytest.raises(CheckpointError, match=r"hparams.novel = 1: unknown, so .* say --training-only novel"):
        import_checkpoint(path, tmp_path / "out", stated=stated)
    with pytest.raises(CheckpointError, match=r"--set rope_thet: follows .* did you mean 'rope_theta'\?"):
        import_checkpoint(path, tmp_path / "out", stated=stated | {"rope_thet": "1"})
    _, converted, notes = import_checkpoint(path, tmp_path / "out", stated=stated, training_only=["novel"])
    assert converted.spec.max_seq_len == 64
    assert notes[0] == "hparams do not say it, so DaisyCore's defaults hold: logit_softcap=15.0"


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo RAN > ran",)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda path: None, "cannot be read: No such file"),
    "a folder": (lambda path: path.mkdir(), "a folder; name a .pt file"),
    "empty": (lambda path: path.write_bytes(b""), "not a file that torch.save wrote"),
    "text": (lambda path: path.write_text("hello"), "not a file that torch.save wrote"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps({"model": 1})), "a bare pickle, as torch.save wrote"),
    "an archive": (lambda path: zipfile.ZipFile(path, "w").close(), "damaged, or not what torch.save writes"),
    "cut off": (lambda path: _cut(_save(path)), "cut off: an archive without its end"),
    "code": (lambda path: _save(path, x=_Runs()), r"asks to call posix.system; files with more than tensors"),
    "a module": (lambda path: _save(path, model=torch.nn.Linear(2, 2)), "asks to call torch.nn.modules.linear.Linear"),
    "a list": (lambda path: torch.save([1], path), "holds a list; the layout is a dict with model"),
    "a bare state_dict": (lambda path: torch.save({"a": torch.ones(1)}, path), "has no model and no hparams and no"),
    "no step": (lambda path: _save(path, step=...), r"has no step \(its keys: model, hparams, best_val"),
    "no tokens": (lambda path: _save(path, tokens_per_step=None), "neither tokens_per_step nor a progress state"),
    "a step that is none": (lambda path: _save(path, step=-1), "step is -1; it must be a whole number from 0"),
    "a loss that is none": (lambda path: _save(path, best_val="low"), "best_val is a str; it must be a loss or None"),
    "progress that is a tensor": (
        lambda path: _save(path, progress_state=torch.ones(2)),
        r"progress_state is a tensor \(2,\); it must be a dict",
    ),
    "progress that is nothing": (lambda path: _save(path, progress_state=0), "progress_state is 0; it must be a dict"),
    "a step without a number": (
        lambda path: _save(path, step=torch.empty((), device="meta")),
        r"step is a tensor \(\); it must be a whole number from 0",
    ),
    "a step beyond all counts": (
        lambda path: _save(path, step=10**500),
        "step is a whole number of more than 64 bits; it must be",
    ),
    "a loss beyond all numbers": (
        lambda path: _save(path, best_val=10**400),
        "best_val is a whole number of more than 64 bits; it must be a loss or None",
    ),
    "settings without end": (
        lambda path: _save(path, hparams={"a": _nested(60)}),
        "hparams.a holds values nested without end, which is no setting",
    ),
    "several disks": (
        lambda path: _patch(_save(path), b"PK\x06\x07", 16, 9),
        "damaged: zipfiles that span multiple disks are not supported; copy it again",
    ),
    "a directory that is none": (
        lambda path: _patch(_save(path), b"PK\x01\x02", 0, 0),
        "damaged, or not what torch.save writes: Bad magic number for central directory",
    ),
    "a damaged weight": (
        lambda path: _patch(_save(path), _model().head.weight.detach().numpy().tobytes(), 400, 1),
        r"damaged: 'x/data/\d+' in it does not have its checksum; copy the file again",
    ),
    "no parameters": (lambda path: _save(path, tensors={}), "model is a dict; it must be a state_dict"),
    "hparams that are none": (lambda path: _save(path, hparams=[1]), "hparams is a list; it must be a dict"),
    "a tensor for a setting": (
        lambda path: _save(path, hparams={"lr": torch.ones(2)}),
        r"hparams.lr holds a tensor \(2,\), which is no setting",
    ),
    "whole numbers": (
        lambda path: _save(path, {"a": torch.ones(2).int()}),
        r"model.a \(2,\) is int32; weights are float32, bfloat16, float16",
    ),
    "double precision": (lambda path: _save(path, {"a": torch.ones(2).double()}), r"model.a \(2,\) is float64"),
    "no tensor": (lambda path: _save(path, {"a": 3}), "model.a is 3 and not a tensor"),
    "sparse": (lambda path: _save(path, {"a": torch.eye(3).to_sparse()}), "model.a is stored as sparse_coo"),
    "more than it holds": (
        lambda path: _save(path, {"a": torch.ones(1).expand(10**6)}),
        "says more numbers than the file holds",
    ),
    "a name twice": (
        lambda path: _save(path, {"a": torch.ones(1), "module.a": torch.ones(1)}),
        "model has a twice, once as module.a",
    ),
    "other names": (
        lambda path: _save(path, {"transformer.wte.weight": torch.ones(3, 2)}),
        r"its parameters \(transformer.wte.weight \(3, 2\), ...\) have neither DaisyCore's names nor Daisy-Wee's",
    ),
}


def _patch(path: Path, after: bytes, offset: int, byte: int) -> None:
    """Put a byte where there is another, counted from the first time that `after` occurs."""
    content = bytearray(path.read_bytes())
    at = content.index(after) + offset
    assert content[at] != byte
    content[at] = byte
    path.write_bytes(content)


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bad_files_are_one_line_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: tuple[Callable[[Path], object], str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make, said = bad
    path = tmp_path / "x.pt"
    make(path)
    with pytest.raises(CheckpointError, match=said) as caught:
        import_checkpoint(path, tmp_path / "out")
    assert len(caught.value.lines) == 1
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert [p.name for p in tmp_path.iterdir() if p != path] == []


def test_a_damaged_byte_is_a_refusal_or_a_number_and_never_a_traceback(tmp_path: Path) -> None:
    path = _save(tmp_path / "x.pt")
    whole = path.read_bytes()
    draw = random.Random(0)
    pickled = whole.index(b"data.pkl")
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[draw.choice([draw.randrange(len(whole)), pickled + draw.randrange(3000)])] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            read_foreign(path)
        except CheckpointError as error:
            assert "\n" not in error.lines[0]


def test_a_file_without_checksums_is_read_and_that_is_said(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = _save(tmp_path / "x.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    _, _, notes = import_checkpoint(path, tmp_path / "out", tokenizer=TOKENIZER)
    assert notes == ["the file has no checksums, so damage in its weights would not show"]


def test_windows_are_no_longer_than_the_longest_sequence(tmp_path: Path) -> None:
    path = _save(tmp_path / "x.pt")
    import_checkpoint(path, tmp_path / "out", stated={"attention_window_len": 1000})
    model, _ = model_from_checkpoint(tmp_path / "out")
    assert model.windows == [128] * 4


def test_a_target_that_is_taken_stays_as_it_is(tmp_path: Path) -> None:
    path = _save(tmp_path / "x.pt")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/mine").write_text("mine")
    for out in (tmp_path / "taken", path):
        with pytest.raises(CheckpointUsageError, match="already there; name a folder that does not exist or is empty"):
            import_checkpoint(path, out)
    (tmp_path / "empty").mkdir()
    import_checkpoint(path, tmp_path / "empty")
    check(tmp_path / "empty", hashes=True)
    assert (tmp_path / "taken/mine").read_text() == "mine"


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "x.pt")
    with pytest.raises(CheckpointUsageError, match="the tokenizer 'gpt2' has 50257 ids and the model 257"):
        import_checkpoint(path, tmp_path / "out", tokenizer=TOKENIZER | {"name": "gpt2", "vocab_size": 50257})
    with pytest.raises(CheckpointUsageError, match="end-of-text is 0 in the tokenizer 'bytes' and 256 in the model"):
        import_checkpoint(path, tmp_path / "out", tokenizer=TOKENIZER | {"eot_token_id": 0})


FULL = """
import resource, sys
from core.checkpoint.importing import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, resource.RLIM_INFINITY))
sys.exit(main())
"""


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    path = _save(tmp_path / "x.pt")
    command = [sys.executable, "-c", FULL, f"--out={tmp_path / 'out'}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 1
    assert "make room and repeat the command" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_names_in_a_file_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    path = _save(tmp_path / "x.pt", hparams={**SPEC.model_dump(), "\x1b[2Jnovel": 1})
    command = [sys.executable, "-m", "core.checkpoint.importing", f"--out={tmp_path / 'out'}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 1
    assert r"hparams.\x1b[2Jnovel = 1: unknown" in done.stderr
    assert "\x1b" not in done.stderr


def _run(path: Path, shell: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Import `path` by way of a shell, in whose text "$@" is the command."""
    command = [sys.executable, "-m", "core.checkpoint.importing", f"--out={path.parent / 'out'}", str(path)]
    done = ["sh", "-c", shell, "sh", *command]
    environment = {**os.environ, **more}
    return subprocess.run(done, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line_and_the_checkpoint_stays(tmp_path: Path) -> None:
    done = _run(_save(tmp_path / "x.pt"), '"$@" >/dev/full')
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output: No space left on device; the checkpoint is made all the")
    assert done.stderr.count("\n") == 1
    check(tmp_path / "out", hashes=True)


@pytest.mark.parametrize("shell", ['"$@" >&-', '"$@" | true'])
def test_output_that_nobody_reads_is_no_failure(tmp_path: Path, shell: str) -> None:
    done = _run(_save(tmp_path / "x.pt"), shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    check(tmp_path / "out", hashes=True)


def test_names_that_the_output_has_no_letters_for_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "é").mkdir()
    done = _run(_save(tmp_path / "é/x.pt"), '"$@"', PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path}/\\xe9/out: ")


STOPPED = """
import os, signal, sys
from core.checkpoint import importing
from core.checkpoint.save import Saving

def stopped(*arguments):
    result = before(*arguments)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    return result

before = getattr(Saving, sys.argv[1])
setattr(Saving, sys.argv.pop(1), stopped)
sys.exit(importing.main())
"""


@pytest.mark.parametrize("moment", ["write_model", "commit"])
def test_a_stop_leaves_nothing_behind_or_the_whole_checkpoint_and_says_which(tmp_path: Path, moment: str) -> None:
    path, out = _save(tmp_path / "x.pt"), tmp_path / "out"
    command = [sys.executable, "-c", STOPPED, moment, f"--out={out}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 3, done.stderr
    if moment == "commit":
        assert done.stderr == f"stopped; the checkpoint is made: {out}\n"
        check(out, hashes=True)
    else:
        assert done.stderr == "stopped; nothing was left behind\n"
        assert list(tmp_path.iterdir()) == [path]
