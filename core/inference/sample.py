"""`python -m core.inference.sample CHECKPOINT …`: print a sample, streaming. What `daisy sample` runs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import torch

from core.errors import DaisyError
from core.inference.generator import Generator
from core.inference.sampler import SamplingError, SamplingParams


def main() -> int:
    """Sample once; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max_tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top_k", type=int, default=50)
    parser.add_argument("--top_p", type=float, default=1.0)
    parser.add_argument("--repetition_penalty", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt", default="")
    a = parser.parse_args()
    try:
        params = SamplingParams(a.temperature, a.top_k, a.top_p, a.repetition_penalty, a.seed)
        device = _device(a.device)
        generator = Generator.from_checkpoint(a.checkpoint, str(device))
        said: list[int] = []
        began = time.monotonic()
        pieces = generator.text(_noted(generator.tokens(a.prompt, a.max_tokens, params), said))
        first = next(pieces, "")  # a prompt that is too long is refused here
        _write(a.prompt + first)
        for piece in pieces:
            _write(piece)
        seconds = time.monotonic() - began
        _write("\n")
        sys.stderr.write(
            f"{len(said)} tokens in {seconds:.2f} s, prompt included ({len(said) / seconds:.0f} tokens/s)\n"
        )
        return 0
    except DaisyError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in error.lines))
        return error.exit_code
    except KeyboardInterrupt:
        return 3
    except BrokenPipeError:
        return 0


def _device(name: str) -> torch.device:
    """The device of this name. Raises SamplingError where this machine or this torch has none."""
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


def _noted(tokens: Iterator[int], said: list[int]) -> Iterator[int]:
    for token in tokens:
        said.append(token)
        yield token


def _write(text: str) -> None:
    # A model may say anything; on a terminal, control characters must not act.
    sys.stdout.write("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
