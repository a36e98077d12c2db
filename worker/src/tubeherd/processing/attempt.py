"""One attempt at a leased job: the steps from its lease to its verdict, the same in a slot and by hand.

1. guard: a poison job has its verdict before anything of it runs;
2. call: events, payload, executor;
3. await: the processor awaits what the executor returned, if that is awaitable;
4. returned: listeners, and the verdict on a job that ran to its end; or
5. raised: the verdict on any exception of the steps 2 to 4.

Two steps follow, which `settling` carries out: to settle the verdict and to report it.
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
    """A listener of `worker.flush` raised, or was broken off."""


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
        """Ask the guard: a poison job is processed already."""
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
        """Have the listeners after the call run, and return the verdict; raises what a listener raises."""
        if events.execute_post.receivers:
            action = events.Action(self.job, self._payload, result)
            events.execute_post.send(action)
            result = action.result
        verdict = self._policy.decide(_RETURNED, self._stats)
        done = self.processed = Processed(self.job, verdict, time.perf_counter() - self._started, None, result)
        return done

    def raised(self, error: BaseException) -> Processed:
        """Return the verdict on a job whose executor or listener raised, or that was broken off."""
        outcome = _outcome(error)
        shown = None if isinstance(outcome, Rescheduled) else error
        verdict = self._policy.decide(outcome, self._stats)
        seconds = time.perf_counter() - self._started
        done = self.processed = Processed(self.job, verdict, seconds, shown, body=self._body)
        return done


def is_awaitable(result: Any) -> bool:
    """Return whether the result of an executor is still to be awaited; raises ExecutorError if nothing of it ran.

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
