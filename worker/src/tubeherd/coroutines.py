"""Runs a job within its deadline on an event loop, which cancels coroutines but not code that holds the loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NamedTuple


class CancelledLate(Exception):
    """A coroutine ran longer than its job may, and was cancelled."""


class Deadline(NamedTuple):
    """When a job has to be done."""

    at: float
    """On the monotonic clock, in seconds."""
    timeout: float
    """How long the job may take, in seconds."""


@dataclass(eq=False, slots=True)
class Attempt:
    """One job on the event loop."""

    job: int
    deadline: Deadline
    timeout: asyncio.Timeout | None = None

    def is_overdue(self) -> bool:
        """Tell whether its deadline has passed and the loop could not cancel it: some code holds the loop."""
        cancelled = self.timeout is not None and self.timeout.expired()
        return not cancelled and time.monotonic() >= self.deadline.at


_attempt: Final[ContextVar[Attempt | None]] = ContextVar("attempt", default=None)
"""The job whose code runs now; tasks that a job starts inherit it, and may outlive it."""
_running: Final[set[Attempt]] = set()


async def within(job: int, deadline: Deadline, run: Callable[[], Awaitable[Any]]) -> Any:
    """Await a job until its deadline.

    At the deadline CancelledError is raised inside it. Raises CancelledLate where that ended it, and what the job
    itself raises.
    """
    attempt = Attempt(job, deadline)
    token = _attempt.set(attempt)
    _running.add(attempt)
    try:
        async with asyncio.timeout_at(deadline.at) as attempt.timeout:
            return await run()
    except TimeoutError as error:
        if attempt.timeout and attempt.timeout.expired():
            raise CancelledLate(too_long(deadline.timeout)) from error.__cause__
        raise
    finally:
        _running.discard(attempt)
        _attempt.reset(token)


def holder() -> Attempt | None:
    """Return, in a signal handler, the job whose code was interrupted; None where no running job's was.

    Only the code of a task counts: a callback of the loop, such as the one that cancels at the deadline, would swallow
    what is raised in it.
    """
    attempt = _attempt.get()
    with suppress(RuntimeError):  # no loop runs
        if attempt in _running and asyncio.current_task() is not None:
            return attempt
    return None


def any_overdue() -> bool:
    """Tell whether the deadline of some job has passed without the loop's notice."""
    return any(attempt.is_overdue() for attempt in _running)


def too_long(timeout: float) -> str:
    """Return the reason of a job that was broken off at its deadline."""
    return f"the job ran longer than its timeout of {timeout:g} s"


def broken_off(attempt: Attempt) -> str:
    """Return the reason of a job that is broken off because it holds the loop past its own deadline or another's."""
    if attempt.is_overdue():
        return too_long(attempt.deadline.timeout)
    return "the job held the event loop of its process past the deadline of another job: await instead"
