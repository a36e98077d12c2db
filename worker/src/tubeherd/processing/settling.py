"""Settles verdicts and reports what became of the jobs: the last steps of every job.

A verdict is what is to be done with a job: delete, release or bury it. To settle it is to send that command to
beanstalkd and read the answer. All that settle verdicts use this module, so that they do it in the same way: a slot,
which is a process that executes jobs; the supervisor, which is the parent of the slots, if a slot has died; and
`QueueManager`.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from tubeherd.burials.writer import BurialWriter
from tubeherd.policy import Bury, Verdict
from tubeherd.processing.processed import Processed
from tubeherd.processing.recording import record_of
from tubeherd.processing.reporting import Notice, Reporter
from tubeherd.queue.answers import Burying, Settled
from tubeherd.queue.connection import Connection


class Settler:
    """Settles the verdicts on jobs that a connection has reserved."""

    def __init__(self, reporter: Reporter, writer: BurialWriter | None = None) -> None:
        """Take the reporter of this process, and what writes burial records; None if there are to be none."""
        self.reporter = reporter
        self._writer = writer

    def may_ask_reserve(self, verdict: Verdict) -> bool:
        """Return whether a reserve may be sent in the same write as this verdict: old burial records may come first."""
        return not (isinstance(verdict, Bury) and self._writer is not None and self._writer.looks_next)

    def settle(self, connection: Connection, done: Processed, *, ask_reserve: bool = False) -> Settled:
        """Settle a verdict and return what became of it; the caller must report it.

        If `ask_reserve`, a reserve for the next job is sent in the same write; the caller has asked `may_ask_reserve`.
        Raises QueueUnavailable or RefusedError; it is not known then whether beanstalkd carried the verdict out.
        """
        verdict = done.verdict
        if self._writer is not None and isinstance(verdict, Bury):
            record = record_of(done, verdict)
            return self._writer.bury(connection, done.job.id, verdict.priority, record, ask_reserve=ask_reserve)
        return connection.settle(done.job.id, verdict, ask_reserve=ask_reserve)

    def settle_and_report_all(
        self, connection: Connection, batch: Sequence[Processed]
    ) -> Iterator[tuple[Processed, Notice | None]]:
        """Settle many verdicts in few writes and report each; yield its job with the notice that is to be published.

        Raises what `settle` raises.
        """
        for done, settled in zip(batch, self._settle_all(connection, batch), strict=True):
            yield done, self.reporter.report(done, settled)

    def report(self, done: Processed, settled: Settled) -> None:
        """Report what became of a job, and publish that it has failed or was buried."""
        notice = self.reporter.report(done, settled)
        if notice is not None:
            self.publish(notice, done.error)

    def report_lost(self, done: Processed) -> None:
        """Report that the verdict on a job was lost, and publish that the job has failed if so."""
        notice = self.reporter.report_lost(done)
        if notice is not None:
            self.reporter.publish(notice, done.error)

    def publish(self, notice: Notice, error: BaseException | None) -> None:
        """Publish what became of a job, and keep the burial records within bounds."""
        self.reporter.publish(notice, error)
        self.after_burial()

    def after_burial(self) -> None:
        """Remove burial records that are too old, or that are of no use; to be called after a burial was reported."""
        if self._writer is not None:
            self._writer.make_room()

    def _settle_all(self, connection: Connection, batch: Sequence[Processed]) -> Iterator[Settled]:
        for buries, run in groupby(batch, key=lambda done: isinstance(done.verdict, Bury)):
            if buries and self._writer is not None:
                yield from self._writer.bury_all(connection, _burials(run))
            else:
                yield from connection.settle_all([(done.job.id, done.verdict) for done in run])


def _burials(batch: Iterable[Processed]) -> Iterator[Burying]:
    """Yield the burial of each job that is to be buried, with its record.

    A record is made only when it is asked for: those of a large batch take seconds, in which no job would be settled.
    """
    for done in batch:
        if isinstance(done.verdict, Bury):
            yield Burying(done.job.id, done.verdict.priority, record_of(done, done.verdict))
