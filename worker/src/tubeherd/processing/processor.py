"""Runs the attempts at jobs in one process: one after the other, or many as coroutines on an event loop.

The process is a slot of a worker, or a script that uses `QueueManager`. The steps of an attempt are described in
`attempt`. It ends with a verdict: to delete, release or bury the job.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from tubeherd.executors import Executor
from tubeherd.job import Job
from tubeherd.logs import ErrorDetail
from tubeherd.policy import Policy
from tubeherd.processing.attempt import Attempt, Processed, is_awaitable
from tubeherd.processing.coroutines import (
    Deadline,
    RunningJob,
    any_running,
    forget_started,
    new_runner,
    run_to_end,
    within,
)
from tubeherd.processing.started import BY_JOB
from tubeherd.queue.answers import Reserved


class Processor:
    """Runs the executors of one process."""

    def __init__(self, executors: Mapping[str, Executor], policy: Policy, error_detail: ErrorDetail = "full") -> None:
        """Take the executors by their tubes, the policy for those without their own, and what is shown of errors."""
        self._executors = executors
        self.error_detail: ErrorDetail = error_detail
        self._policy = policy
        self._policies: dict[str, Policy] = {}
        """By tube, the policy of its executor; filled at the first job of each tube."""
        self._runner: asyncio.Runner | None = None
        self.in_loop = False
        """Whether `process` awaits a coroutine, which the event loop cancels at its deadline."""
        self.broken_off = False
        """Whether an exception stopped a job's code at an arbitrary point: it may have left the process in disorder."""

    def attempt(self, reserved: Reserved) -> Attempt:
        """Begin an attempt at a reserved job."""
        policy = self._policies.get(reserved.stats.tube) or self._policy_for(reserved.stats.tube)
        return Attempt(self._executors, policy, reserved, self.error_detail)

    def process(self, reserved: Reserved, deadline_of: Callable[[Reserved], Deadline] | None = None) -> Processed:
        """Execute a reserved job, unless it is poison, and return it with its verdict.

        Whatever the executor raises becomes a verdict and is not raised here. A coroutine is cancelled at the deadline.
        `deadline_of` returns the deadline of a job, and is only called for a coroutine. No other executor is stopped
        here: a signal handler of the caller has to do that.
        """
        policy = self._policies.get(reserved.stats.tube) or self._policy_for(reserved.stats.tube)
        attempt = Attempt(self._executors, policy, reserved, self.error_detail)
        if attempt.processed is not None:
            return attempt.processed
        try:
            result = attempt.call()
            if result is not None and is_awaitable(result):
                result = self._await(attempt, result, deadline_of and deadline_of(reserved))
            return attempt.finish(result)
        except BaseException as error:  # also SystemExit: a job must not end the process
            return attempt.fail(error)

    async def process_concurrently(
        self, attempt: Attempt, deadline: Deadline, report_left_behind: Callable[[], None]
    ) -> None:
        """Do what `process` does, as one of many jobs on the running event loop, and set `attempt.processed`.

        If the job is stopped, that waits until nothing of it goes on; `report_left_behind` is called if it takes long.
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

    def fail(self, reserved: Reserved, error: BaseException) -> Processed:
        """Return the verdict on a job that failed before its attempt began or after its executor had returned."""
        return self.attempt(reserved).fail(error)

    def close(self) -> None:
        """Close the event loop of `process`, if there is one."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def leave_to_parent(self) -> None:
        """Have nobody close the event loop in a process that was just forked.

        The loops of parent and child share one epoll instance of the kernel. The child's loop would take out of it what
        wakes the parent's.
        """
        if self._runner is not None:
            with suppress(AttributeError):  # a loop of another library may be closed differently
                self._runner.get_loop().close = lambda: None  # type: ignore[method-assign]

    def _policy_for(self, tube: str) -> Policy:
        executor = self._executors.get(tube)
        if executor is None:  # a job without an executor fails, by the rules of the worker
            return self._policy
        policy = self._policies[tube] = executor.policy(self._policy)
        return policy

    def _await(self, attempt: Attempt, result: Awaitable[Any], deadline: Deadline | None) -> Any:
        """Await what an executor returned, on one event loop for all jobs of this process."""
        if self._runner is None or self._runner.get_loop().is_closed():  # code of a job may have closed it
            self._runner = new_runner()
        self.in_loop = True
        try:
            # Each job gets a copy of the context, so that it does not see the context variables of the job before.
            context = copy_context()
            if deadline is None:  # in a script, where Ctrl-C is to end the loop
                return self._runner.run(_await_until(attempt.job, result, None), context=context)
            return run_to_end(self._runner.get_loop(), _await_until(attempt.job, result, deadline), context)
        except asyncio.CancelledError:  # the job cancelled itself: its task has ended, and the loop is in order
            raise
        except BaseException as error:
            # An exception like DeadlinePassed, which is no Exception, may have stopped code at any point. If the loop
            # itself is broken, the job's own task is left in it.
            self.broken_off |= not isinstance(error, Exception) or any_running()
            raise
        finally:
            self.in_loop = False


async def _await_until(job: Job, result: Awaitable[Any], deadline: Deadline | None) -> Any:
    async def run(_running: RunningJob) -> Any:
        return await result

    return await (result if deadline is None else within(job, deadline, run))
