"""A slot that runs one job at a time, in straight-line code."""

from collections.abc import Sequence
from types import FrameType

from tubeherd.processing.coroutines import Deadline, any_overdue, loop_holder, too_long_reason
from tubeherd.processing.processor import DeadlinePassed
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Reserved
from tubeherd.queue.connection import Connection, connect
from tubeherd.queue.sockets import readable
from tubeherd.slot.lane import PAUSE_FIRST, Lane
from tubeherd.slot.slot import Slot, Stop


class SequentialSlot(Slot):
    """Has one lane."""

    _breakable: Deadline | None = None
    """Of the job whose executor may be broken off."""

    def _work(self, tubes: Sequence[str]) -> None:
        (lane,) = self._lanes
        while self._exit_wanted() is None:
            try:
                if lane.connection is None:
                    self._open(lane, connect(self._settings.server), tubes)
                self._do_jobs(lane, lane.claim_watching(tubes))
            except (QueueUnavailable, RefusedError) as error:
                self._wait(self._drop(lane, error))

    def _do_jobs(self, lane: Lane, connection: Connection) -> None:
        reserved: Reserved | None = None
        while reserved is not None or self._exit_wanted() is None:
            if reserved is not None:
                reserved = self._do_job(lane, reserved)
            elif self._batch.empty:
                reserved = self._wait_for_job(lane, connection)
            elif self._batch.due:
                lane.page.leave()  # claimed still, where the connection is new
                self._batch.flush("batch")
            # `_finish` asks for no job after a burial, so one may be ready.
            elif (reserved := self._take_at_once(lane, connection)) is None:
                self._batch.flush("idle")
        lane.page.leave()

    def _wait_for_job(self, lane: Lane, connection: Connection) -> Reserved | None:
        pending = self._ask_for_job(lane, connection)
        found = readable([connection.socket, self._control], pending.longest)
        # A job that has come already is done before the wish to stop is heard: it would count as lost otherwise.
        reserved = self._take_job(
            lane, connection, pending, found=connection.socket in found, stop=self._control in found
        )
        if reserved is None and pending.too_early():
            self._wait(PAUSE_FIRST)
        return reserved

    def _wait(self, seconds: float) -> None:
        """Wait, but not longer than the supervisor wants the slot."""
        if readable([self._control], seconds):
            raise Stop

    def _do_job(self, lane: Lane, reserved: Reserved) -> Reserved | None:
        """Do a leased job and return the next, unless there is none or the slot has something else to do first."""
        try:
            self._breakable = self._deadline(reserved)
            processed = self._processor.process(reserved.stats, reserved.body, self._breakable)
            self._breakable = None
        except DeadlinePassed as error:  # in the last moment of the processing
            processed = self._processor.fail(reserved.stats, error)
        return self._finish(lane, reserved.stats, processed)

    def _on_deadline(self, _number: int, _frame: FrameType | None) -> None:
        """Break the executor off, unless it is a coroutine, which the event loop has cancelled by now or can."""
        if self._breakable and (not self._processor.in_loop or (loop_holder() and any_overdue())):
            timeout, self._breakable = self._breakable.timeout, None
            self._processor.broken_off = True
            raise DeadlinePassed(too_long_reason(timeout))
