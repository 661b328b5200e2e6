"""`daisy tui`: the control center, in this terminal or, served on loopback, in a browser."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from pathlib import Path

import click

from core.errors import DaisyError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--readonly", is_flag=True, help="Look, and change nothing.")
@click.option("--web", is_flag=True, help="Serve the same screens to a browser on this machine.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of --web; only loopback.")
@click.option("--port", type=click.IntRange(1, 65535), default=8500, show_default=True, help="Port of --web.")
@click.option("--screen", "first", metavar="NAME", help="Begin with this screen, such as `chat`.")
def tui(readonly: bool, web: bool, host: str, port: int, first: str | None) -> None:
    """Open the control center: compose, launch, watch, compare, inspect and chat.

    Closing it ends no run. `daisy` alone opens it too.
    """
    if web:
        _serve(host, port, readonly=readonly)
    else:
        open_terminal(readonly=readonly, first=first)


def open_terminal(*, readonly: bool, first: str | None = None) -> None:
    """Open the control center in this terminal until it is closed. Raises DaisyError where that cannot be."""
    is_web = "TEXTUAL_DRIVER" in os.environ  # textual-serve talks to its apps over pipes
    if not is_web and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise DaisyError("daisy tui: needs a terminal; `daisy runs list` and its fellows work without one")
    gc.disable()  # until the first frame
    from daisy_tui.app import DaisyApp
    from daisy_tui.services import Services
    from daisy_tui.settings import SettingsFile, settings_path
    from daisy_tui.widgets.topbar import PLACES

    names = [name for name, _, _ in PLACES]
    if first is not None and first not in names:
        raise click.UsageError(f"--screen {first}: there are {', '.join(names)}")
    services = Services(Path.cwd(), readonly=readonly, settings=SettingsFile(settings_path()))
    app = DaisyApp(services, first=first, log=settings_path().with_name("defects.log"), is_alone=True)
    app.run()
    if app.return_code:
        sys.exit(app.return_code)


def _serve(host: str, port: int, *, readonly: bool) -> None:
    if host not in ("127.0.0.1", "localhost", "::1"):
        raise click.UsageError(f"--host {host}: who reaches the page acts as you; 127.0.0.1, localhost or ::1")
    try:
        from daisy_tui.web import serve_pages
    except ImportError as error:
        raise DaisyError(f"--web: the package {error.name} is missing; pip install 'daisy-tui[web]'") from error
    command = [sys.executable, "-m", "daisy_tui", "tui", *(["--readonly"] if readonly else [])]
    serve_pages(shlex.join(command), host, port, Path.cwd())
