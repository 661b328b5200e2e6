"""Whether a run can go on, and as what; whether weights fit a config. Shared by commands and screens, without torch.

Exact: the run continues as if it had never stopped. Approximate: it goes on, and something that its steps depend on
is not what it was. Different: its next batch, or what tokens or steps mean, is another; refused unless insisted on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.checkpoint.format import CheckpointError, complete_checkpoints, read_meta
from core.checkpoint.inspect import read_described
from core.config.model_spec import ModelSpec
from core.config.scalars import format_value
from core.config.train_config import TrainConfig
from core.data.stream import TokenStream
from core.data.survey import Survey
from core.runs.changes import read_changes
from core.runs.directory import RunDirectory, RunError
from core.runs.follow import records_backwards
from core.text import plural

# What may change without changing a single step.
_NEUTRAL = frozenset(
    {
        *("val_shards", "val_seq_len", "val_loss_every_tokens", "tot_val_tokens", "save_checkpoint", "max_restarts"),
        *("checkpoint_per_n_tokens", "checkpoint_warmup_tokens", "keep_last_checkpoints", "keep_best_checkpoints"),
        *("keep_checkpoint_every_n_tokens", "log_every_steps", "tags", "wandb_log", "wandb_project", "wandb_run_name"),
        *("model_spec", "train_shards", "activation_checkpointing"),
    }
)


@dataclass(frozen=True)
class Resuming:
    """How a run goes on from `checkpoint` (None: it begins anew).

    `kind` is exact, approximate, different or finished, and `differs` says what makes it so.
    """

    kind: str
    checkpoint: Path | None
    differs: tuple[str, ...] = ()
    step: int = field(default=0, compare=False)

    def __str__(self) -> str:
        if self.checkpoint is None:
            return "resume: begins anew, for it has no checkpoint"
        why = "its next batch is the one that was to come" if self.kind == "exact" else "; ".join(self.differs)
        return f"resume from {self.checkpoint.name}: {self.kind} ({why})"


def resuming(run: RunDirectory, config: TrainConfig, found: Survey, world_size: int) -> Resuming:
    """How a run would go on with a config. Raises RunError where its checkpoint is no run's."""
    checkpoints = list(complete_checkpoints(run.checkpoints))
    if not checkpoints:
        return Resuming("exact", None)
    newest = checkpoints[-1]
    meta = read_meta(newest)
    try:
        tokens, cursor = int(meta["tokens"]), int(meta["state"]["cursor"])
        then, hparams, step = int(meta["tokens_per_step"]), dict(meta["hparams"]), int(meta["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{newest}: no run's checkpoint, so nothing can go on from it ({error})") from error
    if config.target_tokens <= tokens:
        what = f"{tokens:,} tokens are trained, and target_tokens is {config.target_tokens:,}"
        return Resuming("finished", newest, (f"{what}; a larger target_tokens=… goes on",), step)
    other = [*_other_data(meta, config, found, cursor, then)]
    if (now := config.tokens_per_step(world_size)) != then:
        devices = "one device" if world_size == 1 else f"{world_size} devices"
        other.append(f"a step had {then:,} tokens and would have {now:,} on {devices}")
    if other:
        return Resuming("different", newest, tuple(other), step)
    to_come = {key for change in read_changes(run) if change.step > step for key in change.values}
    changed = [*_changed(hparams, config, to_come), *_elsewhere(meta), *_otherwise_divided(run, world_size)]
    return Resuming("approximate" if changed else "exact", newest, tuple(changed), step)


def check_warm_start(checkpoint: Path, config: TrainConfig, found: Survey, *, insist: bool) -> None:
    """Raise CheckpointError where weights do not fit a config, or mean another tokenizer's tokens."""
    meta = read_meta(checkpoint)
    theirs = read_described(checkpoint)[1].model_dump()
    weights = {*theirs} - {"activation_checkpointing", "max_seq_len", "attention_window_len", "window_pattern"}
    differing = [
        f"{key} is {theirs[key]} there and {getattr(config, key)} here"
        for key in theirs
        if key in weights and theirs[key] != getattr(config, key)
    ]
    if differing:
        raise CheckpointError(f"{checkpoint}: its weights do not fit: {'; '.join(differing)}")
    if not insist and (what := _other_tokenizer(meta, found)):
        raise CheckpointError(f"{checkpoint}: {what}, so its tokens mean other text; --force takes it all the same")


def architecture(checkpoint: Path) -> list[str]:
    """The architecture of a checkpoint as overrides, for a run that takes its weights."""
    hparams = read_meta(checkpoint)["hparams"]
    return [f"{key}={format_value(hparams[key])}" for key in ModelSpec.model_fields if key in hparams]


def _other_data(meta: dict[str, Any], config: TrainConfig, found: Survey, cursor: int, step_tokens: int) -> list[str]:
    if what := _other_tokenizer(meta, found):
        return [what]
    length = config.training_sequence_length
    paths = [shard.path for shard in found.train]
    stream = TokenStream(paths, length, seed=config.seed, begin_shard=config.begin_shard)
    if meta.get("fingerprint") != stream.fingerprint():
        return ["the training shards are not those that this run read"]
    if "next_batch" in meta and meta["next_batch"] != stream.batch_hash(cursor, step_tokens // length):
        return ["the next batch is not the one that this run would have read"]
    return []


def _other_tokenizer(meta: dict[str, Any], found: Survey) -> str | None:
    before, now = meta.get("tokenizer"), found.tokenizer
    if not isinstance(before, dict) or now is None or before.get("fingerprint") in (None, now.fingerprint):
        return None
    return f"the shards' tokenizer '{now.name}' is another than its '{before.get('name')}'"


def _changed(hparams: dict[str, Any], config: TrainConfig, to_come: set[str]) -> list[str]:
    """The keys that differ from a checkpoint's; not those that were set after it, which are met again at their step."""
    now = config.model_dump()
    return [f"{key} changed" for key in now if key not in _NEUTRAL | to_come and hparams.get(key) != now[key]]


def _otherwise_divided(run: RunDirectory, world_size: int) -> list[str]:
    """Another number of devices makes the same sums in another order."""
    started = (record["devices"] for record in records_backwards(run.events) if "devices" in record)
    before = next(started, world_size)
    return [f"it was on {plural(before, 'device')} and would be on {world_size}"] if before != world_size else []


def _elsewhere(meta: dict[str, Any]) -> list[str]:
    before = meta.get("versions")
    versions = before if isinstance(before, dict) else {}
    return [
        f"{name} was {versions[name]} and is {here}"
        for name in ("daisy-tui", "torch")
        if name in versions and versions[name] != (here := _version(name, versions[name]))
    ]


def _version(name: str, before: object) -> str:
    """The installed version; torch says its build (`+cpu`) only when it is imported, so that is left out of both."""
    here = version(name)
    return str(before) if str(before).partition("+")[0] == here.partition("+")[0] else here
