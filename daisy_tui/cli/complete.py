"""`daisy complete`: one prompt to a server that runs, and what the model goes on with."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from core.errors import DaisyError
from daisy_tui.chatting.client import DEFAULT_URL
from daisy_tui.chatting.conversation import Conversation
from daisy_tui.cli.chat import client_at, sampling, sampling_options, write
from daisy_tui.cli.text import echo


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("prompt")
@click.option("--url", default=DEFAULT_URL, show_default=True, metavar="URL", help="The server to ask.")
@click.option("--max_tokens", "--max-tokens", type=click.IntRange(1), default=256, show_default=True)
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times.")
@sampling_options
def complete(prompt: str, url: str, stop: tuple[str, ...], **options: Any) -> None:
    """Print what a served model goes on with. PROMPT is text; - reads it from standard input.

    The key of a server that has one is taken from the environment (DAISY_API_KEY).
    """
    if sys.stdout is None:
        raise DaisyError("standard output is closed, and text goes nowhere else; leave it open, or redirect it")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if prompt == "-":
        if sys.stdin is None:
            raise click.UsageError("-: standard input is closed")
        prompt = sys.stdin.read()
    asking = {**sampling(options), **({"stop": list(stop)} if stop else {})}
    conversation = Conversation(client_at(url), asking, form="text")
    for piece in conversation.ask(prompt):
        write(piece)
    write("\n")
    echo(str(conversation.speed), err=True)
