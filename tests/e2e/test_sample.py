"""`daisy sample` as a person runs it: what it prints and where, and that it ends when it is told to, at any moment."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from core.checkpoint.save import point_link
from core.data.dataset import TokenizerInfo
from core.data.tokenizers import ByteTokenizer

ROOT = Path(__file__).parents[2]
# Stands in for torch: says that it is being imported, and then takes as long as the test likes.
IMPORTING = """
import signal
print("importing", flush=True)
while True:
    signal.pause()
"""
KILLED = """
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path, save_model: Callable[..., Path]) -> Path:
    """A folder with a run's checkpoint, `latest` at it, and a damaged one."""
    tokenizer = asdict(TokenizerInfo.of(ByteTokenizer()))
    path = save_model(tmp_path / "step_000000007", tokenizer=tokenizer)
    point_link(tmp_path / "latest", path)
    save_model(tmp_path / "bad", tokenizer=tokenizer, edit=lambda tensors: tensors["head.weight"].fill_(float("nan")))
    return tmp_path


def _environment(*paths: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT))), "OMP_NUM_THREADS": "1"}


def _sample(folder: Path, arguments: str, shell: str = '"$@"', **more: str) -> tuple[int, str, str]:
    """Run `daisy sample` by way of a shell, in whose text "$@" is the command."""
    command = ["sh", "-c", shell, "sh", sys.executable, "-m", "daisy_tui", "sample", *shlex.split(arguments)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=_environment() | more, check=False, encoding="utf-8"
    )
    return done.returncode, done.stdout, done.stderr


def _start(folder: Path, stand_in: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a command in a process group of its own, where `import torch` runs `stand_in`."""
    (folder / "fake/torch").mkdir(parents=True)
    (folder / "fake/torch/__init__.py").write_text(stand_in)
    return subprocess.Popen(
        [sys.executable, "-m", "daisy_tui", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(folder / "fake"),
        start_new_session=True,
    )


def _end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a command and for its child: standard output ends when the last process that has it does."""
    try:
        text, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, text, err


def test_text_goes_out_and_what_it_came_from_to_standard_error(folder: Path) -> None:
    code, text, err = _sample(folder, "latest --prompt Emma --max_tokens 5 --temperature 1e-45")
    assert code == 0, err
    assert text.startswith("Emma")
    assert err.startswith("5 tokens in ")
    assert err.endswith(" tokens/s), from step_000000007\n"), "what the link points at, not the link"
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("latest --repetition_penalty 1e-300", 2, "repetition_penalty must be from 0.001 to 1000"),
        ("latest --temperature inf", 2, "temperature must be at least 0, and finite; got inf"),
        ("latest --max_tokens 1000", 2, "max_tokens 1000 are more than the model's 128"),
        ("bad --max_tokens 5", 1, "257 of the model's 257 logits are not finite"),
    ],
)
def test_what_cannot_be_sampled_is_one_line_and_no_text(folder: Path, arguments: str, code: int, said: str) -> None:
    returned, text, err = _sample(folder, arguments)
    assert (returned, text) == (code, "")
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("shell", "said"),
    [
        ('"$@" >/dev/full', "error: standard output: No space left on device\n"),
        (
            '"$@" >&-',
            "error: standard output is closed, and a sample goes nowhere else; leave it open, or redirect it\n",
        ),
    ],
)
def test_output_that_cannot_be_written_is_one_line(folder: Path, shell: str, said: str) -> None:
    assert _sample(folder, "latest --max_tokens 5", shell) == (1, "", said)


def test_letters_that_the_output_does_not_have_are_escaped(folder: Path) -> None:
    code, text, err = _sample(folder, "latest --prompt é --max_tokens 5", PYTHONIOENCODING="ascii")
    assert code == 0, err
    assert text.startswith("\\xe9")
    assert text.isascii()


SIGNALS = {
    "Ctrl-C": lambda process: os.killpg(process.pid, signal.SIGINT),
    "SIGINT to the command alone": lambda process: process.send_signal(signal.SIGINT),
    "SIGTERM": lambda process: process.send_signal(signal.SIGTERM),
    "SIGHUP": lambda process: process.send_signal(signal.SIGHUP),
}
COMMANDS = {
    "sample": ["sample", "latest"],
    "import": ["import", "x.pt", "--out", "out", "--tokenizer", "gpt2"],
}


@pytest.mark.parametrize("send", SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_signal_while_torch_is_imported_ends_the_child_too_and_shows_no_traceback(
    folder: Path, command: list[str], send: Callable[[subprocess.Popen[str]], None]
) -> None:
    process = _start(folder, IMPORTING, *command)
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    send(process)
    assert _end(process) == (3, "", "stopped\n")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells a child that its parent has ended")
def test_a_command_that_is_killed_takes_its_child_along(folder: Path) -> None:
    process = _start(folder, IMPORTING, "sample", "latest")
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.kill()
    assert _end(process) == (-signal.SIGKILL, "", "")


def test_a_child_that_something_kills_is_one_line(folder: Path) -> None:
    process = _start(folder, KILLED, "sample", "latest")
    said = "error: the process that had the model was killed by SIGKILL: the system does that where memory runs out\n"
    assert _end(process) == (1, "", said)
