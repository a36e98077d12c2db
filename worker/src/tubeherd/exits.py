"""The exit codes of `tubeherd run`, and of a slot to its supervisor."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `tubeherd run`. Codes from 64 on are only seen by the supervisor."""

    OK = 0
    """Stopped as asked: SIGTERM, or a limit with `--on-limit stop`."""
    STOPPED_BY_JOB = 1
    """An executor raised Abort, or a `worker.flush` listener raised."""
    USAGE = 2
    """An option or a TUBEHERD_* variable is wrong."""
    EXECUTORS = 3
    """The executors cannot be used: import error, none for a tube, two of one name."""
    CRASHED = 70
    """A slot met an error that no job caused; its last log line says which."""
    RECYCLE = 64
    """A slot reached a limit and wants to be replaced."""
    LIMIT = 65
    """A slot reached a limit and is not to be replaced."""
