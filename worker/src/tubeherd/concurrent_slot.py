"""A slot whose coroutines share one event loop: several jobs at a time, each with a lane of its own.

Only the wait for a job and the executors are awaited. Every other command is a round trip in straight-line code, so
that all lanes but the one that waits are at rest whenever a flush settles their jobs.
"""

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from tubeherd.coroutines import Deadline, any_overdue, broken_off, holder
from tubeherd.exits import Exit
from tubeherd.job import JobStats
from tubeherd.lane import Lane
from tubeherd.logs import log
from tubeherd.policy import Release
from tubeherd.processing import DeadlinePassed, FlushFailed, Processed
from tubeherd.queue import Connection, NotFoundError, QueueUnavailable, RefusedError, Reserved, connect
from tubeherd.slot import ANSWER_SECONDS, BACKOFF_FIRST, Slot, Stop, crash
from tubeherd.sockets import readable


class ConcurrentSlot(Slot):
    """Runs up to as many jobs at a time as there are lanes."""

    _awake: asyncio.Event
    """Set where a job has come, or the slot is to stop."""
    _stopped: asyncio.Event
    """Set where the supervisor wants the slot to stop, or is gone."""
    _free: asyncio.LifoQueue[Lane]
    _dry: bool
    """Whether no job is ready, so that a reserve waits for one."""

    def _work(self, tubes: Sequence[str]) -> None:
        # Never closed, which would wait for every thread and task that jobs have left: the process just ends.
        self._runner = asyncio.Runner()
        self._runner.run(self._dispatch(tubes))

    def _on_deadline(self, _number: int, _frame: FrameType | None) -> None:
        """Break off the code that holds the loop, so that the loop could not cancel a job that is late."""
        held_by = holder()
        self._page.tell_holder(held_by.job if held_by else 0)
        if held_by and any_overdue():
            self._interrupted = True
            raise DeadlinePassed(broken_off(held_by))

    async def _dispatch(self, tubes: Sequence[str]) -> None:
        self._awake, self._stopped = asyncio.Event(), asyncio.Event()
        # One reader for all who wait: the loop keeps no more than one for a socket.
        asyncio.get_running_loop().add_reader(self._control, self._hear)
        self._free = asyncio.LifoQueue()  # the first lanes do all where few are needed
        self._dry = False
        for lane in reversed(self._lanes):
            self._free.put_nowait(lane)
        running: set[asyncio.Task[None]] = set()
        with suppress(Stop):
            while not self._ending():
                lane = await self._free.get()
                leased = None if self._ending() else await self._next(lane, tubes)
                if leased is None:
                    self._free.put_nowait(lane)
                else:
                    task = asyncio.create_task(self._do(lane, *leased))
                    running.add(task)
                    task.add_done_callback(running.discard)
        while running:
            await asyncio.wait(running)

    async def _next(self, lane: Lane, tubes: Sequence[str]) -> tuple[JobStats, Reserved, Deadline] | None:
        """Return a job that is leased and said to be executing, if there is one."""
        try:
            if lane.connection is None:
                lane.open(await asyncio.to_thread(connect, self._settings.server), self._control)
                log.info("connected", server=self._settings.server, tubes=list(tubes))
                if self._ending():
                    return None
            connection = lane.claim(tubes)
            since = time.monotonic()
            connection.ask_reserve(0)
            reserved = connection.take_reserved()
            if reserved is None:
                lane.page.leave()
                self._flush_or_stop("idle")
                reserved = await self._wait(lane, connection) if not self._ending() else None
                since = time.monotonic()
            return reserved and await self._begin(lane, connection, reserved, since)
        except (QueueUnavailable, RefusedError) as error:
            lane.drop()
            await self._pause_or_stop(self._pause(error))
            return None

    async def _wait(self, lane: Lane, connection: Connection) -> Reserved | None:
        timeout, asked = self._idle_seconds(), time.monotonic()
        lane.page.command()
        connection.ask_reserve(timeout)
        lane.page.wait_for_job()
        self._dry = True
        found = await self._readable(connection.socket, timeout + ANSWER_SECONDS)
        self._dry = False
        lane.page.command()
        if found:
            reserved = connection.take_reserved()
            if reserved is None:
                lane.page.leave()
                if self._waited(timeout, asked):
                    self._backoff = BACKOFF_FIRST
                else:
                    await self._pause_or_stop(BACKOFF_FIRST)
            return reserved
        if self._stopped.is_set() or self._ending():
            lane.drop()
            raise Stop
        raise QueueUnavailable(f"beanstalkd did not answer a reserve within {timeout + ANSWER_SECONDS} s")

    async def _begin(
        self, lane: Lane, connection: Connection, reserved: Reserved, since: float
    ) -> tuple[JobStats, Reserved, Deadline] | None:
        try:
            stats = connection.job_stats(reserved.id)
        except NotFoundError:
            log.warning("lease was gone before the job began", job=reserved.id)
            lane.page.leave()
            await self._pause_or_stop(BACKOFF_FIRST)
            return None
        timeout = self._settings.job_timeout or stats.ttr
        self._begun += 1
        lane.page.execute(stats.id, since, stats.ttr, self._begun)
        return stats, reserved, Deadline(since + timeout, timeout)

    def _hear(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control)  # it stays readable
        self._stopped.set()
        self._awake.set()

    async def _pause_or_stop(self, seconds: float) -> None:
        """Wait, but not longer than the supervisor wants the slot."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    async def _readable(self, sock: socket.socket, seconds: float) -> bool:
        """Wait until the socket has something to read, or the slot is to stop; returns whether it has."""
        loop = asyncio.get_running_loop()
        self._awake.clear()
        loop.add_reader(sock, self._awake.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(0 if self._stopped.is_set() else seconds):
                    await self._awake.wait()
        finally:
            loop.remove_reader(sock)
        return bool(readable([sock], 0))

    async def _do(self, lane: Lane, stats: JobStats, reserved: Reserved, deadline: Deadline) -> None:
        try:
            processed = await self._processor.process_concurrently(stats, reserved.body, deadline)
            if self._forked:
                self._end_fork(stats)
            self._finish(lane, stats, processed)
        except (QueueUnavailable, RefusedError) as error:
            lane.drop()
            await self._pause_or_stop(self._pause(error))
        except Exception as error:  # none of a job's: nobody would hear of it
            crash(error)
        finally:
            if self._exit is not Exit.OK or self._interrupted:
                self._awake.set()
            self._free.put_nowait(lane)

    def _finish(self, lane: Lane, stats: JobStats, processed: Processed) -> None:
        if isinstance(processed.verdict, Release) and processed.verdict.stop:
            self._exit = Exit.STOPPED_BY_JOB
        full = self._batch.add()
        lane.page.command()
        try:
            if lane.connection is None:
                raise QueueUnavailable("the connection broke while the job ran")
            if self._waits_for_flush(processed.verdict):
                settled = self._keep(lane, lane.connection, stats, processed, last=True)
            else:
                settled = lane.connection.settle(stats.id, processed.verdict)
        except (QueueUnavailable, RefusedError):
            log.warning("executed, but its verdict was lost: it may run again", job=stats.id, tube=stats.tube)
            raise
        lane.page.leave()
        if settled is not None:
            self._backoff = BACKOFF_FIRST
            self._report(processed, settled)
        if full or self._dry or self._half_gone() or self._ending():
            self._flush_or_stop("batch" if full else "idle")

    def _flush_or_stop(self, reason: str) -> None:
        try:
            self._flush(reason)
        except FlushFailed as error:
            self._stop_for(error)
