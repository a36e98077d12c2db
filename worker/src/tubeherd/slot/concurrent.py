"""A slot whose coroutines share one event loop: several jobs at a time, each with a lane of its own.

Only a reserve that waits for a job is awaited, and so are the executors. Every other command is a round trip in
straight-line code. So whenever a flush settles deferred jobs, all lanes are at rest but the one that waits.
"""

import asyncio
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress

from tubeherd.events import FlushReason
from tubeherd.processing.attempt import DeadlinePassed, FlushFailed
from tubeherd.processing.coroutines import any_overdue, held_loop_reason, loop_holder
from tubeherd.processing.processor import Processor
from tubeherd.processing.settling import Settler
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Reserved
from tubeherd.queue.connection import Connection, connect
from tubeherd.queue.sockets import readable
from tubeherd.settings import WorkerSettings
from tubeherd.slot.context import SlotContext
from tubeherd.slot.exit import crash, end_fork
from tubeherd.slot.lane import PAUSE_FIRST, Lane
from tubeherd.slot.slot import Slot, Stop


class ConcurrentSlot(Slot):
    """Runs up to as many jobs at a time as there are lanes."""

    def __init__(
        self,
        settings: WorkerSettings,
        context: SlotContext,
        processor: Processor,
        settler: Settler,
        tubes: Sequence[str],
    ) -> None:
        super().__init__(settings, context, processor, settler, tubes)
        self._awake = asyncio.Event()
        """Set if a job has come, or the slot is to stop."""
        self._stopped = asyncio.Event()
        """Set if the supervisor wants the slot to stop, or is gone, and if no lane is to take a further job."""
        self._free: asyncio.PriorityQueue[tuple[bool, int, Lane]] = asyncio.PriorityQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        """The lanes that have jobs, or wait for their next connection."""
        # Never closed, which would wait for every thread and task that jobs have left: the process just ends.
        self._runner = asyncio.Runner()

    def on_deadline(self) -> None:
        """Break off the code that holds the event loop, if that keeps the loop from cancelling a job that is late."""
        held_by = loop_holder()
        self._page.answer_loop_holder(held_by.job if held_by else 0)
        if held_by and any_overdue():
            self._processor.broken_off = True
            raise DeadlinePassed(held_loop_reason(held_by))

    def _work(self) -> None:
        self._runner.run(self._dispatch())

    async def _dispatch(self) -> None:
        """Take a first job for each free lane, in turn; the lane then takes further ones by itself."""
        # One reader for all that wait: an event loop keeps only one for a socket.
        asyncio.get_running_loop().add_reader(self._control, self._on_stop)
        for lane in self._lanes:
            self._set_free(lane)
        with suppress(Stop):
            while self._limits.exit_wanted() is None:
                *_, lane = await self._free.get()
                if self._limits.exit_wanted() is None:
                    await self._use(lane)
        self._stopped.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _set_free(self, lane: Lane) -> None:
        """Make a lane free. Connected lanes are used first, those with the lowest number before others."""
        self._free.put_nowait((lane.connection is None, lane.number, lane))

    async def _use(self, lane: Lane) -> None:
        """Take a job for a free lane and start to do it; if none comes, the lane is free again."""
        try:
            reserved = await self._next(lane)
        except (QueueUnavailable, RefusedError) as error:
            self._start(self._reconnect_later(lane, error))  # meanwhile other lanes are used
        else:
            if reserved is None:
                self._set_free(lane)
            else:
                self._start(self._do_jobs(lane, reserved))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _next(self, lane: Lane) -> Reserved | None:
        """Take a job for a lane, waiting for one if none is ready; raises QueueUnavailable, RefusedError."""
        if lane.connection is None:
            self._open(lane, await asyncio.to_thread(connect, self._settings.server))
            if self._limits.exit_wanted() is not None:  # other lanes went on meanwhile
                return None
        connection = lane.claim_watching(self._tubes)
        reserved = self._take_at_once(lane, connection)
        if reserved is None:
            self._flush("idle")
            reserved = await self._wait_for_job(lane, connection) if self._limits.exit_wanted() is None else None
        return reserved

    async def _reconnect_later(self, lane: Lane, error: QueueUnavailable | RefusedError) -> None:
        await self._wait(self._drop(lane, error))
        self._set_free(lane)

    async def _wait_for_job(self, lane: Lane, connection: Connection) -> Reserved | None:
        pending = self._ask_for_job(lane, connection)
        self._coming = 1
        found = await self._readable(connection.socket, pending.longest)
        self._coming = 0
        stop = self._stopped.is_set() or self._limits.exit_wanted() is not None
        reserved = self._take_job(lane, connection, pending, found=found, stop=stop)
        if reserved is None and pending.too_early():
            await self._wait(PAUSE_FIRST)
        return reserved

    async def _readable(self, sock: socket.socket, seconds: float) -> bool:
        """Wait until the socket has something to read or the slot is to stop; return whether it has something."""
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

    async def _wait(self, seconds: float) -> None:
        """Wait `seconds`, or until the slot is to stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    def _on_stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control)  # otherwise it would be called again at once
        self._stopped.set()
        self._awake.set()

    async def _do_jobs(self, lane: Lane, first: Reserved) -> None:
        """Do a leased job and those that follow it on the same lane."""
        reserved: Reserved | None = first
        try:
            while reserved is not None:
                reserved = await self._do_job(lane, reserved)
            if self._batch.due:
                self._flush("batch")
            elif self._coming or self._limits.exit_wanted() is not None:  # if another lane waits, no job is ready
                self._flush("idle")
        except (QueueUnavailable, RefusedError) as error:  # also of another lane, whose deferred jobs were settled
            await self._wait(self._drop(lane, error))
        except BaseException as error:  # caused by no job; the task would swallow it
            crash(error)
        finally:
            if self._limits.exit_wanted() is not None:
                self._awake.set()
            self._set_free(lane)

    async def _do_job(self, lane: Lane, reserved: Reserved) -> Reserved | None:
        attempt, deadline = self._processor.attempt(reserved), self._deadline(reserved)

        async def process() -> None:
            done = await self._processor.process_concurrently(attempt, deadline)
            if self.in_fork:  # at once: its loop would go on with the other jobs
                end_fork(done.job.id)

        # A task of its own, so that context variables and a cancellation of one job do not reach the next. The verdict
        # is taken from the attempt: a task's result is lost if the job cancels its task in its last step.
        await asyncio.wait([asyncio.create_task(process())])
        done = attempt.processed or attempt.raised(asyncio.CancelledError("cancelled before it began"))
        return self._finish(lane, reserved, done)

    def _flush(self, reason: FlushReason) -> None:
        try:
            self._batch.flush(reason)
        except FlushFailed as error:
            self._stop_for(error)
