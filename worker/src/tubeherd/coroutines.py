"""Runs a job within its deadline on an event loop, which cancels coroutines but not code that holds the loop."""

import asyncio
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NamedTuple


class CancelledLate(Exception):
    """A coroutine ran longer than its job may, and was cancelled."""


class Deadline(NamedTuple):
    """When a job has to be done."""

    at: float
    """On the monotonic clock, which is the event loop's too, in seconds."""
    timeout: float
    """How long the job may take, in seconds."""


@dataclass(slots=True)
class _Limit:
    timeout: asyncio.Timeout
    deadline: Deadline
    done: bool = False
    """Whether the job has ended; a task that it left behind still has its limit."""


_limit: Final[ContextVar[_Limit | None]] = ContextVar("limit", default=None)
"""The deadline of the job whose code runs now; tasks that a job starts inherit it."""


async def within(deadline: Deadline | None, call: Callable[[], Any]) -> Any:
    """Call a function and, where that makes a coroutine, await it until the deadline (None: for ever).

    At the deadline CancelledError is raised inside the coroutine. Raises CancelledLate where that ended it, and what
    the coroutine itself raises.
    """
    if deadline is None:
        result = call()
        return await result if inspect.iscoroutine(result) else result
    try:
        async with asyncio.timeout_at(deadline.at) as timeout:
            limit = _Limit(timeout, deadline)
            token = _limit.set(limit)
            try:
                result = call()
                return await result if inspect.iscoroutine(result) else result
            finally:
                limit.done = True
                _limit.reset(token)
    except TimeoutError as error:
        if timeout.expired():
            raise CancelledLate(too_long(deadline.timeout)) from error.__cause__
        raise


def overdue() -> Deadline | None:
    """Return, in a signal handler, the deadline of the job whose code was interrupted, if the loop missed it.

    None where no job's code runs, where its deadline has not come, or where it was cancelled in time.
    """
    if (limit := _limit.get()) is None or limit.done or limit.timeout.expired():
        return None
    return limit.deadline if asyncio.get_running_loop().time() >= limit.deadline.at else None


def too_long(timeout: float) -> str:
    """Return the reason of a job that was broken off at its deadline."""
    return f"the job ran longer than its timeout of {timeout:g} s"
