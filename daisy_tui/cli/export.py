"""`daisy export`: a self-contained copy of a checkpoint, without optimizer state."""

from __future__ import annotations

from pathlib import Path

import click

from core.errors import StoppedError
from core.text import size
from daisy_tui.cli.data import Folder
from daisy_tui.cli.progress import PROGRESS_JSON, progress, stop_requests
from daisy_tui.cli.text import JSON, echo, print_json
from daisy_tui.naming import checkpoint_folder


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", metavar="CKPT|RUN")
@click.option("--out", type=Folder(path_type=Path), required=True, help="Folder of the copy to make.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    help="Form of the weights; bfloat16 rounds matrices and halves the size.  [default: as they are]",
)
@PROGRESS_JSON
@JSON
def export(checkpoint: str, out: Path, dtype: str | None, progress_json: bool, as_json: bool) -> None:
    """Copy a checkpoint, or a run's latest one, without its optimizer state, its tokenizer along.

    The copy is served, sampled, inspected and trained from (`daisy train CONFIG -p DIR`) wherever it is taken; no run
    goes on from it. What is read is checked against its hashes.
    """
    from core.checkpoint.exporting import export_checkpoint  # numpy, which only the work itself loads

    source = checkpoint_folder(checkpoint)
    with stop_requests() as asked, progress("exporting", as_json=progress_json) as update:

        def report(done: int, total: int) -> None:
            if asked():
                raise StoppedError("stopped; nothing was left behind")
            update(done, total, "")

        made = export_checkpoint(source, out, dtype, report)
    if as_json:
        print_json({"out": str(made.path), "bytes": made.bytes, "before": made.before, "notes": made.notes})
        return
    echo(f"{made.path}: {size(made.bytes)} of {size(made.before)}; `daisy sample {made.path}` lets it speak")
    for note in made.notes:
        echo(f"note: {note}")
