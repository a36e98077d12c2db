"""Settles verdicts and reports what became of the jobs: the last steps of every job.

A verdict is what is to be done with a job: delete, release or bury it. To settle it is to send that command to
beanstalkd and read the answer. All that settle verdicts use this module, so that they do it in the same way: a slot,
which is a process that executes jobs; the supervisor, which is the parent of the slots, if a slot has died; and
`QueueManager`.
"""

from collections.abc import Iterator, Sequence

from tubeherd.processing.attempt import Processed
from tubeherd.processing.reporting import Reporter
from tubeherd.queue.answers import Settled
from tubeherd.queue.connection import Connection


class Settler:
    """Settles the verdicts on jobs that a connection has reserved."""

    def __init__(self, reporter: Reporter) -> None:
        """Take the reporter of this process."""
        self.reporter = reporter

    def settle(self, connection: Connection, done: Processed, *, ask_reserve: bool = False) -> Settled:
        """Settle a verdict and return what became of it; the caller must report it.

        If `ask_reserve`, a reserve for the next job is sent in the same write. Raises QueueUnavailable or RefusedError;
        it is not known then whether beanstalkd carried the verdict out.
        """
        return connection.settle(done.job.id, done.verdict, ask_reserve=ask_reserve)

    def settle_and_report_all(self, connection: Connection, batch: Sequence[Processed]) -> Iterator[Processed]:
        """Settle many verdicts in few writes; report each, and then yield its job. Raises what `settle` raises."""
        answers = connection.settle_all([(done.job.id, done.verdict) for done in batch])
        for done, settled in zip(batch, answers, strict=True):
            self.report(done, settled)
            yield done

    def report(self, done: Processed, settled: Settled) -> None:
        """Report what became of a job, and publish its burial if it was buried."""
        burial = self.reporter.report(done, settled)
        if burial is not None:
            self.reporter.publish(burial, done.error)
