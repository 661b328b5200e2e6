"""`daisy sample`: text from a checkpoint, printed as it comes. The model runs in a child process."""

from __future__ import annotations

import subprocess
import sys

import click

from daisy_tui.cli.checkpoints import checkpoint_folder


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", metavar="CKPT|RUN")
@click.option("--prompt", default="", help="Text to go on from. [default: none, a new document]")
@click.option("--max_tokens", "--max-tokens", type=click.IntRange(1), default=256, show_default=True)
@click.option("--temperature", type=float, default=0.7, show_default=True, help="0 takes the likeliest token.")
@click.option("--top_k", "--top-k", type=int, default=50, show_default=True, help="0 leaves all tokens in.")
@click.option("--top_p", "--top-p", type=float, default=1.0, show_default=True)
@click.option("--repetition_penalty", "--repetition-penalty", type=float, default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same text.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def sample(checkpoint: str, **options: str | int | float) -> int:
    """Print text that a checkpoint, or a run's latest one, goes on with."""
    folder = checkpoint_folder(checkpoint)
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "core.inference.sample", str(folder), *arguments]
    child = subprocess.Popen(command)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # the child has it too, and ends
