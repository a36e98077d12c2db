"""Runs the attempts of one process: in its thread, or as coroutines on an event loop."""

import asyncio
from collections.abc import Awaitable, Mapping
from contextvars import copy_context
from typing import Any

from tubeherd.executors import Executor
from tubeherd.policy import Policy
from tubeherd.processing.attempt import Attempt, Processed, is_awaitable
from tubeherd.processing.coroutines import Deadline, within
from tubeherd.queue.answers import Reserved


class Processor:
    """Runs the executors of one process; each job gets its verdict from the policy."""

    def __init__(self, executors: Mapping[str, Executor], policy: Policy) -> None:
        self._executors = executors
        self._policy = policy
        self._runner: asyncio.Runner | None = None
        self.in_loop = False
        """Whether a coroutine runs in `process`, which the event loop cancels at its deadline."""
        self.broken_off = False
        """Whether user code was broken off in the middle, so that the process is not trusted any more."""

    def attempt(self, reserved: Reserved) -> Attempt:
        """Begin an attempt at a leased job."""
        return Attempt(self._executors, self._policy, reserved)

    def process(self, reserved: Reserved, deadline: Deadline | None = None) -> Processed:
        """Execute a leased job, unless it is poison, and return it with its verdict; raises nothing of the job's.

        A coroutine is cancelled at the deadline. Any other executor runs on: the caller's signal handler breaks it off.
        """
        attempt = Attempt(self._executors, self._policy, reserved)
        if attempt.processed is not None:
            return attempt.processed
        try:
            result = attempt.call()
            if result is not None and is_awaitable(result):
                result = self._await(attempt, result, deadline)
            return attempt.returned(result)
        except BaseException as error:  # also SystemExit: a job must not take the slot with it
            return attempt.raised(error)

    async def process_concurrently(self, attempt: Attempt, deadline: Deadline) -> Processed:
        """Do what `process` does on the event loop that runs, beside other jobs."""
        if attempt.processed is not None:
            return attempt.processed

        async def run() -> Processed:
            result = attempt.call()
            if is_awaitable(result):
                result = await result
            return attempt.returned(result)

        try:
            return await within(attempt.job.id, deadline, run)
        except BaseException as error:
            return attempt.raised(error)

    def fail(self, reserved: Reserved, error: BaseException) -> Processed:
        """Return the verdict on a job that failed before its attempt began or after its executor had returned."""
        return self.attempt(reserved).raised(error)

    def close(self) -> None:
        """Close the event loop that coroutines ran in; a slot leaves that to the end of its process."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _await(self, attempt: Attempt, result: Awaitable[Any], deadline: Deadline | None) -> Any:
        """Await what an executor returned, on one event loop for all jobs of this process."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        self.in_loop = True
        try:
            # A context of its own: variables of one job are not the next one's.
            return self._runner.run(_await_until(attempt.job.id, result, deadline), context=copy_context())
        except asyncio.CancelledError:  # the job cancelled itself: its task is done, and the loop is intact
            raise
        except BaseException as error:
            # Anything but a plain exception broke the loop off, which may leave tasks of the job in it.
            self.broken_off |= not isinstance(error, Exception)
            raise
        finally:
            self.in_loop = False


async def _await_until(job: int, result: Awaitable[Any], deadline: Deadline | None) -> Any:
    async def run() -> Any:
        return await result

    return await (run() if deadline is None else within(job, deadline, run))
