"""A slot: the process that holds one connection and runs one job at a time, in straight-line code."""

import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

import structlog

from tubeherd import discovery
from tubeherd.events import Batch
from tubeherd.executors import ExecutorError
from tubeherd.exits import Exit
from tubeherd.job import Job
from tubeherd.lease import Page, Phase, Request
from tubeherd.policy import Bury, Release
from tubeherd.processing import DeadlinePassed, Processed, Processor, announce_burial, describe, report
from tubeherd.queue import Connection, NotFoundError, QueueUnavailable, RefusedError, Reserved, connect
from tubeherd.settings import WorkerSettings

IDLE_SECONDS: Final = 30
_ANSWER_SECONDS: Final = 10
_BACKOFF_FIRST: Final = 0.1
_BACKOFF_MOST: Final = 5.0

log: Final = structlog.get_logger()


class Burial(NamedTuple):
    """A job that the supervisor buried; the next slot tells the listeners."""

    job: Job
    reason: str


class _Stop(Exception):
    """The supervisor wants the slot to end, or is gone, while the slot holds no lease."""


class _FlushFailed(Exception):
    """A listener of `worker.flush` raised."""


class Slot:
    """The child's side of a slot; `run` is its whole life."""

    def __init__(
        self,
        settings: WorkerSettings,
        page: Page,
        control: socket.socket,
        connection: Connection | None,
        burials: Sequence[Burial],
    ) -> None:
        """Prepare a slot, in the supervisor, before the process is forked that runs it.

        `control` carries each new connection to the supervisor; what comes back on it is the wish to stop.
        `connection` is one that an earlier slot left at rest.
        """
        self._settings = settings
        self._page = page
        self._control = control
        self._connection = connection
        self._burials = burials
        self._batch = Batch(settings.batch_size)
        self._supervisor = os.getpid()
        self._ends = time.monotonic() + settings.max_time if settings.max_time else None
        self._executed = 0
        self._backoff = _BACKOFF_FIRST
        self._timeout = 0.0
        self._interruptible = False
        self._interrupted = False
        self._forked = False
        self._exit = Exit.OK

    def run(self) -> Exit:
        """Import the executors, then do jobs until a limit, a stop or the end of the supervisor."""
        self._become_a_slot()
        try:
            executors = discovery.load(self._settings.executors)
            tubes = discovery.choose_tubes(executors, self._settings.include, self._settings.exclude)
        except ExecutorError as error:
            log.error(str(error))
            return Exit.EXECUTORS
        self._processor = Processor(executors, self._settings.policy())
        for job, reason in self._burials:
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
        self._page.close()
        self._control.close()
        if self._connection is not None:
            self._connection.close()
        if signal.getsignal(signal.SIGTERM) == self._on_deadline:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _on_deadline(self, _number: int, _frame: FrameType | None) -> None:
        if self._interruptible:
            self._interruptible = False
            raise DeadlinePassed(f"the job ran longer than its timeout of {self._timeout:g} s")

    def _serve(self, tubes: Sequence[str]) -> Exit:
        try:
            with suppress(_Stop):
                while not self._ending():
                    try:
                        self._do_jobs(self._connected(tubes))
                    except (QueueUnavailable, RefusedError) as error:
                        self._drop_connection()
                        self._back_off(error)
            self._flush("end")
        except _FlushFailed as error:
            log.error(f"{error}; the worker stops")
            self._exit = Exit.STOPPED_BY_JOB
        self._page.write(Phase.DONE)
        return self._exit

    def _ending(self) -> bool:
        """Tell whether the slot takes no further job, and with which exit code it ends."""
        if self._exit is not Exit.OK:
            return True
        request = self._page.request
        if request == Request.STOP or os.getppid() != self._supervisor:
            return True
        limit = (
            (request == Request.RECYCLE and self._executed > 0)  # a limit that no slot keeps must not stop all work
            or self._interrupted  # user code that was broken off in the middle is not trusted any more
            or 0 < self._settings.max_jobs <= self._executed
            or (self._ends is not None and time.monotonic() >= self._ends)
        )
        if limit:
            stop = self._settings.on_limit == "stop" and not self._interrupted
            self._exit = Exit.LIMIT if stop else Exit.RECYCLE
        return limit

    def _connected(self, tubes: Sequence[str]) -> Connection:
        if self._connection is None:
            self._connection = connect(self._settings.server)
            socket.send_fds(self._control, [b"c"], [self._connection.socket.fileno()])
            log.info("connected", server=self._settings.server, tubes=list(tubes))
        self._command()
        self._connection.watch_only(tubes)
        return self._connection

    def _back_off(self, error: Exception) -> None:
        """Wait before the next connection, but not longer than the supervisor wants the slot."""
        pause = random.uniform(self._backoff / 2, self._backoff)  # noqa: S311 - spreads reconnects, guards nothing
        self._backoff = min(self._backoff * 2, _BACKOFF_MOST)
        reason = str(error) if isinstance(error, QueueUnavailable) else f"beanstalkd answered {describe(error)}"
        log.warning(f"{reason}; trying again in {pause:.1f} s", server=self._settings.server)
        if select.select([self._control], [], [], pause)[0]:
            raise _Stop

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None
        self._page.write(Phase.CONNECTING)
        self._page.unlock()

    def _command(self) -> None:
        """Claim the connection for commands; the supervisor keeps off until a job is executing."""
        self._page.lock()
        self._page.write(Phase.COMMAND)

    def _do_jobs(self, connection: Connection) -> None:
        reserved = None
        while reserved is not None or not self._ending():
            if reserved is None:
                self._flush("idle")
                reserved = self._wait_for_job(connection)
                self._backoff = _BACKOFF_FIRST
            else:
                reserved = self._do_job(connection, reserved)
                if self._batch.full:
                    self._flush("batch")

    def _wait_for_job(self, connection: Connection) -> Reserved | None:
        timeout = IDLE_SECONDS
        if self._ends is not None:
            timeout = min(timeout, max(0, int(self._ends - time.monotonic()) + 1))
        self._command()
        connection.ask_reserve(timeout)
        readable, _, _ = select.select([connection.socket, self._control], [], [], timeout + _ANSWER_SECONDS)
        # A job that has come already is done before the wish to stop is heard: it would count as lost otherwise.
        if connection.socket in readable:
            return connection.take_reserved()
        if readable:
            self._drop_connection()  # a reserve is in flight, so nobody else could use it
            raise _Stop
        raise QueueUnavailable(f"beanstalkd did not answer a reserve within {timeout + _ANSWER_SECONDS} s")

    def _do_job(self, connection: Connection, reserved: Reserved) -> Reserved | None:
        """Do one leased job and return the next, unless there is none or the slot has something else to do first."""
        started = time.monotonic()
        try:
            stats = connection.job_stats(reserved.id)
        except NotFoundError:
            log.warning("lease was gone before the job began", job=reserved.id)
            return None
        self._timeout = self._settings.job_timeout or stats.ttr
        self._page.write(Phase.EXECUTING, reserved.id, started, stats.ttr)
        self._page.unlock()
        try:
            self._interruptible = True
            processed = self._processor.process(stats, reserved.body)
            self._interruptible = False
        except DeadlinePassed as error:
            processed = self._processor.too_late(stats, error)
        if self._forked:
            log.warning("a process that a job forked came back from the executor: it ends here", job=stats.id)
            os._exit(0)
        self._interrupted = isinstance(processed.error, DeadlinePassed)
        self._command()
        self._executed += 1
        self._batch.add()
        return self._settle(connection, processed)

    def _settle(self, connection: Connection, processed: Processed) -> Reserved | None:
        job, verdict = processed.job, processed.verdict
        if isinstance(verdict, Release) and verdict.stop:
            self._exit = Exit.STOPPED_BY_JOB
        # The listeners of a burial may take long: no lease is to wait for them.
        buried = isinstance(verdict, Bury)
        last = buried or self._ending() or self._batch.full
        try:
            if last:
                settled = connection.settle(job.id, verdict)
            else:
                settled = connection.settle_and_ask_reserve(job.id, verdict, 0)
        except QueueUnavailable:
            log.warning("executed, but its verdict was lost: it may run again", job=job.id, tube=job.tube)
            raise
        if buried:
            self._rest()
        report(processed, settled)
        return None if last else connection.take_reserved()

    def _rest(self) -> None:
        """Give up the connection for as long as listeners run, while no lease is held."""
        self._page.write(Phase.LISTENING)
        self._page.unlock()

    def _flush(self, reason: str) -> None:
        self._rest()
        try:
            self._batch.flush(reason)
        except BaseException as error:  # also SystemExit
            raise _FlushFailed(f"a listener of worker.flush raised {describe(error)}") from error


def main(slot: Slot) -> None:
    """Run a slot and end the process with its exit code, without the clean-up that belongs to its parent."""
    code = 70
    try:
        code = slot.run()
    except BaseException as error:
        log.error(f"the slot ends: {describe(error)}")
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
