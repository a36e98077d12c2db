"""Reports what became of a job: a log line, a count in the metrics and, if it was buried, `worker.job.buried`.

A verdict is what is to be done with a job: delete, release or bury it. beanstalkd's answer to it may differ from it:
the lease, which is the reservation, may be lost already, or a job that was to be released may be buried.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from tubeherd import events
from tubeherd.job import Job, current_job
from tubeherd.logs import ErrorDetail, log
from tubeherd.policy import Bury, Delete, Release
from tubeherd.processing.attempt import Processed
from tubeherd.processing.reasons import describe, source_line, traceback_text
from tubeherd.queue.answers import Settled
from tubeherd.shared_memory.tally import VerdictLabel

if TYPE_CHECKING:  # only the types need it, so a script that puts jobs starts without it
    from tubeherd.settings import WorkerSettings


_PAYLOAD_BYTES: Final = 2048
"""How much of a payload a log line shows."""


class Burial(NamedTuple):
    """A job that was buried, as the listeners of `worker.job.buried` get it."""

    job: Job
    reason: str


class Counter(Protocol):
    """Counts jobs for the metrics."""

    def count(self, tube: str, label: VerdictLabel, seconds: float) -> None:
        """Count one job by what became of it, and add the seconds that it took."""


class Reporter:
    """Reports what became of the jobs of one process."""

    def __init__(
        self,
        counter: Counter | None = None,
        listening: Callable[[], AbstractContextManager[None]] = nullcontext,
        settings: "WorkerSettings | None" = None,
    ) -> None:
        """Take what counts the jobs, a context manager in which listeners are called, and the settings of a worker.

        Without a counter nothing is counted, and without settings no payload is logged.
        """
        self._settings = settings
        self._detail: ErrorDetail = settings.error_detail if settings else "full"
        self._count = counter.count if counter else _count_nothing
        self._listening = listening

    def report(self, done: Processed, settled: Settled) -> Burial | None:
        """Log and count what became of a job. If it was buried, return the burial, which `publish` must be given."""
        verdict = done.verdict
        if settled is Settled.DONE and isinstance(verdict, Delete):  # first, because nearly every job is deleted
            log.deleted(done.job.id, done.job.tube, done.seconds)
            self._count(done.job.tube, VerdictLabel.DELETED, done.seconds)
        elif settled is Settled.LEASE_GONE:
            self._lease_gone(done)
        elif settled is Settled.BURIED_INSTEAD:
            event = "buried by beanstalkd, which is out of memory: give it more memory, then kick the job"
            return self._buried(done, event, getattr(verdict, "reason", None) or "to be released")
        elif isinstance(verdict, Bury):
            return self._buried(done, "buried", verdict.reason)
        elif isinstance(verdict, Release):
            self._released(done, verdict)
        return None

    def publish(self, burial: Burial, error: BaseException | None = None) -> None:
        """Publish `worker.job.buried`. If a listener raises, that is logged and not raised. Listeners may take long."""
        job, reason = burial
        current_job.set(job)
        with self._listening():
            try:
                events.job_buried.send(job, error=error, reason=reason, attempts=job.attempt)
            except BaseException as raised:  # whatever it is, the jobs beside this one go on
                if self._settings is None and isinstance(raised, KeyboardInterrupt):
                    raise  # Ctrl-C in a script; a slot ignores it
                log.error(
                    "a listener of worker.job.buried raised",
                    job=job.id,
                    tube=job.tube,
                    reason=describe(raised, self._detail),
                    traceback=traceback_text(raised, self._detail),
                )

    def _released(self, done: Processed, release: Release) -> None:
        attempt, fields = done.job.attempt, _fields(done)
        if release.failure:
            fields |= {"delay": release.delay, "attempt": attempt, "reason": release.reason}
            log.warning("failed, retry later", **fields, payload=self._payload(done), traceback=done.traceback)
        else:
            log.info("released", **fields, delay=release.delay, attempt=attempt, reason=release.reason)
        self._count(done.job.tube, VerdictLabel.RETRIED if release.failure else VerdictLabel.RELEASED, done.seconds)

    def _buried(self, done: Processed, event: str, reason: str) -> Burial:
        fields = _fields(done) | {"attempt": done.job.attempt, "reason": reason}
        log.error(event, **fields, payload=self._payload(done), traceback=done.traceback)
        self._count(done.job.tube, VerdictLabel.BURIED, done.seconds)
        return Burial(done.job, reason)

    def _payload(self, done: Processed) -> str | None:
        """Return the job's payload for a log line, or None if it is not known or the settings do not ask for it."""
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
