"""Ends what a stopped job has left behind, so that nothing of it goes on beside its next attempt.

Tasks are cancelled, child processes are killed, alarms are switched off, and work that no thread has begun is called
off. A thread cannot be ended: it is only waited for. So something may be left until the whole slot ends.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tubeherd.job import Job
from tubeherd.logs import log
from tubeherd.processes import children, descendants, has_ended, started_at
from tubeherd.processing import started
from tubeherd.processing.started import ALARMS, THREADS, Started

if TYPE_CHECKING:
    from tubeherd.processing.left_in_loops import LeftInLoops


class Leftovers:
    """What one job has left behind."""

    def __init__(self, job: Job, since: float) -> None:
        """`since` is when the job was reserved, on the monotonic clock."""
        self._job = job
        self._since = since
        self._in_loops: LeftInLoops | None = None
        self._reported = False
        self._generators_unclosed = False

    def end(self) -> str:
        """End what can be ended and return in words what is left; an empty text if it is certain that nothing is."""
        mine = started.BY_JOB.get(id(self._job))
        left: list[str] = []
        for kind in (
            self._loops(),
            self._alarms(),
            self._threads(),
            self._children(mine),
            _work(mine),
            _work_of_multiprocessing(),
        ):
            try:
                left += kind
            except Exception as error:  # no file can be opened, or code of the job raises when it is to be ended
                self._report(type(error).__name__)
                left.append("perhaps more")
        return ", ".join(dict.fromkeys(left))

    def _report(self, error: str) -> None:
        if not self._reported:  # it is tried again and again
            log.warning("something that a late job has left could not be ended", job=self._job.id, error=error)
        self._reported = True

    def close_generators(self, error: BaseException | None) -> None:
        """Begin to close the asynchronous generators that are suspended in frames which this error passed through."""
        try:
            if (in_loops := self._left_in_loops()) is not None:
                in_loops.close_generators(error)
        except Exception as trouble:  # no file can be opened, from which the module is to be loaded
            self._report(type(trouble).__name__)
            self._generators_unclosed = True

    def _loops(self) -> Iterator[str]:
        if not started.are_loops_noted():  # code of a job has loaded asyncio, after the executors were imported
            yield "perhaps something in an event loop"
        if self._generators_unclosed:
            yield "perhaps an asynchronous generator"
        if (in_loops := self._left_in_loops()) is not None:
            yield from in_loops.end()

    def _left_in_loops(self) -> "LeftInLoops | None":
        """Return what the job has left in event loops; None if nobody has loaded asyncio, so that there is none."""
        if self._in_loops is None and "asyncio" in sys.modules:
            from tubeherd.processing.left_in_loops import LeftInLoops

            self._in_loops = LeftInLoops(self._job)
        return self._in_loops

    def _alarms(self) -> Iterator[str]:
        """Switch off the interval timers that only this job has set."""
        for which, jobs in list(ALARMS.items()):
            if any(job is self._job for job in jobs) and any(signal.getitimer(which)):
                if len(jobs) > 1:
                    yield "perhaps an alarm"
                else:
                    signal.setitimer(which, 0)

    def _threads(self) -> Iterator[str]:
        """Cancel timers of `threading`; other threads can only be waited for."""
        threads = list(THREADS)
        for thread in threads:
            if thread.job is self._job:
                if isinstance(thread.of, threading.Timer):
                    thread.of.cancel()
                yield "a thread"
            elif not thread.is_known and thread.at >= self._since:
                yield "perhaps a thread"
        known = {os.getpid(), *(thread.tid for thread in threads)}
        others = {int(name) for name in os.listdir("/proc/self/task")} - known
        if any(started_at(tid) >= self._since for tid in others):
            yield "perhaps a thread that Python has not started"

    def _children(self, mine: Started | None) -> Iterator[str]:
        """Kill the child processes of the job, with all that these have started."""
        try:  # costs next to nothing, and nearly always there is none
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        known = mine.children if mine else set()
        for child in children(os.getpid()):
            tree = [child, *descendants(child)]
            shared = started.is_shared(child)
            if shared:
                tree.remove(child)
            if all(map(has_ended, tree)):
                continue
            session = _session_of(child)
            if child in known or session in known or (known and self._is_orphan_of_this_job(child, session)):
                _kill(tree)
                yield "a child process"
            elif not shared and (started.is_known(child) or started.is_known(session)):
                continue  # another job's
            elif any(started_at(pid) >= self._since for pid in tree):
                yield "perhaps a child process"

    def _is_orphan_of_this_job(self, child: int, session: int) -> bool:
        """Return whether an orphan, whose parent has ended, must come from this job: no other has started a process."""
        if started.is_known(child) or started.is_known(session) or started_at(child) < self._since:
            return False
        return not started.other_job_has_started_a_child(self._job, self._since)


def _session_of(pid: int) -> int:
    """Return the id of a process's session, which is that of the process that began it; 0 if the process has ended."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _work(mine: Started | None) -> Iterator[str]:
    for work in list(mine.work) if mine else ():
        if not work.cancel() and not work.done():
            yield "work in a thread or in a process of a pool"


def _work_of_multiprocessing() -> Iterator[str]:
    """Look for work in the pools of `multiprocessing`, of which nobody knows whose it is."""
    util: Any = sys.modules.get("multiprocessing.util")
    for finalizer in list(util._finalizer_registry.values()) if util else ():
        terminates = getattr(finalizer._callback, "__qualname__", "") == "Pool._terminate_pool"
        if terminates and finalizer._args[-1]:  # the results that are awaited
            yield "perhaps work in a pool of multiprocessing"


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
