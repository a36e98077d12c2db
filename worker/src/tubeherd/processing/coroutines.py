"""Runs jobs as coroutines on an event loop, and cancels each at its deadline.

Code holds the loop while it runs without an `await`, and no job can be cancelled then. So a slot, which is a process
that executes jobs, has a signal handler that raises an exception in such code. It uses `loop_holder` and `any_overdue`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from tubeherd.descriptors import low_numbers_taken

Result = TypeVar("Result")


def new_runner() -> asyncio.Runner:
    """Return a runner that has its event loop already; raises OSError."""
    with low_numbers_taken():
        runner = asyncio.Runner()
        runner.get_loop()
    return runner


class CancelledLate(Exception):
    """A coroutine was cancelled at its job's deadline."""


class Deadline(NamedTuple):
    """The time at which a job is stopped if it still runs."""

    at: float
    """On the monotonic clock, in seconds."""
    timeout: float
    """The limit from which `at` was computed, in seconds; error messages show it."""


@dataclass(eq=False, slots=True)
class RunningJob:
    """One job on the event loop."""

    job: int
    """Its id."""
    deadline: Deadline
    timeout: asyncio.Timeout | None = None
    """What cancels the job at its deadline; None until it begins."""
    broken_off_by: BaseException | None = None
    """What the slot's signal handler raised in the job, which held the loop and may have swallowed it."""

    def is_overdue(self) -> bool:
        """Return whether the job's deadline has passed, but the job was not cancelled because code holds the loop."""
        return not self.is_cancelled() and time.monotonic() >= self.deadline.at

    def is_cancelled(self) -> bool:
        """Return whether the loop has cancelled the job at its deadline."""
        return self.timeout is not None and self.timeout.expired()

    def raise_if_late(self, error: BaseException | None) -> None:
        """Raise CancelledLate, or what broke the job off, if that happened; `error` is how the job's code ended."""
        if self.broken_off_by is not None:
            late, self.broken_off_by = self.broken_off_by, None
            raise late
        if self.is_cancelled():
            raise CancelledLate(too_long_reason(self.deadline.timeout)) from error


_current: Final[ContextVar[RunningJob | None]] = ContextVar("job", default=None)
"""The job to which the code that runs now belongs. A task that a job started may still run after the job has ended."""
_all_running: Final[set[RunningJob]] = set()
"""The jobs that have not ended."""


async def within(job: int, deadline: Deadline, run: Callable[[], Awaitable[Result]]) -> Result:
    """Await `run()` and return its result; at the deadline CancelledError is raised inside it.

    Raises CancelledLate if that happened, whatever `run()` then did. Raises what broke the job off if it held the loop.
    Otherwise raises whatever `run()` raises.
    """
    running = RunningJob(job, deadline)
    token = _current.set(running)
    _all_running.add(running)
    try:
        async with asyncio.timeout_at(deadline.at) as running.timeout:
            result = await run()
    except BaseException as error:
        running.raise_if_late(error.__cause__ if isinstance(error, TimeoutError) else error)
        raise
    else:
        running.raise_if_late(None)
        return result
    finally:
        _all_running.discard(running)
        _current.reset(token)


def loop_holder() -> RunningJob | None:
    """Return, in a signal handler, the job whose code the signal interrupted; None if it was no code of a running job.

    It is None too if the signal interrupted a callback of the loop, such as the one that cancels at the deadline: the
    loop would catch an exception that is raised in a callback, and the job would go on.
    """
    running = _current.get()
    with suppress(RuntimeError):  # no loop runs
        if running in _all_running and asyncio.current_task() is not None:
            return running
    return None


def any_overdue() -> bool:
    """Return whether any job is past its deadline and the loop has not cancelled it."""
    return any(running.is_overdue() for running in _all_running)


def too_long_reason(timeout: float) -> str:
    """Return why a job failed that was stopped at its deadline; `timeout` in seconds."""
    return f"the job ran longer than its timeout of {timeout:g} s"


def held_loop_reason(running: RunningJob) -> str:
    """Return why a job failed that was stopped because it held the loop past its own deadline or another job's."""
    if running.is_overdue():
        return too_long_reason(running.deadline.timeout)
    return "the job held the event loop of its slot past the deadline of another job: await instead"
