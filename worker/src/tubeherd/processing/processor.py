"""Runs the attempts at jobs in one process, one after the other; `job_loop` awaits what is a coroutine.

The process is a slot of a worker, or a script that uses `QueueManager`. The steps of an attempt are described in
`attempt`. It ends with a verdict: to delete, release or bury the job.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tubeherd.executors import Executor, executor_for
from tubeherd.logs import ErrorDetail
from tubeherd.policy import Policy
from tubeherd.processing.attempt import Attempt, is_awaitable
from tubeherd.processing.deadlines import CancelledLate, Deadline
from tubeherd.processing.processed import Processed
from tubeherd.queue.answers import Reserved

if TYPE_CHECKING:
    from tubeherd.processing.job_loop import JobLoop

_KNOWN_MOST: Final = 4096
"""For so many tubes the executors that were found are kept."""


class Processor:
    """Runs the executors of one process."""

    def __init__(self, executors: Mapping[str, Executor], policy: Policy, error_detail: ErrorDetail = "full") -> None:
        """Take the executors by their names, the policy for those without their own, and what is shown of errors."""
        self._executors = executors
        self.error_detail: ErrorDetail = error_detail
        self._policy = policy
        self._known: dict[str, tuple[Executor, Policy]] = {}
        """By tube, its executor and the policy for its jobs; filled at the first job of each tube."""
        self._loop: JobLoop | None = None
        """The loop for what executors of coroutine functions return; None until the first of them."""
        self.in_loop = False
        """Whether `process` awaits a coroutine, which the event loop cancels at its deadline."""
        self.cancelled: Reserved | None = None
        """The last job whose coroutine the event loop has cancelled at its deadline."""
        self.broken_off = False
        """Whether an exception stopped a job's code at an arbitrary point: it may have left the process in disorder."""

    def attempt(self, reserved: Reserved) -> Attempt:
        """Begin an attempt at a reserved job."""
        executor, policy = self._known.get(reserved.stats.tube) or self._find(reserved.stats.tube)
        return Attempt(executor, policy, reserved, self.error_detail)

    def process(self, reserved: Reserved, deadline_of: Callable[[Reserved], Deadline] | None = None) -> Processed:
        """Execute a reserved job, unless it is poison, and return it with its verdict.

        Whatever the executor raises becomes a verdict and is not raised here. A coroutine is cancelled at the deadline.
        `deadline_of` returns the deadline of a job, and is only called for a coroutine. No other executor is stopped
        here: a signal handler of the caller has to do that.
        """
        executor, policy = self._known.get(reserved.stats.tube) or self._find(reserved.stats.tube)
        attempt = Attempt(executor, policy, reserved, self.error_detail)
        if attempt.processed is not None:
            return attempt.processed
        try:
            result = attempt.call()
            if result is not None and is_awaitable(result):
                result = self._await(attempt, reserved, result, deadline_of and deadline_of(reserved))
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

    def _find(self, tube: str) -> tuple[Executor | None, Policy]:
        executor = executor_for(self._executors, tube)
        if executor is None:  # a job without an executor fails, by the rules of the worker
            return None, self._policy
        if len(self._known) >= _KNOWN_MOST:  # globs may match any number of tubes in the life of a process
            self._known.clear()
        found = self._known[tube] = executor, executor.policy(self._policy)
        return found

    def _await(self, attempt: Attempt, reserved: Reserved, result: Awaitable[Any], deadline: Deadline | None) -> Any:
        """Await what an executor returned, on one event loop for all jobs of this process."""
        if self._loop is None or self._loop.is_closed:
            from tubeherd.processing.job_loop import JobLoop

            self._loop = JobLoop(note=deadline is not None)
        self.in_loop = True
        try:
            return self._loop.run(attempt.job, result, deadline)
        except CancelledLate:
            self.cancelled = reserved
            raise
        finally:
            self.in_loop = False
            self.broken_off |= self._loop.in_disorder
