"""The trainer: steps over the token stream, with evaluations and checkpoints at token cadences.

A run is exact to resume: its state is the weights, the optimizers' state and the consumed cursor; everything
else (learning rate, windows, which batch comes next) is a function of the tokens seen.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from core.checkpoint.format import (
    CheckpointError,
    check,
    complete_checkpoints,
    read_meta,
    state_file,
)
from core.checkpoint.retention import Retention
from core.checkpoint.save import load_tensors, optimizer_tensors, restore_optimizers, versions
from core.checkpoint.staging import put_aside
from core.checkpoint.writer import CheckpointWriter
from core.config.compose import compose
from core.config.estimate import Precision, estimate
from core.config.train_config import TrainConfig
from core.config.windows import long_window, windows_at
from core.data.stream import Batch, Prefetch, TokenStream, step_cursors
from core.errors import DaisyError
from core.model.daisy_core import DaisyCore, initialize
from core.runs.changes import Change, overrides_of, read_changes, record_change
from core.runs.control import Request, answered, is_pending
from core.runs.control import pending as control_pending
from core.runs.directory import RunDirectory, all_runs
from core.runs.lines import score_line, step_line
from core.training.device_peak import best_peak, device_name, device_peak
from core.training.distributed import Ranks
from core.training.evaluate import Score, evaluate
from core.training.metrics import Meter, StepTimes, peak_memory
from core.training.optimizers import build_optimizers
from core.training.requests import RefusedError, changed_config
from core.training.step import NotFiniteError, Step, Stepper
from core.training.wandb_log import WandbLog

_SAMPLE_TOKENS = 64
_MEDIAN_OF = 21  # steps
_UNWRITTEN = 10_000  # records kept while the disk is full


class TrainingError(DaisyError):
    """Training that cannot begin or go on, and what would work."""


@dataclass
class State:
    """What a run has consumed. `cursor` counts sequences over all epochs; `best_val` is the lowest mean loss."""

    step: int = 0
    tokens: int = 0
    cursor: int = 0
    best_val: float | None = None


@dataclass(frozen=True)
class RunData:
    """What a run reads. `validation` are the named validation streams, which do not shuffle.

    `token_bytes` (vocabulary,) int64 is the length of every token in bytes, 0 for end-of-text; `document_tokens` the
    mean document length, where it is known. `files` and `meta` go into every checkpoint: the tokenizer's file,
    and what else rebuilds it.
    """

    stream: TokenStream
    validation: dict[str, TokenStream]
    token_bytes: Tensor
    decode: Callable[[list[int]], str]
    document_tokens: float | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


class Trainer:
    """One rank of a run. `stop` is asked after every step; ranks agree on the answer. `log` gets lines for people, and
    `beat` every phase that begins, with the step and the median seconds of the last steps."""

    def __init__(
        self,
        config: TrainConfig,
        run: RunDirectory,
        data: RunData,
        ranks: Ranks,
        *,
        stop: Callable[[], bool] = lambda: False,
        log: Callable[[str], None] = lambda line: None,
        beat: Callable[[str, int, float | None], None] = lambda phase, step, median_s: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config = config
        self.run = run
        self.data = data
        self.ranks = ranks
        self.state = State()
        self._last_saved = -1  # the step
        self._val_loss: float | None = None  # where this step was evaluated
        self._fingerprint = data.stream.fingerprint()
        self._unwritten: deque[tuple[Path, dict[str, Any]]] = deque(maxlen=_UNWRITTEN)
        self._unsaved: str | None = None  # why the last save failed, where it did
        self._memory_told = False
        self._stop = stop
        self._log = log
        self._beat = beat
        self._seconds: deque[float] = deque(maxlen=_MEDIAN_OF)
        self._changes: list[Change] = []  # what was set in flight, in force or still to come
        self._clock = clock
        self._peak = device_peak(ranks.device)
        self._memory_before = peak_memory(ranks.device)
        dtype = torch.bfloat16 if ranks.device.type == "cuda" else torch.float32
        self.model = DaisyCore(config.spec, compute_dtype=dtype)
        initialize(self.model, config.seed)
        self.model.to(ranks.device)
        if config.compile_blocks:
            self.model.compile_blocks()
        self.optimizers = build_optimizers(self.model, config)
        self._writer: CheckpointWriter | None = None
        self._wandb: WandbLog | None = None

    def warm_start(self, tensors: dict[str, Tensor]) -> None:
        """Take weights from another run; everything else starts fresh."""
        try:
            self.model.load_state_dict(tensors)
        except RuntimeError as error:
            raise TrainingError(
                f"the checkpoint's weights do not fit this model: {' '.join(str(error).split())}"
            ) from error

    def resume(self, *, accept_new_data: bool = False) -> bool:
        """Go on from the run's last whole checkpoint. Damaged ones are passed over, and told; a run that has never
        had one begins anew, which is told too (False), and one whose checkpoints are all damaged is refused.

        With `accept_new_data`, shards or tokens a step other than those that the run had are taken, other shards from
        their beginning; without it they are refused.
        """
        self._changes = self.ranks.from_first(read_changes(self.run) if self.ranks.first else [])
        found = self._newest_whole()
        if found is None:
            if any(self.run.checkpoints.glob("step_*")):
                raise TrainingError(f"{self.run.path}: has no whole checkpoint to go on from")
            self._warn("there is no checkpoint yet: the run begins anew")
            return False
        meta = read_meta(found)
        new_data = meta["fingerprint"] != self._fingerprint
        if new_data and not accept_new_data:
            raise TrainingError(
                f"{found}: the training shards are not those that this run read, so it cannot go on exactly; "
                "--accept-new-data goes on with the new ones, from their beginning"
            )
        now, then = self.config.tokens_per_step(self.ranks.world_size), meta["tokens_per_step"]
        if now != then and not accept_new_data:
            raise TrainingError(
                f"{found}: a step had {then} tokens and would have {now} on {self.ranks.world_size} devices; "
                f"use as many devices as before, or batch_tokens in place of grad_acc_steps in {self.run.config}"
            )
        device = self.ranks.device
        self.model.load_state_dict(load_tensors(found, device=device, verified=True))
        # Parameters and optimizer state are the same on every rank: rank 0's file serves any number of them.
        state = load_tensors(found, state_file(0), device=device, verified=True)
        restore_optimizers(self.optimizers, self.model.named_parameters(), state)
        self.state = State(**meta["state"])
        if new_data:
            self.state.cursor = 0
        self._last_saved = self.state.step
        self.config = self._config_at(self.state.step)
        return True

    def _config_at(self, step: int) -> TrainConfig:
        """The config in force after a step, with what was set until then."""
        made = overrides_of(change for change in self._changes if change.step <= step)
        return compose(self.run.config, made, world_size=self.ranks.world_size).config

    def _newest_whole(self) -> Path | None:
        """The newest checkpoint whose every byte is as it was written: rank 0 looks, and all ranks take the same."""
        found, chosen = list(complete_checkpoints(self.run.checkpoints)), -1
        for index, path in reversed(list(enumerate(found)) if self.ranks.first else []):
            try:
                check(path, hashes=True)
                chosen = index
                break
            except CheckpointError as error:
                # Out of the way of links and retention, which would take it for the newest.
                aside = put_aside(path, "damaged")
                self._warn(f"{error}; passed over, and kept as {aside.name}")
        chosen = int(self.ranks.max(torch.tensor(chosen, device=self.ranks.device)).item())
        if chosen >= len(found):
            raise TrainingError(f"{self.run.checkpoints}: lacks the first machine's checkpoints; copy them")
        return found[chosen] if chosen >= 0 else None

    def fit(self) -> str:
        """Train to target_tokens. Returns "finished" or "stopped"."""
        config, state = self.config, self.state
        stepper = Stepper(self.model, self.optimizers, config, self.ranks)
        per_step = self._sequences_per_step
        cursors = step_cursors(state.cursor, per_step, self.ranks.rank, self.ranks.world_size)
        total_peak = self.ranks.sum(
            torch.tensor(self._peak.flops, dtype=torch.float64, device=self.ranks.device)
        ).item()
        peak_device = device_name(self.ranks.device)
        if self._peak.source == "measured":
            total_peak = best_peak(total_peak, all_runs(self.run.path.parent), peak_device, self.ranks.world_size)
        meter = Meter(config, total_peak, self.data.document_tokens)
        self._event(
            "started" if state.step == 0 else "resumed",
            tokens=state.tokens,
            devices=self.ranks.world_size,
            peak_flops=total_peak,
            peak_source=self._peak.source,
            peak_device=peak_device,
        )
        if self.ranks.first:
            retention = Retention(
                config.keep_last_checkpoints, config.keep_best_checkpoints, config.keep_checkpoint_every_n_tokens
            )
            self._writer = CheckpointWriter(self.run.checkpoints, retention)
            self._wandb = WandbLog(config, self.run.path, self._warn) if config.wandb_log else None
        try:
            outcome = self._steps(stepper, cursors, per_step * config.training_sequence_length, meter)
            if config.save_checkpoint and self._last_saved != state.step:
                self.save()
        finally:
            # Whatever ended the steps, a checkpoint that is being written is finished.
            self._beat("save", state.step, None)
            self._tell_saves(wait=True)
            self._beat("end", state.step, None)
            if self._wandb is not None:
                self._wandb.close()
        if self.ranks.any(self._unsaved is not None):
            before = [path.name for path in complete_checkpoints(self.run.checkpoints)][-1:]
            raise TrainingError(
                f"the last checkpoint, of step {state.step}, could not be saved: {self._unsaved}; make room and resume "
                f"the run: {f'{before[0]} is there' if before else 'it begins anew'}"
            )
        self._event(outcome, tokens=state.tokens)
        return outcome

    def save(self) -> None:
        """Begin a checkpoint; a failure is a warning and leaves the ones before it as they are."""
        self._beat("save", self.state.step, None)
        self._last_saved = self.state.step
        if self._writer is not None:
            state = optimizer_tensors(self.optimizers, self.model.named_parameters())
            self._writer.write(self.model.state_dict(), state, self._meta(), self.data.files)
            self._tell_saves()

    def _checkpoint_bytes(self) -> int:
        """Bytes of the tensors that a checkpoint holds, once every optimizer has taken a step."""
        state = optimizer_tensors(self.optimizers, self.model.named_parameters())
        return sum(tensor.nbytes for tensor in (*self.model.state_dict().values(), *state.values()))

    @property
    def _sequences_per_step(self) -> int:
        return self.config.tokens_per_step(self.ranks.world_size) // self.config.training_sequence_length

    @property
    def _progress(self) -> float:
        """Share of target_tokens that is done, at most 1: the last step may go beyond."""
        return min(1.0, self.state.tokens / self.config.target_tokens)

    def _steps(self, stepper: Stepper, cursors: Iterator[tuple[int, list[int]]], step_tokens: int, meter: Meter) -> str:
        state, compiling = self.state, self.config.compile_blocks and self.ranks.device.type == "cuda"
        with Prefetch(self.data.stream, cursors) as batches:
            items = iter(batches)
            while state.tokens < self.config.target_tokens:
                step_s = median(self._seconds) if self._seconds else None
                self._beat("compile" if step_s is None and compiling else "step", state.step, step_s)
                asked = self._clock()
                behind, batch = next(items)
                began = self._clock()
                last = state.tokens + step_tokens >= self.config.target_tokens
                due = last or state.step == 0 or (state.step + 1) % self.config.log_every_steps == 0
                try:
                    step = stepper.step(batch, self._progress, measured=due)
                except NotFiniteError as error:
                    raise self._not_finite(error, batch) from error
                self._val_loss = None
                state.step += 1
                state.cursor = behind
                state.tokens += step_tokens
                meter.step(StepTimes(self._clock() - began, began - asked))
                self._seconds.append(self._clock() - asked)
                if due:
                    self._log_point(step, meter, step_tokens)
                self._after_step(step_tokens)
                for change in self._changes:
                    if change.step == state.step:  # set before the run went on from an earlier step
                        self._change(stepper, meter)
                if self._asked_to_stop(stepper, meter) and state.tokens < self.config.target_tokens:
                    return "stopped"
        return "finished"

    def _asked_to_stop(self, stepper: Stepper, meter: Meter) -> bool:
        """Carry out what is asked of the run; whether that is to stop. Ranks agree at the cost of one small sum."""
        pending = self.ranks.first and is_pending(self.run)
        asked = torch.tensor([float(self._stop()), float(pending)], device=self.ranks.device)
        stop, waiting = self.ranks.sum(asked).tolist()
        if waiting:
            for request in self.ranks.from_first([*control_pending(self.run)] if self.ranks.first else []):
                try:
                    answer = self._carry_out(request, stepper, meter)
                except RefusedError as error:
                    answer = f"refused: {error}"
                if self.ranks.first:
                    answered(self.run, request)
                self._event("request", id=request.id, what=request.what, values=request.values, answer=answer)
        return bool(stop)

    def _carry_out(self, request: Request, stepper: Stepper, meter: Meter) -> str:
        """Do what a request asks. Returns the answer; raises RefusedError."""
        if request.what == "save":
            if self._last_saved != self.state.step:
                self.save()
            return "begun; the event checkpoint tells that it is whole"
        if request.what == "eval":
            if not self.data.validation:
                raise RefusedError("the run has no validation shards")
            self._evaluate()
        elif request.what == "set":
            before = overrides_of(change for change in self._changes if change.step <= self.state.step)
            _, values = changed_config(
                self.run, self.config, before, request.values, self.state.tokens, self.ranks.world_size
            )
            change = Change(self.state.step, values)
            self._changes.append(change)
            if self.ranks.first:
                record_change(self.run, change)
            self._change(stepper, meter)
            return f"done: {', '.join(change.overrides)}"
        else:
            raise RefusedError(f"'{request.what}' is nothing that a run can do")
        return "done"

    def _change(self, stepper: Stepper, meter: Meter) -> None:
        """Go on with the config that is in force now."""
        self.config = stepper.config = meter.config = self._config_at(self.state.step)

    def _log_point(self, step: Step, meter: Meter, step_tokens: int) -> None:
        state, config = self.state, self.config
        used = torch.tensor(float(peak_memory(self.ranks.device)), dtype=torch.float64, device=self.ranks.device)
        memory = int(self.ranks.max(used).item())  # of the rank that has most
        movement = [value for groups in step.figures.values() if isinstance(groups, dict) for value in groups.values()]
        if not all(math.isfinite(value) for value in movement):
            self._event("not_finite", weights=True)
            raise TrainingError(
                f"the weights are not finite after step {state.step}: training stopped; the last checkpoint is good, "
                "and a lower lr_scale may help"
            )
        if not self.ranks.first:
            return
        began_at = (state.tokens - step_tokens) / config.target_tokens
        figures = meter.figures(step_tokens, state.tokens, long_window(config, began_at))
        record = {
            "train_loss": step.loss,
            "lr": {g["name"]: g["lr"] for optimizer in self.optimizers for g in optimizer.param_groups},
            "grad_norm": step.grad_norm,
            **step.figures,
            **figures,
            "memory": memory,
            "target_tokens": config.target_tokens,
        }
        self._record(record)
        self._log(step_line(self._stamp() | record, config.target_tokens))
        if not self._memory_told:
            self._memory_told = True
            precision: Precision = "bf16" if self.ranks.device.type == "cuda" else "fp32"
            estimated = estimate(config, world_size=self.ranks.world_size, precision=precision).memory.total
            before, saved = self._memory_before, self._checkpoint_bytes()
            self._event("memory", peak=memory, before=before, estimated=estimated, checkpoint=saved)

    def _after_step(self, step_tokens: int) -> None:
        config, state = self.config, self.state
        self._tell_saves()
        finished = state.tokens >= config.target_tokens  # before the last checkpoint, so that it knows its loss
        if finished or _crossed(state.tokens, step_tokens, config.val_loss_every_tokens):
            self._evaluate()
        due = _crossed(state.tokens, step_tokens, config.checkpoint_per_n_tokens)
        if config.save_checkpoint and due and state.tokens >= config.checkpoint_warmup_tokens:
            self.save()

    def _evaluate(self) -> None:
        self._beat("evaluate", self.state.step, None)
        windows = windows_at(self.config, self._progress)
        scores: dict[str, Score] = {
            name: evaluate(self.model, stream, self.config, windows, self.data.token_bytes, self.ranks)
            for name, stream in self.data.validation.items()
        }
        if not scores:
            return
        mean = sum(score.loss for score in scores.values()) / len(scores)
        if not math.isfinite(mean):
            self._event("not_finite", val={name: str(score.loss) for name, score in scores.items()})
            raise TrainingError(f"the validation loss at step {self.state.step} is {mean}: training stopped")
        self._val_loss = mean
        self.state.best_val = mean if self.state.best_val is None else min(mean, self.state.best_val)
        if self.ranks.first:
            self._record({"val": {name: asdict(score) for name, score in scores.items()}})
            self._event("eval", val={name: score.loss for name, score in scores.items()})
            for name, score in scores.items():
                self._log(score_line(self.state.step, name, asdict(score)))

    def _meta(self) -> dict[str, Any]:
        return {
            "state": asdict(self.state),
            "step": self.state.step,
            "tokens": self.state.tokens,
            "best_val": self.state.best_val,
            "val_loss": self._val_loss,
            "tokens_per_step": self.config.tokens_per_step(self.ranks.world_size),
            "progress": self._progress,
            "windows": windows_at(self.config, self._progress),
            "hparams": self.config.model_dump(),
            "fingerprint": self._fingerprint,
            "next_batch": self.data.stream.batch_hash(self.state.cursor, self._sequences_per_step),
            "parent": self.config.init_checkpoint,
            "versions": versions(),
            **self.data.meta,
        }

    def _tell_saves(self, *, wait: bool = False) -> None:
        """Write down how the saves behind training have ended."""
        for outcome in self._writer.outcomes(wait=wait) if self._writer is not None else []:
            if outcome.path is not None:
                removed = {"removed": list(outcome.removed)} if outcome.removed else {}
                self._event("checkpoint", step=outcome.step, tokens=outcome.tokens, path=outcome.path.name, **removed)
            self._unsaved = None
            if outcome.failure is not None:
                self._unsaved = outcome.failure if outcome.path is None else None
                what = "not saved" if outcome.path is None else "saved, but links or older ones could not be changed"
                self._warn(f"checkpoint of step {outcome.step} {what}: {outcome.failure}")

    def _not_finite(self, error: NotFiniteError, batch: Batch) -> TrainingError:
        """Note everything that helps to find out why: the last checkpoint is still good."""
        bad = sorted(name for name, value in error.grad_norms.items() if not math.isfinite(value))
        if self.ranks.first or not math.isfinite(error.own_loss):
            sample = batch[0, :_SAMPLE_TOKENS].tolist()
            details = {
                "rank": self.ranks.rank,
                "loss": str(error.own_loss),
                "grad_norm": str(error.grad_norm),
                "cursor": self.state.cursor,
                "sample": sample,
                "text": self.data.decode(sample),
                "parameters": bad,
                # JSON knows no NaN: norms are numbers where they are finite, and words where they are not.
                "grad_norms": {n: v if math.isfinite(v) else str(v) for n, v in error.grad_norms.items()},
            }
            self.run.append(self.run.events, self._stamp() | {"event": "not_finite", **details})
        return TrainingError(
            f"{error} at step {self.state.step + 1}: training stopped; the event not_finite names cursor, text and "
            f"{len(bad)} parameters; a lower lr_scale may help"
        )

    def _record(self, record: dict[str, Any]) -> None:
        stamped = self._stamp() | record
        self._append(self.run.metrics, stamped)
        if self._wandb is not None:
            self._wandb.log(stamped)

    def _warn(self, message: str) -> None:
        self._event("warning", message=message)
        self._log(f"warning: {message}")

    def _event(self, event: str, **details: Any) -> None:
        if self.ranks.first:
            self._append(self.run.events, self._stamp() | {"event": event, **details})

    def _append(self, path: Path, record: dict[str, Any]) -> None:
        """Append a record; one that a full disk refuses is kept for the next time: it ends no training."""
        self._unwritten.append((path, record))
        try:
            while self._unwritten:
                self.run.append(*self._unwritten[0])
                self._unwritten.popleft()
        except OSError as error:
            if len(self._unwritten) == 1:
                self._log(f"warning: {path}: cannot be written: {error.strerror}; it will be tried again")

    def _stamp(self) -> dict[str, Any]:
        return {"time": time.time(), "step": self.state.step, "tokens": self.state.tokens}


def _crossed(tokens: int, step_tokens: int, every: int) -> bool:
    """Whether the last step went past a multiple of `every`; never for 0."""
    return every > 0 and tokens // every > (tokens - step_tokens) // every
