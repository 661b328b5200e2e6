"""The root of every error a person can act on, below all rooms.

Each room raises its own subclass (`ConfigError`, `ShardError`, ...), whose text is one line:
what is wrong, where, and what would work. The command line prints it and exits with `exit_code`;
anything else that escapes is a defect and keeps its traceback.
"""


class DaisyError(Exception):
    """A failure that its lines explain, one argument a line. `exit_code`: 1 failed, 2 bad usage or config."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)


class StoppedError(DaisyError):
    """Work that ended early because somebody asked it to; the message says what is left of it."""

    exit_code = 3
