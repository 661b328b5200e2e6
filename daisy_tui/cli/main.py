"""The `daisy` command: what there is, and how every failure is said.

Only click is imported here. A command's module is imported when that command runs, and the one-line
helps stand in this file, so `daisy --help` costs what click costs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from core.errors import DaisyError, StoppedError
from daisy_tui.cli.text import printable


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
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name].target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in self._lazy.items()])


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"daisy {version('daisy-tui')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    lazy={
        "config": Lazy("daisy_tui.cli.config:config", "Show configs: values, where they come from, costs."),
        "data": Lazy("daisy_tui.cli.data:data", "Prepare, look at and verify training data."),
    },
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Train GPT models of your own on local devices, and talk to them.

    Exit codes: 0 done, 1 failed, 2 bad usage or config, 3 stopped on request.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    if ctx.invoked_subcommand is None:
        from daisy_tui.cli.start import show_start

        show_start()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Every expected failure is one line on standard error."""
    try:
        result = cli.main(arguments, prog_name="daisy", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except StoppedError as error:
        _say(str(error))
        return error.exit_code
    except DaisyError as error:
        for line in str(error).splitlines():
            _say(f"error: {line}")
        return error.exit_code
    except click.ClickException as error:
        _say(f"error: {error.format_message()}")
        if isinstance(error, click.UsageError):
            _say(f"`{error.ctx.command_path if error.ctx else 'daisy'} --help` shows the usage")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("stopped")
        return StoppedError.exit_code
    except BrokenPipeError:
        # The reader (`| head`) has left; the interpreter must not try to flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def daisy() -> None:
    """Console script `daisy`."""
    sys.exit(main())


def start() -> None:
    """Console script `daisy-tui`: `daisy` alone."""
    sys.exit(main([]) if len(sys.argv) == 1 else main())


def _say(line: str) -> None:
    click.echo(printable(line), err=True)
