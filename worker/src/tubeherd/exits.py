"""The exit codes of the command `tubeherd`, and of the processes of a worker.

These processes are the slots, which execute jobs, and their parent, the supervisor.
"""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """Users see the codes that `MEANINGS` has. Those of `tubeherd run` are the supervisor's; slots have others too."""

    OK = 0
    FAILED = 1
    USAGE = 2
    EXECUTORS = 3
    RESCHEDULED = 75
    REJECTED = 100
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143
    """For these three, a worker ends with OK. Typer itself ends with INTERRUPTED for KeyboardInterrupt."""
    CRASHED = 70
    """A slot ended by an error that no job caused; its last log line names the error."""
    RECYCLE = 64
    """A slot ended and is to be replaced: it reached a limit, or a job may have left it in disorder."""
    LIMIT = 65
    """A slot reached a limit and is not to be replaced, because of `--on-limit stop`."""


MEANINGS: Final = {
    Exit.OK: "The command did what it was asked to, also if there was nothing to do or to show: a tube that does not "
    "exist counts as an empty one. `list`: Ctrl-C ended it. `run`: SIGTERM, Ctrl-C or a closed "
    "terminal stopped the worker and its jobs have ended, a limit "
    "was reached with `--on-limit stop`, or nothing was left to do with `--until-empty`.",
    Exit.FAILED: "The command could not do what it was asked to; the last line on standard error says why. So it is "
    "if a job that is named by its id does not exist, and if `pause` is given a tube that does not exist. `run`: an "
    "executor raised `Abort`, or a listener of `worker.flush` raised.",
    Exit.USAGE: "An argument, an option, a `TUBEHERD_*` variable or a file that an option names is wrong.",
    Exit.EXECUTORS: "`run`, `execute`: the executors cannot be used. One cannot be found or imported, a tube has none, "
    "or a tube has two.",
    Exit.RESCHEDULED: "`execute`: the job would be executed again later, because it asked for that.",
    Exit.REJECTED: "`execute`: the job would be buried at once. Its executor rejected it, or cannot take the payload.",
    Exit.HUNG_UP: "The terminal was closed and that ended the command, except `run`.",
    Exit.INTERRUPTED: "Ctrl-C ended the command, except `run` and `list`.",
    Exit.TERMINATED: "SIGTERM ended the command, except `run`.",
}
"""What the exit codes mean that users see."""
