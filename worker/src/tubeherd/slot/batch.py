"""Counts the jobs of a slot for `worker.flush`; with `ackAfterFlush` they are deferred: deleted after the flush."""

import time
from collections.abc import Sequence

from tubeherd import events
from tubeherd.policy import Delete, Verdict
from tubeherd.processing.attempt import FlushFailed, Processed
from tubeherd.processing.batch import Batch
from tubeherd.processing.processor import Processor
from tubeherd.processing.reasons import describe
from tubeherd.processing.settling import Settler
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Reserved, Settled
from tubeherd.queue.connection import Connection
from tubeherd.shared_memory.page import Lease, Phase
from tubeherd.shared_memory.slot_page import SlotPage
from tubeherd.slot.lane import Deferred, Lane


class SlotBatch(Batch):
    """The batch of a slot. The supervisor touches deferred jobs: their leases are on the pages of their lanes."""

    def __init__(
        self,
        size: int,
        ack_after_flush: bool,
        lanes: Sequence[Lane],
        page: SlotPage,
        processor: Processor,
        settler: Settler,
    ) -> None:
        super().__init__(size)
        self._ack_after_flush = ack_after_flush
        self._lanes = lanes
        self._page = page
        self._processor = processor
        self._settler = settler

    @property
    def due(self) -> bool:
        """Whether the batch is full, or half of a deferred job's lease is gone."""
        return self.full or time.monotonic() >= min(lane.flush_by for lane in self._lanes)

    def defers(self, verdict: Verdict) -> bool:
        """Return whether a verdict is to be settled after the next flush: deletes are, if anybody listens."""
        return self._ack_after_flush and isinstance(verdict, Delete) and bool(events.flush.receivers)

    def defer(
        self, lane: Lane, connection: Connection, reserved: Reserved, done: Processed, ask_reserve: bool
    ) -> Settled | None:
        """Touch the lease of an executed job and defer its delete; return what became of the lease if it is gone."""
        stats = reserved.stats
        touched = connection.touch(stats.id, ask_reserve=ask_reserve)
        if touched is not Settled.DONE:
            return touched
        # The body is not needed any more, and would take memory until the flush.
        lane.defer(Lease(stats.id, time.monotonic(), stats.ttr), Deferred(reserved._replace(body=None), done))
        return None

    def flush(self, reason: events.FlushReason) -> None:
        """Have the listeners of `worker.flush` run, then settle the deferred jobs.

        Raises FlushFailed, and QueueUnavailable or RefusedError if the jobs could not be settled.
        """
        failure: Exception | None = None
        broken: Exception | None = None
        try:
            with self._page.listening():
                self.send(reason)
        except BaseException as error:  # also SystemExit
            failure = FlushFailed(f"a listener of worker.flush raised {describe(error)}")
        for lane in self._lanes:
            if lane.deferred and lane.connection:
                try:
                    self._settle(lane, lane.connection, failure)
                except (QueueUnavailable, RefusedError) as error:
                    broken = error
        if failure is not None:
            raise failure
        if broken is not None:
            raise broken

    def _settle(self, lane: Lane, connection: Connection, failure: Exception | None) -> None:
        """Settle the deferred jobs of a lane: delete them, or fail them if a listener raised."""
        phase = lane.page.phase  # EXECUTING if a coroutine goes on on this lane
        lane.page.claim()
        batch = [self._processor.fail(job.reserved, failure) if failure else job.done for job in lane.deferred]
        try:
            for _ in self._settler.settle_and_report_all(connection, batch):
                del lane.deferred[0]
        except (QueueUnavailable, RefusedError):
            lane.drop(phase if phase is Phase.EXECUTING else Phase.CONNECTING)
            raise
        lane.forget_deferred()
        lane.page.leave(phase)
