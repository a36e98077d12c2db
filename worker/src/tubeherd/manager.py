"""`QueueManager`, with which a script puts jobs into tubes, and reserves and processes jobs without a worker.

A lease is the reservation of a job; a verdict is what is done with a job after it was processed: delete, release or
bury it. A slot is a process of a worker that does the same as `QueueManager.get` and `process` do here.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, NoReturn, Self, overload
from weakref import WeakSet

from tubeherd.burials.record import Burials
from tubeherd.burials.writer import BurialWriter
from tubeherd.by_hand.changing.acted import Acted
from tubeherd.by_hand.changing.choice import STATES, choose
from tubeherd.by_hand.changing.methods import ChangesByHand
from tubeherd.by_hand.executing import check_loop
from tubeherd.by_hand.looking.looking_methods import LooksByHand
from tubeherd.by_hand.putting.producing import PutsByHand
from tubeherd.events import DEFAULT_BATCH_SIZE
from tubeherd.executors import Executor, ExecutorError, executor_for, registry
from tubeherd.formats.durations import parse_duration
from tubeherd.formats.globs import TubeSet, check_tube_or_glob, is_glob
from tubeherd.job_options import check_priority, check_reason, make_schedule, parse_delay
from tubeherd.policy import Delete, Policy, Rejected, Rescheduled, Verdict
from tubeherd.processing.batch import Batch
from tubeherd.processing.processed import Processed
from tubeherd.processing.processor import Processor
from tubeherd.processing.reporting import Reporter
from tubeherd.processing.settling import Settler
from tubeherd.processing.tube_choice import TUBES_MOST
from tubeherd.queue.answers import LeaseGone, QueueUnavailable, RefusedError, Reserved, Settled
from tubeherd.queue.connection import Connection
from tubeherd.queue.connections import Connections
from tubeherd.queue.server import server_or_default

_PAUSE_SECONDS: Final = 0.1
_LOOK_PAUSE_SECONDS: Final = 1.0
"""How long to wait before beanstalkd is asked again which tubes it has, in seconds."""


class QueueManager(LooksByHand, ChangesByHand, PutsByHand):
    """Puts jobs into tubes of a beanstalkd, and reserves and processes jobs; for a producer, a script or a shell.

    All threads of a process may use one manager, also by `asyncio.to_thread`. It opens as many connections as threads
    use at the same time. A job is processed in the process that reserved it, by any of its threads. A process that is
    forked goes on with connections of its own, without the parent's jobs, and leaves those of the parent alone.

    The methods raise QueueUnavailable if beanstalkd cannot be reached, and RefusedError if it refuses a command
    (JOB_TOO_BIG, DRAINING, …). After QueueUnavailable the next call connects again; the jobs that were reserved on the
    connection that broke are ready again.
    """

    def __init__(
        self,
        server: str | None = None,
        tubes: str | Sequence[str] | None = None,
        executors: Mapping[str, Executor] = registry,
        policy: Policy | None = None,
        *,
        retry_delays: Iterable[str | float | timedelta] | None = None,
        burial_records: bool = True,
    ) -> None:
        """Connect to `server`, which is `host:port`.

        If it is None, the server is that of the variable TUBEHERD_SERVER, if it is set, and otherwise 127.0.0.1:11300.

        `get` reserves jobs from `tubes`, which is one name or several, or globs such as "reports.*"; if that is None,
        from all tubes that have an executor, which is the function that does a tube's jobs. `process` calls these
        executors.

        `retry_delays` are the delays before each further attempt at a failed job; if None, one of 10 minutes. They
        should be as many as the workers of these tubes have, because failures are counted by their number. To change
        how often a job may be lost before it is buried, give a `policy` instead.

        If `burial_records`, `process` keeps a record of why a job was buried, which `burials` returns.

        Raises ValueError for a server that is no address, for a name that no tube can have, for a delay out of range,
        and if both `retry_delays` and `policy` are given.
        """
        if policy is not None and retry_delays is not None:
            raise ValueError("give either retry_delays or a policy, which has its own")
        if retry_delays is not None:
            policy = Policy(make_schedule(retry_delays))
        server = server_or_default(server, os.environ)
        ChangesByHand.__init__(self, server)
        self._executors = executors
        self._tubes = None if tubes is None else [check_tube_or_glob(tube) for tube in _listed(tubes)]
        self._connections = Connections(server)
        PutsByHand.__init__(self, self._connections, executors)
        self._names: Sequence[str] = ()
        """The tubes, and globs, from which `get` reserves jobs; empty before the first call."""
        self._policy = policy or Policy()
        self._records_on = server if burial_records else None
        """The server on which burial records are kept; None if there are to be none."""
        self._closed = False
        self._begin()
        _managers.add(self)

    def _begin(self) -> None:
        """Make what belongs to this process, which has processed no job yet."""
        self._processors: list[Processor] = []
        """One for each thread that processes a job, or did so at the same time as others."""
        self._idle_processors: list[Processor] = []
        self._batch = Batch(DEFAULT_BATCH_SIZE)
        self._settler = Settler(Reporter(), BurialWriter(self._records_on) if self._records_on else None)
        self._batch_lock = threading.RLock()  # a listener of a flush may process a job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Publish `worker.flush` for the processed jobs and close the connections; reserved jobs are ready again.

        What other threads still do with the manager then raises QueueUnavailable.
        """
        try:
            with self._batch_lock:
                self._batch.send("end")
        finally:
            self._closed = True
            self._connections.close()
            self._close_idle_processors()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: a copy would use the same connections."""
        raise TypeError("a QueueManager cannot be copied or given to another process: make one there")

    def get(self, timeout: str | float | timedelta = 0) -> Reserved | None:
        """Reserve a job and return it, or None if no job came within `timeout` ("10 seconds", seconds, timedelta).

        The lease ends after the job's TTR, because nothing here touches the job as a worker does. Raises ValueError if
        `timeout` is no duration.
        """
        self._names = self._names or self._names_to_watch()
        pause = _LOOK_PAUSE_SECONDS if any(map(is_glob, self._names)) else _PAUSE_SECONDS
        deadline = time.monotonic() + parse_duration(timeout)
        while True:
            # Several short reserves, because the connection does not wait long for an answer.
            asked = time.monotonic()
            wait = max(0, min(5, math.ceil(deadline - asked)))
            with suppress(LeaseGone):
                if reserved := self._connections.reserve(self._tubes_on, wait):
                    return reserved
            now = time.monotonic()
            if now >= deadline:
                return None
            # The answer may come early: because of another job of this thread, see `Connections.reserve`, or because
            # beanstalkd answers DEADLINE_SOON at once in the last second of a lease on the same connection.
            if now < asked + wait:
                time.sleep(min(pause, deadline - now))

    def process(self, job: Reserved) -> Processed:
        """Execute a reserved job, carry out its verdict, and return the job with its verdict and result.

        The same events are published as in a slot. Any thread may process the job.

        Raises ExecutorError if its tube has no executor (the job stays reserved); ValueError if this manager does not
        hold the job's lease in this process; RuntimeError if the executor is a coroutine function and an event loop
        runs in this thread; and what a listener of `worker.flush` raises. Raises KeyboardInterrupt if Ctrl-C stopped
        the executor; that counts as a failure of the job.
        """
        executor = executor_for(self._executors, job.stats.tube)
        if executor is None:
            raise ExecutorError(f"tube {job.stats.tube!r} has no executor in this process: import its module first")
        check_loop(executor, "await asyncio.to_thread(queue.process, job)")
        self._connections.begin(job.stats.id)
        processed = self._execute(job)
        try:
            with self._connections.ending_lease(job.stats.id) as connection:
                settled = self._settler.settle(connection, processed)
        except (QueueUnavailable, RefusedError):
            self._settler.report_lost(processed)
            raise
        self._settler.report(processed, settled)
        with self._batch_lock:
            if self._batch.add():
                self._batch.send("batch")
        if isinstance(processed.error, KeyboardInterrupt):
            raise processed.error
        return processed

    def reschedule(
        self, job: Reserved, delay: str | float | timedelta | datetime, *, priority: int | None = None
    ) -> Settled:
        """Put back a job that `get` returned, so that it is ready again after `delay`; no retry is spent by that.

        `delay` is "10 minutes", seconds, a timedelta, or a datetime until which the job waits, without a time zone in
        local time. The job keeps its id, and its priority unless another one is given. The delay may be lengthened by
        as many seconds as there are retry delays, because it also shows how often the job has failed.

        Returns LEASE_GONE if its TTR had passed or somebody had deleted it. Raises ValueError for a value out of range,
        and if this manager does not hold the job's lease in this process.
        """
        seconds = parse_delay(delay, time.time())
        kept = None if priority is None else check_priority(priority)
        policy = self._policy_for(job)
        if seconds > policy.schedule.longest:
            raise ValueError(f"with its retry delays a job can be delayed at most by {policy.schedule.longest} seconds")
        return self._settle_by_hand(job, policy.decide(Rescheduled(seconds, kept, "by hand"), job.stats))

    def release(self, job: Reserved, *, priority: int | None = None) -> Settled:
        """Put back a job that `get` returned, so that it is ready again as soon as possible; no retry is spent by that.

        If the job has failed before, this takes as many seconds as there are retry delays, at most, because the delay
        shows how often it has failed. Returns and raises what `reschedule` does.
        """
        return self.reschedule(job, 0, priority=priority)

    def bury(self, job: Reserved, reason: str) -> Settled:
        """Bury a job that `get` returned, until somebody kicks it, and keep the reason as its burial record.

        The burial is logged and published as any other: it counts as a failure of the job, of the kind `rejected`.
        Returns and raises what `reschedule` does. Raises ValueError also if the reason is no text.
        """
        return self._settle_by_hand(job, self._policy_for(job).decide(Rejected(check_reason(reason)), job.stats))

    @overload
    def delete(self, what: Reserved) -> Settled: ...

    @overload
    def delete(
        self,
        what: str | None = None,
        *,
        all_tubes: bool = False,
        jobs: Iterable[int] | None = None,
        states: Iterable[str] | None = None,
        error: str | None = None,
        older_than: str | float | timedelta | None = None,
        count: int | None = None,
        dry_run: bool = False,
        progress: Callable[[Acted], object] | None = None,
    ) -> Acted: ...

    def delete(
        self,
        what: Reserved | str | None = None,
        *,
        all_tubes: bool = False,
        jobs: Iterable[int] | None = None,
        states: Iterable[str] | None = None,
        error: str | None = None,
        older_than: str | float | timedelta | None = None,
        count: int | None = None,
        dry_run: bool = False,
        progress: Callable[[Acted], object] | None = None,
    ) -> Settled | Acted:
        """Delete a job that `get` returned, because it is done; or the buried jobs of a tube; or jobs by their ids.

        `delete(job)` carries out a verdict that the caller gives: it returns and raises what `reschedule` does.

        `delete("mail")` deletes the buried jobs of a tube, unless other `states` are given, and `delete(jobs=[7, 8])`
        jobs in any state, or only in these `states`; a job that is reserved is left alone. All the other arguments,
        what is returned and what is raised are as with `kick`.
        """
        if isinstance(what, Reserved):
            return self._settle_by_hand(what, Delete())
        if states is None:
            states = ["buried"] if jobs is None else STATES
        choice = choose(
            what, all_tubes=all_tubes, jobs=jobs, states=states, error=error, older_than=older_than, count=count
        )
        return self._act(choice, "deleted", dry_run, progress)

    def burials(self, tube: str | None = None) -> Burials:
        """Return why jobs are buried, in all tubes or in one: the records, and the groups that they make.

        The records of jobs that are no longer buried are removed. If others are reading them at the moment, this waits
        up to five seconds. It is done on a connection of its own. Raises ValueError for a name that is no tube's.
        """
        from tubeherd.burials.reader import read_burials  # imported here, as an executor's process needs it never

        return read_burials(self._server, tube)

    def _policy_for(self, job: Reserved) -> Policy:
        """Return the policy for a job: that of its executor, if there is one."""
        executor = executor_for(self._executors, job.stats.tube)
        return self._policy if executor is None else executor.policy(self._policy)

    def _settle_by_hand(self, job: Reserved, verdict: Verdict) -> Settled:
        """Carry out a verdict that the caller gave on a reserved job, and report it."""
        done = Processed(self._policy_for(job).job(job.stats), verdict, time.monotonic() - job.since)
        with self._connections.ending_lease(job.stats.id) as connection:
            settled = self._settler.settle(connection, done)
        self._settler.report(done, settled)
        return settled

    def _execute(self, job: Reserved) -> Processed:
        """Execute a job with a processor that no other thread uses; raises RuntimeError in a fork made by the job."""
        process = os.getpid()
        try:
            processor = self._idle_processors.pop()
        except IndexError:
            processor = Processor(self._executors, self._policy)
            self._processors.append(processor)
        processed = processor.process(job)
        if os.getpid() != process:
            raise RuntimeError(
                f"a process forked by job {job.stats.id} came back from the executor: only its parent finishes the job"
            )
        self._idle_processors.append(processor)
        if self._closed:
            self._close_idle_processors()
        return processed

    def _close_idle_processors(self) -> None:
        while self._idle_processors:
            self._idle_processors.pop().close()

    def _begin_in_fork(self) -> None:
        """Leave to the parent what belongs to it, in a process that was just forked."""
        self._connections.begin_in_fork()
        for processor in self._processors:
            processor.leave_to_parent()
        self._begin()

    def _names_to_watch(self) -> Sequence[str]:
        names = [check_tube_or_glob(tube) for tube in (self._executors if self._tubes is None else self._tubes)]
        if not names:
            raise ExecutorError("no tube to take jobs from: name tubes, or import the module of an executor first")
        return names

    def _tubes_on(self, connection: Connection) -> Sequence[str]:
        """Return the tubes from which to take jobs; if there are globs, beanstalkd is asked which match."""
        tubes = [name for name in self._names if not is_glob(name)]
        if len(tubes) < len(self._names):
            globs = TubeSet(filter(is_glob, self._names))
            tubes += sorted({name for name in connection.tube_names() if name in globs} - {*tubes})
        return tubes[: max(TUBES_MOST, len(self._names))]


def _listed(tubes: str | Sequence[str]) -> Sequence[str]:
    return [tubes] if isinstance(tubes, str) else tubes


_managers: Final[WeakSet[QueueManager]] = WeakSet()
"""The managers of this process."""


def _begin_in_fork() -> None:
    for manager in list(_managers):
        manager._begin_in_fork()


os.register_at_fork(after_in_child=_begin_in_fork)
