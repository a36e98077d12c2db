"""A slot whose coroutines share one event loop: several jobs at a time, each with a lane of its own.

Only the wait for a job and the executors are awaited. Every other command is a round trip in straight-line code, so
that all lanes but the one that waits are at rest whenever a flush settles their jobs.
"""

import asyncio
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from tubeherd.coroutines import Deadline, overdue, too_long
from tubeherd.exits import Exit
from tubeherd.lane import Lane
from tubeherd.logs import log
from tubeherd.policy import Release
from tubeherd.processing import DeadlinePassed, FlushFailed
from tubeherd.queue import Connection, NotFoundError, QueueUnavailable, RefusedError, Reserved, connect
from tubeherd.slot import ANSWER_SECONDS, BACKOFF_FIRST, Slot, Stop


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
        with asyncio.Runner() as runner:
            runner.run(self._dispatch(tubes))

    def _on_deadline(self, _number: int, _frame: FrameType | None) -> None:
        # The loop has cancelled what it could; only code that does not give way to the loop is broken off.
        if deadline := overdue():
            raise DeadlinePassed(too_long(deadline.timeout))

    async def _dispatch(self, tubes: Sequence[str]) -> None:
        self._awake, self._stopped = asyncio.Event(), asyncio.Event()
        # One reader for all who wait: the loop keeps no more than one for a socket.
        asyncio.get_running_loop().add_reader(self._control, self._hear)
        self._free = asyncio.LifoQueue()  # the first lanes do all where few are needed
        self._dry = False
        for lane in reversed(self._lanes):
            self._free.put_nowait(lane)
        async with asyncio.TaskGroup() as jobs:
            with suppress(Stop):
                while not self._ending():
                    lane = await self._free.get()
                    if not self._ending() and (reserved := await self._next(lane, tubes)):
                        self._begun += 1
                        jobs.create_task(self._do(lane, reserved))
                    else:
                        self._free.put_nowait(lane)

    async def _next(self, lane: Lane, tubes: Sequence[str]) -> Reserved | None:
        try:
            if lane.connection is None:
                lane.open(await asyncio.to_thread(connect, self._settings.server), self._control)
                log.info("connected", server=self._settings.server, tubes=list(tubes))
            connection = lane.watch(tubes)
            connection.ask_reserve(0)
            reserved = connection.take_reserved()
            if reserved is None:
                lane.page.rest()
                self._flush_or_stop("idle")
                reserved = await self._wait(lane, connection) if self._exit is Exit.OK else None
        except (QueueUnavailable, RefusedError) as error:
            lane.drop()
            await self._pause_or_stop(self._pause(error))
            return None
        return reserved

    async def _wait(self, lane: Lane, connection: Connection) -> Reserved | None:
        timeout, asked = self._idle_seconds(), time.monotonic()
        lane.page.command()
        connection.ask_reserve(timeout)
        self._dry = True
        readable = await self._readable(connection.socket, timeout + ANSWER_SECONDS)
        self._dry = False
        if readable:
            reserved = connection.take_reserved()
            if reserved is None and self._waited(timeout, asked):
                self._backoff = BACKOFF_FIRST
            elif reserved is None:
                lane.page.rest()
                await self._pause_or_stop(BACKOFF_FIRST)
            return reserved
        if self._stopped.is_set() or self._ending():
            lane.drop()
            raise Stop
        raise QueueUnavailable(f"beanstalkd did not answer a reserve within {timeout + ANSWER_SECONDS} s")

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
        return bool(select.select([sock], [], [], 0)[0])

    async def _do(self, lane: Lane, reserved: Reserved) -> None:
        try:
            assert lane.connection is not None  # noqa: S101 - it was reserved there
            await self._do_leased(lane, lane.connection, reserved)
        except (QueueUnavailable, RefusedError) as error:
            lane.drop()
            await self._pause_or_stop(self._pause(error))
        if self._exit is not Exit.OK or self._interrupted:
            self._awake.set()
        self._free.put_nowait(lane)

    async def _do_leased(self, lane: Lane, connection: Connection, reserved: Reserved) -> None:
        started = time.monotonic()
        try:
            stats = connection.job_stats(reserved.id)
        except NotFoundError:
            log.warning("lease was gone before the job began", job=reserved.id)
            lane.page.rest()
            await self._pause_or_stop(BACKOFF_FIRST)
            return
        timeout = self._settings.job_timeout or stats.ttr
        lane.page.execute(stats.id, started, stats.ttr, self._begun)
        processed = await self._processor.process_concurrently(
            stats, reserved.body, Deadline(started + timeout, timeout)
        )
        if self._forked:
            self._end_fork(stats)
        self._interrupted |= isinstance(processed.error, DeadlinePassed)
        if isinstance(processed.verdict, Release) and processed.verdict.stop:
            self._exit = Exit.STOPPED_BY_JOB
        lane.page.command()
        full = self._batch.add()
        try:
            if self._waits_for_flush(processed.verdict):
                settled = self._keep(lane, connection, stats, processed, last=True)
            else:
                settled = connection.settle(stats.id, processed.verdict)
        except (QueueUnavailable, RefusedError):
            log.warning("executed, but its verdict was lost: it may run again", job=stats.id, tube=stats.tube)
            raise
        lane.page.rest()
        if settled is not None:
            self._backoff = BACKOFF_FIRST
            self._reporter.report(processed, settled)
        if full or self._dry or self._half_gone():
            self._flush_or_stop("idle" if self._dry else "batch")

    def _flush_or_stop(self, reason: str) -> None:
        try:
            self._flush(reason)
        except FlushFailed as error:
            self._stop_for(error)
