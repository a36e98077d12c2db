"""Notes what each job of a slot starts that may go on after it: threads, work for pools, child processes and alarms.

Python does not say who has started a thread or a process, so in a slot the functions that start one are wrapped. A job
that starts nothing costs nothing. Infrastructure that several jobs share, such as the threads and processes of a pool,
belongs to no job; the work that a job gives to the pool is the job's. Tasks and callbacks of event loops need not be
noted: each has a context, in which `current_job` is.
"""

import _posixsubprocess
import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from functools import partial, wraps
from types import FrameType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet, ref

from tubeherd.job import Job, current_job
from tubeherd.processes import children, has_ended

if TYPE_CHECKING:  # asyncio takes 3 MiB of memory, which a slot without coroutines does not need
    import asyncio

_SHARED: Final = ("multiprocessing.forkserver", "multiprocessing.resource_tracker")
"""Modules that start processes which several jobs share."""
_POOLS: Final = "concurrent.futures."
_RUN_WORK: Final = ("run", "_worker", "_process_worker")
"""The functions of _POOLS in which work of jobs runs; the others start what several jobs share."""
_STARTERS: Final = ("threading", "subprocess", "os")
"""Modules through which others start threads and processes; those of `multiprocessing` are such too."""
_PIDS_MOST: Final = 1000
_ALARM_JOBS_MOST: Final = 16
"""So many jobs are noted that have set the same timer. What earlier ones have set does not go on any more."""
_REAP_SECONDS: Final = 2.0
"""How long a child that may be an orphan has ended before its exit code is read."""
_CROWD: Final = 100
"""If more such children have ended, it is _CROWDED_SECONDS, so that they do not use up the pod's process ids."""
_CROWDED_SECONDS: Final = 0.4


class Started:
    """What one job has started."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.work: WeakSet[Future[Any]] = WeakSet()
        self.children: set[int] = set()


class StartedThread:
    """A thread that Python has started and that has not ended."""

    __slots__ = ("at", "is_known", "job", "of", "tid")

    def __init__(self, job: Job | None, is_known: bool, of: object) -> None:
        """`of` is the object whose method the thread runs, such as a `threading.Thread`; None if it runs a function."""
        self.job = job
        self.is_known = is_known
        """Whether it is known who has started the thread: a job, or, if `job` is None, none."""
        self.of = of
        self.at = time.monotonic()
        self.tid: int | None = None
        """The kernel's number of the thread; None until it runs."""


BY_JOB: Final[dict[int, Started]] = {}
"""What the jobs that have not ended have started, by the identity of the `Job`. Whoever ends a job removes it."""
THREADS: Final[set[StartedThread]] = set()
"""The threads that Python has started in this process and that have not ended."""
_loops: Final[dict[int, "ref[asyncio.BaseEventLoop]"]] = {}
"""The event loops that were made in this process, by their identity; a WeakSet would not be safe in threads."""
ALARMS: Final[dict[int, deque[Job | None]]] = {}
"""By interval timer of the process, such as `signal.ITIMER_REAL`: the last jobs that have set it since it was off."""
_pids: Final[dict[int, bool]] = {}
"""Child processes of which it is known who has started them, and whether jobs share them; some may have ended."""
_direct: Final[set[int]] = set()
"""Child processes that this process itself has started, and whose exit codes somebody may want to read."""
_ended_before: Final[dict[int, float]] = {}
"""Child processes that may be orphans, and when it was first seen that they have ended, on the monotonic clock."""
_recent: Final[deque[tuple[float, Job]]] = deque(maxlen=256)
"""When the last child processes were started, on the monotonic clock, and by which jobs."""


def loops() -> "list[asyncio.AbstractEventLoop]":
    """Return the event loops that were made in this process."""
    return [loop for each in list(_loops.values()) if (loop := each()) is not None]


def is_known(pid: int) -> bool:
    """Return whether it was noted who has started this child process."""
    return pid in _pids


def is_shared(pid: int) -> bool:
    """Return whether jobs share this child process, because it was started by none, or is of a pool."""
    return _pids.get(pid, False)


def other_job_has_started_a_child(job: Job, since: float) -> bool:
    """Return whether that is possible, since a time on the monotonic clock."""
    full = len(_recent) == _recent.maxlen and _recent[0][0] > since
    return full or any(other is not job and at >= since for at, other in _recent)


def reap_orphans() -> None:
    """Read the exit codes of processes that have ended and whose parents had ended before, so that none stays.

    Only if a process had ended at an earlier call, _REAP_SECONDS ago, or less if more than _CROWD have: a child that a
    thread has just started may not be noted yet, and of a child that a library starts without Python, such as uvloop,
    nothing is noted at all. Whoever has started such a child reads its exit code soon.
    """
    try:  # costs next to nothing, and nearly always there is none
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
    except ChildProcessError:
        return
    now = time.monotonic()
    ended = [pid for pid in children(os.getpid()) if pid not in _direct and has_ended(pid)]
    seen = {pid: _ended_before.get(pid, now) for pid in ended}
    patience = _REAP_SECONDS if len(seen) <= _CROWD else _CROWDED_SECONDS
    _ended_before.clear()
    for pid, at in seen.items():
        if now < at + patience:
            _ended_before[pid] = at
        else:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def note_starts() -> None:
    """Wrap, in the process of a slot, what starts threads, work, child processes, event loops and alarms."""
    for module, name in (
        (_thread, "start_new_thread"),
        (_thread, "start_new"),
        (_thread, "start_joinable_thread"),  # since Python 3.13, like the last one
        (threading, "_start_new_thread"),
        (threading, "_start_joinable_thread"),
    ):
        if (start := getattr(module, name, None)) is not None:
            setattr(module, name, _noting_thread(start))
    Future.__init__ = _noting_work(Future.__init__)  # type: ignore[method-assign, assignment]
    signal.setitimer = _noting_alarm(signal.setitimer)
    signal.alarm = _noting_alarm(signal.alarm, signal.ITIMER_REAL)
    note_loops()
    for module, name in (
        (os, "fork"),
        (os, "forkpty"),
        (os, "posix_spawn"),
        (os, "posix_spawnp"),
        (subprocess, "_fork_exec"),
        (_posixsubprocess, "fork_exec"),
    ):
        setattr(module, name, _noting_child(getattr(module, name)))


def note_loops() -> None:
    """Wrap, in the process of a slot, what makes event loops, if anybody has loaded asyncio."""
    if not are_loops_noted():
        loop: Any = sys.modules["asyncio"].BaseEventLoop
        loop.__init__ = _noting_loop(loop.__init__)


def are_loops_noted() -> bool:
    """Return whether each loop is noted: since `note_loops` was called, or because nobody has loaded asyncio."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is None or hasattr(asyncio.BaseEventLoop.__init__, "__wrapped__")


def _of_running_job() -> Started | None:
    """Return what the job has started whose code runs now; None if that is the code of no job."""
    job = current_job.get()
    if job is None:
        return None
    return BY_JOB.get(id(job)) or BY_JOB.setdefault(id(job), Started(job))


def _noting_thread(start: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(start)
    def start_and_note(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if not callable(function):
            return start(function, *args, **options)  # raises TypeError
        shared = is_infrastructure(sys._getframe(1))
        job = None if shared else current_job.get()
        is_known = shared or job is not None or threading.current_thread() is threading.main_thread()
        thread = StartedThread(job, is_known, getattr(function, "__self__", None))
        THREADS.add(thread)
        try:
            return start(partial(_run_thread, thread, function), *args, **options)
        except BaseException:
            THREADS.discard(thread)
            raise

    return start_and_note


def _run_thread(thread: StartedThread, function: Callable[..., Any], *args: Any, **options: Any) -> None:
    thread.tid = threading.get_native_id()
    try:
        current_job.set(thread.job)
        context = getattr(thread.of, "_context", None)  # since Python 3.14, threads of `threading` run in one
        if isinstance(context, Context) and context.get(current_job) is not thread.job:
            with suppress(RuntimeError):  # it is the user's, and another thread runs in it
                context.run(current_job.set, thread.job)
        function(*args, **options)
    finally:
        THREADS.discard(thread)


def _noting_loop(make: Callable[..., None]) -> Callable[..., None]:
    @wraps(make)
    def make_and_note(loop: "asyncio.BaseEventLoop", *args: Any, **options: Any) -> None:
        make(loop, *args, **options)
        key = id(loop)
        _loops[key] = ref(loop, lambda _: _loops.pop(key, None))

    return make_and_note


def _noting_alarm(arm: Callable[..., Any], *timer: int) -> Callable[..., Any]:
    """Wrap what sets an interval timer, whose number is `timer` or the first argument."""

    @wraps(arm)
    def arm_and_note(*args: Any) -> Any:
        result = arm(*args)
        which, seconds = [*timer, *args][:2]
        jobs = ALARMS.setdefault(which, deque(maxlen=_ALARM_JOBS_MOST))
        job = current_job.get()
        was_on = any(result) if isinstance(result, tuple) else result
        if not seconds or not was_on:
            jobs.clear()
        if seconds and not any(each is job for each in jobs):
            jobs.append(job)
        return result

    return arm_and_note


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
    if is_infrastructure(sys._getframe(2)):
        _pids[pid] = True
    elif started is not None:
        started.children.add(pid)
        _recent.append((time.monotonic(), started.job))
        _pids[pid] = False
    elif threading.current_thread() is threading.main_thread():
        _pids[pid] = True  # started by no job, such as by a module at its import
    if len(_direct) > _PIDS_MOST:
        living = children(os.getpid())
        _direct.intersection_update(living)
        for ended in _pids.keys() - living:
            _pids.pop(ended, None)


def is_infrastructure(frame: FrameType | None) -> bool:
    """Return whether the code that starts a thread or a process in this frame starts what several jobs share."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(_POOLS):
            return frame.f_code.co_name not in _RUN_WORK
        if module.startswith(_SHARED):
            return True
        if module not in _STARTERS and not module.startswith("multiprocessing."):
            return False
        frame = frame.f_back
    return False
