"""Ends what a stopped job has left behind, so that nothing of it goes on beside its next attempt.

Tasks are cancelled, child processes are killed, and work that no thread has begun is called off. A thread cannot be
ended: it is only waited for. So something may be left until the whole slot ends.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from tubeherd.job import Job, current_job
from tubeherd.processes import children, descendants, has_ended, started_at
from tubeherd.processing import started
from tubeherd.processing.started import Started


class Leftovers:
    """What one job has left behind."""

    def __init__(self, job: Job, since: float) -> None:
        """`since` is when the job was reserved, on the monotonic clock."""
        self._job = job
        self._since = since
        self._cancelled: set[asyncio.Task[Any]] = set()

    def end(self) -> str:
        """End what can be ended and return in words what is left; an empty text if it is certain that nothing is."""
        mine = started.BY_JOB.get(id(self._job))
        left = [*self._tasks(mine), *_threads(mine), *self._children(mine)] if mine else [*self._children(None)]
        self._call_off_timers()
        return ", ".join(dict.fromkeys(left))

    def _tasks(self, mine: Started) -> Iterator[str]:
        """Cancel each task once: a second time would interrupt what it does to clean up."""
        own = _running_task()
        for task in list(mine.tasks):
            if task is not own and not task.done():
                if task not in self._cancelled:
                    self._cancelled.add(task)
                    task.cancel()
                yield "a task"

    def _call_off_timers(self) -> None:
        """Cancel what the job has asked the event loop to call later."""
        with suppress(RuntimeError, AttributeError):  # no loop runs, or it is one of another library
            for handle in list(asyncio.get_running_loop()._scheduled):  # type: ignore[attr-defined]
                if handle._context.get(current_job) is self._job:
                    handle.cancel()

    def _children(self, mine: Started | None) -> Iterator[str]:
        """Kill the child processes of the job, with all that these have started."""
        try:  # costs next to nothing, and nearly always there is none
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        known = mine.children if mine else set()
        for child in children(os.getpid()):
            tree = [child, *descendants(child)]
            if all(map(has_ended, tree)):
                continue
            if child in known or (known and self._is_orphan_of_this_job(child)):
                _kill(tree)
                yield "a child process"
            elif not started.is_known(child) and any(started_at(pid) >= self._since for pid in tree):
                yield "perhaps a child process"

    def _is_orphan_of_this_job(self, child: int) -> bool:
        """Return whether an orphan, whose parent has ended, must come from this job: no other has started a process."""
        if started.is_known(child) or started_at(child) < self._since:
            return False
        return not started.other_job_has_started_a_child(self._job, self._since)


def _threads(mine: Started) -> Iterator[str]:
    if any(thread.is_alive() for thread in list(mine.threads)):
        yield "a thread"
    for work in list(mine.work):
        if not work.cancel() and not work.done():
            yield "work in a thread or in a process of a pool"


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
