"""Runs jobs on an event loop and cancels them at their deadline; code that holds the loop cannot be cancelled."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

Result = TypeVar("Result")


class CancelledLate(Exception):
    """A coroutine was cancelled at its job's deadline."""


class Deadline(NamedTuple):
    """When a job has to be done, and how long that is after its lease was taken."""

    at: float
    """On the monotonic clock, in seconds."""
    timeout: float
    """How long the job may take, in seconds."""


@dataclass(eq=False, slots=True)
class RunningJob:
    """One job on the event loop."""

    job: int
    deadline: Deadline
    timeout: asyncio.Timeout | None = None

    def is_overdue(self) -> bool:
        """Return whether its deadline has passed and the loop could not cancel it, because some code holds the loop."""
        cancelled = self.timeout is not None and self.timeout.expired()
        return not cancelled and time.monotonic() >= self.deadline.at


_current: Final[ContextVar[RunningJob | None]] = ContextVar("job", default=None)
"""The job whose code runs now. Tasks that a job starts inherit the value, and may outlive the job."""
_all_running: Final[set[RunningJob]] = set()


async def within(job: int, deadline: Deadline, run: Callable[[], Awaitable[Result]]) -> Result:
    """Await `run()` and return its result; at the deadline CancelledError is raised inside it.

    Raises CancelledLate if the deadline ended it, and whatever it raises itself.
    """
    running = RunningJob(job, deadline)
    token = _current.set(running)
    _all_running.add(running)
    try:
        async with asyncio.timeout_at(deadline.at) as running.timeout:
            return await run()
    except TimeoutError as error:
        if running.timeout and running.timeout.expired():
            raise CancelledLate(too_long_reason(deadline.timeout)) from error.__cause__
        raise
    finally:
        _all_running.discard(running)
        _current.reset(token)


def loop_holder() -> RunningJob | None:
    """Return, in a signal handler, the job whose code the signal interrupted; None if it was no job's code.

    Only the code of a task counts: an exception in a callback of the loop, such as the one that cancels at the
    deadline, would have no effect.
    """
    running = _current.get()
    with suppress(RuntimeError):  # no loop runs
        if running in _all_running and asyncio.current_task() is not None:
            return running
    return None


def any_overdue() -> bool:
    """Return whether any job is past its deadline and the loop could not cancel it."""
    return any(running.is_overdue() for running in _all_running)


def too_long_reason(timeout: float) -> str:
    """Return the reason for a job that was broken off at its deadline; `timeout` in seconds."""
    return f"the job ran longer than its timeout of {timeout:g} s"


def held_loop_reason(running: RunningJob) -> str:
    """Return the reason for a job that is broken off because it holds the loop past its own or another deadline."""
    if running.is_overdue():
        return too_long_reason(running.deadline.timeout)
    return "the job held the event loop of its slot past the deadline of another job: await instead"
