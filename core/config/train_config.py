"""The training layer: `configs/*.yml`, and the whole configuration once composed.

`TrainConfig` extends `ModelSpec` because the two layers share one flat namespace: any spec key may be
overridden by a training config or on the command line, and a checkpoint stores them merged.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, PlainSerializer

from core.config.fields import Settings, field
from core.config.model_spec import ModelSpec
from core.config.scalars import Flag, Real, Text, Whole, describe

GroupName = Literal["embed_params", "value_embed_params", "hidden_matrix_params", "scalar_params", "head_params"]
ScheduleName = Literal["linear_decay", "linear_warmup_cosine_decay", "constant_with_cosine_decay"]
_SET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def _globs(value: Any) -> Any:
    globs = value if isinstance(value, list) else [value]
    if not globs or not all(isinstance(glob, str) and glob for glob in globs):
        raise ValueError(f"expected a glob such as data/x_train_*.bin, or a list of them; got {describe(value)}")
    return globs


def _one_or_many(globs: list[str]) -> str | list[str]:
    return globs[0] if len(globs) == 1 else globs


def _validation_sets(value: Any) -> Any:
    if value is None:
        return {}
    sets = value if isinstance(value, dict) else {"val": value}
    for name in sets:
        if not _SET_NAME.fullmatch(str(name)):
            raise ValueError(f"'{name}' cannot name a validation set; use letters, digits, _ and -")
    return {name: _globs(globs) for name, globs in sets.items()}


def _shown_sets(sets: dict[str, list[str]]) -> Any:
    if not sets:
        return None
    if list(sets) == ["val"]:
        return _one_or_many(sets["val"])
    return {name: _one_or_many(globs) for name, globs in sets.items()}


Globs = Annotated[
    list[str], BeforeValidator(_globs, json_schema_input_type=str | list[str]), PlainSerializer(_one_or_many)
]
ValidationSets = Annotated[
    dict[str, list[str]],
    BeforeValidator(_validation_sets, json_schema_input_type=str | list[str] | dict[str, str | list[str]] | None),
    PlainSerializer(_shown_sets),
]


# What makes a run the run that it is: none of these can change when it is resumed.
FIXED_ON_RESUME = frozenset(ModelSpec.model_fields) - {"activation_checkpointing"} | {
    "training_sequence_length",
    "window_block_size",
    "compile_blocks",
    "seed",
    "begin_shard",
    "init_checkpoint",
}


class ParamGroup(Settings):
    """One group of parameters and its learning rate."""

    group: GroupName = field(group="Optimizers")
    """Which parameters: embed_params, value_embed_params, hidden_matrix_params (attention and
    feed-forward matrices), scalar_params (gates and mixing scalars) or head_params."""

    lr: Real = field(group="Optimizers", ge=0, le=1e6)
    """Peak learning rate, before lr_scale and the schedule."""


class Muon(Settings):
    """Momentum orthogonalised by Newton-Schulz, for matrices (Jordan et al. 2024)."""

    type: Literal["Muon"] = field(group="Optimizers")
    """The optimizer."""

    momentum: Real = field(0.95, group="Optimizers", ge=0, lt=1)
    """Nesterov momentum at the end of its warm-up (linear in progress, from 0.85)."""

    weight_decay: Real = field(0.0, group="Optimizers", ge=0)
    """Decoupled weight decay, per unit of learning rate."""

    cautious: Flag = field(False, group="Optimizers")
    """Decay a weight only where the update moves it towards zero as well (Chen et al. 2025)."""

    coefficients: Literal["polar_express", "newton_schulz"] = field("polar_express", group="Optimizers")
    """The polynomials that orthogonalise: Polar Express (Amsel et al. 2025) or Muon's first quintic."""

    schedule: Literal["shared", "constant"] = field("constant", group="Optimizers")
    """`shared` follows learning_rate_schedule; `constant` keeps the peak rate, as Daisy-Wee does with Muon."""

    params: list[ParamGroup] = field(group="Optimizers", min_length=1)
    """The groups this optimizer updates: hidden_matrix_params, its only matrices."""


class AdamW(Settings):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    type: Literal["AdamW"] = field(group="Optimizers")
    """The optimizer."""

    betas: list[Real] = field(lambda: [0.8, 0.95], group="Optimizers", min_length=2, max_length=2)
    """Decay rates of the first and the second moment, each in [0, 1)."""

    eps: Real = field(1e-10, group="Optimizers", gt=0)
    """Added to the root of the second moment."""

    weight_decay: Real = field(0.0, group="Optimizers", ge=0)
    """Decoupled weight decay, per unit of learning rate."""

    schedule: Literal["shared", "constant"] = field("shared", group="Optimizers")
    """`shared` follows learning_rate_schedule; `constant` keeps the peak rate."""

    params: list[ParamGroup] = field(group="Optimizers", min_length=1)
    """The groups this optimizer updates."""


Optimizer = Annotated[Muon | AdamW, Discriminator("type")]


def _default_optimizers() -> list[Muon | AdamW]:
    """The nanoGPT speed-run's split: Muon for matrices, AdamW for everything looked up or scalar."""
    return [
        Muon(type="Muon", params=[ParamGroup(group="hidden_matrix_params", lr=0.025)]),
        AdamW(
            type="AdamW",
            params=[
                ParamGroup(group="embed_params", lr=0.3),
                ParamGroup(group="value_embed_params", lr=0.3),
                ParamGroup(group="head_params", lr=0.005),
                ParamGroup(group="scalar_params", lr=0.005),
            ],
        ),
    ]


class TrainConfig(ModelSpec):
    """A complete training configuration: every key, from every layer."""

    model_spec: Text | None = field(None, group="Model")
    """Name or path of the spec that this config builds on. Without one, the spec's keys stand here."""

    train_shards: Globs = field(group="Data")
    """Glob, or list of globs, of the training shards, relative to the working directory."""

    val_shards: ValidationSets = field(dict, group="Data")
    """Glob(s) of the validation shards; or a mapping of names to globs for several validation sets."""

    begin_shard: Whole = field(0, group="Data", unit="shard", ge=0)
    """Start reading at this training shard (0 is the first): an approximate continuation, `daisy train -s`."""

    training_sequence_length: Whole = field(group="Batch", unit="tokens", ge=1)
    """Tokens in one packed training sequence, the unit that one device processes at a time."""

    batch_tokens: Whole | None = field(None, group="Batch", unit="tokens", ge=1)
    """Tokens in one optimizer step over all devices; accumulation follows from it. Give this or
    grad_acc_steps."""

    grad_acc_steps: Whole | None = field(None, group="Batch", unit="sequences", ge=1)
    """Sequences that each device accumulates in one optimizer step; with neither this nor batch_tokens, 1."""

    loss_chunk_tokens: Whole = field(4096, group="Batch", unit="tokens", ge=1)
    """Tokens whose logits exist at once in the chunked cross-entropy; smaller saves memory."""

    compile_blocks: Flag = field(True, group="Batch")
    """Compile each block of the model with torch.compile on CUDA: about a minute at the start. A CPU runs
    them as they are. A resumed run keeps to what it used: compiled and plain steps differ in the last bits."""

    seed: Whole = field(1337, group="Batch", ge=0)
    """Seed of the initial weights and of the order of the data."""

    target_tokens: Whole = field(group="Schedule", unit="tokens", ge=1)
    """Tokens to train on. Progress s = tokens / target_tokens drives every schedule."""

    learning_rate_schedule: ScheduleName = field("linear_decay", group="Schedule")
    """linear_decay: 1, then linearly to 0 over the cooldown. linear_warmup_cosine_decay: linearly up
    until the cooldown, then a cosine to 0. constant_with_cosine_decay: 1, then a cosine to 0."""

    cooldown_frac: Real = field(0.6, group="Schedule", ge=0, le=1)
    """Share of the run at its end over which the learning rate decays; 0 disables the decay of the
    constant schedules."""

    lr_scale: Real = field(1.0, group="Schedule", gt=0, le=1e6)
    """Multiplies the learning rate of every group."""

    grad_clip_norm: Real | None = field(None, group="Schedule", gt=0)
    """Scale the gradient of a step down to this norm where it is larger; null leaves it as it is."""

    optimizers: list[Optimizer] = field(_default_optimizers, group="Optimizers", min_length=1)
    """Optimizers and the parameter groups each of them updates. Every group that the model has is
    named exactly once; a group that is empty under the spec may be named."""

    window_block_size: Whole = field(128, group="Windows", unit="tokens", ge=1)
    """Block of the attention kernel. It divides both sequence lengths and attention_window_len."""

    full_windows: Flag = field(False, group="Windows")
    """Use the full windows for the whole run (S layers still see half). Otherwise they grow linearly with
    progress, in blocks."""

    val_seq_len: Whole | None = field(None, group="Evaluation", unit="tokens", ge=1)
    """Tokens in one validation sequence; by default training_sequence_length."""

    val_loss_every_tokens: Whole = field(0, group="Evaluation", unit="tokens", ge=0)
    """Training tokens between evaluations; 0 evaluates only at the end."""

    tot_val_tokens: Whole = field(10_485_760, group="Evaluation", unit="tokens", ge=1)
    """Tokens of each validation set that one evaluation reads: always the same ones, all if fewer."""

    save_checkpoint: Flag = field(True, group="Checkpoints")
    """Write checkpoints as the keys below say, and one at the end; false writes none."""

    checkpoint_per_n_tokens: Whole = field(0, group="Checkpoints", unit="tokens", ge=0)
    """Training tokens between checkpoints; 0 writes only the last one."""

    checkpoint_warmup_tokens: Whole = field(0, group="Checkpoints", unit="tokens", ge=0)
    """No checkpoint before this many tokens."""

    keep_last_checkpoints: Whole | None = field(None, group="Checkpoints", ge=1)
    """Keep so many of the last checkpoints and remove older ones, except those that the two keys below keep;
    null keeps all."""

    keep_best_checkpoints: Whole = field(1, group="Checkpoints", ge=0)
    """With keep_last_checkpoints, also keep so many of the lowest validation loss. A checkpoint has one where
    an evaluation was made at its step."""

    keep_checkpoint_every_n_tokens: Whole = field(0, group="Checkpoints", unit="tokens", ge=0)
    """With keep_last_checkpoints, also keep the first checkpoint of every span of so many tokens; 0 keeps none."""

    init_checkpoint: Text | None = field(None, group="Checkpoints")
    """Warm start: take weights and architecture from this checkpoint; schedules, optimizers and steps
    start fresh (`daisy train -p`)."""

    max_restarts: Whole = field(0, group="Checkpoints", ge=0)
    """How often ranks that die are started again from the last complete checkpoint before the run has failed. What
    would end the same way again, such as a loss that is not finite, is not tried again."""

    log_every_steps: Whole = field(10, group="Logging", unit="steps", ge=1)
    """Optimizer steps between log points; step 1 is always logged."""

    tags: list[Text] = field(list, group="Logging")
    """Free words to filter runs by."""

    wandb_log: Flag = field(False, group="Logging")
    """Also log to Weights & Biases (extra `wandb`)."""

    wandb_project: Text = field("daisy", group="Logging")
    """Weights & Biases project."""

    wandb_run_name: Text | None = field(None, group="Logging")
    """Weights & Biases run name; by default the run's id."""

    @property
    def spec(self) -> ModelSpec:
        """The architecture alone, as DaisyCore takes it."""
        return ModelSpec.of(self.model_dump())

    @property
    def validation_sequence_length(self) -> int:
        """Tokens in one validation sequence: val_seq_len, or the training sequence's."""
        return self.val_seq_len or self.training_sequence_length

    def tokens_per_step(self, world_size: int = 1) -> int:
        """Tokens of one optimizer step over `world_size` devices, accumulation included."""
        if self.batch_tokens is not None:
            return self.batch_tokens
        return self.training_sequence_length * (self.grad_acc_steps or 1) * world_size
