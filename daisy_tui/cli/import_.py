"""`daisy import`: a foreign .pt file as a checkpoint. A child process reads it; the tokenizer is found here."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from core.data.dataset import TokenizerInfo, dataset_tokenizer, read_dataset
from core.data.tokenizers import Tokenizer, load_tokenizer
from daisy_tui.cli.data import Folder
from daisy_tui.cli.sample import run_child


@click.command("import", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", metavar="FILE.pt", type=click.Path(path_type=Path))
@click.option("--out", type=Folder(path_type=Path), required=True, help="Folder of the checkpoint to make.")
@click.option(
    "--tokenizer",
    default="gpt2",
    show_default=True,
    metavar="gpt2|bytes|FOLDER|none",
    help="The model's tokenizer: by name, a trained one or a dataset by its folder, or none.",
)
@click.option(
    "--set", "stated", multiple=True, metavar="KEY=VALUE", help="State what the file's hparams leave out, or get wrong."
)
@click.option(
    "--training-only",
    "--training_only",
    multiple=True,
    metavar="KEY",
    help="Say of an hparam that it is about training, and no part of the model.",
)
def import_command(
    file: Path, out: Path, tokenizer: str, stated: tuple[str, ...], training_only: tuple[str, ...]
) -> int:
    """Make a checkpoint of a .pt file in the layout of Daisy-Wee's README, or under Daisy's own names.

    What Daisy's model cannot compute exactly is refused by name. Optimizers stay behind: the result can be
    sampled, and training begins from it with `daisy train CONFIG -p DIR`.
    """
    arguments = [f"--out={out}", *(f"--set={word}" for word in stated)]
    arguments += [f"--training-only={key}" for key in training_only]
    found = None if tokenizer == "none" else _tokenizer(tokenizer)
    if found is not None:
        arguments.append(f"--tokenizer={json.dumps(asdict(TokenizerInfo.of(found)))}")
    ranks = None if found is None else found.ranks_file()
    return run_child("core.checkpoint.importing", [*arguments, "--", str(file)], ranks or b"")


def _tokenizer(name: str) -> Tokenizer:
    """A tokenizer by name, by its folder or ranks file, or that of a dataset by the dataset's folder."""
    folder = Path(name)
    if folder.is_dir() and (dataset := read_dataset(folder)) is not None:
        return dataset_tokenizer(folder, dataset.tokenizer)
    return load_tokenizer(name)
