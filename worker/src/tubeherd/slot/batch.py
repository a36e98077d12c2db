"""The batch of a slot: the jobs that wait for `worker.flush`, before they are deleted."""

import time
from collections.abc import Sequence

from tubeherd import events
from tubeherd.job import JobStats
from tubeherd.policy import Delete, Verdict
from tubeherd.processing.batch import Batch
from tubeherd.processing.processor import FlushFailed, Processed, Processor
from tubeherd.processing.reasons import describe
from tubeherd.processing.reporting import Reporter
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Settled
from tubeherd.queue.connection import Connection
from tubeherd.shared_memory.page import Lease, Phase
from tubeherd.slot.lane import HeldBack, Lane


class SlotBatch(Batch):
    """The batch of a slot, which may hold back the deletes of its jobs until the listeners returned.

    The leases of those jobs are on the pages of their lanes, so that the supervisor touches them.
    """

    def __init__(
        self, size: int, ack_after_flush: bool, lanes: Sequence[Lane], processor: Processor, reporter: Reporter
    ) -> None:
        super().__init__(size)
        self._ack_after_flush = ack_after_flush
        self._lanes = lanes
        self._processor = processor
        self._reporter = reporter

    @property
    def due(self) -> bool:
        """Whether the batch is full, or half of a lease that waits for the flush is gone."""
        return self.full or time.monotonic() >= min(lane.flush_by for lane in self._lanes)

    def holds_back(self, verdict: Verdict) -> bool:
        """Tell whether a job with this verdict is to be settled after the next flush."""
        return self._ack_after_flush and isinstance(verdict, Delete) and bool(events.flush.receivers)

    def hold_back(
        self, lane: Lane, connection: Connection, stats: JobStats, processed: Processed, ask_reserve: bool
    ) -> Settled | None:
        """Extend the lease of an executed job and hold it back; return what became of the lease if it is gone."""
        extended = connection.extend(stats.id, ask_reserve=ask_reserve)
        if extended is not Settled.DONE:
            return extended
        lane.hold_back(Lease(stats.id, time.monotonic(), stats.ttr), HeldBack(stats, processed))
        return None

    def flush(self, reason: events.FlushReason) -> None:
        """Tell the listeners of `worker.flush`, then settle the jobs that waited for it.

        Raises FlushFailed, and QueueUnavailable or RefusedError where the jobs could not be settled.
        """
        failure: Exception | None = None
        broken: Exception | None = None
        try:
            with self._lanes[0].page.listening():
                self.send(reason)
        except BaseException as error:  # also SystemExit
            failure = FlushFailed(f"a listener of worker.flush raised {describe(error)}")
        for lane in self._lanes:
            if lane.held_back and lane.connection:
                try:
                    self._settle(lane, lane.connection, failure)
                except (QueueUnavailable, RefusedError) as error:
                    broken = error
        if failure is not None:
            raise failure
        if broken is not None:
            raise broken

    def _settle(self, lane: Lane, connection: Connection, failure: Exception | None) -> None:
        phase = lane.page.phase  # EXECUTING on the lane of a coroutine that goes on meanwhile
        lane.page.claim()
        done = [self._processor.fail(job.stats, failure) if failure else job.processed for job in lane.held_back]
        try:
            answers = connection.settle_all([(processed.job.id, processed.verdict) for processed in done])
            for processed, settled in zip(done, answers, strict=True):
                del lane.held_back[0]
                self._reporter.report(processed, settled)
        except (QueueUnavailable, RefusedError):
            lane.drop(phase if phase is Phase.EXECUTING else Phase.CONNECTING)
            raise
        lane.drop_held_back()
        lane.page.leave(phase)
