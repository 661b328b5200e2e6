"""`python -m core.inference.sample CHECKPOINT …`: print a sample, streaming. What `daisy sample` runs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import torch

from core.errors import DaisyError
from core.inference.generator import Generator
from core.inference.sampler import SamplingParams


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
        device = ("cuda" if torch.cuda.is_available() else "cpu") if a.device == "auto" else a.device
        generator = Generator.from_checkpoint(a.checkpoint, device)
        _write(a.prompt)
        said: list[int] = []
        began = time.monotonic()
        for piece in generator.text(_noted(generator.tokens(a.prompt, a.max_tokens, params), said)):
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
