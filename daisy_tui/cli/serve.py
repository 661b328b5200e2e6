"""`daisy serve`: this process becomes the server, so that whoever started it has the server itself by its id."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

import click

from daisy_tui.chatting.serving import KEY_VARIABLE, server_command, server_environment

TEMPLATE = click.option(
    "--chat-template",
    "--chat_template",
    metavar="NAME",
    help="How chats become prompts: `instruction` or `plain`. [default: the checkpoint's own, if it has one]",
)
WEIGHTS = click.option(
    "--weights",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    help="Form that weights are decoded in; auto is float32 on a CPU, bfloat16 on CUDA.",
)
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", metavar="CKPT|RUN")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; another one needs a key.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@DEVICE
@WEIGHTS
@click.option("--slots", type=click.IntRange(1, 1024), default=8, show_default=True, help="Answers at the same time.")
@click.option("--max-queue", "--max_queue", type=click.IntRange(1, 65536), default=64, show_default=True)
@click.option("--follow", is_flag=True, help="Serve a run's latest checkpoint, and each newer one once it is there.")
@TEMPLATE
@click.option("--api-key", "--api_key", metavar="KEY", help=f"Key that clients must send; better in {KEY_VARIABLE}.")
@click.option("--cors", metavar="ORIGIN", help="Let web pages of this origin ask.")
@click.option("--insecure", is_flag=True, help="Let anybody ask who reaches --host, without a key.")
@click.option("--deterministic", is_flag=True, help="Answers bit for bit the same whatever else is asked; slower.")
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Seconds that answers have to end in when the server is stopped.",
)
def serve(
    checkpoint: str,
    follow: bool,
    insecure: bool,
    deterministic: bool,
    api_key: str | None,
    **options: str | int | float | None,
) -> NoReturn:
    """Serve a checkpoint, or a run's latest one, to OpenAI's clients over HTTP, until Ctrl-C."""
    flags = {"--follow": follow, "--insecure": insecure, "--deterministic": deterministic}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
    become(server_command(checkpoint, [*arguments, *(flag for flag, is_set in flags.items() if is_set)]), api_key)


def become(command: list[str], api_key: str | None) -> NoReturn:
    """Replace this process."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    for number in range(3):  # the number of a closed stream would be taken by the server's first socket
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    os.execve(command[0], command, server_environment(api_key))
