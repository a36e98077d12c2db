"""Publishes `worker.flush` after a number of jobs of a slot, so that user code can store their results together.

With the setting `ackAfterFlush`, the jobs of a batch are deferred: they were executed, and are deleted only after the
flush. Until then their leases are kept.
"""

import time
from collections.abc import Sequence

from tubeherd import events
from tubeherd.logs import log
from tubeherd.policy import Delete, Verdict
from tubeherd.processing.batch import Batch, FlushFailed
from tubeherd.processing.processed import Processed
from tubeherd.processing.processor import Processor
from tubeherd.processing.reasons import describe
from tubeherd.processing.reporting import Notice
from tubeherd.processing.settling import Settler
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Reserved, Settled
from tubeherd.queue.connection import Connection
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.page import Lease, Phase
from tubeherd.shared_memory.slot_page import SlotPage
from tubeherd.slot.lane import Deferred, Lane, in_words


class SlotBatch(Batch):
    """The batch of a slot: the jobs since the last flush. The supervisor touches the deferred ones among them."""

    def __init__(
        self,
        settings: WorkerSettings,
        lanes: Sequence[Lane],
        page: SlotPage,
        processor: Processor,
        settler: Settler,
    ) -> None:
        super().__init__(settings.batch_size)
        self._ack_after_flush = settings.ack_after_flush
        self._keep_bodies = settings.log_payloads
        self._lanes = lanes
        self._slot_page = page
        self._processor = processor
        self._settler = settler

    @property
    def due(self) -> bool:
        """Whether to flush now: the batch is full, or half of the lease of a deferred job is used up."""
        return self.full or time.monotonic() >= min(lane.flush_by for lane in self._lanes)

    def defers(self, verdict: Verdict) -> bool:
        """Return whether a job with this verdict is deferred: it is to be deleted, and the flush has a listener."""
        return self._ack_after_flush and isinstance(verdict, Delete) and bool(events.flush.receivers)

    def defer(
        self, lane: Lane, connection: Connection, reserved: Reserved, done: Processed, ask_reserve: bool
    ) -> Settled | None:
        """Touch an executed job, defer it, and return None. If its lease is gone, only return LEASE_GONE."""
        stats = reserved.stats
        touched = connection.touch(stats.id, ask_reserve=ask_reserve)
        if touched is not Settled.DONE:
            return touched
        body = reserved.body if self._keep_bodies else None
        lane.defer(Lease(stats.id, time.monotonic(), stats.ttr), Deferred(stats, done, body))
        return None

    def flush(self, reason: events.FlushReason, flushing: Lane | None = None) -> None:
        """Publish `worker.flush`. Then delete the deferred jobs, or fail them if a listener raised.

        `flushing` is the lane that has nothing else to do meanwhile; None at the end of the slot. Raises FlushFailed if
        a listener raised; otherwise QueueUnavailable or RefusedError if a verdict was lost on the flushing lane. If one
        was lost on another lane, that lane is without a connection afterwards.
        """
        failure: Exception | None = None
        broken: Exception | None = None
        try:
            with self._slot_page.listening(to_flush=True):
                self.send(reason)
        except BaseException as error:  # SystemExit too, which a listener may raise
            described = describe(error, self._processor.error_detail)
            failure = FlushFailed(f"a listener of worker.flush raised {described}")
            failure.__cause__ = error  # shown in the tracebacks of the jobs that it fails
        for lane in self._lanes:
            if lane.deferred and lane.connection:
                try:
                    self._settle(lane, lane.connection, failure)
                except (QueueUnavailable, RefusedError) as error:
                    if lane is flushing:
                        broken = error
                    else:
                        log.warning(f"{in_words(error)}, after a flush by another lane")
        if failure is not None:
            raise failure
        if broken is not None:
            raise broken

    def _settle(self, lane: Lane, connection: Connection, failure: Exception | None) -> None:
        """Delete the deferred jobs of a lane. If a listener raised, treat each of them as a failed job instead."""
        phase = lane.page.phase  # EXECUTING if a job executes on this lane while another lane flushes
        # Made first, because it calls methods of users' errors, and while the page is locked no lease is touched.
        batch = [self._after_flush(job, failure) for job in lane.deferred]
        lane.page.lock_for_command()
        notices: list[tuple[Notice, BaseException | None]] = []
        try:
            for done, notice in self._settler.settle_and_report_all(connection, batch):
                lane.forget_first_deferred()
                if notice is not None:
                    notices.append((notice, done.error))
            lane.forget_deferred()
            lane.page.write_phase_and_unlock(phase)
        except (QueueUnavailable, RefusedError):
            if failure is not None:
                lost = batch[len(batch) - len(lane.deferred) :]
                notices += [(notice, failure) for done in lost if (notice := self._settler.reporter.report_lost(done))]
                lane.forget_deferred()
            lane.drop(phase if phase is Phase.EXECUTING else Phase.CONNECTING)
            raise
        finally:  # listeners may run for long: by now the supervisor may touch the job that executes on the lane
            for notice, failed_by in notices:
                self._settler.publish(notice, failed_by)

    def _after_flush(self, job: Deferred, failure: Exception | None) -> Processed:
        """Return a deferred job with its verdict."""
        return self._processor.fail(Reserved(job.stats, job.body, 0.0), failure) if failure else job.done
