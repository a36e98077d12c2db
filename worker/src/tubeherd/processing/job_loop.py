"""Awaits what the executors of coroutine functions return: one job at a time, or as one of many jobs on a loop.

Imported when it is first needed, because asyncio takes 3 MiB of memory.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from tubeherd.job import Job
from tubeherd.processing.attempt import Attempt, is_awaitable
from tubeherd.processing.coroutines import RunningJob, any_running, forget_started, new_runner, run_to_end, within
from tubeherd.processing.deadlines import Deadline
from tubeherd.processing.processed import Processed
from tubeherd.processing.started import BY_JOB, note_loops


class JobLoop:
    """The event loop for all jobs of a process that runs one job at a time."""

    def __init__(self, *, note: bool) -> None:
        """Make the loop; raises OSError. If `note`, what jobs leave in this and in further loops can be found."""
        if note:
            note_loops()
        self._runner = new_runner()
        self.in_disorder = False
        """Whether an exception has stopped code on the loop at an arbitrary point."""

    @property
    def is_closed(self) -> bool:
        """Whether the loop cannot be used any more: code of a job may have closed it."""
        return self._runner.get_loop().is_closed()

    def run(self, job: Job, awaitable: Awaitable[Any], deadline: Deadline | None) -> Any:
        """Await what an executor returned, return its result or raise its exception; cancel it at its deadline."""
        try:
            # Each job gets a copy of the context, so that it does not see the context variables of the job before.
            context = copy_context()
            if deadline is None:  # in a script, where Ctrl-C is to end the loop
                return self._runner.run(_await_until(job, awaitable, None), context=context)
            return run_to_end(self._runner.get_loop(), _await_until(job, awaitable, deadline), context)
        except asyncio.CancelledError:  # the job cancelled itself: its task has ended, and the loop is in order
            raise
        except BaseException as error:
            # An exception like DeadlinePassed, which is no Exception, may have stopped code at any point. If the loop
            # itself is broken, the job's own task is left in it.
            self.in_disorder |= not isinstance(error, Exception) or any_running()
            raise

    def close(self) -> None:
        """Close the event loop."""
        self._runner.close()

    def leave_to_parent(self) -> None:
        """Have nobody close the event loop in a process that was just forked.

        The loops of parent and child share one epoll instance of the kernel. The child's loop would take out of it what
        wakes the parent's.
        """
        with suppress(AttributeError):  # a loop of another library may be closed differently
            self._runner.get_loop().close = lambda: None  # type: ignore[method-assign]


async def process_concurrently(attempt: Attempt, deadline: Deadline, report_left_behind: Callable[[], None]) -> None:
    """Run an attempt as one of many jobs on the running event loop, and set `attempt.processed`.

    It does what `Processor.process` does. If the job is stopped, it waits until nothing of the job goes on;
    `report_left_behind` is called if that takes long.
    """
    if attempt.processed is not None:
        return

    async def run(running: RunningJob) -> Processed:
        try:
            result = attempt.call()
            if is_awaitable(result):
                result = await result
            return attempt.finish(result)
        except BaseException as error:  # here, so that user code which it runs can be broken off like the job's
            running.ended_by = error
            return attempt.fail(error)

    try:
        attempt.processed = await within(attempt.job, deadline, run, report_left_behind)
    except BaseException as error:
        attempt.processed = attempt.fail(error)
    finally:
        if BY_JOB:
            forget_started(attempt.job)


async def _await_until(job: Job, awaitable: Awaitable[Any], deadline: Deadline | None) -> Any:
    async def run(_running: RunningJob) -> Any:
        return await awaitable

    return await (awaitable if deadline is None else within(job, deadline, run))
