"""The supervisor: the worker's first process, parent of the slots. It holds their leases while they execute.

Single-threaded, and it never imports user code. Everything it does about a job happens under the lock of the slot's
page, while the page says that the job is executing, so that slot and supervisor never speak at once.
"""

import gc
import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from tubeherd.exits import Exit
from tubeherd.health import HealthServer
from tubeherd.lease import Page, Phase, Request, State
from tubeherd.memory import MIB, used_above
from tubeherd.policy import Bury, Failed, Interrupted, Outcome
from tubeherd.processing import Processed, report
from tubeherd.queue import Connection, NotFoundError, QueueUnavailable, RefusedError
from tubeherd.settings import WorkerSettings
from tubeherd.slot import Burial, Slot
from tubeherd.slot import main as slot_main

_TICK_SECONDS: Final = 0.1
_TERM_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
_PROMPT_SECONDS: Final = 0.01
_STARTS_MOST: Final = 5
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log: Final = structlog.get_logger()


@dataclass(slots=True)
class _Child:
    """What the supervisor knows of one slot."""

    pid: int
    page: Page
    control: socket.socket
    connection: Connection | None
    failed_starts: int = 0
    """How often in a row a slot in this place died while it imported the executors."""
    touched: tuple[State, float] | None = None
    """The execution whose lease was last touched, and when."""
    asked: float | None = None
    """When the touch was sent whose answer is still out; the lock is held until it comes."""
    warned: tuple[State, float] | None = None
    """The execution that got SIGTERM for its deadline, and when."""
    doom: Failed | Interrupted | None = None
    """Why the supervisor killed the slot; the lock is held until the slot is reaped."""


@dataclass
class Supervisor:
    """Runs `concurrency` slots until it is told to stop, or one of them says why it must."""

    settings: WorkerSettings
    clock: Callable[[], float] = time.monotonic
    _children: dict[int, _Child] = field(default_factory=dict)
    _burials: list[Burial] = field(default_factory=list)
    _signals: list[int] = field(default_factory=list)
    _exit: Exit = Exit.OK
    _stopping_since: float | None = None
    _all_started: bool = False

    def __post_init__(self) -> None:
        self._policy = self.settings.policy()
        self._share = self.settings.memory_share()

    def run(self) -> Exit:
        """Run the slots to the end of the worker and return its exit code; raises CannotListen."""
        self._selector = selectors.DefaultSelector()
        self._health = HealthServer(self.settings.health, self._selector, self._ready) if self.settings.health else None
        self._catch_signals()
        # What is alive now is never collected, so that slots keep sharing its pages.
        gc.collect()
        gc.freeze()
        self._spawn(None)
        while self._children:
            self._wait()
            self._reap()
            for child in list(self._children.values()):
                self._supervise(child)
        log.info("worker stopped", exit_code=int(self._exit))
        return self._exit

    # Waiting

    def _catch_signals(self) -> None:
        self._wakeup, write_end = socket.socketpair()
        for end in (self._wakeup, write_end):
            end.setblocking(False)
        self._wakeup_write = write_end
        signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _STOP_SIGNALS:
            signal.signal(number, lambda number, _: self._signals.append(number))
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._drain_wakeup)

    def _drain_wakeup(self) -> None:
        with suppress(BlockingIOError):
            self._wakeup.recv(4096)

    def _heed(self, number: int) -> None:
        if self._stopping_since is None:
            log.info(f"{signal.Signals(number).name}: no further job is reserved; running jobs may finish")
            self._stop()
        elif number == signal.SIGINT:
            self._stopping_since = float("-inf")  # asked for twice on a terminal: waits no longer

    def _wait(self) -> None:
        for key, _ in self._selector.select(_TICK_SECONDS):
            key.data()
        while self._signals:
            self._heed(self._signals.pop(0))
        if self._health:
            self._health.drop_slow_peers()

    def _ready(self) -> bool:
        connected = (Phase.COMMAND, Phase.EXECUTING, Phase.LISTENING)
        stopping = self._stopping_since is not None
        return not stopping and any(child.page.read().phase in connected for child in self._children.values())

    # Slots

    def _spawn(self, connection: Connection | None, failed_starts: int = 0) -> None:
        page = Page()
        ours, theirs = socket.socketpair()
        burials, self._burials = self._burials, []
        slot = Slot(self.settings, page, theirs, connection, burials)
        pid = os.fork()
        if pid == 0:
            self._forget_siblings(ours)
            slot_main(slot)
        with suppress(OSError):  # the slot does the same, whoever comes first
            os.setpgid(pid, pid)
        theirs.close()
        child = _Child(pid, page, ours, connection, failed_starts)
        self._children[pid] = child
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._receive(child))

    def _forget_siblings(self, ours: socket.socket) -> None:
        """Close, in a new slot, what belongs to the supervisor and to the other slots."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for end in (self._wakeup, self._wakeup_write, ours):
            end.close()
        if self._health:
            self._health.forget()
        for sibling in self._children.values():
            sibling.page.close()
            sibling.control.close()
            if sibling.connection:
                sibling.connection.close()

    def _receive(self, child: _Child) -> bool:
        """Take the socket of a connection that the slot has just opened; returns whether there was one."""
        try:
            _, fds, _, _ = socket.recv_fds(child.control, 16, 8)
        except OSError:  # nothing has come, or the slot is dead
            fds = []
        for fd in fds:
            self._close_connection(child)
            os.set_inheritable(fd, False)  # no program that a slot starts is to keep a connection open
            sock = socket.socket(fileno=fd)
            try:
                child.connection = Connection(sock)
            except QueueUnavailable:
                sock.close()
        if not fds:
            with suppress(KeyError):
                self._selector.unregister(child.control)
        return bool(fds)

    def _close_connection(self, child: _Child) -> None:
        if child.connection:
            child.connection.abandon()
            child.connection = None

    def _stop(self) -> None:
        self._stopping_since = self.clock()
        for child in self._children.values():
            self._request_stop(child)

    def _request_stop(self, child: _Child) -> None:
        child.page.request = Request.STOP
        with suppress(OSError):
            child.control.send(b"s")

    # One look at one slot

    def _supervise(self, child: _Child) -> None:
        state = child.page.read()
        if state.phase is not Phase.STARTING:
            self._start_the_others()
        if child.doom is not None:
            return
        now = self.clock()
        if self._stopping_since is not None and state.phase is Phase.STARTING:
            self._kill(child, state, Interrupted("the worker stopped before the executors were imported"))
        elif self._stopping_since is not None and now >= self._stopping_since + self.settings.grace_period:
            self._kill(child, state, Interrupted("the worker had to stop before the job was done"))
        elif state.phase is Phase.EXECUTING:
            self._supervise_job(child, state, now)
        if self._share and child.doom is None and (used := used_above(child.pid, self._share.soft)):
            self._limit_memory(child, state, used)

    def _start_the_others(self) -> None:
        # The first slot has shown that the executors can be imported; an error is reported once, not N times.
        if not self._all_started and self._stopping_since is None:
            self._all_started = True
            for _ in range(self.settings.concurrency - 1):
                self._spawn(None)

    def _supervise_job(self, child: _Child, state: State, now: float) -> None:
        if child.asked is not None:
            self._take_touched(child, state, 0)
            return
        timeout = self.settings.job_timeout or state.ttr
        leased = child.touched[1] if child.touched and child.touched[0] == state else state.started
        if child.warned and child.warned[0] == state:
            if now >= child.warned[1] + _TERM_SECONDS:
                self._kill(child, state, _too_long(timeout))
        elif now >= state.started + timeout:
            self._warn(child, state, now)
        if child.doom is None and now >= leased + state.ttr / 2:
            self._touch(child, state, now)

    def _warn(self, child: _Child, state: State, now: float) -> None:
        with child.page.locked_while(state) as same:
            if same:
                child.warned = (state, now)
                os.kill(child.pid, signal.SIGTERM)

    def _touch(self, child: _Child, state: State, now: float) -> None:
        """Ask for a longer lease, and wait for the answer later: a silent beanstalkd must not hold up all the rest."""
        if child.connection is None or not child.page.try_lock():
            return
        if child.page.read() != state:
            child.page.unlock()
            return
        child.touched, child.asked = (state, now), now
        with suppress(QueueUnavailable):  # the answer tells
            child.connection.ask_extend(state.job)
        self._take_touched(child, state, _PROMPT_SECONDS)

    def _take_touched(self, child: _Child, state: State, wait: float) -> None:
        """Take the answer to a touch within `wait` seconds, or leave it for later."""
        readable = child.connection is not None and _readable(child.connection.socket, wait)
        if not readable and child.connection and child.asked and self.clock() < child.asked + _ANSWER_SECONDS:
            return
        try:
            if not readable or child.connection is None:
                raise QueueUnavailable(f"beanstalkd gave no answer within {_ANSWER_SECONDS:g} s")
            if not child.connection.take_extended():
                log.warning("lease was gone while the job was executing: it may run twice", job=state.job)
        except (QueueUnavailable, RefusedError) as error:
            log.warning(f"cannot keep the lease: {error}; the job may run twice", job=state.job)
            self._close_connection(child)
        child.asked = None
        if child.doom is None:
            child.page.unlock()

    def _limit_memory(self, child: _Child, state: State, used: int) -> None:
        assert self._share is not None  # noqa: S101 - told by the caller
        # In the middle of a command a kill could lose a delivery; the slot is recycled after its next job.
        if used > self._share.hard and state.phase not in (Phase.COMMAND, Phase.DONE):
            limit = f"the slot used {used / MIB:.0f} MiB, more than its share of {self._share.hard / MIB:.0f} MiB"
            self._kill(child, state, Failed(f"memory limit passed: {limit}"))
        elif child.page.request == Request.NOTHING:
            child.page.request = Request.RECYCLE

    def _kill(self, child: _Child, state: State, doom: Failed | Interrupted) -> None:
        """Kill a slot in that state, or any slot that executes no job; the lock is kept until it is reaped."""
        if state.phase is Phase.EXECUTING and (not child.page.try_lock() or child.page.read() != state):
            child.page.unlock()
            return
        child.doom = doom
        os.kill(child.pid, signal.SIGKILL)  # the rest of its group is killed when it is reaped

    # The end of a slot

    def _reap(self) -> None:
        """Reap every process that has ended: slots, and, being PID 1, orphans."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid in self._children:
                # What a job left running goes with its slot; before reaping, so that the group cannot be another's.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(ended.si_pid, signal.SIGKILL)
            _, status = os.waitpid(ended.si_pid, 0)
            if child := self._children.get(ended.si_pid):
                self._end(child, os.waitstatus_to_exitcode(status))

    def _end(self, child: _Child, code: int) -> None:
        child.control.setblocking(False)
        while self._receive(child):
            pass
        del self._children[child.pid]
        state = child.page.read()
        child.failed_starts = child.failed_starts + 1 if state.phase is Phase.STARTING else 0
        if state.phase is Phase.DONE or (state.phase is Phase.STARTING and code == Exit.EXECUTORS):
            self._ended_by_itself(child, code)
        else:
            self._died(child, state, code)
        self._discard(child)
        if self._stopping_since is None and self._exit is Exit.OK and not self._limited(code, state):
            self._spawn(child.connection, child.failed_starts)
        else:
            self._close_connection(child)
        if state.phase is not Phase.STARTING:  # a slot may have come and gone between two looks at it
            self._start_the_others()

    def _limited(self, code: int, state: State) -> bool:
        return code == Exit.LIMIT and state.phase is Phase.DONE

    def _ended_by_itself(self, child: _Child, code: int) -> None:
        if code == Exit.RECYCLE:
            log.info("slot recycled between jobs", pid=child.pid)
        elif code == Exit.LIMIT:
            log.info("slot ended: it reached a limit", pid=child.pid)
        elif code in (Exit.EXECUTORS, Exit.STOPPED_BY_JOB):
            self._give_up(Exit(code))

    def _died(self, child: _Child, state: State, code: int) -> None:
        doom = child.doom or Failed(f"the slot died: {_describe_exit(code)}")
        if state.phase is Phase.EXECUTING:
            self._take_over(child, state, doom)
            return
        # Whether the command in flight was carried out is not known; beanstalkd sorts it out when the connection ends.
        self._close_connection(child)
        log.warning(doom.reason, pid=child.pid, phase=state.phase.name.lower())
        if child.failed_starts == _STARTS_MOST:
            log.error(f"{doom.reason} while it imported the executors, {_STARTS_MOST} times in a row")
            self._give_up(Exit.EXECUTORS)

    def _give_up(self, code: Exit) -> None:
        self._exit = code
        if self._stopping_since is None:
            self._stop()

    def _take_over(self, child: _Child, state: State, outcome: Outcome) -> None:
        """Give the verdict on the job of a dead slot, whose lease the supervisor still holds."""
        if child.asked is not None:
            self._take_touched(child, state, _ANSWER_SECONDS)
        connection = child.connection
        if connection is None:
            log.warning("the slot died without a connection: its job comes back by itself", job=state.job)
            return
        seconds = self.clock() - state.started
        try:
            stats = connection.job_stats(state.job)
            verdict = self._policy.decide(outcome, stats)
            settled = connection.settle(state.job, verdict)
        except NotFoundError:
            log.warning("lease was gone when the slot died", job=state.job)
        except (QueueUnavailable, RefusedError) as error:
            log.warning(f"the verdict on the job was lost: {error}; it comes back by itself", job=state.job)
            self._close_connection(child)
        else:
            processed = Processed(self._policy.job(stats), verdict, seconds)
            report(processed, settled)
            if settled and isinstance(verdict, Bury):
                self._burials.append(Burial(processed.job, verdict.reason))

    def _discard(self, child: _Child) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(child.control)
        child.control.close()
        child.page.close()


def _readable(sock: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _too_long(timeout: float) -> Failed:
    return Failed(f"the job ran longer than its timeout of {timeout:g} s and did not end on SIGTERM")


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"
