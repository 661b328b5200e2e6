"""Make a checkpoint of a foreign one: `python -m core.checkpoint.importing FILE --out DIR …`, what `daisy import` runs.

Weights and what is known of their training come over; optimizers do not. The result is no run: it is sampled, and
warm starts begin from it. The tokenizer comes from the caller, its ranks file on standard input.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.checkpoint.conversion import Converted, convert_own, has_own_names
from core.checkpoint.daisy_wee import convert_daisy_wee, has_daisy_wee_names
from core.checkpoint.foreign import Foreign, read_foreign
from core.checkpoint.format import MANIFEST_FILE, CheckpointError
from core.checkpoint.save import Saving, versions
from core.checkpoint.staging import CheckpointUsageError, free_target, write_failure
from core.config.overrides import parse_override
from core.errors import DaisyError
from core.text import printable


def convert(foreign: Foreign, stated: Mapping[str, Any], training_only: Iterable[str] = ()) -> Converted:
    """The model of a foreign checkpoint as DaisyCore's, by whose names its parameters have. Raises CheckpointError."""
    if has_own_names(foreign):
        return convert_own(foreign, stated, training_only)
    if has_daisy_wee_names(foreign):
        return convert_daisy_wee(foreign, stated, training_only)
    names = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(foreign.tensors.items())[:3])
    raise CheckpointError(
        f"{foreign.path}: its parameters ({names}, ...) have neither DaisyCore's names nor Daisy-Wee's"
    )


def import_checkpoint(
    path: Path,
    out: Path,
    *,
    stated: Mapping[str, Any] | None = None,
    training_only: Iterable[str] = (),
    tokenizer: dict[str, Any] | None = None,
    ranks: bytes = b"",
) -> tuple[Foreign, Converted, list[str]]:
    """Write the checkpoint `out` from the foreign one at `path`; returns what was read, what was made, and the notes.

    `tokenizer` is the TokenizerInfo of a tokenizer as a dict and `ranks` its ranks file, where it has one.
    Raises CheckpointError where the file cannot be read or represented, CheckpointUsageError where `out` is taken or
    the tokenizer is another model's. Nothing is left behind that failed.
    """
    target = free_target(out)
    foreign = read_foreign(path)
    converted = convert(foreign, stated or {}, training_only)
    _check_tokenizer(foreign, converted, tokenizer)
    notes = [*foreign.notes, *converted.notes, *_not_finite(converted.tensors)]
    if tokenizer is None:
        notes.append("it has no tokenizer, so it can be trained on and not sampled")
    saving = Saving(target)
    try:
        saving.begin()
        saving.write_model(converted.tensors)
        if tokenizer is not None and tokenizer.get("file") is not None:
            saving.write_file(str(tokenizer["file"]), ranks)
        if target.exists():
            target.rmdir()  # refused by the system where somebody has put something there meanwhile
        saving.commit(_meta(foreign, converted, tokenizer, dict(stated or {}), notes))
    except OSError as error:
        saving.abandon()
        raise write_failure(error, out) from error
    except BaseException:
        saving.abandon()
        raise
    return foreign, converted, notes


def _check_tokenizer(foreign: Foreign, converted: Converted, tokenizer: dict[str, Any] | None) -> None:
    if tokenizer is None:
        return
    spec, name = converted.spec, tokenizer["name"]
    advice = "--tokenizer names the model's own, and `none` imports it without"
    if tokenizer["vocab_size"] > spec.vocab_size:
        raise CheckpointUsageError(
            f"{foreign.path}: the tokenizer '{name}' has {tokenizer['vocab_size']} ids and the model "
            f"{spec.vocab_size}; {advice}"
        )
    if tokenizer["eot_token_id"] != spec.eos_token_id:
        raise CheckpointUsageError(
            f"{foreign.path}: end-of-text is {tokenizer['eot_token_id']} in the tokenizer '{name}' and "
            f"{spec.eos_token_id} in the model; {advice}"
        )


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    counts = {name: int((~torch.isfinite(tensor)).sum()) for name, tensor in tensors.items()}
    bad = [f"{name} ({count})" for name, count in counts.items() if count]
    return [f"not finite, and kept as they are: {', '.join(bad)}"] if bad else []


def _meta(
    foreign: Foreign,
    converted: Converted,
    tokenizer: dict[str, Any] | None,
    stated: dict[str, Any],
    notes: list[str],
) -> dict[str, Any]:
    target = foreign.progress.get("target_tokens", foreign.hparams.get("target_tokens"))
    return {
        "step": foreign.step,
        "tokens": foreign.tokens,
        "best_val": foreign.best_val,
        "tokens_per_step": foreign.tokens_per_step,
        "progress": min(1.0, foreign.tokens / target) if isinstance(target, int) and target > 0 else None,
        # No window is longer than the longest sequence: it would see nothing more.
        "windows": [min(window, converted.spec.max_seq_len) for window in converted.windows],
        "hparams": converted.spec.model_dump(),
        # No shards are those of this checkpoint: a run that it is copied into refuses to go on from it.
        "fingerprint": None,
        "versions": versions(),
        "parent": str(foreign.path.resolve()),
        "imported": {
            "layout": converted.layout,
            "hparams": foreign.hparams,
            "stated": stated,
            "progress_state": foreign.progress,
            "other": foreign.other,
            "notes": notes,
        },
        **({"tokenizer": tokenizer} if tokenizer is not None else {}),
    }


def main() -> int:
    """Import once; returns the exit code. Failures are lines on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--training-only", action="append", default=[], metavar="KEY")
    parser.add_argument("--tokenizer", type=json.loads, help="a TokenizerInfo as JSON; its ranks on standard input")
    a = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        stated = _stated(a.set)
        ranks = sys.stdin.buffer.read() if a.tokenizer and a.tokenizer.get("file") else b""
        foreign, converted, notes = import_checkpoint(
            a.file, a.out, stated=stated, training_only=a.training_only, tokenizer=a.tokenizer, ranks=ranks
        )
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is made: there is nothing left to stop
    except DaisyError as error:
        _say(sys.stderr, *(f"error: {line}" for line in error.lines))
        return error.exit_code
    except KeyboardInterrupt:
        made = (a.out / MANIFEST_FILE).exists()
        _say(sys.stderr, f"stopped; {f'the checkpoint is made: {a.out}' if made else 'nothing was left behind'}")
        return 3
    count = sum(tensor.numel() for tensor in converted.tensors.values())
    best = "" if foreign.best_val is None else f", best validation loss {foreign.best_val:.4f}"
    made = (
        f"{a.out}: {count:,} parameters under {converted.layout}'s names, step {foreign.step:,}, "
        f"{foreign.tokens:,} tokens{best}"
    )
    try:
        _say(sys.stdout, made, *(f"note: {note}" for note in notes))
    except BrokenPipeError:
        _drop_output()  # the reader has left
    except OSError as error:
        _say(sys.stderr, f"error: standard output: {error.strerror}; the checkpoint is made all the same: {a.out}")
        _drop_output()
        return 1
    return 0


def _interrupt(_number: int, _frame: object) -> None:
    """Answer SIGTERM as Ctrl-C, once: what follows it is to clean up undisturbed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _stated(words: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE words as settings. Raises ConfigError for a word of another form."""
    overrides = [parse_override(word) for word in words]
    if nested := [override for override in overrides if len(override.path) != 1]:
        raise CheckpointUsageError(f"--set {nested[0].source.typed}: settings are not nested; write KEY=VALUE")
    return {str(override.path[0]): override.value for override in overrides}


def _say(stream: Any, *lines: str) -> None:
    """Write lines that may hold anybody's names: control characters do not act. Nothing to a closed stream."""
    if stream is None:
        return
    for line in lines:
        text = printable(line).replace("\n", "\\n") + "\n"
        stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
    stream.flush()


def _drop_output() -> None:
    """Keep the interpreter from flushing once more, at its end, into what took nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
