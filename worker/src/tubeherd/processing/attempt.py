"""One attempt at a job: the steps from its lease to its verdict, which is to delete, release or bury it.

The steps are the same for a job in a slot and for one that a script hands to `QueueManager.process`:

1. guard: a poison job, which was lost too often while it ran, gets its verdict and is not executed;
2. call: publish the events before the call, validate the payload, call the executor;
3. await: wait for the result, if the executor returned a coroutine;
4. returned: publish the event after the call, and decide on the verdict; or
5. raised: decide on the verdict, if any of the steps 2 to 4 raised.

`processor` runs these steps. `settling` sends the verdict to beanstalkd and reports it.
"""

import inspect
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tubeherd import events
from tubeherd.executors import Abort, Executor, ExecutorError, Reschedule
from tubeherd.job import Job
from tubeherd.policy import Aborted, Failed, Invalid, Outcome, Policy, Rescheduled, Returned, Verdict
from tubeherd.processing.coroutines import CancelledLate
from tubeherd.processing.payload import InvalidPayload, prepare_payload
from tubeherd.processing.reasons import describe
from tubeherd.queue.answers import Reserved

_RETURNED: Final = Returned()


class DeadlinePassed(BaseException):
    """Raised inside an executor whose job ran too long; no `except Exception` swallows it."""


class FlushFailed(Exception):
    """A listener of `worker.flush` raised, or was interrupted by SIGTERM."""


class Processed(NamedTuple):
    """A job that has a verdict."""

    job: Job
    verdict: Verdict
    seconds: float = 0.0
    """How long the executor and the listeners took."""
    error: BaseException | None = None
    """What the executor or a listener raised, unless it was a Reschedule."""
    result: Any = None
    """What the executor returned."""
    body: bytes | None = None
    """The payload as it was put, if the attempt did not run to its end; for reports only."""


class Attempt:
    """One attempt at a job; `processed` is set as soon as there is a verdict."""

    __slots__ = ("_body", "_executors", "_payload", "_policy", "_started", "_stats", "job", "processed")

    def __init__(self, executors: Mapping[str, Executor], policy: Policy, reserved: Reserved) -> None:
        """Begin an attempt. If the job is poison, `processed` is set now, and no other step may follow."""
        stats = self._stats = reserved.stats
        self._body = reserved.body
        self._executors = executors
        self._policy = policy
        self._payload: Any = None
        self._started = time.perf_counter()
        self.job = policy.job(stats)
        poison = policy.guard(stats)
        self.processed = None if poison is None else Processed(self.job, poison)

    def call(self) -> Any:
        """Call the executor with its payload and return its result, which may be awaitable (`is_awaitable`).

        Raises InvalidPayload, and whatever executor and listeners raise.
        """
        executor = self._executors[self.job.tube]
        payload = self._payload = prepare_payload(executor, self.job, self._body)
        return executor.function(payload, self.job) if executor.takes_job else executor.function(payload)

    def returned(self, result: Any) -> Processed:
        """Publish the event after the call, and return the job with its verdict; raises what a listener raises."""
        if events.execute_post.receivers:
            action = events.Action(self.job, self._payload, result)
            events.execute_post.send(action)
            result = action.result
        verdict = self._policy.decide(_RETURNED, self._stats)
        done = self.processed = Processed(self.job, verdict, time.perf_counter() - self._started, None, result)
        return done

    def raised(self, error: BaseException) -> Processed:
        """Return the job with its verdict after an exception of the executor or a listener, or after its deadline."""
        outcome = _outcome(error)
        shown = None if isinstance(outcome, Rescheduled) else error
        verdict = self._policy.decide(outcome, self._stats)
        seconds = time.perf_counter() - self._started
        done = self.processed = Processed(self.job, verdict, seconds, shown, body=self._body)
        return done


def is_awaitable(result: Any) -> bool:
    """Return whether the result of an executor has to be awaited; raises ExecutorError if it is a generator.

    The result decides, not the function: a decorator often hides what the function is.
    """
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise ExecutorError("the executor has a yield, so its call ran nothing: remove the yield")
    return inspect.isawaitable(result)


def _outcome(error: BaseException) -> Outcome:
    match error:
        case Reschedule():
            return Rescheduled(error.delay(time.time()), error.priority, error.message)
        case Abort():
            return Aborted(str(error))
        case InvalidPayload():
            return Invalid(str(error))
        case DeadlinePassed() | CancelledLate() | FlushFailed():
            return Failed(str(error))
        case _:
            return Failed(describe(error))
