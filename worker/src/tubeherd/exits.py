"""The exit codes of the processes of a worker: the slots, which execute jobs, and their parent, the supervisor."""

from enum import IntEnum


class Exit(IntEnum):
    """A user of `tubeherd run` sees the code of the supervisor. Codes from 64 on are used by slots only."""

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
