"""Tells what became of jobs: a line in the log, a count in the metrics, an event for the listeners of burials."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

from tubeherd import events
from tubeherd.job import Job
from tubeherd.logs import log
from tubeherd.policy import Bury, Delete, Release, Verdict
from tubeherd.processing.processor import Processed
from tubeherd.processing.reasons import describe, source_line
from tubeherd.queue.answers import Settled


class Burial(NamedTuple):
    """A job that the supervisor buried; the next slot tells the listeners."""

    job: Job
    reason: str


class Counter(Protocol):
    """Counts what became of jobs."""

    def count(self, tube: str, verdict: str, seconds: float) -> None:
        """Count one job."""


class Reporter:
    """Reports the verdicts of one process."""

    def __init__(
        self,
        counter: Counter | None = None,
        listening: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Count with `counter`, and have listeners run inside of `listening()`."""
        self._count = counter.count if counter else _count_nothing
        self._listening = listening

    def report(self, processed: Processed, settled: Settled) -> None:
        """Log and count one verdict and, where the job was buried, tell the listeners."""
        verdict = processed.verdict
        if settled is Settled.LEASE_GONE:
            self._lease_gone(processed)
        elif isinstance(verdict, Delete):
            log.deleted(processed.job.id, processed.job.tube, processed.seconds)
            self._count(processed.job.tube, "deleted", processed.seconds)
        elif (reason := burial_reason(verdict, settled)) is not None:
            self._buried(processed, settled, reason)
        elif isinstance(verdict, Release):
            self._released(processed, verdict)

    def _released(self, processed: Processed, release: Release) -> None:
        attempt, fields = processed.job.attempt, _fields(processed)
        if release.failure:
            log.warning("failed, retry later", **fields, delay=release.delay, attempt=attempt, reason=release.reason)
        else:
            log.info("released", **fields, delay=release.delay, attempt=attempt, reason=release.reason)
        self._count(processed.job.tube, "retried" if release.failure else "released", processed.seconds)

    def _buried(self, processed: Processed, settled: Settled, reason: str) -> None:
        job, event = processed.job, "buried"
        if settled is Settled.BURIED_INSTEAD:
            event = "buried by beanstalkd, which is out of memory: kick it when there is some"
        log.error(event, **_fields(processed), attempt=job.attempt, reason=reason)
        self._count(processed.job.tube, "buried", processed.seconds)
        with self._listening():
            announce_burial(job, reason, processed.error)

    def _lease_gone(self, processed: Processed) -> None:
        log.warning(
            "lease was gone: its TTR passed (give such jobs a longer one), or somebody deleted the job",
            **_fields(processed),
        )
        self._count(processed.job.tube, "lease_gone", processed.seconds)


def _count_nothing(tube: str, verdict: str, seconds: float) -> None:
    pass


def burial_reason(verdict: Verdict, settled: Settled) -> str | None:
    """Return why a job was buried, by its verdict or by beanstalkd in place of a release; None where it was not."""
    if settled is Settled.BURIED_INSTEAD:
        return getattr(verdict, "reason", None) or "to be released"
    return verdict.reason if isinstance(verdict, Bury) and settled is Settled.DONE else None


def announce_burial(job: Job, reason: str, error: BaseException | None = None) -> None:
    """Tell the listeners of `worker.job.buried`; none of theirs can hurt the worker."""
    try:
        events.job_buried.send(job, error=error, reason=reason, attempts=job.attempt)
    except (Exception, SystemExit) as raised:
        log.error("a listener of worker.job.buried raised", job=job.id, tube=job.tube, reason=describe(raised))


def _fields(processed: Processed) -> dict[str, Any]:
    job = processed.job
    return {"job": job.id, "tube": job.tube, "seconds": round(processed.seconds, 6), "at": source_line(processed.error)}
