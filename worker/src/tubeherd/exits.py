"""The exit codes of a worker, `tubeherd run`, and of its slots.

A slot is a process that executes jobs. Its parent process, the supervisor, is the one whose exit code a user sees.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the supervisor and of slots. From 64 on, they are of slots only."""

    OK = 0
    """Stopped as it was asked to: by SIGTERM, or at a limit with `--on-limit stop`."""
    STOPPED_BY_JOB = 1
    """An executor raised Abort, or a `worker.flush` listener raised."""
    USAGE = 2
    """An option or a TUBEHERD_* variable is wrong."""
    EXECUTORS = 3
    """The executors cannot be used: one cannot be imported, a tube has none, or a tube has two."""
    CRASHED = 70
    """A slot ended by an error that no job caused; its last log line names the error."""
    RECYCLE = 64
    """A slot ended and is to be replaced: it reached a limit, or a job may have left it in disorder."""
    LIMIT = 65
    """A slot reached a limit and is not to be replaced, because of `--on-limit stop`."""
