"""The steps of a job in a slot. They are the same in a sequential and in a concurrent slot.

1. ask: send a reserve.
2. begin: read the answer, and write on the lane's page that the job executes. The page tells the supervisor to touch
   the job from now on.
3. process: execute the job and decide on the verdict, which is to delete, release or bury it (`processing.attempt`).
4. finish: send the verdict, and with it the next reserve unless a flush, listeners, old burial records, a look which
   tubes there are, or a limit come first; log and count the verdict; go on with step 2, or with step 1 if no reserve
   was sent.

To settle a verdict means to send it and to read beanstalkd's answer. A lane has one connection of the slot at a time,
and a page in shared memory. A flush is the event `worker.flush`, at which user code may store the results of several
jobs together. A deferred job was executed, and is deleted after the next flush.
"""

import time
from abc import ABC, abstractmethod
from contextlib import suppress
from types import FrameType
from typing import Final, NamedTuple

from tubeherd import events
from tubeherd.exits import Exit
from tubeherd.formats.text import NAMED_MOST
from tubeherd.job import Job
from tubeherd.logs import log
from tubeherd.policy import Bury, Delete, Release
from tubeherd.processing.batch import FlushFailed
from tubeherd.processing.deadlines import CancelledLate, Deadline, DeadlinePassed, too_long_reason
from tubeherd.processing.processed import Processed
from tubeherd.processing.processor import Processor
from tubeherd.processing.reasons import traceback_text
from tubeherd.processing.settling import Settler
from tubeherd.processing.started import reap_orphans
from tubeherd.processing.tube_choice import TubeChoice
from tubeherd.queue.answers import LeaseGone, QueueUnavailable, RefusedError, Reserved, Settled, Unreachable
from tubeherd.queue.connection import Connection
from tubeherd.queue.foresight import Foresight
from tubeherd.queue.wire import REPLY_SECONDS
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.control import Remark, encode_remark
from tubeherd.shared_memory.page import Phase
from tubeherd.shared_memory.tally import Incident
from tubeherd.slot.batch import SlotBatch
from tubeherd.slot.context import SlotContext
from tubeherd.slot.exit import end_fork
from tubeherd.slot.lane import Lane, in_words
from tubeherd.slot.limits import Limits
from tubeherd.slot.watched import WatchedTubes
from tubeherd.streams import streams

_BETWEEN_REAPS: Final = 0.5
"""A slot that never waits for a job looks for orphans when it begins one, so many seconds after the last time."""
IDLE_SECONDS: Final = 30
"""How long one reserve waits for a job, in seconds."""
_UNTIL_EMPTY_SECONDS: Final = 1
"""The same with `--until-empty`, where the supervisor is to learn soon that no job came."""
_SERVER_NAMED_BY: Final = "--server or TUBEHERD_SERVER, server of a pool"
_QUIET_SECONDS: Final = 60
"""How often a lane warns that beanstalkd is still out of reach, in seconds."""
_EARLY_SECONDS: Final = 0.5
"""An answer that comes sooner than this to a reserve that waits for a second comes too early."""


class PendingReserve(NamedTuple):
    """A reserve that beanstalkd has not answered yet."""

    asked: float
    """When it was sent, on the monotonic clock."""
    timeout: int
    """How long beanstalkd is to wait for a job, in seconds."""
    alone: bool
    """Whether no job of the slot runs meanwhile."""

    @property
    def longest_wait(self) -> float:
        """How many seconds to wait for the answer at most."""
        return self.timeout + REPLY_SECONDS

    def is_too_early(self) -> bool:
        """Return whether beanstalkd has answered without a job although the timeout is not over.

        If a lease on the connection ends within a second, beanstalkd answers DEADLINE_SOON at once. If the slot then
        sent the next reserve without a pause, both would repeat this again and again.
        """
        return time.monotonic() < self.asked + max(self.timeout - 1, min(self.timeout, _EARLY_SECONDS))


class Stop(Exception):
    """The slot has to stop, because its supervisor asked for it or is dead. Raised only if the lane has no job."""


class Slot(ABC):
    """Does jobs on the lanes of one process; made in this process after it has imported the executors."""

    def __init__(
        self,
        settings: WorkerSettings,
        context: SlotContext,
        processor: Processor,
        settler: Settler,
        choice: TubeChoice,
    ) -> None:
        """`choice` says from which tubes the slot takes jobs; `processor` has the executors."""
        self._settings = settings
        self._lanes = context.lanes
        self._slot_page = context.page
        self._control = context.control
        self._remarks: set[str] = set()
        """What the supervisor was sent remarks about."""
        self._processor = processor
        self._settler = settler
        self._tubes = WatchedTubes(choice, self._remark, context.tally)
        self._limits = Limits(settings, context.progress, context.page, context.supervisor, processor)
        self._foresight = Foresight(context.reserves)
        self._batch = SlotBatch(settings, context.lanes, context.page, processor, settler)
        self.forked_by_job = False
        """Whether a job has forked this process from the process of the slot.

        The executor may return in both processes. Only the slot's own process may then send the verdict.
        """
        self._reap_at = 0.0
        """When to look for orphans again, on the monotonic clock, if the slot does not wait for a job before."""
        self._reserves_waiting = 0
        """How many reserves wait for a job while other lanes do jobs. Each may bring one more job towards `maxJobs`."""

    @abstractmethod
    def _work(self) -> None:
        """Do jobs until an exit is wanted; raises Stop, FlushFailed."""

    @abstractmethod
    def on_deadline(self, frame: FrameType | None) -> None:
        """Handle SIGTERM, which the supervisor sends if a job is past its deadline; `frame` is what it interrupted."""

    def run(self) -> Exit:
        """Do jobs until an exit is wanted, flush, leave the connections at rest, and return the exit code."""
        try:
            with suppress(Stop):
                self._work()
            self._batch.flush("end")
        except FlushFailed as error:
            self._stop_for(error)
        for lane in self._lanes:
            if not lane.page.left_behind:  # otherwise the supervisor gives the verdict when this process has ended
                lane.page.write_phase_and_unlock(Phase.DONE)
        return self._limits.exit_wanted() or Exit.OK

    def _leave_behind(self, lane: Lane, job: Job) -> None:
        """Write and log that a job has left something that goes on until the slot ends. Take no further job."""
        lane.page.write_left_behind()
        self._limits.draining = True
        event = "stopped at its deadline, but something of the job goes on: its slot takes no further job and ends"
        log.warning(event, job=job.id, tube=job.tube)

    def _stop_for(self, error: FlushFailed) -> None:
        log.error(f"{error}; the worker stops", traceback=traceback_text(error, self._settings.error_detail))
        self._limits.stopped_by_user_code = True

    # Connections

    def _watch(self, lane: Lane) -> Connection:
        """Take the lock, look which tubes there are if it is time for that, and watch those of the slot.

        Raises QueueUnavailable, RefusedError.
        """
        is_new = lane.watched is None and not lane.inherited
        if self._tubes.due:
            self._look(lane)
        connection = lane.lock_and_watch(self._tubes.tubes)
        connection.foresight = self._foresight
        if is_new:  # logged only now, because the answers have shown that the server is a beanstalkd
            tubes = self._tubes.tubes
            log.info("connected", server=self._settings.server, tube_count=len(tubes), tubes=list(tubes[:NAMED_MOST]))
            if lane.broke:
                lane.broke = False
                self._settler.reporter.count_incident(Incident.RECONNECT)
        return connection

    def _must_watch(self, lane: Lane) -> bool:
        """Return whether `_watch` is to be called before the lane takes another job."""
        return self._tubes.looks and (self._tubes.due or lane.watched is not self._tubes.tubes)

    def _look(self, lane: Lane) -> bool:
        """Look which tubes there are, and return whether others are to be watched; raises as `_watch`.

        If so, the lanes that are at rest watch them too: what they watch cannot vanish.
        """
        connection = lane.connected()
        lane.page.lock_for_command()
        if not self._tubes.look(connection):
            return False
        for other in self._lanes:
            if other is not lane and other.connection is not None and other.page.phase is Phase.RESTING:
                try:
                    other.lock_and_watch(self._tubes.tubes)
                    other.page.write_phase_and_unlock()
                except (QueueUnavailable, RefusedError) as error:
                    log.warning(in_words(error), server=self._settings.server)
                    other.drop()
        return True

    def _remark(self, remark: Remark) -> None:
        """Have the supervisor log what concerns the whole worker."""
        if remark.about not in self._remarks:
            self._remarks.add(remark.about)
            with suppress(OSError):  # the supervisor is dead
                self._control.send(encode_remark(remark))

    def _drop(self, lane: Lane, error: QueueUnavailable | RefusedError) -> float:
        """Close a lane's connection and log why; return how many seconds to wait before opening another."""
        lane.drop()
        pause, now = lane.next_pause(), time.monotonic()
        still_away = isinstance(error, Unreachable) and now < lane.quiet_until
        if not still_away:
            lane.quiet_until = now + _QUIET_SECONDS if isinstance(error, Unreachable) else 0.0
        event = f"{in_words(error)}; trying again in {pause:.1f} s"
        if isinstance(error, Unreachable):
            event = f"{event}, and every few seconds then: start it, or name another one ({_SERVER_NAMED_BY})"
        log.write("debug" if still_away else "warning", event, server=self._settings.server)
        return pause

    # 1. Ask

    def _ask_for_job(self, lane: Lane, connection: Connection, *, alone: bool = True) -> PendingReserve:
        """Send a reserve which beanstalkd answers as soon as a job is ready; `alone` if no other job runs now."""
        reap_orphans()
        timeout = self._seconds_to_wait()
        lane.page.lock_for_command()
        pending = PendingReserve(time.monotonic(), timeout, alone)
        connection.ask_reserve(timeout)
        lane.page.write_waiting()
        return pending

    def _seconds_to_wait(self) -> int:
        """Return how many whole seconds to wait for a job at most."""
        most = self._tubes.seconds_to_wait(_UNTIL_EMPTY_SECONDS if self._settings.until_empty else IDLE_SECONDS)
        return self._limits.seconds_to_wait(most)

    def _take_at_once(self, lane: Lane, connection: Connection) -> Reserved | None:
        """Take a job if one is ready; otherwise return None without waiting."""
        lane.page.lock_for_command()
        connection.ask_reserve(0)
        return self._begin(lane, connection)

    # 2. Begin

    def _take_job(
        self, lane: Lane, connection: Connection, pending: PendingReserve, *, answered: bool, stop: bool
    ) -> Reserved | None:
        """Read the answer to a reserve if it was `answered`; return the job, or None if none came.

        If it was not answered, raises Stop if the slot is to `stop`, or else QueueUnavailable.
        """
        lane.page.lock_for_command()  # writes COMMAND instead of WAITING; the slot has the lock already
        if answered:
            reserved = self._begin(lane, connection)
            if reserved is None and pending.alone and time.monotonic() >= pending.asked + pending.timeout:
                self._note_idle(lane, pending.asked, pending.asked + pending.timeout)
            return reserved
        if stop:
            lane.drop()  # the answer may still come: the next slot could mistake it for the answer to its own command
            raise Stop
        raise QueueUnavailable(f"beanstalkd did not answer a reserve within {pending.longest_wait:g} s")

    def _note_idle(self, lane: Lane, since: float, until: float) -> None:
        """Write when no job was ready, unless a tube is found in which one may have been."""
        found = self._settings.until_empty and self._tubes.looks and self._look(lane)
        lane.page.write_phase_and_unlock()
        if not found:
            self._slot_page.idle = since, until

    def _begin(self, lane: Lane, connection: Connection) -> Reserved | None:
        """Read the answer to a reserve. Write on the page that the job executes, or RESTING if none came."""
        try:
            reserved = connection.take_reserved()
        except LeaseGone as gone:
            log.warning("lease was gone before the job began", job=gone.job_id)
            self._settler.reporter.count_incident(Incident.LOST_LEASE)
            reserved = None
        if reserved is None:
            lane.page.write_phase_and_unlock()
        else:
            self._limits.jobs_begun += 1
            if reserved.since >= self._reap_at:
                self._reap_at = reserved.since + _BETWEEN_REAPS
                reap_orphans()
            lane.page.write_job_and_unlock(
                reserved.stats.id,
                reserved.since,
                reserved.stats.ttr,
                self._limits.jobs_begun,
                self._tubes.timeouts.get(reserved.stats.tube, 0.0),
            )
        return reserved

    def _deadline(self, reserved: Reserved) -> Deadline:
        stats = reserved.stats
        timeout = self._tubes.timeouts.get(stats.tube) or self._settings.job_timeout or stats.ttr
        return Deadline(reserved.since + timeout, timeout)

    # 4. Finish

    def _finish(self, lane: Lane, reserved: Reserved, done: Processed) -> Reserved | None:
        """Settle and report the verdict on a job; return the next job if one came as the answer to the next reserve."""
        if self.forked_by_job:
            end_fork(done.job.id)
        streams.mend()
        lane.page.lock_for_command()
        if lane.page.late:
            done = self._as_late(reserved, done)
        if isinstance(done.verdict, Release) and done.verdict.stop:
            self._limits.stopped_by_user_code = True
        batch_full = self._batch.add()
        ask_reserve = self._may_ask_for_next(lane, done, batch_full)
        settled = self._settle(lane, reserved, done, ask_reserve)
        if not ask_reserve:
            lane.page.write_phase_and_unlock()
        notice = None if settled is None else self._settler.reporter.report(done, settled)
        try:
            return self._begin(lane, lane.connected()) if ask_reserve else None
        finally:
            # Listeners may run for long. If a next job came, it is on the page by now, so that it is touched meanwhile.
            if notice is not None:
                self._settler.publish(notice, done.error)

    def _as_late(self, reserved: Reserved, done: Processed) -> Processed:
        """Return a job that was broken off at its deadline as failed, whatever its code did after that."""
        if isinstance(done.error, DeadlinePassed | CancelledLate):
            return done
        late = self._processor.fail(reserved, self._lateness(reserved))
        return late._replace(seconds=done.seconds)

    def _lateness(self, reserved: Reserved) -> DeadlinePassed:
        """Return the error of a job that was broken off."""
        return DeadlinePassed(too_long_reason(self._deadline(reserved).timeout))

    def _may_ask_for_next(self, lane: Lane, done: Processed, batch_full: bool) -> bool:
        """Return whether the next reserve may be sent together with the verdict on this job."""
        # Listeners of a flush, a failure or a burial may run for long. They run before the lane takes another job,
        # which would have to wait for them.
        something_first = (
            batch_full
            or self._must_watch(lane)
            or (lane.deferred and time.monotonic() >= lane.flush_by)
            or (not isinstance(done.verdict, Delete) and self._something_follows(done.verdict))
        )
        return not something_first and self._limits.exit_wanted(self._reserves_waiting) is None

    def _something_follows(self, verdict: Release | Bury) -> bool:
        """Return whether the slot has something to do after the verdict: listeners, or to remove old burial records."""
        if isinstance(verdict, Bury):
            listened = events.job_buried.receivers or events.job_failed.receivers
            return bool(listened) or not self._settler.may_ask_reserve(verdict)
        return bool(verdict.failure is not None and events.job_failed.receivers)

    def _settle(self, lane: Lane, reserved: Reserved, done: Processed, ask_reserve: bool) -> Settled | None:
        """Settle the verdict and return what became of the job; or defer the job and return None."""
        try:
            connection = lane.connected()
            if self._batch.defers(done.verdict):
                return self._batch.defer(lane, connection, reserved, done, ask_reserve)
            return self._settler.settle(connection, done, ask_reserve=ask_reserve)
        except (QueueUnavailable, RefusedError):
            lane.drop()
            self._settler.report_lost(done)
            raise
        except OSError:  # the job closed the socket: the slot ends by this error, and the supervisor gives the verdict
            lane.page.write_phase_and_unlock(Phase.EXECUTING)
            raise
