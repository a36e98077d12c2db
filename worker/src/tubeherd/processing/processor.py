"""Runs the attempts at jobs in one process, one after the other; `job_loop` awaits what is a coroutine.

The process is a slot of a worker, or a script that uses `QueueManager`. The steps of an attempt are described in
`attempt`. It ends with a verdict: to delete, release or bury the job.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from tubeherd.executors import Executor
from tubeherd.logs import ErrorDetail
from tubeherd.policy import Policy
from tubeherd.processing.attempt import Attempt, Processed, is_awaitable
from tubeherd.processing.deadlines import Deadline
from tubeherd.queue.answers import Reserved

if TYPE_CHECKING:
    from tubeherd.processing.job_loop import JobLoop


class Processor:
    """Runs the executors of one process."""

    def __init__(self, executors: Mapping[str, Executor], policy: Policy, error_detail: ErrorDetail = "full") -> None:
        """Take the executors by their tubes, the policy for those without their own, and what is shown of errors."""
        self._executors = executors
        self.error_detail: ErrorDetail = error_detail
        self._policy = policy
        self._policies: dict[str, Policy] = {}
        """By tube, the policy of its executor; filled at the first job of each tube."""
        self._loop: JobLoop | None = None
        """The loop for what executors of coroutine functions return; None until the first of them."""
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

    def fail(self, reserved: Reserved, error: BaseException) -> Processed:
        """Return the verdict on a job that failed before its attempt began or after its executor had returned."""
        return self.attempt(reserved).fail(error)

    def close(self) -> None:
        """Close the event loop of `process`, if there is one."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def leave_to_parent(self) -> None:
        """Have nobody close the event loop in a process that was just forked."""
        if self._loop is not None:
            self._loop.leave_to_parent()

    def _policy_for(self, tube: str) -> Policy:
        executor = self._executors.get(tube)
        if executor is None:  # a job without an executor fails, by the rules of the worker
            return self._policy
        policy = self._policies[tube] = executor.policy(self._policy)
        return policy

    def _await(self, attempt: Attempt, result: Awaitable[Any], deadline: Deadline | None) -> Any:
        """Await what an executor returned, on one event loop for all jobs of this process."""
        if self._loop is None or self._loop.is_closed:
            from tubeherd.processing.job_loop import JobLoop

            self._loop = JobLoop(note=deadline is not None)
        self.in_loop = True
        try:
            return self._loop.run(attempt.job, result, deadline)
        finally:
            self.in_loop = False
            self.broken_off |= self._loop.in_disorder
