"""The trainer: steps over the token stream, with evaluations and checkpoints at token cadences.

A run is exact to resume: its state is the weights, the optimizers' state and the consumed cursor; everything
else (learning rate, windows, which batch comes next) is a function of the tokens seen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from core.checkpoint.format import checkpoint_name, complete_checkpoints, read_meta, state_file
from core.checkpoint.save import Saving, load_tensors, optimizer_tensors, point_link, restore_optimizers
from core.config.train_config import TrainConfig
from core.config.windows import layer_windows, long_window_at
from core.data.stream import Batch, Prefetch, TokenStream, document_ids, step_cursors
from core.errors import DaisyError
from core.model.daisy_core import DaisyCore, initialize
from core.runs.directory import RunDirectory
from core.training.distributed import Ranks
from core.training.evaluate import Score, evaluate
from core.training.loss import soft_capped_loss
from core.training.optimizers import build_optimizers, set_progress


class TrainingError(DaisyError):
    """Training that cannot begin or go on, and what would work."""


@dataclass
class State:
    """What a run has consumed. `cursor` counts sequences over all epochs; `best_val` is the lowest mean loss."""

    step: int = 0
    tokens: int = 0
    cursor: int = 0
    best_val: float | None = None


class SummedLoss(nn.Module):
    """The model and its loss as one module, so that DDP sees the whole forward pass."""

    def __init__(self, model: DaisyCore, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self._config = config

    def forward(self, sequences: Tensor, documents: Tensor, windows: list[int]) -> Tensor:
        """Sum of the loss over the targets of sequences (count, length + 1)."""
        hidden = self.model.hidden(sequences[:, :-1], documents, windows=windows)
        c, targets = self._config, sequences[:, 1:].flatten()
        weight = self.model.head.weight
        return soft_capped_loss(
            hidden.flatten(0, 1), weight, targets, c.logit_softcap, c.loss_chunk_tokens, c.vocab_size
        )


class Trainer:
    """One rank of a run.

    `validation` are the named validation streams and `token_bytes` the length of every token in bytes.
    `travels` and `travel_meta` go into every checkpoint: the tokenizer's file, and what else rebuilds it.
    `stop` is asked after every step; ranks agree on the answer. `log` gets one line a log point.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: RunDirectory,
        stream: TokenStream,
        validation: dict[str, TokenStream],
        token_bytes: Tensor,
        ranks: Ranks,
        *,
        travels: dict[str, bytes] | None = None,
        travel_meta: dict[str, Any] | None = None,
        stop: Callable[[], bool] = lambda: False,
        log: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.run = run
        self.stream = stream
        self.validation = validation
        self.ranks = ranks
        self.state = State()
        self._last_saved = self._last_evaluated = -1  # steps
        self._token_bytes = token_bytes
        self._travels, self._travel_meta = travels or {}, travel_meta or {}
        self._stop = stop
        self._log = log
        self._clock = clock
        dtype = torch.bfloat16 if ranks.device.type == "cuda" else torch.float32
        self.model = DaisyCore(config.spec, compute_dtype=dtype)
        initialize(self.model, config.seed)
        self.model.to(ranks.device)
        self.optimizers = build_optimizers(self.model, config)
        self._loss: nn.Module = SummedLoss(self.model, config)

    def warm_start(self, tensors: dict[str, Tensor]) -> None:
        """Take weights from another run; everything else starts fresh."""
        try:
            self.model.load_state_dict(tensors)
        except RuntimeError as error:
            raise TrainingError(
                f"the checkpoint's weights do not fit this model: {' '.join(str(error).split())}"
            ) from error

    def resume(self) -> bool:
        """Go on from the run's last complete checkpoint; False where it has none."""
        found = list(complete_checkpoints(self.run.checkpoints))
        if not found:
            return False
        meta = read_meta(found[-1])
        if meta["fingerprint"] != self.stream.fingerprint():
            raise TrainingError(
                f"{found[-1]}: the training shards are not those that this run read; it cannot go on exactly"
            )
        now, then = self.config.tokens_per_step(self.ranks.world_size), meta["tokens_per_step"]
        if now != then:
            raise TrainingError(
                f"{found[-1]}: a step had {then} tokens and would have {now} on {self.ranks.world_size} devices; "
                f"use as many devices as before, or batch_tokens in place of grad_acc_steps in {self.run.config}"
            )
        self.model.load_state_dict(load_tensors(found[-1], device=self.ranks.device))
        # Parameters and optimizer state are the same on every rank: rank 0's file serves any number of them.
        restore_optimizers(self.optimizers, load_tensors(found[-1], state_file(0), device=self.ranks.device))
        self.state = State(**meta["state"])
        self._last_saved = self.state.step
        return True

    def fit(self) -> str:
        """Train to target_tokens. Returns "finished" or "stopped"."""
        config, state = self.config, self.state
        if self.ranks.world_size > 1:
            self._loss = DistributedDataParallel(self._loss)
        per_step = config.tokens_per_step(self.ranks.world_size) // config.training_sequence_length
        cursors = step_cursors(state.cursor, per_step, self.ranks.rank, self.ranks.world_size)
        self._event("started" if state.step == 0 else "resumed", tokens=state.tokens)
        outcome = "finished"
        with Prefetch(self.stream, cursors) as batches:
            for behind, batch in self._until_target(batches):
                began = self._clock()
                loss, norm = self._step(batch)
                state.step += 1
                state.cursor = behind
                state.tokens += per_step * config.training_sequence_length
                self._after_step(loss, norm, per_step, self._clock() - began)
                if self.ranks.any(self._stop()):
                    outcome = "stopped"
                    break
        if outcome == "finished" and self._last_evaluated != state.step:
            self._evaluate()
        if config.save_checkpoint and self._last_saved != state.step:
            self.save()
        self._event(outcome, tokens=state.tokens)
        return outcome

    def save(self) -> None:
        """Write a checkpoint; a failure is a warning and leaves the ones before it as they are."""
        state = self.state
        self._last_saved = state.step
        if not self.ranks.first:
            self.ranks.barrier()
            return
        saving = Saving(self.run.checkpoints / checkpoint_name(state.step))
        try:
            saving.begin()
            saving.write_model(self.model.state_dict())
            saving.write_state(0, optimizer_tensors(self.optimizers))
            for name, content in self._travels.items():
                saving.write_file(name, content)
            path = saving.commit(self._meta())
            point_link(self.run.checkpoints / "latest", path)
            self._event("checkpoint", path=path.name)
        except OSError as error:
            saving.abandon()
            self._event("warning", message=f"checkpoint not saved: {error.strerror or error}")
            self._log(f"warning: checkpoint not saved: {error.strerror or error}; training goes on")
        self.ranks.barrier()

    def _until_target(self, batches: Prefetch) -> Iterator[tuple[int, Batch]]:
        items = iter(batches)
        while self.state.tokens < self.config.target_tokens:
            yield next(items)

    def _step(self, batch: Batch) -> tuple[float, float]:
        """One optimizer step; returns the mean loss over all ranks and the norm of the gradient."""
        config, progress = self.config, self.state.tokens / self.config.target_tokens
        set_progress(self.optimizers, config, progress)
        windows = self.windows(progress)
        targets = self._targets(batch)
        total = torch.zeros((), device=self.ranks.device)
        for number in range(len(batch)):
            part = batch[number : number + 1]
            sequences = torch.from_numpy(part).to(self.ranks.device)
            documents = torch.from_numpy(document_ids(part, config.eos_token_id)).to(self.ranks.device)
            with self._synchronised(last=number == len(batch) - 1):
                loss = self._loss(sequences, documents, windows)
                # DDP averages over the ranks; the sum over all of them is to be divided by the global count.
                (loss * (self.ranks.world_size / targets)).backward()
            total += loss.detach()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        mean = (self.ranks.sum(total) / targets).item()
        if not (math.isfinite(mean) and math.isfinite(norm.item())):
            raise self._not_finite(mean, norm.item(), batch)
        if config.grad_clip_norm is not None and norm.item() > config.grad_clip_norm:
            torch._foreach_mul_(gradients, config.grad_clip_norm / norm.item())
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return mean, norm.item()

    def windows(self, progress: float) -> list[int]:
        """The windows in force at `progress`, one a layer."""
        c = self.config
        long = long_window_at(progress, c.attention_window_len, c.window_block_size, c.full_windows)
        return layer_windows(c, long)

    def _targets(self, batch: Batch) -> float:
        count = torch.tensor(float(batch[:, 1:].size), device=self.ranks.device)
        return self.ranks.sum(count).item()

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel between ranks with the last sequence of a step only."""
        if isinstance(self._loss, DistributedDataParallel) and not last:
            return self._loss.no_sync()
        return nullcontext()

    def _after_step(self, loss: float, norm: float, per_step: int, seconds: float) -> None:
        config, state = self.config, self.state
        step_tokens = per_step * config.training_sequence_length
        if self.ranks.first and (state.step == 1 or state.step % config.log_every_steps == 0):
            rate = step_tokens / seconds
            lr = {g["name"]: g["lr"] for optimizer in self.optimizers for g in optimizer.param_groups}
            record = {"train_loss": loss, "lr": lr, "grad_norm": norm, "tokens_per_s": rate}
            self.run.append(self.run.metrics, self._stamp() | record)
            left = (config.target_tokens - state.tokens) / rate
            share = state.tokens / config.target_tokens
            self._log(
                f"step {state.step}  {share:4.0%}  loss {loss:.4f}  {rate:,.0f} tokens/s  ETA {max(0.0, left):.0f} s"
            )
        if _crossed(state.tokens, step_tokens, config.val_loss_every_tokens):
            self._evaluate()
        due = _crossed(state.tokens, step_tokens, config.checkpoint_per_n_tokens)
        if config.save_checkpoint and due and state.tokens >= config.checkpoint_warmup_tokens:
            self.save()

    def _evaluate(self) -> None:
        self._last_evaluated = self.state.step
        windows = self.windows(min(1.0, self.state.tokens / self.config.target_tokens))
        scores: dict[str, Score] = {
            name: evaluate(self.model, stream, self.config, windows, self._token_bytes, self.ranks)
            for name, stream in self.validation.items()
        }
        if not scores:
            return
        mean = sum(score.loss for score in scores.values()) / len(scores)
        if not math.isfinite(mean):
            self._event("not_finite", val={name: str(score.loss) for name, score in scores.items()})
            raise TrainingError(f"the validation loss at step {self.state.step} is {mean}: training stopped")
        self.state.best_val = mean if self.state.best_val is None else min(mean, self.state.best_val)
        if self.ranks.first:
            self.run.append(self.run.metrics, self._stamp() | {"val": {n: asdict(s) for n, s in scores.items()}})
            for name, score in scores.items():
                self._log(
                    f"step {self.state.step}  {name}: loss {score.loss:.4f}  ppl {score.ppl:.2f}  bpb {score.bpb:.4f}"
                )

    def _meta(self) -> dict[str, Any]:
        progress = min(1.0, self.state.tokens / self.config.target_tokens)
        return {
            "state": asdict(self.state),
            "step": self.state.step,
            "tokens": self.state.tokens,
            "best_val": self.state.best_val,
            "tokens_per_step": self.config.tokens_per_step(self.ranks.world_size),
            "progress": progress,
            "windows": self.windows(progress),
            "hparams": self.config.model_dump(),
            "fingerprint": self.stream.fingerprint(),
            "torch": torch.__version__,
            **self._travel_meta,
        }

    def _not_finite(self, loss: float, norm: float, batch: Batch) -> TrainingError:
        """Note everything that helps to find out why, and stop: the last checkpoint is still good."""
        norms = {n: p.grad.norm().item() for n, p in self.model.named_parameters() if p.grad is not None}
        bad = sorted(name for name, value in norms.items() if not math.isfinite(value))
        details = {"loss": str(loss), "grad_norm": str(norm), "cursor": self.state.cursor, "parameters": bad}
        self._event("not_finite", **details, sample=batch[0, :64].tolist())
        return TrainingError(
            f"loss {loss} and gradient norm {norm} at step {self.state.step + 1}: training stopped; "
            f"the event names cursor, sample and {len(bad)} parameters; a lower lr_scale may help"
        )

    def _event(self, event: str, **details: Any) -> None:
        if self.ranks.first:
            self.run.append(self.run.events, self._stamp() | {"event": event, **details})

    def _stamp(self) -> dict[str, Any]:
        return {"time": time.time(), "step": self.state.step, "tokens": self.state.tokens}


def _crossed(tokens: int, step_tokens: int, every: int) -> bool:
    """Whether the last step went past a multiple of `every`; never for 0."""
    return every > 0 and tokens // every > (tokens - step_tokens) // every
