"""The `daisy` command: what there is, and how every failure is said.

Only click is imported here. A command's module is imported when that command runs, and the one-line
helps stand in this file, so `daisy --help` costs what click costs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from core.errors import DaisyError, StoppedError
from core.text import printable


@dataclass(frozen=True)
class Lazy:
    """A command that is imported on use: `module:attribute`, and its line in the help."""

    target: str
    help: str


class LazyGroup(click.Group):
    """A click group whose commands are imported when they run."""

    def __init__(self, *args: Any, lazy: dict[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *self._lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name].target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            groups = [(name, command.get_short_help_str(limit=70)) for name, command in self.commands.items()]
            formatter.write_dl(groups + [(name, lazy.help) for name, lazy in self._lazy.items()])


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"daisy {version('daisy-tui')}")
        ctx.exit()


_HELP = {"help_option_names": ["-h", "--help"]}
_CONFIG = LazyGroup(
    "config",
    help="Show configs: values, where they come from, what they cost.",
    context_settings=_HELP,
    lazy={
        "list": Lazy("daisy_tui.cli.config:list_command", "List the configs and model specs."),
        "show": Lazy("daisy_tui.cli.config:show", "Show a config: values, sources, estimates."),
        "save": Lazy("daisy_tui.cli.config:save", "Save a config with changes as a new one."),
        "schema": Lazy("daisy_tui.cli.config:schema", "Print the JSON Schema, or the reference page."),
    },
)
_DATA = LazyGroup(
    "data",
    help="Prepare, look at and verify training data.",
    context_settings=_HELP,
    lazy={
        "list": Lazy("daisy_tui.cli.data:list_command", "List the datasets that there are."),
        "demo": Lazy("daisy_tui.cli.data:demo", "Prepare the bundled novels for the demo model."),
        "prepare": Lazy("daisy_tui.cli.data:prepare_command", "Turn text into shards, on all cores."),
        "train-tokenizer": Lazy("daisy_tui.cli.data:train_tokenizer", "Train a byte-pair encoding on text."),
        "preview": Lazy("daisy_tui.cli.data:preview_command", "Show tokens as the model reads them."),
        "verify": Lazy("daisy_tui.cli.data:verify_command", "Check every shard and count documents."),
    },
)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings=_HELP,
    commands=[_CONFIG, _DATA],
    lazy={
        "tui": Lazy("daisy_tui.cli.tui:tui", "Open the control center in this terminal, or in a browser."),
        "train": Lazy("daisy_tui.cli.train:train", "Train a config; go on with a run."),
        "preflight": Lazy("daisy_tui.cli.preflight:preflight_command", "Measure three real steps of a config."),
        "runs": Lazy("daisy_tui.cli.runs:runs", "List runs, look at them, stop, change, resume, prune them."),
        "doctor": Lazy("daisy_tui.cli.doctor:doctor", "What this machine has, what would fail, and how to mend it."),
        "sample": Lazy("daisy_tui.cli.sample:sample", "Print text that a checkpoint goes on with."),
        "serve": Lazy("daisy_tui.cli.serve:serve", "Serve a checkpoint to OpenAI's clients."),
        "chat": Lazy("daisy_tui.cli.chat:chat", "Chat with a checkpoint in the terminal."),
        "complete": Lazy("daisy_tui.cli.complete:complete", "Ask a server to go on with a text."),
        "inspect": Lazy("daisy_tui.cli.inspect:inspect", "Show what a checkpoint is, and what differs."),
        "export": Lazy("daisy_tui.cli.export:export", "Copy a checkpoint without its optimizer state."),
        "import": Lazy("daisy_tui.cli.import_:import_command", "Make a checkpoint of a foreign .pt file."),
    },
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.option("--readonly", is_flag=True, help="Open the control center to look, and change nothing.")
@click.pass_context
def cli(ctx: click.Context, readonly: bool) -> None:
    """Train GPT models of your own on local devices, and talk to them.

    Exit codes: 0 done, 1 failed, 2 bad usage or config, 3 stopped on request.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    if readonly and ctx.invoked_subcommand is not None:
        raise click.UsageError(
            "--readonly opens the control center: `daisy --readonly` alone, or `daisy tui --readonly`"
        )
    if ctx.invoked_subcommand is None:
        if sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty():
            from daisy_tui.cli.tui import open_terminal

            open_terminal(readonly=readonly)
            return
        from daisy_tui.cli.start import show_start

        show_start()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Every expected failure is one line on standard error."""
    try:
        Path.cwd()
    except FileNotFoundError:
        _say("error: the current folder was removed; cd to another one")
        return 1
    try:
        result = cli.main(arguments, prog_name="daisy", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except StoppedError as error:
        for line in error.lines:
            _say(line)
        return error.exit_code
    except DaisyError as error:
        for line in error.lines:
            _say(f"error: {line}")
        return error.exit_code
    except click.ClickException as error:
        _say(f"error: {error.format_message()}")
        if isinstance(error, click.UsageError):
            _say(f"`{error.ctx.command_path if error.ctx else 'daisy'} --help` shows the usage")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return StoppedError.exit_code
    except BrokenPipeError:
        _drop_output()  # the reader (`| head`) has left
        return 0
    except OSError as error:
        # What no room has worded: a full device, a folder that vanished.
        where = f"{error.filename}: " if error.filename else ""
        _say(f"error: {where}{error.strerror or error}")
        _drop_output()
        return 1


def _drop_output() -> None:
    """Keep the interpreter from flushing once more, at its end, into what took nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def daisy() -> None:
    """Console script `daisy`."""
    sys.exit(main())


def start() -> None:
    """Console script `daisy-tui`: opens what `daisy` alone opens."""
    daisy()


def _say(line: str) -> None:
    with suppress(OSError):
        click.echo(printable(line.replace("\n", "\\n")), err=True)
