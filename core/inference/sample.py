"""`python -m core.inference.sample CHECKPOINT …`: print a sample, streaming. What `daisy sample` runs.

torch is imported inside `main`, so that whatever goes wrong from the first moment on is said in one line.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from core.config.sources import display_path
from core.errors import DaisyError
from core.text import printable

if TYPE_CHECKING:
    import torch


def main() -> int:
    """Sample once; returns the exit code. Failures are lines on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max_tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top_k", type=int, default=50)
    parser.add_argument("--top_p", type=float, default=1.0)
    parser.add_argument("--repetition_penalty", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt", default="")
    arguments = parser.parse_args()
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a model may say what the terminal has no letters for
        _sample(arguments)
        return 0
    except DaisyError as error:
        _say(*(f"error: {line}" for line in error.lines))
        return error.exit_code
    except KeyboardInterrupt:
        return 3
    except BrokenPipeError:
        _drop_output()  # the reader (`| head`) has left
        return 0
    except OSError as error:
        _say(f"error: {error.filename or 'standard output'}: {error.strerror or error}")
        _drop_output()
        return 1


def _sample(a: argparse.Namespace) -> None:
    """Print the prompt and what follows, and on standard error how fast it came, and from where."""
    from core.inference.generator import Generator
    from core.inference.request import SamplingParams

    params = SamplingParams(a.temperature, a.top_k, a.top_p, a.repetition_penalty, a.seed)
    device = _device(a.device)
    # What a link such as `latest` points at now: it may point elsewhere before all is read.
    checkpoint = display_path(a.checkpoint.resolve())
    generator = Generator.from_checkpoint(checkpoint, str(device))
    began = time.monotonic()
    text, said = a.prompt, 0
    for piece in generator.pieces(a.prompt, a.max_tokens, params):  # a prompt that is too long is refused here
        said = piece.completion_tokens
        _write(text + piece.text)
        text = ""
    seconds = time.monotonic() - began
    _write(text + "\n")
    speed = f"{said} tokens in {seconds:.2f} s, prompt included ({said / seconds:.0f} tokens/s)"
    _say(f"{speed}, from {checkpoint}")


def _device(name: str) -> torch.device:
    """The device of this name. Raises SamplingError where this machine or this torch has none."""
    import torch

    from core.inference.request import SamplingError

    found = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if found else "cpu")
    kind, _, index = name.partition(":")
    if kind == "cpu" and not index:
        return torch.device("cpu")
    if kind == "cuda" and found and (not index or (index.isdigit() and int(index) < torch.cuda.device_count())):
        return torch.device(name)
    here = f"auto, cpu, cuda:0 to cuda:{torch.cuda.device_count() - 1}" if found else "auto, cpu (no CUDA here)"
    raise SamplingError(f"--device {name}: there is no such device; there are {here}")


def _write(text: str) -> None:
    # A model may say anything; on a terminal, control characters must not act.
    sys.stdout.write("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text))
    sys.stdout.flush()


def _say(*lines: str) -> None:
    """Write lines on standard error, if there is anybody to read them."""
    with suppress(OSError):
        for line in lines:
            sys.stderr.write(printable(line).replace("\n", "\\n") + "\n")


def _drop_output() -> None:
    """Keep the interpreter from flushing once more, at its end, into what took nothing."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
