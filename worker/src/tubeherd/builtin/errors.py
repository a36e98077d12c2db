"""What the built-in executors raise."""

import asyncio

from tubeherd.executors import Outside, Reject


class CommandFailed(Outside, Exception):
    """A command ended with an exit code that means failure, was killed, or could not be started."""


class CommandRejected(Outside, Reject):
    """A command ended with the exit code 100: no further attempt would help."""


class CommandStopped(Outside, asyncio.CancelledError):
    """A command was killed at its job's deadline."""


class HttpFailed(Outside, Exception):
    """A server has answered that the job has failed."""

    def __init__(self, status: int, message: str, place: str, output: str = "") -> None:
        """Take the status of the answer, and what `Outside` takes."""
        super().__init__(message, place, output)
        self.status = status

    @property
    def name(self) -> str:
        """The type with the status, such as HttpFailed500, so that failures of different causes are told apart."""
        return f"{super().name}{self.status}"


class HttpUnanswered(Outside, Exception):
    """A server could not be reached, or its answer broke off."""
