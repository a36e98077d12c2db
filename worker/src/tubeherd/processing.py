"""Processes one leased job: guard, events, validation, executor, outcome, verdict. The same in a slot and by hand."""

import asyncio
import inspect
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, get_args

import structlog
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json
from pydantic_core.core_schema import ErrorType

from tubeherd import events
from tubeherd.executors import Abort, Executor, Reschedule
from tubeherd.job import Job, JobStats
from tubeherd.policy import (
    Aborted,
    Bury,
    Delete,
    Failed,
    Invalid,
    Outcome,
    Policy,
    Release,
    Rescheduled,
    Returned,
    Verdict,
)

REASON_MAX: Final = 500
_OWN_FOLDER: Final = Path(__file__).parent
_QUOTES_NOTHING: Final = frozenset(get_args(ErrorType)) - {
    "assertion_error",
    "get_attribute_error",
    "union_tag_invalid",
    "value_error",
}
"""Kinds of errors whose messages are pydantic's own, with nothing of the input in them."""

log: Final = structlog.get_logger()


class DeadlinePassed(BaseException):
    """Raised inside an executor whose job ran too long; no `except Exception` swallows it."""


class InvalidPayload(Exception):
    """The body is not what the executor takes; the message holds no part of it."""


@dataclass(frozen=True, slots=True)
class Processed:
    """A job that has a verdict."""

    job: Job
    verdict: Verdict
    seconds: float
    """How long the executor and the listeners took."""
    error: BaseException | None = None
    result: Any = None


class Processor:
    """Runs the executors of one process and asks the policy for verdicts."""

    def __init__(
        self, executors: Mapping[str, Executor], policy: Policy, clock: Callable[[], float] = time.time
    ) -> None:
        self._executors = executors
        self._policy = policy
        self._clock = clock
        self._runner: asyncio.Runner | None = None

    def process(self, stats: JobStats, body: bytes) -> Processed:
        """Execute a leased job, unless it is poison, and return it with its verdict; raises nothing of the job's."""
        job = self._policy.job(stats)
        if poison := self._policy.guard(stats):
            return Processed(job, poison, 0.0)
        started = time.perf_counter()
        outcome, error, result = self._execute(job, body)
        seconds = time.perf_counter() - started
        return Processed(job, self._policy.decide(outcome, stats), seconds, error, result)

    def too_late(self, stats: JobStats, error: DeadlinePassed) -> Processed:
        """Return the verdict on a job whose deadline passed in the last moment of its processing."""
        outcome = Failed(str(error))
        return Processed(self._policy.job(stats), self._policy.decide(outcome, stats), 0.0, error)

    def close(self) -> None:
        """Close the event loop that coroutines ran in; a slot leaves that to the end of its process."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _execute(self, job: Job, body: bytes) -> tuple[Outcome, BaseException | None, Any]:
        try:
            return Returned(), None, self._run(job, body)
        except Reschedule as error:
            return Rescheduled(error.delay(self._clock()), error.priority, error.message), None, None
        except Abort as error:
            return Aborted(str(error)), error, None
        except InvalidPayload as error:
            return Invalid(str(error)), error, None
        except DeadlinePassed as error:
            return Failed(str(error)), error, None
        except BaseException as error:  # also SystemExit: a job must not take the slot with it
            return Failed(describe(error)), error, None

    def _run(self, job: Job, body: bytes) -> Any:
        executor = self._executors[job.tube]
        events.job_execute.send(job)
        payload = _payload(executor, job, body)
        result = self._call(executor, payload, job)
        if not events.execute_post.receivers:
            return result
        action = events.Action(job, payload, result)
        events.execute_post.send(action)
        return action.result

    def _call(self, executor: Executor, payload: Any, job: Job) -> Any:
        result = executor.function(payload, job) if executor.takes_job else executor.function(payload)
        # Asked of the result, not of the function: a decorator often hides that the function is a coroutine's.
        if not inspect.iscoroutine(result):
            return result
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(result)


def report(processed: Processed, settled: bool) -> None:
    """Log one line on a verdict and, where the job was buried, tell the listeners."""
    job, verdict = processed.job, processed.verdict
    fields = {"job": job.id, "tube": job.tube, "seconds": round(processed.seconds, 6)}
    if not settled:
        log.warning(
            "lease was gone: its TTR passed (give such jobs a longer one), or somebody deleted the job",
            **fields,
        )
        return
    match verdict:
        case Delete():
            log.info("deleted", **fields)
        case Release(delay, _, reason, failure):
            word = "failed, retry later" if failure else "released"
            write = log.warning if failure else log.info
            write(word, **fields, delay=delay, attempt=job.attempt, reason=reason, at=_place(processed.error))
        case Bury(_, reason):
            log.error("buried", **fields, attempt=job.attempt, reason=reason, at=_place(processed.error))
            _announce(job, reason, processed.error)


def _announce(job: Job, reason: str, error: BaseException | None) -> None:
    try:
        events.job_buried.send(job, error=error, reason=reason, attempts=job.attempt)
    except (Exception, SystemExit) as raised:
        log.error("a listener of worker.job.buried raised", job=job.id, tube=job.tube, reason=describe(raised))


def announce_burial(job: Job, reason: str) -> None:
    """Tell the listeners of a burial that the supervisor did, where no user code runs."""
    _announce(job, reason, None)


def describe(error: BaseException) -> str:
    """Return an exception's type and message on one line of at most REASON_MAX characters."""
    try:
        message = " ".join(str(error).split())
    except Exception:
        message = "(its message cannot be read)"
    name = type(error).__name__
    return f"{name}: {message}"[:REASON_MAX] if message else name


def _place(error: BaseException | None) -> str | None:
    """Return file and line of the last step of user code, where the exception came from."""
    place, trace = None, error.__traceback__ if error else None
    while trace:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.parent != _OWN_FOLDER:
            place = f"{path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _payload(executor: Executor, job: Job, body: bytes) -> Any:
    """Return what the executor gets; raises InvalidPayload, or what a listener raises."""
    if not events.execute_pre.receivers:
        return body if executor.adapter is None else _validate(executor, body)
    action = events.Action(job, body if executor.adapter is None else _decode(body))
    events.execute_pre.send(action)
    # The changed payload goes through JSON again, so that it is validated by the same rules as any body.
    return action.payload if executor.adapter is None else _validate(executor, to_json(action.payload))


def _decode(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError as error:
        raise InvalidPayload(f"payload is no JSON: {describe(error)}") from error


def _validate(executor: Executor, body: bytes) -> Any:
    assert executor.adapter is not None  # noqa: S101 - told by the callers
    try:
        return executor.adapter.validate_json(body)
    except ValidationError as error:
        raise InvalidPayload(_without_input(error, executor.adapter)) from error


def _without_input(error: ValidationError, adapter: TypeAdapter[Any]) -> str:
    declared = set(_names(adapter.core_schema))
    parts = []
    for detail in error.errors(include_url=False, include_context=False):
        # A key that no model declares is a part of the payload.
        steps = [str(step) if isinstance(step, int) or step in declared else "*" for step in detail["loc"]]
        parts.append(f"{'.'.join(steps) or 'payload'}: {_complaint(detail)}")
    return f"payload is not valid: {'; '.join(parts)}"[:REASON_MAX]


def _names(schema: Any) -> Iterator[str]:
    """Return every text in a schema of pydantic's, among them the names, aliases and tags that it declares."""
    match schema:
        case dict():
            yield from (key for key in schema if isinstance(key, str))
            yield from chain.from_iterable(map(_names, schema.values()))
        case list() | tuple():
            yield from chain.from_iterable(map(_names, schema))
        case str():
            yield schema


def _complaint(detail: ErrorDetails) -> str:
    """Return what is wrong, in pydantic's words, or only its kind where the words quote the payload."""
    message = " ".join(detail["msg"].split())
    if detail["type"] in _QUOTES_NOTHING:
        return message
    quoted = any(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", message) for value in _values(detail["input"]))
    return detail["type"] if quoted else message


def _values(data: Any) -> Iterator[str]:
    """Return every text and number in decoded JSON."""
    match data:
        case dict():
            yield from chain.from_iterable(map(_values, data.values()))
        case list():
            yield from chain.from_iterable(map(_values, data))
        case str() | int() | float() if data != "":
            yield str(data)
