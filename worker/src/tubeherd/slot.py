"""A slot: the process that runs jobs one at a time, in straight-line code; ConcurrentSlot is built on it."""

import os
import random
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple, NoReturn

from tubeherd import discovery
from tubeherd.coroutines import Deadline, any_overdue, holder, too_long
from tubeherd.events import Batch
from tubeherd.executors import ExecutorError
from tubeherd.exits import Exit
from tubeherd.job import Job, JobStats
from tubeherd.lane import Kept, Lane
from tubeherd.lease import Lease, Phase, Request
from tubeherd.logs import log
from tubeherd.metrics import Metrics
from tubeherd.policy import Bury, Delete, Release, Verdict
from tubeherd.processing import DeadlinePassed, FlushFailed, Processed, Processor
from tubeherd.queue import Connection, NotFoundError, QueueUnavailable, RefusedError, Reserved, Settled, connect
from tubeherd.reasons import describe
from tubeherd.reporting import Reporter, announce_burial
from tubeherd.settings import WorkerSettings
from tubeherd.sockets import readable

IDLE_SECONDS: Final = 30
"""How long one reserve waits for a job."""
ANSWER_SECONDS: Final = 10
BACKOFF_FIRST: Final = 0.1
_BACKOFF_MOST: Final = 5.0


class Burial(NamedTuple):
    """A job that the supervisor buried; the next slot tells the listeners."""

    job: Job
    reason: str


class Progress(NamedTuple):
    """How far a slot has come towards its limits."""

    begun: int
    """Jobs that were begun."""
    ends: float | None
    """When `maxTime` is over, on the monotonic clock."""


class Seat(NamedTuple):
    """A slot's place in the worker, which the next slot takes when this one ends."""

    number: int
    lanes: Sequence[Lane]
    """One, or as many as there may be coroutines at a time, with the connections that an earlier slot left at rest."""
    metrics: Metrics | None
    progress: Progress


class Stop(Exception):
    """The supervisor wants the slot to end, or is gone, while the slot holds no lease."""


class Slot:
    """The child's side of a slot; `run` is its whole life."""

    def __init__(self, settings: WorkerSettings, seat: Seat, control: socket.socket, burials: Sequence[Burial]) -> None:
        """Prepare a slot, in the supervisor, before the process is forked that runs it.

        `control` carries each new connection to the supervisor; what comes back on it is the wish to stop.
        """
        self._settings = settings
        self._seat = seat
        self._lanes = seat.lanes
        self._page = seat.lanes[0].page
        self._control = control
        self._burials = burials
        self._reporter = Reporter(seat.metrics)
        self._batch = Batch(settings.batch_size)
        self._supervisor = os.getpid()
        self._begun, self._ends = seat.progress
        self._backoff = BACKOFF_FIRST
        self._timeout = 0.0
        self._interruptible = False
        self._interrupted = False
        self._forked = False
        self._exit = Exit.OK

    def run(self) -> Exit:
        """Import the executors, then do jobs until a limit, a stop or the end of the supervisor."""
        self._become_a_slot()
        if self._seat.metrics:
            self._seat.metrics.write_as(f"slot{self._seat.number}")
        try:
            executors = discovery.load(self._settings.executors)
            tubes = discovery.choose_tubes(executors, self._settings.include, self._settings.exclude)
        except ExecutorError as error:
            log.error(str(error))
            return Exit.EXECUTORS
        self._processor = Processor(executors, self._settings.policy())
        for job, reason in self._burials:
            with self._listeners():
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
        if self._seat.metrics:
            self._seat.metrics.write_apart()
        self._control.close()
        for lane in self._lanes:
            lane.forget()
        if signal.getsignal(signal.SIGTERM) == self._on_deadline:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _on_deadline(self, _number: int, _frame: FrameType | None) -> None:
        """Break the executor off, unless it is a coroutine, which the event loop has cancelled by now or can."""
        if self._interruptible and (not self._processor.in_loop or (holder() and any_overdue())):
            self._interruptible = False
            self._interrupted = True
            raise DeadlinePassed(too_long(self._timeout))

    def _serve(self, tubes: Sequence[str]) -> Exit:
        try:
            with suppress(Stop):
                self._work(tubes)
            self._flush("end")
        except FlushFailed as error:
            self._stop_for(error)
        except (QueueUnavailable, RefusedError) as error:
            log.warning(f"{error}, at the end of the slot")
        for lane in self._lanes:
            lane.page.leave(Phase.DONE)
        return self._exit

    def _stop_for(self, error: FlushFailed) -> None:
        log.error(f"{error}; the worker stops")
        self._exit = Exit.STOPPED_BY_JOB

    def _work(self, tubes: Sequence[str]) -> None:
        (lane,) = self._lanes
        while not self._ending():
            try:
                if lane.connection is None:
                    lane.open(connect(self._settings.server), self._control)
                    log.info("connected", server=self._settings.server, tubes=list(tubes))
                self._do_jobs(lane, lane.claim(tubes))
            except (QueueUnavailable, RefusedError) as error:
                lane.drop()
                self._back_off(error)

    @contextmanager
    def _listeners(self) -> Iterator[None]:
        """Say that listeners run, whose time the supervisor limits."""
        self._page.listening_since = time.monotonic()
        try:
            yield
        finally:
            self._page.listening_since = 0.0

    def _ending(self) -> bool:
        """Tell whether the slot takes no further job, and with which exit code it ends."""
        if self._exit is not Exit.OK:
            return True
        request = self._page.request
        if request == Request.STOP or os.getppid() != self._supervisor:
            return True
        limit = (
            (request == Request.RECYCLE and self._begun > 0)  # a limit that no slot keeps must not stop all work
            or self._interrupted
            or self._processor.broken_off  # user code that was broken off in the middle is not trusted any more
            or 0 < self._settings.max_jobs <= self._begun
            or (self._ends is not None and time.monotonic() >= self._ends)
        )
        if limit:
            stop = self._settings.on_limit == "stop" and not (self._interrupted or self._processor.broken_off)
            self._exit = Exit.LIMIT if stop else Exit.RECYCLE
        return limit

    def _back_off(self, error: Exception) -> None:
        """Wait before the next connection, but not longer than the supervisor wants the slot."""
        if readable([self._control], self._pause(error)):
            raise Stop

    def _pause(self, error: Exception) -> float:
        """Return how many seconds to wait before the next connection, and log why."""
        pause = random.uniform(self._backoff / 2, self._backoff)  # noqa: S311 - spreads reconnects, guards nothing
        self._backoff = min(self._backoff * 2, _BACKOFF_MOST)
        reason = str(error) if isinstance(error, QueueUnavailable) else f"beanstalkd answered {error}"
        log.warning(f"{reason}; trying again in {pause:.1f} s", server=self._settings.server)
        return pause

    def _do_jobs(self, lane: Lane, connection: Connection) -> None:
        reserved = None
        while reserved is not None or not self._ending():
            if reserved is None:
                lane.page.leave()
                self._flush("idle")
                reserved = self._wait_for_job(lane, connection)
            else:
                reserved = self._do_job(lane, connection, reserved)
                if reserved is None and (self._batch.full or self._half_gone()):
                    lane.page.leave()
                    self._flush("batch")
        lane.page.leave()

    def _wait_for_job(self, lane: Lane, connection: Connection) -> Reserved | None:
        timeout, asked = self._idle_seconds(), time.monotonic()
        lane.page.command()
        connection.ask_reserve(timeout)
        lane.page.wait_for_job()
        found = readable([connection.socket, self._control], timeout + ANSWER_SECONDS)
        lane.page.command()
        # A job that has come already is done before the wish to stop is heard: it would count as lost otherwise.
        if connection.socket in found:
            reserved = connection.take_reserved()
            if reserved is None and self._waited(timeout, asked):
                self._backoff = BACKOFF_FIRST
            elif reserved is None:
                lane.page.leave()
                self._take_a_breath()
            return reserved
        if found:
            lane.drop()  # a reserve is in flight, so nobody else could use it
            raise Stop
        raise QueueUnavailable(f"beanstalkd did not answer a reserve within {timeout + ANSWER_SECONDS} s")

    def _waited(self, timeout: int, asked: float) -> bool:
        """Tell whether an answer without a job came when it had to, and not at once: DEADLINE_SOON would, for ever."""
        return time.monotonic() >= asked + timeout - 1

    def _take_a_breath(self) -> None:
        """Wait before the next command where the last one came to nothing, for a server could say so for ever."""
        if readable([self._control], BACKOFF_FIRST):
            raise Stop

    def _idle_seconds(self) -> int:
        if self._ends is None:
            return IDLE_SECONDS
        return min(IDLE_SECONDS, max(0, int(self._ends - time.monotonic()) + 1))

    def _do_job(self, lane: Lane, connection: Connection, reserved: Reserved) -> Reserved | None:
        """Do one leased job and return the next, unless there is none or the slot has something else to do first."""
        started = time.monotonic()
        try:
            stats = connection.job_stats(reserved.id)
        except NotFoundError:
            log.warning("lease was gone before the job began", job=reserved.id)
            lane.page.leave()
            self._take_a_breath()
            return None
        timeout = self._timeout = self._settings.job_timeout or stats.ttr
        self._begun += 1
        lane.page.execute(stats.id, started, stats.ttr, self._begun)
        try:
            self._interruptible = True
            processed = self._processor.process(stats, reserved.body, Deadline(started + timeout, timeout))
            self._interruptible = False
        except DeadlinePassed as error:  # in the last moment of the processing
            processed = self._processor.fail(stats, error)
        if self._forked:
            self._end_fork(stats)
        lane.page.command()
        return self._settle(lane, connection, stats, processed)

    def _end_fork(self, stats: JobStats) -> None:
        log.warning("a process that a job forked came back from the executor: it ends here", job=stats.id)
        os._exit(0)

    def _settle(self, lane: Lane, connection: Connection, stats: JobStats, processed: Processed) -> Reserved | None:
        """Give the verdict on an executed job and return the next, as `_do_job` does."""
        verdict, full = processed.verdict, self._batch.add()
        if isinstance(verdict, Release) and verdict.stop:
            self._exit = Exit.STOPPED_BY_JOB
        # The listeners of a flush or a burial may take long: no further lease is to wait for them.
        last = full or self._ending() or isinstance(verdict, Bury) or time.monotonic() >= lane.flush_by
        try:
            if self._waits_for_flush(verdict):
                settled = self._keep(lane, connection, stats, processed, last)
            elif last:
                settled = connection.settle(stats.id, verdict)
            else:
                settled = connection.settle_and_ask_reserve(stats.id, verdict)
        except (QueueUnavailable, RefusedError):
            log.warning("executed, but its verdict was lost: it may run again", job=stats.id, tube=stats.tube)
            raise
        if isinstance(verdict, Bury):
            lane.page.leave()
        if settled is not None:
            self._backoff = BACKOFF_FIRST
            self._report(processed, settled)
        return None if last else connection.take_reserved()

    def _report(self, processed: Processed, settled: Settled) -> None:
        if settled is Settled.BURIED_INSTEAD or isinstance(processed.verdict, Bury):
            with self._listeners():
                self._reporter.report(processed, settled)
        else:
            self._reporter.report(processed, settled)

    # Flushing

    def _waits_for_flush(self, verdict: Verdict) -> bool:
        return self._settings.ack_after_flush and isinstance(verdict, Delete) and self._batch.heard

    def _keep(
        self, lane: Lane, connection: Connection, stats: JobStats, processed: Processed, last: bool
    ) -> Settled | None:
        """Keep a job until the next flush, with its lease renewed; return what became of it if it was gone."""
        settled = connection.extend(stats.id) if last else connection.extend_and_ask_reserve(stats.id)
        if settled is not Settled.DONE:
            return settled
        lane.keep(Kept(Lease(stats.id, time.monotonic(), stats.ttr), stats, processed))
        return None

    def _half_gone(self) -> bool:
        """Tell whether half of a lease that waits for its flush is gone."""
        return time.monotonic() >= min(lane.flush_by for lane in self._lanes)

    def _flush(self, reason: str) -> None:
        """Tell the listeners of `worker.flush`, then settle the jobs that waited for it.

        Raises FlushFailed, and QueueUnavailable or RefusedError where the jobs could not be settled.
        """
        failure: Exception | None = None
        broken: Exception | None = None
        try:
            with self._listeners():
                self._batch.flush(reason)
        except BaseException as error:  # also SystemExit
            failure = FlushFailed(f"a listener of worker.flush raised {describe(error)}")
        for lane in self._lanes:
            if lane.kept and lane.connection:
                try:
                    self._settle_kept(lane, lane.connection, failure)
                except (QueueUnavailable, RefusedError) as error:
                    broken = error
        if failure is not None:
            raise failure
        if broken is not None:
            raise broken

    def _settle_kept(self, lane: Lane, connection: Connection, failure: Exception | None) -> None:
        phase = lane.page.phase
        lane.page.command()
        done = [self._processor.fail(kept.stats, failure) if failure else kept.processed for kept in lane.kept]
        try:
            answers = connection.settle_all([(processed.job.id, processed.verdict) for processed in done])
            for processed, settled in zip(done, answers, strict=True):
                del lane.kept[0]
                self._reporter.report(processed, settled)
        except (QueueUnavailable, RefusedError):
            lane.drop(phase if phase is Phase.EXECUTING else Phase.CONNECTING)
            raise
        lane.keep_none()
        self._backoff = BACKOFF_FIRST
        lane.page.leave(phase)


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
