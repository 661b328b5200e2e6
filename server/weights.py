"""Checkpoints become an engine: the one file of the server that needs torch, which it imports when it is called."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.checkpoint.format import MODEL_FILE, CheckpointError
from core.data.tokenizers import Tokenizer
from core.runs.directory import RunError
from core.runs.status import run_status
from server.host import EngineLike, Served
from server.settings import ServeUsageError
from server.source import Source, source_of
from server.templates import Template, template_named, template_of

if TYPE_CHECKING:
    from core.inference.engine import Engine
    from core.inference.loaded import Loaded

_LOOK_EVERY_S = 0.5


class Weights:
    """The backend of a real server. `template` is the name of the one to use whatever checkpoints hold.

    With `wait` a run that has no checkpoint yet is waited for. `say` gets lines for people.
    """

    def __init__(
        self,
        source: Source,
        *,
        device: str = "auto",
        slots: int = 8,
        max_queue: int = 64,
        weights: str = "auto",
        deterministic: bool = False,
        template: str | None = None,
        wait: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._source = source
        self._device = device
        self._slots, self._max_queue, self._weights, self._deterministic = slots, max_queue, weights, deterministic
        self._template = template_named(template) if template is not None else None
        self._wait = wait
        self._say = say
        self._engine: Engine | None = None
        self._served: Served | None = None

    def open(self) -> tuple[EngineLike, Served]:
        """Load the checkpoint and make its engine. Raises DaisyError where that cannot be."""
        from core.inference.engine import Engine
        from core.inference.loaded import check_finite, load
        from core.inference.loss import compared

        self._device = _device(self._device)
        loaded = load(self._first(), self._device)
        check_finite(loaded)
        self._engine = Engine(
            loaded,
            slots=self._slots,
            max_queue=self._max_queue,
            weights=self._weights,
            deterministic=self._deterministic,
        )
        self._served = self._describe(loaded, self._source, _longest_token(loaded.tokenizer))
        if self._weights in ("int8", "bfloat16") and self._device == "cpu":
            found = compared(loaded, self._weights)
            self._say(f"{self._weights}: {found or 'its cost is not measured: the validation shards are not here'}")
        return self._engine, self._served

    def change(self, name: str | Path) -> Served:
        """Give the engine another checkpoint's weights. Raises DaisyError where that cannot be."""
        from core.inference.loaded import check_finite, load

        assert self._engine is not None
        assert self._served is not None
        source = source_of(str(name)) if isinstance(name, str) else self._source
        folder = source.folder() if isinstance(name, str) else name
        if folder is None:
            raise RunError(f"{name}: this run has no complete checkpoint yet")
        loaded = load(folder, self._device)
        check_finite(loaded)
        served = self._describe(loaded, source, self._served.longest_token)
        self._engine.swap(loaded)
        self._served = served
        return served

    def _first(self) -> Path:
        while (folder := self._source.folder()) is None:
            run = self._source.run
            where = run.checkpoints if run is not None else self._source.name
            if not self._wait or run is None:
                raise RunError(f"{where}: has no complete checkpoint yet; --follow waits for the first")
            if not (status := run_status(run)).alive and self._source.folder() is None:
                raise RunError(f"{where}: has no checkpoint, and none will come: the run is {status.state}")
            time.sleep(_LOOK_EVERY_S)
        return folder

    def _describe(self, loaded: Loaded, source: Source, longest_token: int) -> Served:
        meta = loaded.meta
        template: Template | None = self._template or template_of(meta, loaded.folder)
        losses = [_number(meta.get(key)) for key in ("val_loss", "best_val")]
        return Served(
            name=source.name,
            folder=loaded.folder,
            tokenizer=loaded.tokenizer,
            max_seq_len=loaded.model.spec.max_seq_len,
            longest_token=longest_token,
            aliases=source.aliases,
            step=_count(meta.get("step")),
            tokens=_count(meta.get("tokens")),
            val_loss=next((loss for loss in losses if loss is not None), None),
            template=template,
            created=int(_written(loaded.folder)),
            device=self._device,
        )


def _number(value: Any) -> float | None:
    """A finite number; None for what is none, as a stranger's meta.json may hold."""
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**63 else None


def _device(name: str) -> str:
    """The device of this name. Raises ServeUsageError where this machine or this torch has none."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    known = {"cpu"} | ({"cuda", *(f"cuda:{index}" for index in range(count))} if count else set())
    if name not in known:
        raise ServeUsageError(f"--device {name}: there is no such device; there are auto, {', '.join(sorted(known))}")
    return name


def _longest_token(tokenizer: Tokenizer) -> int:
    """The most bytes that one token stands for: it bounds how few tokens a text can have."""
    return max(len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size))


def _written(folder: Path) -> float:
    try:
        return (folder / MODEL_FILE).stat().st_mtime
    except OSError as error:
        raise CheckpointError(f"{folder / MODEL_FILE}: cannot be read: {error.strerror}") from error
