"""The error of the data room."""

from core.errors import DaisyError


class ShardError(DaisyError):
    """Data that cannot be read, prepared or trusted. One line: the file, what is wrong, what to do."""
