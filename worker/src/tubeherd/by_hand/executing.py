"""Executes one payload as a worker would, without a queue: for the command `tubeherd execute` and for tests."""

import inspect
import json
import os
import time
from asyncio import get_running_loop
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

from tubeherd import events
from tubeherd.executors import Executor, ExecutorError, executor_for
from tubeherd.formats.globs import is_glob
from tubeherd.formats.text import some_of
from tubeherd.job import JobStats
from tubeherd.job_options import make_schedule
from tubeherd.logs import log
from tubeherd.policy import BurialKind, Bury, Delete, Policy, Release, Verdict
from tubeherd.processing.processed import Processed
from tubeherd.processing.processor import Processor
from tubeherd.processing.reporting import Reporter
from tubeherd.queue.answers import Reserved, Settled
from tubeherd.queue.connection import DEFAULT_PRIORITY, DEFAULT_TTR

_JOB_ID: Final = 1


class Outcome(StrEnum):
    """What came of a job, in one word."""

    DONE = "done"
    FAILED = "failed"
    RESCHEDULED = "rescheduled"
    REJECTED = "rejected"
    INVALID = "invalid"
    ABORTED = "aborted"


class JobRun(NamedTuple):
    """What became of a payload that was executed without a queue."""

    outcome: Outcome
    verdict: Verdict
    """What a worker would do with the job: a `Delete`, `Release` or `Bury`."""
    result: Any
    """What the executor returned, or what a listener replaced that with."""
    error: BaseException | None
    """What the executor or a listener raised, unless it was a Reschedule."""
    reason: str | None
    """Why the job would be released or buried, as a worker would log it."""
    delay: int | None
    """With which delay the job would be released, in seconds; None if it would not be.

    It is up to as many seconds longer as there are retry delays, because it also shows how often the job has failed.
    """
    attempt: int
    seconds: float
    """How long the executor and its listeners took."""
    place: str | None
    """`file:line` of the innermost user code that the error passed through."""
    traceback: str | None
    log: tuple[dict[str, Any], ...]
    """The log lines of Tubeherd about the job. What code logs with `logging` is not among them."""
    flush_error: BaseException | None
    """What a listener of `worker.flush` raised, which would stop the worker."""


def execute(
    executors: Mapping[str, Executor],
    tube: str,
    body: bytes,
    *,
    attempt: int = 1,
    retry_delays: Iterable[str | float | timedelta] | None = None,
) -> JobRun:
    """Execute a body as the job of a tube, with all events of a worker, and return what became of it.

    `attempt` is 2 for a job that has failed once, and so on. `retry_delays` are those of the worker; if None, one of 10
    minutes. No time limit holds. Ctrl-C counts as a failure, with KeyboardInterrupt as the error.

    Raises ExecutorError if the tube has no executor or is a glob, ValueError for an attempt that a job could not have,
    and RuntimeError if the executor is a coroutine function and an event loop runs in this thread.
    """
    if is_glob(tube):
        raise ExecutorError(f"{tube!r} stands for several tubes: name one of them")
    executor = executor_for(executors, tube)
    if executor is None:
        known = some_of(sorted(executors)) or "none"
        raise ExecutorError(f"tube {tube!r} has no executor here; the tubes with one are: {known}")
    check_loop(executor, "execute it in another thread")
    policy = Policy() if retry_delays is None else Policy(make_schedule(retry_delays))
    reserved = Reserved(_stats(tube, executor, policy, attempt), body, time.monotonic())
    processor = Processor(executors, policy)
    try:
        with _log_lines() as lines:
            processed = processor.process(reserved)
            reporter = Reporter()
            notice = reporter.report(processed, Settled.DONE)
            if notice is not None:
                reporter.publish(notice, processed.error)
            flush_error = _flush()
    finally:
        processor.close()
    return _run(processed, lines, flush_error)


def check_loop(executor: Executor, advice: str) -> None:
    """Raise RuntimeError if the executor is a coroutine function that cannot run: an event loop runs in this thread."""
    if not inspect.iscoroutinefunction(executor.function):
        return
    try:
        get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        f"the executor {executor.name!r} is a coroutine function, and an event loop runs in this thread already: "
        f"{advice}"
    )


def _stats(tube: str, executor: Executor, policy: Policy, attempt: int) -> JobStats:
    """Return the counters of a job that has failed `attempt - 1` times, as beanstalkd would have them."""
    schedule = executor.policy(policy).schedule
    failures, most = attempt - 1, len(schedule.delays)
    if failures < 0:
        raise ValueError(f"the first attempt is 1, so there is no attempt {attempt}")
    if failures > most:
        where = "" if executor.schedule is None else f" at the executor of {executor.name}"
        raise ValueError(
            f"attempt {attempt} is the one after {_delays(failures)}, and a job has {_delays(most)} here: give more"
            f"{where} (--retry-delays or retry_delays), or a lower attempt"
        )
    delay = schedule.showing(failures, schedule.delays[failures - 1]) if failures else 0
    return JobStats(_JOB_ID, tube, DEFAULT_PRIORITY, 0, delay, DEFAULT_TTR, attempt, failures, 0, 0)


def _delays(count: int) -> str:
    return "1 retry delay" if count == 1 else f"{count} retry delays"


def _flush() -> BaseException | None:
    """Publish `worker.flush` for the one job; return what a listener raised."""
    try:
        events.flush.send("end", count=1)
    except BaseException as error:
        return error
    return None


@contextmanager
def _log_lines() -> Iterator[list[dict[str, Any]]]:
    """Keep the log lines of the block, which are in the list when the block has ended."""
    lines: list[dict[str, Any]] = []
    fd = os.memfd_create("log")
    try:
        with log.kept_in(fd):
            yield lines
    finally:
        with os.fdopen(fd, "rb") as file:
            file.seek(0)
            lines += [json.loads(line) for line in file]


def _run(processed: Processed, lines: list[dict[str, Any]], flush_error: BaseException | None) -> JobRun:
    verdict = processed.verdict
    return JobRun(
        outcome=_outcome(verdict),
        verdict=verdict,
        result=processed.result,
        error=processed.error,
        reason=None if isinstance(verdict, Delete) else verdict.reason,
        delay=verdict.delay if isinstance(verdict, Release) else None,
        attempt=processed.job.attempt,
        seconds=processed.seconds,
        place=processed.place,
        traceback=processed.traceback,
        log=tuple(lines),
        flush_error=flush_error,
    )


def _outcome(verdict: Verdict) -> Outcome:
    match verdict:
        case Delete():
            return Outcome.DONE
        case Release(stop=True):
            return Outcome.ABORTED
        case Release(failure=failure):
            return Outcome.RESCHEDULED if failure is None else Outcome.FAILED
        case Bury(kind=BurialKind.INVALID):
            return Outcome.INVALID
        case Bury(kind=BurialKind.REJECTED):
            return Outcome.REJECTED
        case Bury():
            return Outcome.FAILED
