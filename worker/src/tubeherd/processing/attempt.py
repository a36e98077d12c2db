"""One attempt at a job: the steps from its lease (its reservation) to its verdict (delete, release or bury it).

An executor is the user's function that does the jobs of a tube. A listener is a user's function that is called when an
event is published. The steps are the same in a slot, which is a process of a worker, and in a script that calls
`QueueManager.process`:

1. guard: a poison job, whose worker died too often while it ran, gets its verdict and is not executed;
2. call: publish the events that precede the call, validate the payload, and call the executor;
3. await: if the executor returned a coroutine, wait for its result;
4. finish: publish the event that follows the call, and decide on the verdict;
5. fail: if one of the steps 2 to 4 raised an exception, decide on the verdict by its type.

`processor` runs these steps. `settling` sends the verdict to beanstalkd and reports it.
"""

import inspect
import time
from typing import Any, Final

from tubeherd import events
from tubeherd.executors import Abort, Executor, ExecutorError, Reject, Reschedule
from tubeherd.job import current_job
from tubeherd.job_options import check_priority
from tubeherd.logs import ErrorDetail, log
from tubeherd.policy import (
    DELETE,
    MAX_DELAY,
    Aborted,
    BurialKind,
    Failed,
    Invalid,
    Outcome,
    Policy,
    Rejected,
    Rescheduled,
)
from tubeherd.processing.batch import FlushFailed
from tubeherd.processing.deadlines import CancelledLate, DeadlinePassed
from tubeherd.processing.payload import prepare_payload
from tubeherd.processing.processed import Processed
from tubeherd.processing.reasons import InvalidPayload, describe, members, source_line, text_of, traceback_text
from tubeherd.queue.answers import Reserved

_REQUESTS: Final = (Reschedule, Reject, Abort)


class Attempt:
    """One attempt at a job."""

    __slots__ = ("_body", "_detail", "_executor", "_payload", "_policy", "_started", "_stats", "job", "processed")

    def __init__(
        self, executor: Executor | None, policy: Policy, reserved: Reserved, detail: ErrorDetail = "full"
    ) -> None:
        """Begin an attempt. If the job is poison, `processed` is set here, and no other step may follow.

        `executor` is that of the job's tube, None if there is none. `detail` is what reason and traceback show of an
        error.
        """
        stats = self._stats = reserved.stats
        self._body = reserved.body
        self._executor = executor
        self._policy = policy
        self._detail: ErrorDetail = detail
        self._payload: Any = None
        self._started: float | None = None
        self.job = policy.job(stats)
        poison = policy.guard(stats)
        self.processed = None if poison is None else Processed(self.job, poison, body=self._body)
        """The job with its verdict. Set here if the job is poison, and later by the event loop if the job ran on it."""

    def call(self) -> Any:
        """Call the executor with its payload and return its result; if that `is_awaitable`, it must be awaited.

        Raises InvalidPayload, ExecutorError if there is no executor, and whatever it or a listener raises.
        """
        current_job.set(self.job)
        self._started = time.perf_counter()
        executor = self._executor
        if executor is None:
            raise ExecutorError(f"tube {self.job.tube!r} has no executor here")
        payload = self._payload = prepare_payload(executor, self.job, self._body)
        return executor.function(payload, self.job) if executor.takes_job else executor.function(payload)

    def finish(self, result: Any) -> Processed:
        """Publish the event that follows the call, and return the job with its verdict; raises what a listener raises.

        `result` is what the executor returned or, if that was awaitable, what awaiting it returned. If that or what a
        listener replaces it with is a Reschedule, Reject or Abort, it is raised.
        """
        if result is not None:
            self._raise_if_asked(result)
        if events.execute_post.receivers:
            action = events.Action(self.job, self._payload, result)
            events.execute_post.send(action)
            result = action.result
            self._raise_if_asked(result)
        return tuple.__new__(Processed, (self.job, DELETE, self._seconds(), None, result, None, None, None))

    def _raise_if_asked(self, result: Any) -> None:
        """Raise a Reschedule, Reject or Abort that was returned: otherwise its job would be deleted as done."""
        kind = result if isinstance(result, type) else type(result)
        if issubclass(kind, _REQUESTS):
            words = f"{kind.__name__} was returned and counts as raised: write raise instead of return"
            log.warning(words, job=self.job.id, tube=self.job.tube)
            raise result

    def fail(self, error: BaseException) -> Processed:
        """Return the job with its verdict after an exception of its executor or of a listener; raises nothing."""
        seconds = self._seconds()
        try:
            outcome = _outcome(error, self._detail)
        except DeadlinePassed as late:
            outcome, error = _outcome(late, self._detail), late
        except BaseException as raised:  # user code runs there, such as the methods of a subclass of Reschedule
            outcome = Failed(f"what its executor raised cannot be used: {describe(raised, self._detail)}")
        reported = None if isinstance(outcome, Rescheduled) else error  # a reschedule is no error
        # Made here, because it calls user code, such as `__str__`, which belongs to the job.
        traceback = traceback_text(error, self._detail) if isinstance(outcome, Failed | Rejected) else None
        verdict = self._policy.decide(outcome, self._stats)
        place = source_line(reported)
        return Processed(self.job, verdict, seconds, reported, body=self._body, place=place, traceback=traceback)

    def _seconds(self) -> float:
        """Return how many seconds have passed since the call; 0 without a call."""
        return 0.0 if self._started is None else time.perf_counter() - self._started


def is_awaitable(result: Any) -> bool:
    """Return whether the result of an executor has to be awaited; raises ExecutorError if it is a generator.

    The result is tested and not the function, because a decorator often hides that a function is a coroutine function.
    """
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise ExecutorError("the executor has a yield, so its call ran nothing: remove the yield")
    return inspect.isawaitable(result)


def _outcome(error: BaseException, detail: ErrorDetail) -> Outcome:
    match _what_counts(error):
        case Reschedule() as reschedule:
            return _rescheduled(reschedule, detail)
        case Abort() as abort:
            return Aborted(text_of(abort) if detail == "full" else describe(abort, detail))
        case Reject() as reject:
            return Rejected(text_of(reject) if detail == "full" else describe(reject, detail))
        case InvalidPayload():
            return Invalid(str(error))
        case DeadlinePassed() | CancelledLate():
            return Failed(str(error), BurialKind.DEADLINE)
        case FlushFailed():
            return Failed(str(error))
        case _:
            return Failed(describe(error, detail))


def _rescheduled(asked: Any, detail: ErrorDetail) -> Rescheduled:
    """Return the outcome; raises ValueError for what beanstalkd cannot hold: a subclass may have changed the values.

    `asked` is a Reschedule. If its type were declared, compiled code would take True for 1, and refuse a message that
    is no text.
    """
    delay = asked.delay(time.time())
    if type(delay) is not int or not 0 <= delay <= MAX_DELAY:
        raise ValueError(f"a delay is from 0 to {MAX_DELAY} whole seconds, not {text_of(delay)}")
    priority: Any = asked.priority
    checked = None if priority is None else check_priority(priority)
    message: Any = asked.message if detail == "full" else None
    return Rescheduled(delay, checked, None if message is None else text_of(message))


def _what_counts(error: BaseException) -> BaseException:
    """Return, for a group of nothing but Reschedule, Reject and Abort, the one that counts; any other error as it is.

    An Abort counts first, then a Reject. Of several Reschedules the one with the longest delay does, because each of
    them asked that the job be not executed sooner.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner = members(error)
    first = [one for kind in (Abort, Reject) for one in inner if isinstance(one, kind)]
    reschedules = [one for one in inner if isinstance(one, Reschedule)]
    if len(first) + len(reschedules) < len(inner):
        return error
    now = time.time()
    return first[0] if first else max(reschedules, key=lambda one: one.delay(now))
