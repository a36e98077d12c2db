"""A slot that runs several jobs at a time, as coroutines on one event loop.

Each job has a lane: a connection with its page in shared memory. While a reserve waits on one lane for a job, the event
loop goes on with the jobs of the others. All other commands block the event loop until they are answered, which takes a
round trip.

To flush is to publish the event `worker.flush`. User code that listens to it may store the results of several jobs
together. With the setting `ackAfterFlush`, jobs are deferred: they were executed, and are deleted after the next flush.
A flush sends commands on every lane that has deferred jobs. A slot flushes before a lane waits for a job, so that no
lane has a deferred job while its reserve is unanswered.
"""

import asyncio
import socket
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import FrameType
from typing import Final

from tubeherd.events import FlushReason
from tubeherd.processing.attempt import Attempt
from tubeherd.processing.batch import FlushFailed
from tubeherd.processing.coroutines import (
    any_overdue,
    held_loop_reason,
    is_user_code,
    loop_holder,
    new_runner,
    run_to_end,
)
from tubeherd.processing.deadlines import DeadlinePassed
from tubeherd.processing.job_loop import process_concurrently
from tubeherd.processing.processor import Processor
from tubeherd.processing.settling import Settler
from tubeherd.processing.tube_choice import TubeChoice
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Reserved
from tubeherd.queue.connection import Connection, connect
from tubeherd.queue.sockets import readable
from tubeherd.settings import WorkerSettings
from tubeherd.slot.context import SlotContext
from tubeherd.slot.exit import crash, end_fork
from tubeherd.slot.lane import PAUSE_FIRST, Lane
from tubeherd.slot.slot import Slot, Stop
from tubeherd.streams import streams

_TICK_SECONDS: Final = 0.1
"""How often a slot that is to end looks whether a job that it waits for was left behind, in seconds."""


class ConcurrentSlot(Slot):
    """Runs up to as many jobs at a time as there are lanes."""

    def __init__(
        self,
        settings: WorkerSettings,
        context: SlotContext,
        processor: Processor,
        settler: Settler,
        choice: TubeChoice,
    ) -> None:
        super().__init__(settings, context, processor, settler, choice)
        self._awake = asyncio.Event()
        """Set when the reserve that waits is answered, or when no lane may take a further job."""
        self._stopping = asyncio.Event()
        """Set when no lane may take a further job: a limit is reached, or the supervisor asked for it or is gone."""
        # The lanes without a job, with what they are sorted by: first the connected ones, then by number.
        self._free: asyncio.PriorityQueue[tuple[bool, int, Lane]] = asyncio.PriorityQueue()
        self._connecting = ThreadPoolExecutor(1, "tubeherd connect")
        """Its own thread: jobs may fill those of `asyncio.to_thread` for minutes."""
        self._tasks: set[asyncio.Task[None]] = set()
        """One for each lane that does jobs, or that waits before it opens another connection."""
        # The runner is never closed: closing it would wait for all threads and tasks that jobs left running.
        self._runner = new_runner()

    def on_deadline(self, frame: FrameType | None) -> None:
        """Break off the code that runs now, if it keeps the event loop from cancelling a late job."""
        held_by = loop_holder(frame)
        self._slot_page.write_loop_holder(held_by.job.id if held_by else 0)
        if not any_overdue():
            return
        if held_by is None:
            if is_user_code(frame):  # what a job has left, such as a `__del__`
                self._processor.broken_off = True
                raise DeadlinePassed("code of a job that has ended held the event loop past the deadline of another")
        else:
            self._processor.broken_off = True
            held_by.broken_off_by = DeadlinePassed(held_loop_reason(held_by))
            raise held_by.broken_off_by

    def _work(self) -> None:
        run_to_end(self._runner.get_loop(), self._dispatch())

    async def _dispatch(self) -> None:
        """Take a first job for one free lane after the other; each lane then takes further jobs by itself."""
        # Registered once and not for each wait, because a second function for this socket would replace the first.
        asyncio.get_running_loop().add_reader(self._control, self._on_stop)
        for lane in self._lanes:
            self._set_free(lane)
        with suppress(Stop):
            while self._limits.exit_wanted() is None:
                *_, lane = await self._free.get()
                if self._limits.exit_wanted() is None:
                    await self._take_first_job(lane)
        self._stopping.set()
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=_TICK_SECONDS)

    def _set_free(self, lane: Lane) -> None:
        """Make a lane free for another job."""
        self._free.put_nowait((lane.connection is None, lane.number, lane))

    async def _take_first_job(self, lane: Lane) -> None:
        """Take a job for a free lane and start to do it; if none comes, the lane is free again."""
        try:
            reserved = await self._next(lane)
        except (QueueUnavailable, RefusedError) as error:
            pause = self._drop(lane, error)  # at once: while its page says COMMAND, no late job is stopped
            self._start(self._set_free_later(lane, pause))  # a task, so that other lanes are used meanwhile
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
            opening = asyncio.get_running_loop().run_in_executor(self._connecting, connect, self._settings.server)
            lane.open(await opening, self._control)
            streams.mend()  # the thread may have had the number of a closed stream while it resolved the server's name
            if self._limits.exit_wanted() is not None:  # jobs of other lanes may have reached a limit meanwhile
                return None
        connection = self._watch(lane)
        if not self._tubes.tubes:
            await self._wait_for_tubes(lane)
            return None
        reserved = self._take_at_once(lane, connection)
        if reserved is None:
            self._flush("idle", lane)
            reserved = await self._wait_for_job(lane, connection) if self._limits.exit_wanted() is None else None
        return reserved

    async def _wait_for_tubes(self, lane: Lane) -> None:
        """Wait until it is time for another look, as there is no tube to take jobs from."""
        lane.page.write_phase_and_unlock()
        self._flush("idle", lane)
        since, alone = time.monotonic(), not self._tasks
        await self._wait(self._seconds_to_wait())
        if alone and not self._stopping.is_set():
            self._note_idle(lane, since, time.monotonic())

    async def _set_free_later(self, lane: Lane, pause: float) -> None:
        await self._wait(pause)
        self._set_free(lane)

    async def _wait_for_job(self, lane: Lane, connection: Connection) -> Reserved | None:
        pending = self._ask_for_job(lane, connection, alone=not self._tasks)
        self._reserves_waiting = 1
        answered = await self._wait_for_answer(connection.socket, pending.longest_wait)
        self._reserves_waiting = 0
        stop = self._stopping.is_set() or self._limits.exit_wanted() is not None
        reserved = self._take_job(lane, connection, pending, answered=answered, stop=stop)
        if reserved is None and pending.is_too_early():
            await self._wait(PAUSE_FIRST)
        return reserved

    async def _wait_for_answer(self, sock: socket.socket, seconds: float) -> bool:
        """Wait for an answer, at most `seconds` and until the slot has to stop; return whether it can be read."""
        loop = asyncio.get_running_loop()
        self._awake.clear()
        loop.add_reader(sock, self._awake.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(0 if self._stopping.is_set() else seconds):
                    await self._awake.wait()
        finally:
            loop.remove_reader(sock)
        return bool(readable([sock], 0))

    async def _wait(self, seconds: float) -> None:
        """Wait `seconds`, or only until no lane may take a further job."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _on_stop(self) -> None:
        # Nobody reads the byte on the socket, so the loop would call this function again and again.
        asyncio.get_running_loop().remove_reader(self._control)
        self._stopping.set()
        self._awake.set()

    async def _do_jobs(self, lane: Lane, first: Reserved) -> None:
        """Do a leased job and the jobs that follow it on the same lane."""
        reserved: Reserved | None = first
        try:
            while reserved is not None:
                reserved = await self._do_job(lane, reserved)
            if self._batch.due:
                self._flush("batch", lane)
            elif self._reserves_waiting or self._limits.exit_wanted() is not None:
                # Another lane waits for a job, which shows that none is ready; or this lane may take no further job.
                self._flush("idle", lane)
        except (QueueUnavailable, RefusedError) as error:
            pause = self._drop(lane, error)
            await self._wait(pause)
        except BaseException as error:  # not caused by a job; asyncio would only keep it as the result of this task
            crash(error, self._settings.error_detail)
        finally:
            if self._limits.exit_wanted() is not None:
                self._awake.set()
            self._set_free(lane)

    async def _do_job(self, lane: Lane, reserved: Reserved) -> Reserved | None:
        attempt, deadline = self._processor.attempt(reserved), self._deadline(reserved)
        work = asyncio.current_task()

        async def process() -> None:
            await process_concurrently(attempt, deadline, lambda: self._drain(lane, attempt, work))
            if self.forked_by_job:  # ends before this copy of the event loop goes on with the other jobs
                end_fork(attempt.job.id)

        # A task of its own, so that context variables and a cancellation of one job do not reach the next job. The
        # verdict is read from the attempt, because the task has no result if the job cancels it in its last step.
        await asyncio.wait([asyncio.Task(process(), loop=asyncio.get_running_loop())])
        done = attempt.processed or attempt.fail(asyncio.CancelledError("cancelled before it began"))
        # An attempt refers to the error of its job, whose traceback refers to the attempt. If this cycle were not
        # broken here, it would keep the objects of the job in memory.
        attempt.processed = None
        return self._finish(lane, reserved, done)

    def _drain(self, lane: Lane, attempt: Attempt, work: asyncio.Task[None] | None) -> None:
        """Take no further job, because something of a stopped job goes on; the jobs on the other lanes finish."""
        self._leave_behind(lane, attempt.job)
        self._on_stop()
        self._tasks -= {work}  # the slot ends without it
        self._set_free(lane)  # wakes the dispatcher, for which no lane may become free any more

    def _flush(self, reason: FlushReason, lane: Lane) -> None:
        try:
            self._batch.flush(reason, lane)
        except FlushFailed as error:
            self._stop_for(error)
