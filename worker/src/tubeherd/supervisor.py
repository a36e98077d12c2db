"""The supervisor: the worker's first process, parent of the slots. It holds their leases while they execute.

Single-threaded, and it never imports user code. Everything it does about a job happens under the lock of the slot's
page, while the page says that the job is executing, so that slot and supervisor never speak at once.
"""

import gc
import os
import resource
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Final

from tubeherd.concurrent_slot import ConcurrentSlot
from tubeherd.coroutines import too_long
from tubeherd.exits import Exit
from tubeherd.health import CannotListen, HealthServer
from tubeherd.lane import Lane
from tubeherd.lease import Lease, Page, Phase, Request, State
from tubeherd.logs import log
from tubeherd.memory import MIB, kernel_kills, used_above
from tubeherd.metrics import Metrics
from tubeherd.policy import Bury, Failed, Interrupted, Outcome
from tubeherd.processing import Processed
from tubeherd.queue import REPLY_SECONDS, Connection, NotFoundError, QueueUnavailable, RefusedError, Settled
from tubeherd.reasons import describe
from tubeherd.reporting import Reporter
from tubeherd.sequential_slot import SequentialSlot
from tubeherd.settings import WorkerSettings
from tubeherd.slot import Burial, Progress, Seat
from tubeherd.slot import main as slot_main
from tubeherd.sockets import readable

_TICK_SECONDS: Final = 0.1
_TERM_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
_PROMPT_SECONDS: Final = 0.01
_PASSING_SECONDS: Final = 0.05
_VERDICT_SECONDS: Final = 1.0
_LISTENER_SECONDS: Final = 600.0
_TOUCHES_MOST: Final = 500
_COMMAND_SECONDS: Final = 1.0
_PAUSE_MOST: Final = 5.0
_STARTS_MOST: Final = 5
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class _LaneView:
    """What the supervisor knows of one connection of a slot."""

    page: Page
    connection: Connection | None = None
    touched: dict[Lease, float] = field(default_factory=dict)
    """When a lease that is still held was last touched."""
    asked: list[Lease] = field(default_factory=list)
    """The leases whose touches were not answered yet; the lock is held until they are."""
    asked_at: float = 0.0
    warned: tuple[Lease, float] | None = None
    """The execution that got SIGTERM for its deadline, and when."""
    commanding: tuple[State, float] | None = None
    """What the slot was seen in the middle of, and since when, while it was to stop."""

    def due(self, state: State, now: float) -> list[Lease]:
        """Return leases of which half is gone, no more than go into one write."""
        due = (lease for lease in state.leases if now >= self.touched.get(lease, lease.since) + lease.ttr / 2)
        return list(islice(due, _TOUCHES_MOST))

    @contextmanager
    def locked_while(self, state: State) -> Iterator[bool]:
        """Hold the lock if the slot is in that very state, and tell whether it is."""
        if self.asked:  # the lock is held until the answer comes
            yield self.page.read() == state
        else:
            with self.page.locked_while(state) as same:
                yield same

    def close_connection(self) -> None:
        """Close the connection for the slot too: beanstalkd gives its leases back."""
        if self.connection:
            self.connection.abandon()
            self.connection = None


@dataclass(slots=True)
class _Child:
    """What the supervisor knows of one slot."""

    pid: int
    number: int
    """The lowest that no other slot had when it was started."""
    control: socket.socket
    views: list[_LaneView]
    progress: Progress
    """How far the slots of this place had come towards their limits when it was started."""
    deaths: int = 0
    """How many slots before this one died in this place in a row without having begun a job."""
    doom: Failed | Interrupted | None = None
    """Why the supervisor killed the slot; the lock of the culprit's page is held until the slot is reaped."""
    culprit: State | None = None
    """The execution for which the supervisor killed the slot, where it was not for all of them."""

    @property
    def page(self) -> Page:
        """The page that tells of the slot as a whole."""
        return self.views[0].page


@dataclass(slots=True)
class _Vacancy:
    """A place for a slot that is filled at some time, on the monotonic clock."""

    due: float
    connections: Sequence[Connection | None]
    progress: Progress
    deaths: int


@dataclass
class Supervisor:
    """Runs `concurrency` slots until it is told to stop, or one of them says why it must."""

    settings: WorkerSettings
    clock: Callable[[], float] = time.monotonic
    _children: dict[int, _Child] = field(default_factory=dict)
    _vacancies: list[_Vacancy] = field(default_factory=list)
    _burials: list[Burial] = field(default_factory=list)
    _signals: list[int] = field(default_factory=list)
    _exit: Exit = Exit.OK
    _stopping_since: float | None = None
    _all_started: bool = False
    _silent_until: float = 0.0
    """Until when beanstalkd gets little time to answer about the jobs of dead slots, as it took too long before."""

    def __post_init__(self) -> None:
        self._policy = self.settings.policy()
        self._share = self.settings.memory_share()
        self._listener_seconds = max(self.settings.job_timeout or 0.0, _LISTENER_SECONDS)
        self._kernel_kills = kernel_kills()

    def run(self) -> Exit:
        """Run the slots to the end of the worker and return its exit code; raises CannotListen."""
        _allow_files(self.settings.concurrency * self.settings.async_concurrency)
        self._selector = selectors.DefaultSelector()
        self._serve_health()
        self._catch_signals()
        # What is alive now is never collected, so that slots keep sharing its pages.
        gc.collect()
        gc.freeze()
        self._vacate(1)
        while self._children or self._vacancies:
            self._wait()
            self._fill_vacancies()
            self._reap()
            for child in list(self._children.values()):
                self._supervise(child)
        if self._metrics:
            self._metrics.remove()
        log.info("worker stopped", exit_code=int(self._exit))
        return self._exit

    def _serve_health(self) -> None:
        self._metrics = self._health = None
        if self.settings.health:
            self._health = HealthServer(self.settings.health, self._selector, self._ready, self._metrics_text)
            try:
                self._metrics = Metrics()
            except OSError as error:
                raise CannotListen(f"no temporary directory for what /metrics shows: {error}") from error
        self._reporter = Reporter(self._metrics)

    def _metrics_text(self) -> bytes:
        return self._metrics.text() if self._metrics else b""

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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)  # as the image's entry point blocks them
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
            try:
                key.data()
            except Exception as error:  # whoever asks for health must not end the worker
                log.error(f"a request could not be answered: {describe(error)}")
        while self._signals:
            self._heed(self._signals.pop(0))
        if self._health:
            self._health.drop_slow_peers()

    def _ready(self) -> bool:
        connected = (Phase.COMMAND, Phase.WAITING, Phase.EXECUTING, Phase.RESTING)
        pages = (view.page for child in self._children.values() for view in child.views)
        return self._stopping_since is None and any(page.phase in connected for page in pages)

    # Slots

    def _vacate(self, places: int) -> None:
        self._vacancies += [_Vacancy(self.clock(), [], self._no_progress(), 0) for _ in range(places)]
        self._fill_vacancies()

    def _fill_vacancies(self) -> None:
        due = [vacancy for vacancy in self._vacancies if self.clock() >= vacancy.due]
        self._vacancies = [vacancy for vacancy in self._vacancies if vacancy not in due]
        for vacancy in due:
            try:
                self._spawn(vacancy.connections, vacancy.progress, vacancy.deaths)
            except OSError as error:  # out of processes, files or memory
                log.error(f"a slot could not be started, it is tried again: {error.strerror or error}")
                self._vacancies.append(replace(vacancy, due=self.clock() + _PAUSE_MOST))

    def _spawn(self, connections: Sequence[Connection | None], progress: Progress, deaths: int = 0) -> None:
        kept_most = self.settings.batch_size if self.settings.ack_after_flush else 0
        views = [_LaneView(Page(kept_most)) for _ in range(self.settings.async_concurrency)]
        for view, connection in zip(views, connections, strict=False):
            view.connection = connection
        for view in views[1:]:
            view.page.leave(Phase.RESTING if view.connection else Phase.CONNECTING)
        number = min(set(range(len(self._children) + 1)) - {child.number for child in self._children.values()})
        lanes = [
            Lane(place, view.page, view.connection, view.connection is not None) for place, view in enumerate(views)
        ]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        burials, self._burials = self._burials, []
        kind = ConcurrentSlot if self.settings.async_concurrency > 1 else SequentialSlot
        slot = kind(self.settings, Seat(number, lanes, self._metrics, progress), theirs, burials)
        pid = os.fork()
        if pid == 0:
            self._forget_siblings(ours)
            slot_main(slot)
        with suppress(OSError):  # the slot does the same, whoever comes first
            os.setpgid(pid, pid)
        theirs.close()
        child = _Child(pid, number, ours, views, progress, deaths)
        self._children[pid] = child
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._receive_all(child))

    def _forget_siblings(self, ours: socket.socket) -> None:
        """Close, in a new slot, what belongs to the supervisor and to the other slots."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for end in (self._wakeup, self._wakeup_write, ours):
            end.close()
        if self._health:
            self._health.forget()
        of_vacancies = chain.from_iterable(vacancy.connections for vacancy in self._vacancies)
        of_siblings = [view.connection for sibling in self._children.values() for view in sibling.views]
        for connection in (*of_vacancies, *of_siblings):
            if connection:
                connection.close()
        for sibling in self._children.values():
            sibling.control.close()
            for view in sibling.views:
                view.page.close()

    def _receive_all(self, child: _Child) -> None:
        """Take the sockets of all connections that the slot has opened."""
        while self._receive(child):
            pass

    def _receive(self, child: _Child) -> bool:
        """Take the socket of a connection that the slot has just opened; returns whether there was one."""
        try:
            number, fds, _, _ = socket.recv_fds(child.control, 16, 8)
        except BlockingIOError:
            return False
        except OSError:  # the slot is dead
            number, fds = b"", []
        for fd in fds:
            view = child.views[int(number)]
            view.close_connection()
            os.set_inheritable(fd, False)  # no program that a slot starts is to keep a connection open
            sock = socket.socket(fileno=fd)
            try:
                view.connection = Connection(sock)
            except QueueUnavailable:
                sock.close()
        if not fds:
            with suppress(KeyError):
                self._selector.unregister(child.control)
        return bool(fds)

    def _stop(self) -> None:
        self._stopping_since = self.clock()
        for connection in chain.from_iterable(vacancy.connections for vacancy in self._vacancies):
            if connection:
                connection.abandon()
        self._vacancies.clear()
        for child in self._children.values():
            self._request_stop(child)

    def _request_stop(self, child: _Child) -> None:
        child.page.request = Request.STOP
        with suppress(OSError):
            child.control.send(b"s")

    # One look at one slot

    def _supervise(self, child: _Child) -> None:
        phase = child.page.phase
        if phase is not Phase.STARTING:
            self._start_the_others()
        if child.doom is not None:
            return
        now = self.clock()
        if self._stopping_since is not None and phase is Phase.STARTING:
            self._kill(child, Interrupted("the worker stopped before the executors were imported"))
        elif self._stopping_since is not None and now >= self._stopping_since + self.settings.grace_period:
            self._kill(child, Interrupted("the worker had to stop before the job was done"))
        elif (since := child.page.listening_since) and now >= since + self._listener_seconds:
            words = "listeners of worker.flush or worker.job.buried took longer than"
            self._kill(child, Failed(f"{words} {self._listener_seconds:g} s"))
        else:
            held_up = self._is_held_up(child)
            for view in child.views:
                self._look_at(child, view, now, held_up)
        if self._share and child.doom is None and (used := used_above(child.pid, self._share.soft)):
            self._limit_memory(child, used)

    def _start_the_others(self) -> None:
        # The first slot has shown that the executors can be imported; an error is reported once, not N times.
        if not self._all_started and self._stopping_since is None:
            self._all_started = True
            self._vacate(self.settings.concurrency - 1)

    def _look_at(self, child: _Child, view: _LaneView, now: float, held_up: bool) -> None:
        if view.asked:
            self._take_touched(child, view, 0)
        if view.page.phase not in (Phase.EXECUTING, Phase.RESTING):
            if self._stopping_since is not None:
                self._break_command_off(view, now)
            return
        state = view.page.read()
        if state.phase is Phase.EXECUTING and not held_up:
            self._enforce_deadline(child, view, state, now)
        if child.doom is None and not view.asked and view.due(state, now):
            self._touch(child, view, state, now)

    def _break_command_off(self, view: _LaneView, now: float) -> None:
        """End the connection under a slot that is to stop and waits for a beanstalkd that says nothing."""
        state = view.page.read()
        if view.commanding is None or view.commanding[0] != state:
            view.commanding = (state, now)
        elif now >= view.commanding[1] + _COMMAND_SECONDS:
            view.close_connection()

    def _is_held_up(self, child: _Child) -> bool:
        """Tell whether the slot's jobs wait for its listeners, or for beanstalkd's answer: no fault of theirs."""
        in_command = any(view.page.phase is Phase.COMMAND for view in child.views)
        return child.page.listening_since > 0 or in_command

    def _enforce_deadline(self, child: _Child, view: _LaneView, state: State, now: float) -> None:
        timeout = self.settings.job_timeout or state.executing.ttr
        if view.warned and view.warned[0] == state.executing:
            if now >= view.warned[1] + _TERM_SECONDS:
                self._kill_for_deadline(child, view, state, timeout)
        elif now >= state.executing.since + timeout:
            with view.locked_while(state) as same:
                if same:
                    view.warned = (state.executing, now)
                    child.page.ask_holder()
                    os.kill(child.pid, signal.SIGTERM)

    def _kill_for_deadline(self, child: _Child, view: _LaneView, state: State, timeout: float) -> None:
        """Kill a slot for the job that is late, or for the one that holds the event loop so that the other is."""
        late = Failed(f"{too_long(timeout)} and did not end on SIGTERM")
        holder = child.page.holder if len(child.views) > 1 else 0
        others = [other.page.read() for other in child.views if other is not view]
        culprit = next((other for other in others if holder and other.executing.job == holder), state)
        if holder is None:  # code that looks at no signal: nobody can tell whose
            held = f"code that ends on no signal held the event loop past the deadline of job {state.executing.job}"
            self._kill(child, Failed(held), view, state)
        elif culprit is state:
            self._kill(child, late, view, state, culprit)
        else:
            held = "the job held the event loop of its process past the deadline of another and did not end on SIGTERM"
            self._kill(child, Failed(held), view, state, culprit)

    def _touch(self, child: _Child, view: _LaneView, state: State, now: float) -> None:
        """Ask for longer leases, and wait for the answers later: a silent beanstalkd must not hold up all the rest."""
        if view.connection is None or not view.page.try_lock():
            return
        if view.page.read() != state:
            view.page.unlock()
            return
        view.asked, view.asked_at = view.due(state, now), now
        held = {lease: when for lease, when in view.touched.items() if lease in state.leases}
        view.touched = held | dict.fromkeys(view.asked, now)
        with suppress(QueueUnavailable):  # the answer tells
            view.connection.ask_extend(lease.job for lease in view.asked)
        self._take_touched(child, view, _PROMPT_SECONDS)

    def _take_touched(self, child: _Child, view: _LaneView, wait: float) -> None:
        """Take the answers to touches within `wait` seconds, or leave them for later."""
        connection = view.connection
        answered = connection is not None and bool(readable([connection.socket], wait))
        if not answered and connection and self.clock() < view.asked_at + _ANSWER_SECONDS:
            return
        try:
            if not answered or connection is None:
                raise QueueUnavailable(f"beanstalkd gave no answer within {_ANSWER_SECONDS:g} s")
            connection.wait_at_most(_VERDICT_SECONDS)  # the first bytes are there, and all the rest waits as well
            for lease in view.asked:
                if not connection.take_extended():
                    log.warning("lease was gone while the job was executing: it may run twice", job=lease.job)
            connection.wait_at_most(REPLY_SECONDS)
        except (QueueUnavailable, RefusedError) as error:
            log.warning(f"cannot keep the lease: {error}; the job may run twice", job=view.asked[0].job)
            view.close_connection()
        view.asked = []
        if child.doom is None:
            view.page.unlock()

    def _limit_memory(self, child: _Child, used: int) -> None:
        assert self._share is not None  # noqa: S101 - told by the caller
        # In the middle of a command a kill could lose a delivery; the slot is recycled after its next job.
        in_job = any(view.page.phase is Phase.EXECUTING for view in child.views)
        if used > self._share.hard and (in_job or child.page.phase not in (Phase.COMMAND, Phase.DONE)):
            limit = f"the slot used {used / MIB:.0f} MiB, more than its share of {self._share.hard / MIB:.0f} MiB"
            self._kill(child, Failed(f"memory limit passed: {limit}"))
        elif child.page.request == Request.NOTHING:
            child.page.request = Request.RECYCLE

    def _kill(
        self,
        child: _Child,
        doom: Failed | Interrupted,
        view: _LaneView | None = None,
        state: State | None = None,
        culprit: State | None = None,
    ) -> None:
        """Kill a slot with the connections of its jobs at rest, while `view` is in that state, if one is given.

        `culprit` is the execution for which it is killed; None: for all of them. Tries again at the next look where a
        command is just beginning. The locks are kept until the slot is reaped.
        """
        executing = [other for other in child.views if other.page.phase is Phase.EXECUTING and not other.asked]
        locked = [other for other in executing if other.page.try_lock()]
        at_rest = all(other.page.phase is Phase.EXECUTING for other in locked) and len(locked) == len(executing)
        if not at_rest or (view is not None and view.page.read() != state):
            for other in locked:
                other.page.unlock()
            return
        child.doom, child.culprit = doom, culprit
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
        self._receive_all(child)
        del self._children[child.pid]
        phase = child.page.phase
        if phase is Phase.DONE or (phase is Phase.STARTING and code == Exit.EXECUTORS):
            self._ended_by_itself(child, code)
        else:
            self._died(child, code)
        begun = max(view.page.begun for view in child.views)
        self._discard(child)
        if self._stopping_since is None and self._exit is Exit.OK and not (phase is Phase.DONE and code == Exit.LIMIT):
            self._replace(child, begun, died=phase is not Phase.DONE)
        else:
            for view in child.views:
                view.close_connection()
        if phase is not Phase.STARTING:  # a slot may have come and gone between two looks at it
            self._start_the_others()

    def _replace(self, child: _Child, begun: int, died: bool) -> None:
        """Have another slot in the place of one: at once, or later where slots die there without beginning a job."""
        connections = [view.connection for view in child.views]
        progress = self._no_progress()
        if self.settings.on_limit == "stop":  # else a limit would begin anew with each death
            progress = child.progress._replace(begun=max(child.progress.begun, begun))
        pause, deaths = 0.0, 0
        if died and not begun:
            pause = min(_PAUSE_MOST, _TICK_SECONDS * 2**child.deaths) if child.deaths else 0.0
            deaths = child.deaths + 1
        self._vacancies.append(_Vacancy(self.clock() + pause, connections, progress, deaths))
        self._fill_vacancies()

    def _no_progress(self) -> Progress:
        return Progress(0, self.clock() + self.settings.max_time if self.settings.max_time else None)

    def _ended_by_itself(self, child: _Child, code: int) -> None:
        if code == Exit.RECYCLE:
            log.info("slot recycled between jobs", pid=child.pid)
        elif code == Exit.LIMIT:
            log.info("slot ended: it reached a limit", pid=child.pid)
        elif code in (Exit.EXECUTORS, Exit.STOPPED_BY_JOB):
            self._give_up(Exit(code))

    def _died(self, child: _Child, code: int) -> None:
        doom = child.doom or Failed(f"the slot died: {_describe_exit(code)}{self._kernel_killed(code)}")
        states = [view.page.read() for view in child.views]
        for view, state in zip(child.views, states, strict=True):
            if state.phase in (Phase.EXECUTING, Phase.RESTING):
                self._take_over(child, view, state, doom)
            else:
                # Whether the command in flight was carried out is not known; beanstalkd sorts it out.
                view.close_connection()
        if not any(state.phase is Phase.EXECUTING for state in states):
            log.warning(doom.reason, pid=child.pid, phase=states[0].phase.name.lower())
        if child.deaths + 1 >= _STARTS_MOST and child.page.phase is Phase.STARTING:
            log.error(f"{doom.reason} while it imported the executors, {_STARTS_MOST} times in a row")
            self._give_up(Exit.EXECUTORS)

    def _kernel_killed(self, code: int) -> str:
        if code != -signal.SIGKILL:
            return ""
        before, self._kernel_kills = self._kernel_kills, kernel_kills()
        return ", killed by the kernel for the memory limit of its container" if self._kernel_kills > before else ""

    def _give_up(self, code: Exit) -> None:
        self._exit = code
        if self._stopping_since is None:
            self._stop()

    def _take_over(self, child: _Child, view: _LaneView, state: State, doom: Failed | Interrupted) -> None:
        """Give the verdicts on the jobs of a dead slot whose leases the supervisor still holds."""
        if view.asked:
            self._take_touched(child, view, _VERDICT_SECONDS)
            if view.asked:
                view.close_connection()
                view.asked = []
        if state.phase is Phase.EXECUTING:
            innocent = child.culprit is not None and child.culprit.executing != state.executing
            innocent |= child.page.listening_since > 0
            outcome = Interrupted(f"not the job's fault: {doom.reason}") if innocent else doom
            self._settle(view, state.executing, outcome, self.clock() - state.executing.since)
        # While listeners ran, the jobs that waited for them may be what killed the slot.
        listening = child.page.listening_since > 0
        waiting = doom if listening else Interrupted(f"executed, but not flushed: {doom.reason}")
        for lease in state.kept:
            self._settle(view, lease, waiting, 0.0)

    def _settle(self, view: _LaneView, lease: Lease, outcome: Outcome, seconds: float) -> None:
        connection = view.connection
        if connection is None:
            log.warning("no connection for the verdict on a dead slot's job: it comes back by itself", job=lease.job)
            return
        asked = self.clock()
        # All the rest waits as well: once beanstalkd has not answered, it is asked about the others in passing.
        patience = _VERDICT_SECONDS if asked >= self._silent_until else _PASSING_SECONDS
        try:
            connection.wait_at_most(patience)
            stats = connection.job_stats(lease.job)
            verdict = self._policy.decide(outcome, stats)
            settled = connection.settle(lease.job, verdict)
        except NotFoundError:
            log.warning("lease was gone when the slot died", job=lease.job)
        except (QueueUnavailable, RefusedError) as error:
            log.warning(f"the verdict on the job was lost: {error}; it comes back by itself", job=lease.job)
            view.close_connection()
            if self.clock() >= asked + patience:
                self._silent_until = self.clock() + _ANSWER_SECONDS
        else:
            self._silent_until = 0.0
            processed = Processed(self._policy.job(stats), verdict, seconds)
            self._reporter.report(processed, settled)
            if settled is Settled.DONE and isinstance(verdict, Bury):
                self._burials.append(Burial(processed.job, verdict.reason))
        if view.connection:
            view.connection.wait_at_most(REPLY_SECONDS)

    def _discard(self, child: _Child) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(child.control)
        child.control.close()
        for view in child.views:
            view.page.close()


def _allow_files(lanes: int) -> None:
    """Have the system allow the files that so many lanes need, where it may: a page, a map and a socket each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 3 * lanes + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"
