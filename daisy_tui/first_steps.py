"""From nothing to a model that chats, in three steps, and how far a folder has come with them.

Each state is read from the folder, so it is true whoever took the step and wherever: here, in another terminal, or
by typing the command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from core.checkpoint.format import complete_checkpoints
from core.data.dataset import DATASET_FILE, STAGING
from core.data.demo import DEMO_FOLDER
from core.data.errors import ShardError
from core.data.folder import open_folder
from core.data.shards import read_header
from core.runs.directory import RunDirectory, RunError, all_runs
from core.runs.status import run_status
from core.runs.summary import summary
from core.text import count, duration, percent, plural
from daisy_tui.data.datasets import is_being_prepared

StepState = Literal["todo", "running", "done"]
DEMO_CONFIG = "demo"


class Step(NamedTuple):
    """A step: its state, what to say of it, and the `daisy` command that takes it.

    `waits_for` says what has to come first where it cannot be taken yet; `run` is the run that it made.
    """

    id: str
    title: str
    state: StepState
    words: str
    command: tuple[str, ...]
    waits_for: str | None = None
    run: Path | None = None


def first_steps(folder: Path, now: float | None = None) -> tuple[Step, Step, Step]:
    """The three steps as they stand in a folder at a time of day. It reads a few small files."""
    data = _data(folder)
    training = _training(folder, data, now)
    return data, training, _chat(folder, training)


def _data(folder: Path) -> Step:
    path = folder / DEMO_FOLDER
    step = Step("data", "Prepare six novels", "todo", "4 MB of text become tokens; a few seconds", ("data", "demo"))
    if is_being_prepared(path):
        return step._replace(state="running", words="being turned into tokens")
    try:
        opened = open_folder(path)
        tokens = sum(read_header(shard).tokens for shard in opened.shards)
    except ShardError as error:
        if (path / DATASET_FILE).exists():
            damaged = f"damaged: {error}"
            return step._replace(words=damaged, command=(*step.command, "--overwrite"))
        begun = "begun, and goes on where it was" if (path / STAGING).exists() else step.words
        return step._replace(words=begun)
    documents = sum(split.documents for split in opened.dataset.splits.values()) if opened.dataset else 0
    return step._replace(state="done", words=f"{count(tokens)} tokens in {plural(documents, 'document')}")


def _training(folder: Path, data: Step, now: float | None) -> Step:
    first = None if data.state == "done" else "the novels come first"
    step = Step("train", "Train the demo model", "todo", "a few minutes on two slow cores", ("train", "demo"), first)
    run = next((run for run in all_runs(folder / "runs") if _is_demo(run)), None)
    if run is None:
        return step
    status = run_status(run, now)
    facts = summary(run, status)
    step = step._replace(run=run.path)
    share = min(1.0, (facts["tokens"] or 0) / facts["target_tokens"]) if facts["target_tokens"] else 0.0
    if status.alive:
        loss = f", loss {facts['train_loss']:.2f}" if facts["train_loss"] is not None else ""
        eta = f", ready in {duration(facts['eta_s'])}" if facts["eta_s"] is not None else ""
        return step._replace(state="running", words=f"{status.state}: {percent(share)}{loss}{eta}", waits_for=None)
    if status.state == "finished":
        loss = f"validation loss {facts['val_loss']:.2f}" if facts["val_loss"] is not None else "finished"
        return step._replace(state="done", words=loss, waits_for=None)
    if any(complete_checkpoints(run.checkpoints)):
        again = ("train", "--resume", run.path.name)
        return step._replace(words=f"{status.state} at {percent(share)}; goes on from its checkpoint", command=again)
    return step._replace(words=f"{status.state}: {status.reason or 'nobody knows why'}")


def _chat(folder: Path, training: Step) -> Step:
    step = Step("chat", "Chat with it", "todo", "it writes as the novels do, and knows little else", ("chat", "latest"))
    chats = len([*(folder / "chats").glob("*.jsonl")])
    if chats:
        step = step._replace(state="done", words=f"{plural(chats, 'chat')} kept")
    run = RunDirectory(training.run) if training.run is not None else None
    if run is None or not any(complete_checkpoints(run.checkpoints)):
        return step._replace(state="todo", waits_for="a trained model comes first")
    newest = max(all_runs(folder / "runs"), key=lambda one: (one.started, one.path.name))
    source = "latest" if newest.path == run.path else run.path.name
    return step._replace(command=("chat", source), run=run.path)


def _is_demo(run: RunDirectory) -> bool:
    try:
        return Path(str(run.facts().get("config"))).stem == DEMO_CONFIG
    except RunError:
        return False
