"""Settles the verdicts of one process and reports what became of them: the last steps of every job.

A slot, the supervisor after a slot's death, and `QueueManager` all settle here, so that whatever is to happen with a
verdict happens for all of them.
"""

from collections.abc import Iterator, Sequence

from tubeherd.processing.attempt import Processed
from tubeherd.processing.reporting import Reporter
from tubeherd.queue.answers import Settled
from tubeherd.queue.connection import Connection


class Settler:
    """Carries out verdicts on the leases of a connection."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def settle(self, connection: Connection, done: Processed, *, ask_reserve: bool = False) -> Settled:
        """Carry out a verdict and return what became of it; the caller reports it.

        If `ask_reserve`, the next job is asked for in the same write. Raises QueueUnavailable or RefusedError, after
        which the verdict may or may not have been carried out.
        """
        return connection.settle(done.job.id, done.verdict, ask_reserve=ask_reserve)

    def settle_and_report(self, connection: Connection, done: Processed) -> Settled:
        """Carry out a verdict, log and count it, publish a burial, and return what became of it; raises as `settle`."""
        settled = self.settle(connection, done)
        self._report(done, settled)
        return settled

    def settle_and_report_all(self, connection: Connection, batch: Sequence[Processed]) -> Iterator[Processed]:
        """Carry out many verdicts in few writes, report each and yield its job; raises as `settle`."""
        answers = connection.settle_all([(done.job.id, done.verdict) for done in batch])
        for done, settled in zip(batch, answers, strict=True):
            self._report(done, settled)
            yield done

    def _report(self, done: Processed, settled: Settled) -> None:
        burial = self.reporter.report(done, settled)
        if burial is not None:
            self.reporter.publish(burial, done.error)
