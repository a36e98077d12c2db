"""Reports what became of jobs: a line in the log, a count in the metrics, an event for the listeners of burials."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from tubeherd import events
from tubeherd.job import Job
from tubeherd.logs import log
from tubeherd.policy import Bury, Delete, Release
from tubeherd.processing.attempt import Processed
from tubeherd.processing.reasons import describe, source_line
from tubeherd.queue.answers import Settled
from tubeherd.shared_memory.tally import VerdictLabel

if TYPE_CHECKING:  # a script that only puts jobs is to start without it
    from tubeherd.settings import WorkerSettings


_PAYLOAD_BYTES: Final = 2048


class Burial(NamedTuple):
    """A job that was buried, for listeners. The supervisor has none: the next slot publishes its burials."""

    job: Job
    reason: str


class Counter(Protocol):
    """Counts what became of jobs."""

    def count(self, tube: str, label: VerdictLabel, seconds: float) -> None:
        """Count one job."""


class Reporter:
    """Reports the verdicts of one process."""

    def __init__(
        self,
        counter: Counter | None = None,
        listening: Callable[[], AbstractContextManager[None]] = nullcontext,
        settings: "WorkerSettings | None" = None,
    ) -> None:
        """Count with `counter`, have listeners run inside of `listening()`, and log as a worker's settings say."""
        self._settings = settings
        self._count = counter.count if counter else _count_nothing
        self._listening = listening

    def report(self, done: Processed, settled: Settled) -> Burial | None:
        """Log and count what became of a verdict; return the burial if the job was buried: `publish` must follow."""
        verdict = done.verdict
        if settled is Settled.DONE and isinstance(verdict, Delete):  # as nearly always
            log.deleted(done.job.id, done.job.tube, done.seconds)
            self._count(done.job.tube, VerdictLabel.DELETED, done.seconds)
        elif settled is Settled.LEASE_GONE:
            self._lease_gone(done)
        elif settled is Settled.BURIED_INSTEAD:
            event = "buried by beanstalkd, which is out of memory: kick it when there is some"
            return self._buried(done, event, getattr(verdict, "reason", None) or "to be released")
        elif isinstance(verdict, Bury):
            return self._buried(done, "buried", verdict.reason)
        elif isinstance(verdict, Release):
            self._released(done, verdict)
        return None

    def publish(self, burial: Burial, error: BaseException | None = None) -> None:
        """Publish `worker.job.buried`, whose listeners may take long; one that raises does the worker no harm."""
        job, reason = burial
        with self._listening():
            try:
                events.job_buried.send(job, error=error, reason=reason, attempts=job.attempt)
            except (Exception, SystemExit) as raised:
                log.error("a listener of worker.job.buried raised", job=job.id, tube=job.tube, reason=describe(raised))

    def _released(self, done: Processed, release: Release) -> None:
        attempt, fields = done.job.attempt, _fields(done)
        if release.failure:
            fields |= {"delay": release.delay, "attempt": attempt, "reason": release.reason}
            log.warning("failed, retry later", **fields, payload=self._payload(done))
        else:
            log.info("released", **fields, delay=release.delay, attempt=attempt, reason=release.reason)
        self._count(done.job.tube, VerdictLabel.RETRIED if release.failure else VerdictLabel.RELEASED, done.seconds)

    def _buried(self, done: Processed, event: str, reason: str) -> Burial:
        log.error(event, **_fields(done), attempt=done.job.attempt, reason=reason, payload=self._payload(done))
        self._count(done.job.tube, VerdictLabel.BURIED, done.seconds)
        return Burial(done.job, reason)

    def _payload(self, done: Processed) -> str | None:
        """Return the payload for the line of a failure, if the settings ask for it and it is known."""
        if done.body is None or self._settings is None or not self._settings.log_payloads:
            return None
        text = done.body[:_PAYLOAD_BYTES].decode(errors="backslashreplace")
        return text if len(done.body) <= _PAYLOAD_BYTES else f"{text}… ({len(done.body)} bytes)"

    def _lease_gone(self, done: Processed) -> None:
        log.warning(
            "lease was gone: its TTR passed (give such jobs a longer one), or somebody deleted the job",
            **_fields(done),
        )
        self._count(done.job.tube, VerdictLabel.LEASE_GONE, done.seconds)


def _count_nothing(tube: str, label: VerdictLabel, seconds: float) -> None:
    pass


def _fields(done: Processed) -> dict[str, Any]:
    job = done.job
    return {"job": job.id, "tube": job.tube, "seconds": round(done.seconds, 6), "at": source_line(done.error)}
