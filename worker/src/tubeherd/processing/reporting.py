"""Reports what became of a job: by a log line, a count in the metrics, and events if it has failed or was buried.

A verdict is what is to be done with a job: delete, release or bury it. beanstalkd's answer to it may differ from it:
the lease, which is the reservation, may be lost already, or a job that was to be released may be buried.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from blinker import Signal

from tubeherd import events
from tubeherd.job import Job, current_job
from tubeherd.logs import ErrorDetail, log
from tubeherd.policy import BurialKind, Bury, Delete, Release
from tubeherd.processing.processed import Processed
from tubeherd.processing.reasons import describe, traceback_text
from tubeherd.queue.answers import Settled
from tubeherd.shared_memory.tally import Incident, VerdictLabel

if TYPE_CHECKING:  # only the types need it, so a script that puts jobs starts without it
    from tubeherd.settings import WorkerSettings


# Globals, because in Python 3.11 `Settled.DONE` takes as long as a call, and each job needs both.
_DONE: Final = Settled.DONE
_DELETED: Final = VerdictLabel.DELETED
_FAILURES: Final = {kind: Incident(kind.value) for kind in BurialKind}
_PAYLOAD_BYTES: Final = 2048
"""How much of a payload a log line shows."""


class Notice(NamedTuple):
    """What listeners are to be notified of: that an attempt at a job has failed, that the job was buried, or both."""

    job: Job
    reason: str
    failed: bool
    buried: bool


class Counter(Protocol):
    """Counts jobs for the metrics."""

    def count(self, tube: str, label: VerdictLabel, seconds: float) -> None:
        """Count one job by what became of it, and add the seconds that it took."""

    def count_incident(self, incident: Incident) -> None:
        """Count one incident, such as that a job failed."""


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
        self._counter = counter
        self._listening = listening

    def report(self, done: Processed, settled: Settled) -> Notice | None:
        """Log and count what became of a job. Return the notice that `publish` must be given, if there is one."""
        verdict = done.verdict
        if settled is _DONE and isinstance(verdict, Delete):  # first, because nearly every job is deleted
            log.deleted(done.job.id, done.job.tube, done.seconds)
            self._count(done.job.tube, _DELETED, done.seconds)
            return None
        reason = _reason(done)
        self._count_failure(done)
        if settled is Settled.LEASE_GONE:
            self._lease_gone(done)
        elif settled is Settled.BURIED_INSTEAD:
            event = "buried by beanstalkd, which is out of memory: give it more memory, then kick the job"
            self._buried(done, event, reason or "to be released")
            return Notice(done.job, reason or "to be released", _has_failed(done), buried=True)
        elif isinstance(verdict, Bury):
            self._buried(done, "buried", verdict.reason)
            return Notice(done.job, verdict.reason, _has_failed(done), buried=True)
        elif isinstance(verdict, Release):
            self._released(done, verdict)
        return Notice(done.job, reason or "", failed=True, buried=False) if _has_failed(done) else None

    def report_lost(
        self, done: Processed, event: str = "executed, but its verdict was lost: it may run again"
    ) -> Notice | None:
        """Log that the verdict on a job was lost. Return the notice that `publish` must be given, if it had failed.

        The failure is counted, but not the job.
        """
        self._count_failure(done)
        log.warning(event, **_fields(done), **_failure(done))
        return Notice(done.job, _reason(done) or "", failed=True, buried=False) if _has_failed(done) else None

    def count_failure(self, kind: BurialKind) -> None:
        """Count a failure of a job of which nothing else can be reported."""
        self.count_incident(_FAILURES[kind])

    def count_incident(self, incident: Incident) -> None:
        """Count what is rare, if anything is counted."""
        if self._counter is not None:
            self._counter.count_incident(incident)

    def publish(self, notice: Notice, error: BaseException | None = None) -> None:
        """Publish `worker.job.failed` and `worker.job.buried`, as the notice says; listeners may take long.

        If a listener raises, that is logged and not raised.
        """
        if notice.failed:
            cause = events.SlotDied(notice.reason) if error is None else error
            self._send("worker.job.failed", events.job_failed, notice, cause)
        if notice.buried:
            self._send("worker.job.buried", events.job_buried, notice, error)

    def _send(self, name: str, event: Signal, notice: Notice, error: BaseException | None) -> None:
        if not event.receivers:
            return
        job = notice.job
        current_job.set(job)
        with self._listening():
            try:
                event.send(job, error=error, reason=notice.reason, attempts=job.attempt)
            except BaseException as raised:  # whatever it is, the jobs beside this one go on
                if self._settings is None and isinstance(raised, KeyboardInterrupt):
                    raise  # Ctrl-C in a script; a slot ignores it
                log.error(
                    f"a listener of {name} raised",
                    job=job.id,
                    tube=job.tube,
                    reason=describe(raised, self._detail),
                    traceback=traceback_text(raised, self._detail),
                )

    def _count_failure(self, done: Processed) -> None:
        if (kind := _failure_of(done)) is not None:
            self.count_failure(kind)

    def _released(self, done: Processed, release: Release) -> None:
        attempt, fields = done.job.attempt, _fields(done)
        if release.failure is not None:
            fields |= {"delay": release.delay, "attempt": attempt, "reason": release.reason}
            log.warning("failed, retry later", **fields, payload=self._payload(done), traceback=done.traceback)
        else:
            fields |= {"delay": release.delay, "attempt": attempt, "reason": release.reason}
            if release.stop:
                log.warning("released because of an Abort, which stops a worker", **fields)
            else:
                log.info("released", **fields)
        self._count(
            done.job.tube, VerdictLabel.RELEASED if release.failure is None else VerdictLabel.RETRIED, done.seconds
        )

    def _buried(self, done: Processed, event: str, reason: str) -> None:
        fields = _fields(done) | {"attempt": done.job.attempt, "reason": reason}
        log.error(event, **fields, payload=self._payload(done), traceback=done.traceback)
        self._count(done.job.tube, VerdictLabel.BURIED, done.seconds)

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
            **_failure(done),
        )
        self._count(done.job.tube, VerdictLabel.LEASE_GONE, done.seconds)


def _count_nothing(tube: str, label: VerdictLabel, seconds: float) -> None:
    pass


def _reason(done: Processed) -> str | None:
    return None if isinstance(done.verdict, Delete) else done.verdict.reason


def _has_failed(done: Processed) -> bool:
    """Return whether the attempt has failed: a poison job was not even begun, and a reschedule is no failure."""
    return _failure_of(done) not in (None, BurialKind.POISON)


def _failure_of(done: Processed) -> BurialKind | None:
    """Return why the attempt has failed, or was not even begun; None if it has not failed."""
    match done.verdict:
        case Bury(kind=kind):
            return kind
        case Release(failure=failure):
            return failure
        case Delete():
            return None


def _failure(done: Processed) -> dict[str, Any]:
    """Return the fields of a failed attempt that no other line reports; they are None if the job has not failed."""
    return {"reason": _reason(done), "traceback": done.traceback}


def _fields(done: Processed) -> dict[str, Any]:
    job = done.job
    return {"job": job.id, "tube": job.tube, "seconds": round(done.seconds, 6), "at": done.place}
