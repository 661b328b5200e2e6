"""`python -m server.main CHECKPOINT|RUN …`: the server's process. What `daisy serve` becomes.

Everything heavy is imported inside `main`, once Ctrl-C can no longer show a traceback, and once a key that was typed
has left the command line.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from core.runs.launch import child_environment


def main() -> int:
    """Serve until a signal; returns the exit code. Failures are lines on standard error."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    options = _parser().parse_args()
    if options.api_key is not None:
        _begin_again(sys.argv[1:], options.api_key)
    from server.process import run

    return run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m server.main", description=__doc__, allow_abbrev=False)
    parser.add_argument("checkpoint")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--max-queue", type=int, default=64)
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--chat-template")
    parser.add_argument("--cors")
    parser.add_argument("--insecure", action="store_true")
    parser.add_argument("--api-key")
    parser.add_argument("--grace", type=float, default=10.0)
    return parser


def _begin_again(arguments: list[str], key: str) -> None:
    """Replace this process by one with the key in its environment: everybody may read a command line."""
    from server.settings import KEY_VARIABLE

    kept = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--api-key":
            next(rest, None)
        elif not argument.startswith("--api-key="):
            kept.append(argument)
    environment = {**child_environment(), KEY_VARIABLE: key}
    os.execve(sys.executable, [sys.executable, "-m", "server.main", *kept], environment)


if __name__ == "__main__":
    sys.exit(main())
