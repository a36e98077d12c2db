"""The steps of a job in a slot. Both kinds of slots share them; `slot.process` runs the process around them.

1. ask: send a reserve.
2. begin: read the answer, and write on the lane's page that the job executes. The page tells the supervisor to touch
   the job from now on.
3. process: `processing.attempt` has the steps from the guard to the verdict.
4. finish: settle the verdict and send the next reserve in the same write, unless something has to be done before the
   next job; log and count the verdict; go on with step 2.

A lane is one connection of the slot, with its page. A deferred job was executed and is deleted after the next flush.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from tubeherd.exits import Exit
from tubeherd.logs import log
from tubeherd.policy import Bury, Release
from tubeherd.processing.attempt import FlushFailed, Processed
from tubeherd.processing.coroutines import Deadline
from tubeherd.processing.processor import Processor
from tubeherd.processing.settling import Settler
from tubeherd.queue.answers import LeaseGone, QueueUnavailable, RefusedError, Reserved, Settled
from tubeherd.queue.connection import Connection
from tubeherd.queue.wire import REPLY_SECONDS
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.page import Phase
from tubeherd.slot.batch import SlotBatch
from tubeherd.slot.context import SlotContext
from tubeherd.slot.exit import end_fork
from tubeherd.slot.lane import Lane
from tubeherd.slot.limits import Limits

IDLE_SECONDS: Final = 30
"""How long one reserve waits for a job, in seconds."""


class PendingReserve(NamedTuple):
    """A reserve that waits for a job."""

    asked: float
    """When it was sent, on the monotonic clock."""
    timeout: int
    """How long beanstalkd is to wait for a job, in seconds."""

    @property
    def longest(self) -> float:
        """Within how many seconds beanstalkd must answer."""
        return self.timeout + REPLY_SECONDS

    def too_early(self) -> bool:
        """Return whether an answer without a job came too early: beanstalkd answers DEADLINE_SOON without waiting."""
        return time.monotonic() < self.asked + self.timeout - 1


class Stop(Exception):
    """The slot has to stop and holds no lease: its supervisor asked for it, or is gone."""


class Slot(ABC):
    """Does jobs on the lanes of one process; made in that process after the executors were imported."""

    def __init__(
        self,
        settings: WorkerSettings,
        context: SlotContext,
        processor: Processor,
        settler: Settler,
        tubes: Sequence[str],
    ) -> None:
        """Do the jobs of these tubes, for which `processor` has the executors."""
        self._settings = settings
        self._lanes = context.lanes
        self._page = context.page
        self._control = context.control
        self._processor = processor
        self._settler = settler
        self._tubes = tubes
        self._limits = Limits(settings, context.progress, context.page, context.supervisor, processor)
        self._batch = SlotBatch(
            settings.batch_size, settings.ack_after_flush, context.lanes, context.page, processor, settler
        )
        self.in_fork = False
        """Whether this process was forked by a job, whose executor may come back in it too."""
        self._coming = 0
        """How many more jobs may begin because a reserve is waiting beside jobs that execute: 1 or 0."""

    @abstractmethod
    def _work(self) -> None:
        """Do jobs until an exit is wanted; raises Stop, FlushFailed."""

    @abstractmethod
    def on_deadline(self) -> None:
        """Handle SIGTERM, which means that a job is late."""

    def run(self) -> Exit:
        """Do jobs until an exit is wanted, flush, leave the lanes to the next slot, and return the exit code."""
        try:
            with suppress(Stop):
                self._work()
            self._batch.flush("end")
        except FlushFailed as error:
            self._stop_for(error)
        except (QueueUnavailable, RefusedError) as error:
            log.warning(f"{error}, at the end of the slot")
        for lane in self._lanes:
            lane.page.leave(Phase.DONE)
        return self._limits.exit_wanted() or Exit.OK

    def _stop_for(self, error: FlushFailed) -> None:
        log.error(f"{error}; the worker stops")
        self._limits.stopped_by_user_code = True

    # Connections

    def _open(self, lane: Lane, connection: Connection) -> None:
        lane.open(connection, self._control)
        log.info("connected", server=self._settings.server, tubes=list(self._tubes))

    def _drop(self, lane: Lane, error: QueueUnavailable | RefusedError) -> float:
        """Close a lane's connection; log why, and return how many seconds to wait before the next."""
        lane.drop()
        pause = lane.next_pause()
        reason = str(error) if isinstance(error, QueueUnavailable) else f"beanstalkd answered {error}"
        log.warning(f"{reason}; trying again in {pause:.1f} s", server=self._settings.server)
        return pause

    # 1. Ask

    def _ask_for_job(self, lane: Lane, connection: Connection) -> PendingReserve:
        """Send a reserve that waits."""
        timeout = self._limits.seconds_to_wait(IDLE_SECONDS)
        lane.page.claim()
        pending = PendingReserve(time.monotonic(), timeout)
        connection.ask_reserve(timeout)
        lane.page.say_waiting()
        return pending

    def _take_at_once(self, lane: Lane, connection: Connection) -> Reserved | None:
        """Take a job if one is ready."""
        lane.page.claim()
        connection.ask_reserve(0)
        return self._begin(lane, connection)

    # 2. Begin

    def _take_job(
        self, lane: Lane, connection: Connection, pending: PendingReserve, *, answered: bool, stop: bool
    ) -> Reserved | None:
        """Read the answer to a reserve if there is one; otherwise raises Stop if `stop`, or else QueueUnavailable."""
        lane.page.claim()  # the slot has held the lock since the reserve was sent: this only writes COMMAND again
        if answered:
            return self._begin(lane, connection)
        if stop:
            lane.drop()  # the reserve is still to be answered, so no other slot could use the connection
            raise Stop
        raise QueueUnavailable(f"beanstalkd did not answer a reserve within {pending.longest} s")

    def _begin(self, lane: Lane, connection: Connection) -> Reserved | None:
        """Read the answer to a reserve, and write on the page that the job executes, or that none came."""
        try:
            reserved = connection.take_reserved()
        except LeaseGone as gone:
            log.warning("lease was gone before the job began", job=gone.job_id)
            reserved = None
        if reserved is None:
            lane.page.leave()
        else:
            self._limits.begun += 1
            lane.page.say_executing(reserved.stats.id, reserved.since, reserved.stats.ttr, self._limits.begun)
        return reserved

    def _deadline(self, reserved: Reserved) -> Deadline:
        timeout = self._settings.job_timeout or reserved.stats.ttr
        return Deadline(reserved.since + timeout, timeout)

    # 4. Finish

    def _finish(self, lane: Lane, reserved: Reserved, done: Processed) -> Reserved | None:
        """Settle and report the verdict on a job; return the next job, if one was asked for and came."""
        if self.in_fork:
            end_fork(done.job.id)
        lane.page.claim()
        ask_reserve = self._may_ask_for_next(lane, done)
        settled = self._settle(lane, reserved, done, ask_reserve)
        if not ask_reserve:
            lane.page.leave()
        burial = None if settled is None else self._settler.reporter.report(done, settled)
        try:
            return self._begin(lane, lane.connected()) if ask_reserve else None
        finally:
            # Only now, because listeners may run for long: the page already has the next job, so it is touched.
            if burial is not None:
                self._settler.reporter.publish(burial, done.error)

    def _may_ask_for_next(self, lane: Lane, done: Processed) -> bool:
        """Count an executed job, and return whether the next job may be asked for together with the verdict."""
        if isinstance(done.verdict, Release) and done.verdict.stop:
            self._limits.stopped_by_user_code = True
        # Listeners of a flush or a burial may run for long, so they run while the slot has no further job.
        listeners_first = self._batch.add() or isinstance(done.verdict, Bury) or time.monotonic() >= lane.flush_by
        return not listeners_first and self._limits.exit_wanted(self._coming) is None

    def _settle(self, lane: Lane, reserved: Reserved, done: Processed, ask_reserve: bool) -> Settled | None:
        """Settle the verdict, or defer it until the next flush; return what became of it, None if it was deferred."""
        try:
            connection = lane.connected()
            if self._batch.defers(done.verdict):
                return self._batch.defer(lane, connection, reserved, done, ask_reserve)
            return self._settler.settle(connection, done, ask_reserve=ask_reserve)
        except (QueueUnavailable, RefusedError):
            job = done.job
            log.warning("executed, but its verdict was lost: it may run again", job=job.id, tube=job.tube)
            raise
        except OSError:  # the job has closed the socket: this slot dies, and the supervisor gives the verdict
            lane.page.leave(Phase.EXECUTING)
            raise
