"""Runs jobs as coroutines on an event loop, and cancels each at its deadline.

Code holds the loop while it runs without an `await`, and no job can be cancelled then. So a slot, which is a process
that executes jobs, has a signal handler that raises an exception in such code. It uses `loop_holder` and `any_overdue`.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

from tubeherd.descriptors import low_numbers_taken
from tubeherd.job import Job
from tubeherd.logs import log
from tubeherd.processing.deadlines import CLEANUP_SECONDS, CancelledLate, Deadline, too_long_reason
from tubeherd.processing.leftovers import Leftovers
from tubeherd.processing.started import BY_JOB

Result = TypeVar("Result")
_PAUSE_FIRST: Final = 0.001
_PAUSE_MOST: Final = 0.05
_OWN_CODE: Final = (str(Path(__file__).parents[1]) + os.sep, str(Path(asyncio.__file__).parent) + os.sep)
_LIBRARY: Final = str(Path(os.__file__).parent) + os.sep
_PACKAGES: Final = (f"{_LIBRARY}site-packages", f"{_LIBRARY}dist-packages")
"""Installed packages, which are user code, may be in a folder of Python's own library."""


def new_runner() -> asyncio.Runner:
    """Return a runner that has its event loop already; raises OSError."""
    with low_numbers_taken():
        runner = asyncio.Runner()
        runner.get_loop()
    return runner


@dataclass(eq=False, slots=True)
class RunningJob:
    """One job on the event loop."""

    job: Job
    deadline: Deadline
    task: asyncio.Task[Any] | None = None
    """The job's own task."""
    report_left_behind: Callable[[], None] | None = None
    """Called if something of the job still goes on CLEANUP_SECONDS after it was stopped."""
    cancelled: bool = False
    """Whether the loop has cancelled the job at its deadline."""
    leaving: bool = False
    """Whether the job's own task runs no code of the job any more, but ends what the job has left."""
    reporting: asyncio.TimerHandle | None = None
    ended_by: BaseException | None = None
    """What the job's code raised last."""
    broken_off_by: BaseException | None = None
    """What the slot's signal handler raised in the job, which held the loop and may have swallowed it."""

    def is_overdue(self) -> bool:
        """Return whether the job's deadline has passed, but the job was not cancelled because code holds the loop."""
        return not self.cancelled and time.monotonic() >= self.deadline.at

    def is_late(self) -> bool:
        """Return whether the job was cancelled or broken off."""
        return self.cancelled or self.broken_off_by is not None

    def cancel(self) -> None:
        """Cancel the job, which is at its deadline."""
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()
        self._report_in_time()

    async def leave_nothing(self) -> None:
        """End what the job has left. If nobody can be told what cannot be ended, return after CLEANUP_SECONDS."""
        self.leaving = self.cancelled = True
        self._report_in_time()
        until = max(self.deadline.at, time.monotonic()) + CLEANUP_SECONDS
        leftovers, pause = Leftovers(self.job, self.deadline.at - self.deadline.timeout), _PAUSE_FIRST
        try:
            leftovers.close_generators(self.ended_by)
            while leftovers.end() and (self.report_left_behind or time.monotonic() < until):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSE_MOST)
        finally:  # otherwise the timer would strike the next job of the lane
            if self.reporting:
                self.reporting.cancel()

    def lateness(self) -> BaseException:
        """Return what the job failed by."""
        return self.broken_off_by or CancelledLate(too_long_reason(self.deadline.timeout))

    def _report_in_time(self) -> None:
        if self.report_left_behind and not self.reporting:
            # In a context of its own, because what is called later in the job's is cancelled.
            loop = asyncio.get_running_loop()
            self.reporting = loop.call_later(CLEANUP_SECONDS, self.report_left_behind, context=Context())


_current: Final[ContextVar[RunningJob | None]] = ContextVar("job", default=None)
"""The job to which the code that runs now belongs. A task that a job started may still run after the job has ended."""
_all_running: Final[set[RunningJob]] = set()
"""The jobs that have not ended."""


async def within(
    job: Job,
    deadline: Deadline,
    run: Callable[[RunningJob], Awaitable[Result]],
    report_left_behind: Callable[[], None] | None = None,
) -> Result:
    """Await `run(running)` and return its result; at the deadline CancelledError is raised inside it.

    If that happened, what the job has started is ended, and CancelledLate is raised, whatever `run` did. If the job was
    broken off because it held the loop, that is raised. Otherwise raises whatever `run` raises.

    `run` may set `running.ended_by`, the cause of CancelledLate. `report_left_behind` is called if something cannot be
    ended; without it, `within` returns then.
    """
    running = RunningJob(job, deadline, asyncio.current_task(), report_left_behind)
    token = _current.set(running)
    _all_running.add(running)
    timer = asyncio.get_running_loop().call_at(deadline.at, running.cancel)
    try:
        try:
            result = await run(running)
        except BaseException as error:
            if not running.is_late():
                raise
            running.ended_by = error
        finally:
            timer.cancel()
        if not running.is_late():
            return result
        await running.leave_nothing()
        late = running.lateness()
        if late is not running.ended_by:
            late.__cause__ = running.ended_by
        raise late
    finally:
        running.ended_by = running.broken_off_by = None  # their tracebacks refer to this call
        _all_running.discard(running)
        _current.reset(token)


def run_to_end(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Result], context: Context | None = None
) -> Result:
    """Run a coroutine to its end and return its result, although code of jobs may stop the loop meanwhile.

    The loop also ends if a task or a callback that a job has left in it raises SystemExit or KeyboardInterrupt.
    """
    # Made by no factory, because code of jobs may have set one.
    task = asyncio.Task(coroutine, loop=loop, context=context)
    while True:
        try:
            return loop.run_until_complete(task)
        except BaseException as error:
            # What the task itself has raised is raised here at once: its `result` has the traceback only once.
            if loop.is_closed() or _ended_by(task, error):
                raise
            if task.done():
                return task.result()
            reason = f"{type(error).__name__} ended the event loop of a slot, outside of the call of any executor"
            log.error(f"{reason}: the slot goes on with its jobs. Look for what their tasks and callbacks raise")


def _ended_by(task: asyncio.Task[Any], error: BaseException) -> bool:
    """Return whether a task has ended by this error."""
    if not task.done():
        return False
    return isinstance(error, asyncio.CancelledError) if task.cancelled() else task.exception() is error


def loop_holder(frame: FrameType | None = None) -> RunningJob | None:
    """Return, in a signal handler, the job whose code the signal interrupted; None if it was no code of a running job.

    It is None too if the signal interrupted a callback of the loop, such as the one that cancels at the deadline: the
    loop would catch an exception that is raised in a callback, and the job would go on. Only if `frame`, which the
    signal interrupted, is of the user's code, then the callback is the job's own.
    """
    running = _current.get()
    if running is None or running not in _all_running:
        return None
    with suppress(RuntimeError):  # no loop runs
        task = asyncio.current_task()
        if is_user_code(frame) if task is None else not (running.leaving and task is running.task):
            return running
    return None


def is_user_code(frame: FrameType | None) -> bool:
    """Return whether a frame is of user code, or of code that user code has called.

    Frames are looked at from the innermost one on, up to the first one of this package or of asyncio.
    """
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OWN_CODE):
            return False
        if not file.startswith((_LIBRARY, "<frozen")) or file.startswith(_PACKAGES):
            return True
        frame = frame.f_back
    return False


def any_running() -> bool:
    """Return whether any job has not ended."""
    return bool(_all_running)


def forget_started(job: Job) -> None:
    """Forget what a job has started, which has just ended; and what was noted for others after they had ended."""
    BY_JOB.pop(id(job), None)
    if len(BY_JOB) > len(_all_running):
        running = {id(each.job) for each in _all_running}
        for ended in BY_JOB.keys() - running:
            BY_JOB.pop(ended, None)


def any_overdue() -> bool:
    """Return whether any job is past its deadline and the loop has not cancelled it."""
    return any(running.is_overdue() for running in _all_running)


def held_loop_reason(running: RunningJob) -> str:
    """Return why a job failed that was stopped because it held the loop past its own deadline or another job's."""
    if running.is_overdue():
        return too_long_reason(running.deadline.timeout)
    return "the job held the event loop of its slot past the deadline of another job: await instead"
