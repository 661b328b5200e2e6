"""One rank of a run, as `core.training.main` starts it.

Reads the run's config, joins the other ranks, and trains; what it prints goes to `logs/rank<k>.log`. Exit code 0:
finished, or stopped on request after a checkpoint (the run's events say which; torchrun would take any other code for
a failure); 1 or 2: failed, with an event `failed` that says why. Signal USR1 writes the stacks of all threads there.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from core.checkpoint.save import load_tensors
from core.config.compose import compose
from core.data.dataset import dataset_tokenizer
from core.data.stream import TokenStream
from core.data.survey import survey
from core.data.tokenizers import RANKS_FILE
from core.errors import DaisyError
from core.runs.devices import CPU, DEVICES
from core.runs.directory import RunDirectory
from core.runs.heartbeat import Heartbeat
from core.runs.leases import Leases, lease_folder
from core.training.distributed import Ranks, join_ranks, leave_ranks
from core.training.trainer import RunData, Trainer, TrainingError


def train() -> int:
    """Train one rank; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="go on from the last complete checkpoint")
    parser.add_argument("--accept-new-data", action="store_true", help="with --resume, also with other shards")
    arguments = parser.parse_args()
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: asked.append(received))
    run = RunDirectory(arguments.run_dir)
    _print_to(_log(run))
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    heart = Heartbeat(run, _rank())
    held = Leases(lease_folder()) if DEVICES in os.environ else None
    try:
        if held is not None:
            _join_device(held)
        ranks = join_ranks()
        trainer = build_trainer(run, ranks, asked, heart.progress)
        warm, resumed = trainer.config.init_checkpoint, False
        if arguments.resume:
            resumed = trainer.resume(accept_new_data=arguments.accept_new_data)
        if warm is not None and not resumed:
            trainer.warm_start(load_tensors(Path(warm)))
        outcome = trainer.fit()
        if ranks.first_of_machine and not ranks.first:
            _note(run, outcome)  # a machine without rank 0 has a run directory of its own
        return 0
    except DaisyError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in error.lines))
        _note(run, "failed", message="; ".join(error.lines), explained=True)
        return error.exit_code
    except Exception as error:
        what = " ".join(str(error).split())
        _note(run, "failed", message=f"{type(error).__name__}: {what}; the traceback is in {_log(run)}")
        raise
    finally:
        heart.end()
        leave_ranks()


def _print_to(path: Path) -> None:
    """Send what this process, and everything that it calls, prints to the end of a file."""
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _log(run: RunDirectory) -> Path:
    return run.logs / f"rank{_rank()}.log"


def _join_device(leases: Leases) -> None:
    """Be a user of the device that the supervisor has for this rank, before it is touched."""
    keys = os.environ[DEVICES].split(",")
    leases.join(keys[int(os.environ.get("LOCAL_RANK", "0")) % len(keys)])
    if keys != [CPU] and not torch.cuda.is_available():
        raise TrainingError(
            f"torch {torch.__version__} cannot use this machine's GPUs; install a build of it for CUDA, or train with "
            "--devices cpu"
        )


def _note(run: RunDirectory, event: str, **details: Any) -> None:
    run.append(run.events, {"time": time.time(), "event": event, "rank": _rank(), **details})


def build_trainer(
    run: RunDirectory,
    ranks: Ranks,
    asked: list[int],
    beat: Callable[[str, int, float | None], None] = lambda phase, step, median_s: None,
) -> Trainer:
    """The trainer of a run directory. `asked` receives the signals that ask to stop, `beat` the phases."""
    composed = compose(run.config, world_size=ranks.world_size)
    config, found = composed.config, survey(composed)
    if found.missing:
        raise TrainingError(*(problem.message for problem in found.missing))
    assert found.tokenizer is not None
    assert found.tokenizer_folder is not None
    tokenizer = dataset_tokenizer(found.tokenizer_folder, found.tokenizer)
    ordinary = (i for i in range(tokenizer.vocab_size) if i != tokenizer.eot_token_id)
    token_bytes = torch.zeros(config.vocab_size, dtype=torch.int64)
    for token in ordinary:
        token_bytes[token] = len(tokenizer.token_bytes(token))
    length = config.validation_sequence_length
    validation = {n: TokenStream([s.path for s in shards], length, shuffle=False) for n, shards in found.val.items()}
    stream = TokenStream(
        [shard.path for shard in found.train],
        config.training_sequence_length,
        seed=config.seed,
        begin_shard=config.begin_shard,
    )
    data = RunData(
        stream,
        validation,
        token_bytes,
        decode=lambda tokens: tokenizer.decode_bytes(tokens).decode(errors="replace"),
        document_tokens=found.document_tokens,
        files={RANKS_FILE: ranks_file} if (ranks_file := tokenizer.ranks_file()) is not None else {},
        meta={"tokenizer": asdict(found.tokenizer)},
    )
    log = _say if ranks.first else lambda line: None
    return Trainer(config, run, data, ranks, stop=lambda: bool(asked), log=log, beat=beat)


def _say(line: str) -> None:
    with suppress(OSError):  # a full disk ends no training
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
