"""Weights & Biases, when a run asks for it (extra `wandb`). A failing network costs the log and never the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.config.train_config import TrainConfig


class WandbLog:
    """Sends records of metrics.jsonl under the names that the README gives: train/loss, val/loss, val/ppl.

    `warn` gets one line when something fails; nothing is sent after that.
    """

    def __init__(self, config: TrainConfig, run_path: Path, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._run: Any = None
        try:
            import wandb

            self._run = wandb.init(
                project=config.wandb_project,
                name=config.wandb_run_name or run_path.name,
                id=run_path.name,
                resume="allow",
                dir=run_path,
                config=config.model_dump(),
                tags=list(config.tags),
            )
        except Exception as error:  # noqa: BLE001 - whatever fails in there, training goes on
            self._fail(error)

    def log(self, record: dict[str, Any]) -> None:
        """Send one record of metrics.jsonl."""
        if self._run is None:
            return
        try:
            self._run.log(wandb_names(record), step=record["step"])
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def close(self) -> None:
        """Send what is left."""
        if self._run is None:
            return
        try:
            self._run.finish()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._run = None
        self._warn(f"Weights & Biases: {' '.join(str(error).split()) or type(error).__name__}; logging there ends")


def wandb_names(record: dict[str, Any]) -> dict[str, float]:
    """A record of metrics.jsonl as flat names. The only validation set's name is left out: val/loss."""
    flat: dict[str, float] = {}
    for key, value in record.items():
        if key in ("step", "time"):
            continue
        if key == "val":
            for name, score in value.items():
                prefix = "val" if len(value) == 1 else f"val/{name}"
                flat |= {f"{prefix}/{figure}": number for figure, number in score.items()}
        elif isinstance(value, dict):
            flat |= {f"{key}/{name}": number for name, number in value.items()}
        else:
            flat["train/loss" if key == "train_loss" else key] = value
    return flat
