"""Processes one leased job: guard, events, validation, executor, outcome, verdict. The same in a slot and by hand."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Mapping
from contextvars import copy_context
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from tubeherd import events
from tubeherd.executors import Abort, Executor, ExecutorError, Reschedule
from tubeherd.job import Job, JobStats
from tubeherd.policy import (
    Aborted,
    Failed,
    Invalid,
    Outcome,
    Policy,
    Rescheduled,
    Returned,
    Verdict,
)
from tubeherd.processing.coroutines import CancelledLate, Deadline, within
from tubeherd.processing.reasons import describe, describe_invalid

_RETURNED: Final = Returned()


class DeadlinePassed(BaseException):
    """Raised inside an executor whose job ran too long; no `except Exception` swallows it."""


class InvalidPayload(Exception):
    """The body is not what the executor takes; the message holds no part of it."""


class FlushFailed(Exception):
    """A listener of `worker.flush` raised, or was broken off."""


class Processed(NamedTuple):
    """A job that has a verdict."""

    job: Job
    verdict: Verdict
    seconds: float = 0.0
    """How long the executor and the listeners took."""
    error: BaseException | None = None
    result: Any = None


class Processor:
    """Runs the executors of one process and asks the policy for verdicts."""

    def __init__(self, executors: Mapping[str, Executor], policy: Policy) -> None:
        self._executors = executors
        self._policy = policy
        self._runner: asyncio.Runner | None = None
        self.in_loop = False
        """Whether a coroutine runs, which the loop cancels at its deadline."""
        self.broken_off = False
        """Whether user code was broken off in the middle, so that the process is not trusted any more."""

    def process(self, stats: JobStats, body: bytes | None, deadline: Deadline | None = None) -> Processed:
        """Execute a leased job, unless it is poison, and return it with its verdict; raises nothing of the job's.

        A coroutine is cancelled at the deadline; whoever calls breaks off other executors.
        """
        job = self._policy.job(stats)
        if poison := self._policy.guard(stats):
            return Processed(job, poison)
        started = time.perf_counter()
        try:
            payload, result = self._call(job, body)
            if result is not None:
                result = self._await_if_needed(job, result, deadline)
            if events.execute_post.receivers:
                result = _post(job, payload, result)
        except BaseException as error:  # also SystemExit: a job must not take the slot with it
            return self._failed(stats, job, error, time.perf_counter() - started)
        return Processed(job, self._policy.decide(_RETURNED, stats), time.perf_counter() - started, None, result)

    async def process_concurrently(self, stats: JobStats, body: bytes | None, deadline: Deadline) -> Processed:
        """Do what `process` does on the event loop that runs, beside other jobs."""
        job = self._policy.job(stats)
        if poison := self._policy.guard(stats):
            return Processed(job, poison)
        started = time.perf_counter()

        async def run() -> Any:
            payload, result = self._call(job, body)
            if _is_awaitable(result):
                result = await result
            return _post(job, payload, result) if events.execute_post.receivers else result

        try:
            result = await within(job.id, deadline, run)
        except BaseException as error:
            return self._failed(stats, job, error, time.perf_counter() - started)
        return Processed(job, self._policy.decide(_RETURNED, stats), time.perf_counter() - started, None, result)

    def fail(self, stats: JobStats, error: BaseException) -> Processed:
        """Return the verdict on a job that failed after its executor had returned."""
        return self._failed(stats, self._policy.job(stats), error)

    def close(self) -> None:
        """Close the event loop that coroutines ran in; a slot leaves that to the end of its process."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _call(self, job: Job, body: bytes | None) -> tuple[Any, Any]:
        """Call the executor and return its payload with its result, which may still have to be awaited."""
        executor = self._executors[job.tube]
        payload = _payload(executor, job, body)
        return payload, executor.function(payload, job) if executor.takes_job else executor.function(payload)

    def _await_if_needed(self, job: Job, result: Any, deadline: Deadline | None) -> Any:
        """Await what an executor returned, where it is to be awaited."""
        if not _is_awaitable(result):
            return result
        if self._runner is None:
            self._runner = asyncio.Runner()
        self.in_loop = True
        try:
            # A context of its own: variables of one job are not the next one's.
            return self._runner.run(_await(job, result, deadline), context=copy_context())
        except asyncio.CancelledError:  # the job called itself off: its task is done, and the loop is sound
            raise
        except BaseException as error:
            # What broke the loop off, and no plain exception, may have left the job's tasks running in it.
            self.broken_off |= not isinstance(error, Exception)
            raise
        finally:
            self.in_loop = False

    def _failed(self, stats: JobStats, job: Job, error: BaseException, seconds: float = 0.0) -> Processed:
        outcome = self._outcome(error)
        told = None if isinstance(outcome, Rescheduled) else error
        return Processed(job, self._policy.decide(outcome, stats), seconds, told)

    def _outcome(self, error: BaseException) -> Outcome:
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


def _payload(executor: Executor, job: Job, body: bytes | None) -> Any:
    """Return what the executor gets; raises InvalidPayload, or what a listener raises."""
    if body is None:
        raise InvalidPayload("the job's body is damaged: beanstalkd lost it in a crash")
    if events.job_execute.receivers:
        events.job_execute.send(job)
    adapter = executor.adapter
    if events.execute_pre.receivers:
        action = events.Action(job, body if adapter is None else _decode(body))
        events.execute_pre.send(action)
        if adapter is None:
            return action.payload
        # The changed payload goes through JSON again, so that it is validated by the same rules as any body.
        body = to_json(action.payload)
    if adapter is None:
        return body
    try:
        return adapter.validator.validate_json(body)
    except ValidationError as error:
        raise InvalidPayload(describe_invalid(error, adapter)) from error


def _decode(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError as error:
        raise InvalidPayload(f"payload is no JSON: {describe(error)}") from error


def _post(job: Job, payload: Any, result: Any) -> Any:
    action = events.Action(job, payload, result)
    events.execute_post.send(action)
    return action.result


async def _await(job: Job, result: Awaitable[Any], deadline: Deadline | None) -> Any:
    async def run() -> Any:
        return await result

    return await (run() if deadline is None else within(job.id, deadline, run))


def _is_awaitable(result: Any) -> bool:
    """Tell whether the result of an executor is still to be awaited; raises ExecutorError where it ran nothing.

    Asked of the result, not of the function: a decorator often hides what the function is.
    """
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise ExecutorError("the executor has a yield, so its call ran nothing: remove the yield")
    return inspect.isawaitable(result)
