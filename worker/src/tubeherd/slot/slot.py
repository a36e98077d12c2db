"""A slot: the process that runs jobs. Its life, its limits, and the steps of a job that both kinds of slots share.

SIGTERM means to a slot that a job is late. It is stopped by the page's request, seen between jobs, with a byte on the
control socket, which wakes a wait; or when its parent is gone.
"""

import os
import signal
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple, NoReturn

from tubeherd.executors import ExecutorError
from tubeherd.exits import Exit
from tubeherd.job import JobStats
from tubeherd.logs import log
from tubeherd.metrics import Metrics
from tubeherd.policy import Bury, Release
from tubeherd.processing import discovery
from tubeherd.processing.coroutines import Deadline
from tubeherd.processing.processor import FlushFailed, Processed, Processor
from tubeherd.processing.reasons import describe
from tubeherd.processing.reporting import Burial, Reporter, announce_burial
from tubeherd.queue.answers import LeaseGone, QueueUnavailable, RefusedError, Reserved, Settled
from tubeherd.queue.connection import REPLY_SECONDS, Connection
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.page import Phase, Request
from tubeherd.shared_memory.tally import Tally
from tubeherd.slot.batch import SlotBatch
from tubeherd.slot.lane import Lane

IDLE_SECONDS: Final = 30
"""How long one reserve waits for a job."""


class Progress(NamedTuple):
    """How far a slot has come towards its limits."""

    begun: int
    """Jobs that were begun."""
    ends: float | None
    """When `maxTime` is over, on the monotonic clock."""


class SlotContext(NamedTuple):
    """A slot's place in the worker, which the next slot takes when this one ends."""

    number: int
    lanes: Sequence[Lane]
    """One, or as many as there may be coroutines at a time, with the connections that an earlier slot left at rest."""
    metrics: Metrics | None
    tally: Tally | None
    progress: Progress


class PendingReserve(NamedTuple):
    """A reserve that waits for a job."""

    asked: float
    """When it was sent, on the monotonic clock."""
    timeout: int
    """How long beanstalkd is to wait for a job, in seconds."""

    @property
    def longest(self) -> float:
        """Within how many seconds the answer must come."""
        return self.timeout + REPLY_SECONDS

    def too_early(self) -> bool:
        """Tell whether an answer without a job has come before its time: DEADLINE_SOON would, for ever."""
        return time.monotonic() < self.asked + self.timeout - 1


class Stop(Exception):
    """The supervisor wants the slot to end, or is gone, while the slot holds no lease."""


class Slot(ABC):
    """A slot, as its own process knows it; `run` is its whole life."""

    def __init__(
        self, settings: WorkerSettings, context: SlotContext, control: socket.socket, burials: Sequence[Burial]
    ) -> None:
        """Prepare a slot, in the supervisor, before the process is forked that runs it.

        `control` carries each new connection to the supervisor; what comes back on it is the wish to stop.
        """
        self._settings = settings
        self._context = context
        self._lanes = context.lanes
        self._page = context.lanes[0].page
        self._control = control
        self._burials = burials
        self._reporter = Reporter(context.tally, self._page.listening)
        self._supervisor = os.getpid()
        self._begun, self._ends = context.progress
        self._coming = 0
        """How many jobs may come of a reserve that waits while this slot does others; 0 in a sequential slot."""
        self._forked = False
        self._stopped_by_user_code = False

    @abstractmethod
    def _work(self, tubes: Sequence[str]) -> None:
        """Do jobs of these tubes until an exit is wanted; raises Stop, FlushFailed."""

    @abstractmethod
    def _on_deadline(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGTERM, by which the supervisor tells that a job is late."""

    # Life

    def run(self) -> Exit:
        """Import the executors, then do jobs until a limit, a stop or the end of the supervisor."""
        self._become_a_slot()
        if self._context.metrics:
            self._context.metrics.write_as(f"slot{self._context.number}")
        try:
            executors = discovery.load(self._settings.executors)
            tubes = discovery.choose_tubes(executors, self._settings.include, self._settings.exclude)
        except ExecutorError as error:
            log.error(str(error))
            return Exit.EXECUTORS
        if self._context.tally:
            self._context.tally.begin(tubes)
        self._processor = Processor(executors, self._settings.policy())
        size, ack_after_flush = self._settings.batch_size, self._settings.ack_after_flush
        self._batch = SlotBatch(size, ack_after_flush, self._lanes, self._processor, self._reporter)
        for job, reason in self._burials:
            with self._page.listening():
                announce_burial(job, reason)
        return self._serve(tubes)

    def _become_a_slot(self) -> None:
        with suppress(PermissionError):  # the supervisor does the same, whoever comes first
            os.setpgid(0, 0)
        # Where memory runs out all the same, the kernel is to kill a slot, never the supervisor.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, self._on_deadline)
        os.register_at_fork(after_in_child=self._become_a_fork)

    def _become_a_fork(self) -> None:
        """Leave page and connection to the slot, in a process that a job forked from it."""
        if self._forked:  # from a fork: its files are its own
            return
        self._forked = True
        if self._context.metrics:
            self._context.metrics.write_apart()
        self._control.close()
        for lane in self._lanes:
            lane.forget()
        if signal.getsignal(signal.SIGTERM) == self._on_deadline:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _serve(self, tubes: Sequence[str]) -> Exit:
        try:
            with suppress(Stop):
                self._work(tubes)
            self._batch.flush("end")
        except FlushFailed as error:
            self._stop_for(error)
        except (QueueUnavailable, RefusedError) as error:
            log.warning(f"{error}, at the end of the slot")
        for lane in self._lanes:
            lane.page.leave(Phase.DONE)
        return self._exit_wanted() or Exit.OK

    def _stop_for(self, error: FlushFailed) -> None:
        log.error(f"{error}; the worker stops")
        self._stopped_by_user_code = True

    def _exit_wanted(self, coming: int = 0) -> Exit | None:
        """Return how the slot is to end before it takes another job, if it is; `coming` jobs count as begun."""
        request = self._page.request
        if self._stopped_by_user_code:
            return Exit.STOPPED_BY_JOB
        if request == Request.STOP or os.getppid() != self._supervisor:
            return Exit.OK
        # User code that was broken off in the middle is not trusted any more.
        if self._processor.broken_off:
            return Exit.RECYCLE
        if (
            0 < self._settings.max_jobs <= self._begun + coming
            or (self._ends is not None and time.monotonic() >= self._ends)
            or (request == Request.RECYCLE and self._begun > 0)  # a limit that no slot keeps must not stop all work
        ):
            return Exit.LIMIT if self._settings.on_limit == "stop" else Exit.RECYCLE
        return None

    # Connections

    def _open(self, lane: Lane, connection: Connection, tubes: Sequence[str]) -> None:
        lane.open(connection, self._control)
        log.info("connected", server=self._settings.server, tubes=list(tubes))

    def _drop(self, lane: Lane, error: QueueUnavailable | RefusedError) -> float:
        """Close a lane's connection; log why, and return how many seconds to wait before the next."""
        lane.drop()
        pause = lane.next_pause()
        reason = str(error) if isinstance(error, QueueUnavailable) else f"beanstalkd answered {error}"
        log.warning(f"{reason}; trying again in {pause:.1f} s", server=self._settings.server)
        return pause

    # The steps of a job

    def _ask_for_job(self, lane: Lane, connection: Connection) -> PendingReserve:
        """Send a reserve that pending."""
        timeout = IDLE_SECONDS
        if self._ends is not None:
            timeout = min(timeout, max(0, int(self._ends - time.monotonic()) + 1))
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

    def _take_job(
        self, lane: Lane, connection: Connection, pending: PendingReserve, *, found: bool, stop: bool
    ) -> Reserved | None:
        """Take the answer to a reserve if it was found; raises Stop where the slot is to stop instead."""
        lane.page.claim()  # locked since the reserve was sent: says COMMAND again
        if found:
            return self._begin(lane, connection)
        if stop:
            lane.drop()  # a reserve is in flight, so nobody else could use it
            raise Stop
        raise QueueUnavailable(f"beanstalkd did not answer a reserve within {pending.longest} s")

    def _begin(self, lane: Lane, connection: Connection) -> Reserved | None:
        """Take the job that was asked for, and say that it executes; leave the connection at rest where none came."""
        try:
            reserved = connection.take_reserved()
        except LeaseGone as gone:
            log.warning("lease was gone before the job began", job=gone.job_id)
            reserved = None
        if reserved is None:
            lane.page.leave()
        else:
            self._begun += 1
            lane.page.say_executing(reserved.stats.id, reserved.since, reserved.stats.ttr, self._begun)
        return reserved

    def _deadline(self, reserved: Reserved) -> Deadline:
        timeout = self._settings.job_timeout or reserved.stats.ttr
        return Deadline(reserved.since + timeout, timeout)

    def _finish(self, lane: Lane, stats: JobStats, processed: Processed) -> Reserved | None:
        """Give the verdict on an executed job and return the next, unless something else is to be done first."""
        if self._forked:
            self._end_fork(stats)
        lane.page.claim()
        verdict = processed.verdict
        if isinstance(verdict, Release) and verdict.stop:
            self._stopped_by_user_code = True
        # Listeners of a flush or a burial may take long: no further lease is to wait for them.
        more_urgent = self._batch.add() or isinstance(verdict, Bury) or time.monotonic() >= lane.flush_by
        ask_reserve = not more_urgent and self._exit_wanted(self._coming) is None
        try:
            connection = lane.connected()
            if self._batch.holds_back(verdict):
                settled = self._batch.hold_back(lane, connection, stats, processed, ask_reserve)
            else:
                settled = connection.settle(stats.id, verdict, ask_reserve=ask_reserve)
        except (QueueUnavailable, RefusedError):
            log.warning("executed, but its verdict was lost: it may run again", job=stats.id, tube=stats.tube)
            raise
        except OSError:  # the job has closed the socket: its slot dies, and the supervisor gives the verdict
            lane.page.leave(Phase.EXECUTING)
            raise
        if not ask_reserve:
            lane.page.leave()
        # None: told after the flush. No listeners run here, though a lease may be given by now: see `more_urgent`.
        if settled is not None and settled is not Settled.BURIED_INSTEAD:
            self._reporter.report(processed, settled)
        try:
            return self._begin(lane, connection) if ask_reserve else None
        finally:
            if settled is Settled.BURIED_INSTEAD:  # its listeners may take long: the supervisor keeps the next lease
                self._reporter.report(processed, settled)

    def _end_fork(self, stats: JobStats) -> NoReturn:
        """End a process that a job forked and that came back from the executor: the job is its parent's."""
        log.warning("a process that a job forked came back from the executor: it ends here", job=stats.id)
        os._exit(0)


def main(slot: Slot) -> NoReturn:
    """Run a slot and end the process with its exit code, without the clean-up that belongs to its parent."""
    try:
        code = slot.run()
    except BaseException as error:
        crash(error)
    _end_process(code)


def crash(error: BaseException) -> NoReturn:
    """End the process because of an error that is none of a job's."""
    log.error(f"the slot ends: {describe(error)}")
    _end_process(Exit.CRASHED)


def _end_process(code: Exit) -> NoReturn:
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
