"""The deadline of a job, and how a job fails that is stopped at it."""

from typing import Final, NamedTuple

CLEANUP_SECONDS: Final = 4.0
"""How long what a job has left may go on after its deadline, in seconds. The supervisor waits longer than that."""
_SET_BY: Final = "set by @executor(timeout=...), otherwise by --job-timeout, otherwise by its TTR"


class Deadline(NamedTuple):
    """The time at which a job is stopped if it still runs."""

    at: float
    """On the monotonic clock, in seconds."""
    timeout: float
    """The limit from which `at` was computed, in seconds; error messages show it."""


class DeadlinePassed(BaseException):
    """Raised inside an executor whose job ran longer than its timeout. An `except Exception` does not catch it."""


class CancelledLate(Exception):
    """A coroutine was cancelled at its job's deadline."""


def too_long_reason(timeout: float) -> str:
    """Return why a job failed that was stopped at its deadline; `timeout` in seconds."""
    return f"the job ran longer than its timeout of {timeout:g} s ({_SET_BY})"
