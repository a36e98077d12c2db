"""A slot that runs one job at a time.

It has one lane: a connection with its page in shared memory. A flush is the event `worker.flush`, for which user code
may store the results of several jobs together.
"""

import time
from types import FrameType
from typing import Final

from tubeherd.job import current_job
from tubeherd.processing.deadlines import CLEANUP_SECONDS, DeadlinePassed, too_long_reason
from tubeherd.processing.leftovers import Leftovers
from tubeherd.processing.processed import Processed
from tubeherd.processing.started import BY_JOB
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Reserved
from tubeherd.queue.connection import Connection, connect
from tubeherd.queue.sockets import readable
from tubeherd.slot.lane import PAUSE_FIRST, Lane
from tubeherd.slot.slot import Slot, Stop

_PAUSE_SECONDS: Final = 0.01


class SequentialSlot(Slot):
    """Runs one job at a time on its only lane."""

    _breakable: Reserved | None = None
    """The job that executes; None if the code that runs now must not be broken off."""
    _broken_off_by: DeadlinePassed | None = None
    """What was raised in the job that executes, which may have swallowed it; its traceback shows where that was."""

    def on_deadline(self, frame: FrameType | None) -> None:
        """Break the executor off. If it is a coroutine, only if the event loop has not cancelled it, and cannot."""
        if self._breakable is None or self._processor.cancelled is self._breakable:
            return
        deadline = self._deadline(self._breakable)
        if time.monotonic() < deadline.at:
            return
        if not self._processor.in_loop or _holds_loop_too_long(frame):
            self._breakable = None
            self._processor.broken_off = True
            self._broken_off_by = DeadlinePassed(too_long_reason(deadline.timeout))
            raise self._broken_off_by

    def _work(self) -> None:
        (lane,) = self._lanes
        while self._limits.exit_wanted() is None:
            try:
                if lane.connection is None:
                    lane.open(connect(self._settings.server), self._control)
                self._do_jobs(lane, self._watch(lane))
            except (QueueUnavailable, RefusedError) as error:
                pause = self._drop(lane, error)
                self._wait(pause)

    def _do_jobs(self, lane: Lane, connection: Connection) -> None:
        """Do jobs on one connection until an exit is wanted."""
        while self._limits.exit_wanted() is None:
            if self._must_watch(lane):
                self._watch(lane)
            reserved = self._next(lane, connection)
            while reserved is not None:
                reserved = self._do_job(lane, reserved)
        lane.page.write_phase_and_unlock()

    def _next(self, lane: Lane, connection: Connection) -> Reserved | None:
        """Take a job, waiting for one if none is ready; return None after a flush, or if no job came in time."""
        if not self._tubes.tubes:
            self._wait_for_tubes(lane)
            return None
        if self._batch.empty:
            return self._wait_for_job(lane, connection)
        if self._batch.due:
            lane.page.write_phase_and_unlock()  # the slot has the lock if the connection is new
            self._batch.flush("batch", lane)
            return None
        # The last verdict may have been sent without a reserve, because listeners came first. So a job may be ready.
        reserved = self._take_at_once(lane, connection)
        if reserved is None:
            self._batch.flush("idle", lane)
        return reserved

    def _wait_for_job(self, lane: Lane, connection: Connection) -> Reserved | None:
        pending = self._ask_for_job(lane, connection)
        found = readable([connection.socket, self._control], pending.longest_wait)
        # If a job has come, the slot does it before it stops. Otherwise the lease would end without a verdict, as if
        # the job had killed its slot.
        reserved = self._take_job(
            lane, connection, pending, answered=connection.socket in found, stop=self._control in found
        )
        if reserved is None and pending.is_too_early():
            self._wait(PAUSE_FIRST)
        return reserved

    def _wait_for_tubes(self, lane: Lane) -> None:
        """Wait until it is time for another look, as there is no tube to take jobs from."""
        lane.page.write_phase_and_unlock()
        if not self._batch.empty:
            self._batch.flush("idle", lane)
        since = time.monotonic()
        self._wait(self._seconds_to_wait())
        self._note_idle(lane, since, time.monotonic())

    def _wait(self, seconds: float) -> None:
        """Wait `seconds`; raises Stop as soon as the supervisor wants the slot to stop."""
        if readable([self._control], seconds):
            raise Stop

    def _do_job(self, lane: Lane, reserved: Reserved) -> Reserved | None:
        """Do a leased job. Return the next one, or None if none is ready or the slot has something else to do first."""
        try:
            self._breakable = reserved
            done = self._processor.process(reserved, self._deadline)
            self._breakable = None
        except DeadlinePassed as error:  # if SIGTERM comes after the executor returned, but before the line above
            done = self._processor.fail(reserved, error)
        if not self.forked_by_job and lane.page.late:  # in a process that the job forked the page is closed
            self._leave_nothing(lane, reserved, done)
        if BY_JOB:
            BY_JOB.clear()
        return self._finish(lane, reserved, done)

    def _leave_nothing(self, lane: Lane, reserved: Reserved, done: Processed) -> None:
        """End what a stopped job has left; raises Stop if that is not possible before the slot ends."""
        leftovers = Leftovers(current_job.get() or done.job, reserved.since)
        until = self._deadline(reserved).at + CLEANUP_SECONDS
        while leftovers.end():
            if time.monotonic() >= until:
                self._leave_behind(lane, done.job)
                raise Stop
            time.sleep(_PAUSE_SECONDS)

    def _lateness(self, reserved: Reserved) -> DeadlinePassed:
        error, self._broken_off_by = self._broken_off_by, None
        return error or super()._lateness(reserved)


def _holds_loop_too_long(frame: FrameType | None) -> bool:
    """Return whether a job's own code holds the event loop past its deadline, so that the loop cannot cancel it."""
    from tubeherd.processing.coroutines import any_overdue, loop_holder  # loaded: there is a loop

    return loop_holder(frame) is not None and any_overdue()
