"""Notes what each job of a slot starts that may go on after it: tasks, threads, work for pools, and child processes.

Python does not say who has started a thread or a process, so in a slot the functions that start one are wrapped. A job
that starts nothing costs nothing. Infrastructure that several jobs share, such as the threads and processes of a pool,
belongs to no job; the work that a job gives to the pool is the job's.
"""

import _posixsubprocess
import asyncio
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import wraps
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from tubeherd.job import Job, current_job
from tubeherd.processes import children, has_ended

_SHARED: Final = ("concurrent.futures.", "multiprocessing.forkserver", "multiprocessing.resource_tracker")
"""Modules that start threads and processes which several jobs share."""
_FRAMES_MOST: Final = 12
_PIDS_MOST: Final = 1000
_REAP_SECONDS: Final = 2.0


class Started:
    """What one job has started."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.threads: WeakSet[threading.Thread] = WeakSet()
        self.work: WeakSet[Future[Any]] = WeakSet()
        self.children: set[int] = set()


BY_JOB: Final[dict[int, Started]] = {}
"""What the jobs that have not ended have started, by the identity of the `Job`. Whoever ends a job removes it."""
_thread_jobs: Final[WeakKeyDictionary[threading.Thread, Job]] = WeakKeyDictionary()
_pids: Final[set[int]] = set()
"""Child processes of which it is known who has started them; some may have ended."""
_direct: Final[set[int]] = set()
"""Child processes that this process itself has started, and whose exit codes somebody may want to read."""
_ended_before: Final[dict[int, float]] = {}
"""Child processes that may be orphans, and when it was first seen that they have ended, on the monotonic clock."""
_recent: Final[deque[tuple[float, Job]]] = deque(maxlen=256)
"""When the last child processes were started, on the monotonic clock, and by which jobs."""


def is_known(pid: int) -> bool:
    """Return whether it was noted who has started this child process."""
    return pid in _pids


def other_job_has_started_a_child(job: Job, since: float) -> bool:
    """Return whether that is possible, since a time on the monotonic clock."""
    full = len(_recent) == _recent.maxlen and _recent[0][0] > since
    return full or any(other is not job and at >= since for at, other in _recent)


def reap_orphans() -> None:
    """Read the exit codes of processes that have ended and whose parents had ended before, so that none stays.

    Only if a process had ended at an earlier call, _REAP_SECONDS ago: a child that a thread has just started may not be
    noted yet, and of a child that a library starts without Python, such as uvloop, nothing is noted at all. Whoever has
    started such a child reads its exit code soon.
    """
    try:  # costs next to nothing, and nearly always there is none
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
    except ChildProcessError:
        return
    now = time.monotonic()
    ended = [pid for pid in children(os.getpid()) if pid not in _direct and has_ended(pid)]
    seen = {pid: _ended_before.get(pid, now) for pid in ended}
    _ended_before.clear()
    for pid, at in seen.items():
        if now < at + _REAP_SECONDS:
            _ended_before[pid] = at
        else:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Make a task, and note whose it is; a task factory of an event loop."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    if (started := _of_running_job()) is not None:
        started.tasks.add(task)
    return task


def note_starts() -> None:
    """Wrap, in the process of a slot, what starts threads, work and child processes."""
    threading.Thread.start = _noting_thread(threading.Thread.start)  # type: ignore[method-assign, assignment]
    Future.__init__ = _noting_work(Future.__init__)  # type: ignore[method-assign, assignment]
    for module, name in (
        (os, "fork"),
        (os, "forkpty"),
        (os, "posix_spawn"),
        (os, "posix_spawnp"),
        (subprocess, "_fork_exec"),
        (_posixsubprocess, "fork_exec"),
    ):
        setattr(module, name, _noting_child(getattr(module, name)))


def _of_running_job() -> Started | None:
    """Return what the job has started whose code runs now; None if that is the code of no job."""
    job = current_job.get() or _thread_jobs.get(threading.current_thread())
    if job is None:
        return None
    return BY_JOB.get(id(job)) or BY_JOB.setdefault(id(job), Started(job))


def _noting_thread(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @wraps(start)
    def start_and_note(thread: threading.Thread) -> None:
        started = None if _is_shared() else _of_running_job()
        if started is not None:
            started.threads.add(thread)
            _thread_jobs[thread] = started.job
        start(thread)

    return start_and_note


def _noting_work(make: Callable[[Future[Any]], None]) -> Callable[[Future[Any]], None]:
    @wraps(make)
    def make_and_note(future: Future[Any]) -> None:
        make(future)
        if (started := _of_running_job()) is not None:
            started.work.add(future)

    return make_and_note


def _noting_child(start: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(start)
    def start_and_note(*args: Any, **options: Any) -> Any:
        result = start(*args, **options)
        pid = result[0] if isinstance(result, tuple) else result
        if pid:
            _note_child(pid)
        return result

    return start_and_note


def _note_child(pid: int) -> None:
    _direct.add(pid)
    started = _of_running_job()
    if _is_shared():
        _pids.add(pid)
    elif started is not None:
        started.children.add(pid)
        _recent.append((time.monotonic(), started.job))
        _pids.add(pid)
    elif threading.current_thread() is threading.main_thread():
        _pids.add(pid)  # started by no job, such as by a module at its import
    if len(_direct) > _PIDS_MOST:
        living = children(os.getpid())
        _pids.intersection_update(living)
        _direct.intersection_update(living)


def _is_shared() -> bool:
    """Return whether the code that runs now starts what several jobs share."""
    frame = sys._getframe(2)
    for _ in range(_FRAMES_MOST):
        if frame.f_globals.get("__name__", "").startswith(_SHARED):
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False
