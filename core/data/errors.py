"""The error of the data room."""

from core.errors import DaisyError


class ShardError(DaisyError):
    """Data that cannot be read, prepared or trusted. One line: the file, what is wrong, what to do."""


class DataUsageError(ShardError):
    """A request that cannot be met as it was made: an option out of range, a source that is not there."""

    exit_code = 2
