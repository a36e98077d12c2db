"""Starts, replaces and reaps the slots of a worker, each in its place.

A worker has as many places as it runs slots at a time. In a place one slot follows another. Between two slots the place
is vacant. A slot has one or more lanes, each with a connection to beanstalkd. It inherits two things from the previous
slot: the connections on which no command waits for an answer, and the progress towards the limits.

To reap a process is to read its exit code after it has ended. Orphans, which jobs have left behind, are reaped too: the
kernel makes them children of process 1, which the supervisor is in a container.
"""

import math
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Final, NamedTuple

from tubeherd.descriptors import moved_socket
from tubeherd.logs import log
from tubeherd.metrics import Metrics, Recycled
from tubeherd.processes import children, descendants, has_ended
from tubeherd.processing.reporting import Notice
from tubeherd.queue.connection import Connection
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.page import Page, Phase
from tubeherd.shared_memory.reserve_count import ReserveCount
from tubeherd.shared_memory.slot_page import Request, SlotPage
from tubeherd.shared_memory.tally import Tally
from tubeherd.slot.context import SlotContext
from tubeherd.slot.lane import Lane
from tubeherd.slot.limits import Progress
from tubeherd.slot.process import SlotProcess
from tubeherd.slot.slot import Slot
from tubeherd.sources import NO_SOURCES, Sources
from tubeherd.supervisor.lane_handle import LaneHandle
from tubeherd.supervisor.reactor import Reactor
from tubeherd.supervisor.remarks import Remarks
from tubeherd.supervisor.slot_handle import SlotHandle

_BACKOFF_FIRST: Final = 0.1
"""Seconds to wait before another slot is forked, if two in a row died in the place before they began a job.

Doubled for each further one. After the first such death, another slot is forked at once.
"""
_BACKOFF_MOST: Final = 5.0
"""The longest such wait, in seconds; also the wait after a fork failed."""
_KILL_SECONDS: Final = 1.0
"""How long to wait for the end of processes that were killed, in seconds. Meanwhile no lease is touched."""
_KILL_PAUSE: Final = 0.001
_FILES_PER_LANE: Final = 3
"""The connection of the lane, and the control socket and the tally, which all lanes of a slot share."""
_FILES_BESIDE: Final = 100
"""Open files of the worker beside those of its lanes, with room to spare."""


@dataclass(eq=False, slots=True)
class Place:
    """Where one slot after another runs, one at a time."""

    number: int
    """Counted from 0. It is part of the file names of the metrics that executors define."""
    inherited: Sequence[Connection | None]
    """By lane, the connections that the slot before left open."""
    progress: Progress
    """How far the slots of this place have come towards their limits."""
    fork_at: float
    """When the next slot is to be forked, on the monotonic clock."""
    early_deaths: int = 0
    """How many slots in a row have died here before they began a job."""
    slot: SlotHandle | None = None
    """The slot that runs here; None while the place is vacant."""
    drains_for: "Place | None" = None
    """If the slot here only drains, the place that it had before, in which another slot runs."""

    @property
    def connections(self) -> Sequence[Connection | None]:
        """By lane, the connections of the slot that runs here, or those that the next one inherits."""
        return self.inherited if self.slot is None else [lane.connection for lane in self.slot.lanes]


class Reaped(NamedTuple):
    """A slot whose process was reaped, and which is still in its place: `refill` or `remove` must follow."""

    place: Place
    slot: SlotHandle
    code: int
    """The exit code of the process, or the negative number of the signal that killed it."""


class Places:
    """Forks, replaces and reaps the slots of one worker."""

    def __init__(
        self,
        settings: WorkerSettings,
        metrics: Metrics | None,
        reactor: Reactor,
        sources: Sources = NO_SOURCES,
        entry_points: Sequence[EntryPoint] = (),
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._reactor = reactor
        self._sources = sources
        self._entry_points = entry_points
        self._reserves = ReserveCount(shared=True)
        self._shows_banner = log.is_for_people
        """Whether the next slot that is forked shows the banner."""
        self._kind = _kind_of_slot(settings)
        self._places: list[Place] = []
        self._notices: list[Notice] = []
        """What became of jobs of dead slots. The next slot publishes `worker.job.failed` and `worker.job.buried`.

        The supervisor cannot publish the events, because the listeners are user code, which it never runs.
        """
        self._remarks = Remarks()
        self._stopping = False
        self._not_ours = frozenset(children(os.getpid()))
        """Child processes that were there before: a script may have started them, and then replaced itself by this."""
        _allow_files(2 * settings.concurrency * settings.async_concurrency)  # a slot that drains, and the one after it

    @property
    def empty(self) -> bool:
        """Whether no slot runs and none will be forked."""
        return not self._places

    @property
    def slots(self) -> Sequence[SlotHandle]:
        """The living slots."""
        return [place.slot for place in self._places if place.slot is not None]

    @property
    def slots_by_number(self) -> Mapping[int, SlotHandle]:
        """The living slots, by the numbers of their places."""
        return {place.number: place.slot for place in self._places if place.slot is not None}

    @property
    def notices(self) -> Sequence[Notice]:
        """The notices that no slot was given yet."""
        return self._notices

    def add(self, count: int) -> None:
        """Make so many places and fork a slot into each."""
        taken = len(self._places)
        vacant: list[Connection | None] = [None] * self._settings.async_concurrency
        self._places += [
            Place(number, vacant, self._no_progress(), time.monotonic()) for number in range(taken, taken + count)
        ]
        self.fill()

    def fill(self) -> None:
        """Fork a slot into each vacant place that need not wait any longer."""
        now = time.monotonic()
        for place in self._places:
            if place.slot is None and now >= place.fork_at:
                try:
                    self._fork(place)
                except OSError as error:  # out of processes, files or memory
                    why = error.strerror or error
                    log.error(f"a slot could not be started ({why}); trying again in {_BACKOFF_MOST:g} s")
                    place.fork_at = now + _BACKOFF_MOST

    def replace_draining(self) -> None:
        """Have another slot follow at once in each place whose slot drains, unless one drains for this place already.

        A slot drains if a job that was stopped has left something that goes on: it only finishes its other jobs.
        """
        for place in self._places.copy():
            slot = place.slot
            if slot is None or slot.draining_since is None or place.drains_for is not None or self._stopping:
                continue
            if not any(other.drains_for is place for other in self._places):
                self._places.append(Place(place.number, [], place.progress, math.inf, slot=slot, drains_for=place))
                # Two slots must not write the users' metrics into the same file.
                place.number = (place.number + self._settings.concurrency) % (2 * self._settings.concurrency)
                place.progress = self._progress_after(place.progress, slot)
                place.inherited = [None] * self._settings.async_concurrency
                place.slot, place.fork_at = None, time.monotonic()

    @property
    def idle(self) -> bool:
        """Whether there was a moment when no slot had a job, and none was ready.

        A slot writes from when to when a reserve of its waited in vain. If these times overlap for all slots, no job
        ran then that could have put another one, and a ready one would have been the answer to a reserve.
        """
        spans = [place.slot.page.idle if place.slot else (0.0, 0.0) for place in self._places]
        return bool(spans) and max(since for since, _ in spans) < min(until for _, until in spans)

    def show_banner(self) -> None:
        """Have the next slot that is forked show the banner, if there is a terminal."""
        self._shows_banner = log.is_for_people

    def release(self, *, one: bool = False) -> None:
        """Let the places that were held have their slots; only the first of them if `one`."""
        held = [place for place in self._places if place.slot is None and place.fork_at == math.inf]
        for place in held[:1] if one else held:
            place.fork_at, place.early_deaths = time.monotonic(), 0
        self.fill()

    def pass_on(self, notices: Sequence[Notice]) -> None:
        """Give these notices to the next slot that is forked, which publishes them before it takes a job."""
        self._notices += notices

    def stop(self) -> None:
        """Ask every slot to end after its present job. A slot that is forked later only publishes notices."""
        self._stopping = True
        vacant = [place for place in self._places if place.slot is None]
        self._remove_vacant(vacant[1:] if self._notices else vacant)
        self.release()
        for slot in self.slots:
            slot.ask_to_stop()

    def give_up_vacant(self) -> None:
        """Remove the vacant places: the slots that could not be forked yet come too late."""
        self._remove_vacant([place for place in self._places if place.slot is None])

    def _remove_vacant(self, places: Sequence[Place]) -> None:
        for place in places:
            self._places.remove(place)
            for connection in filter(None, place.connections):
                connection.abandon()

    def reap(self) -> Iterator[Reaped]:
        """Reap all child processes that have ended, and yield the slots among them."""
        while (pid := _next_ended()) is not None:
            place = next((place for place in self._places if place.slot and place.slot.pid == pid), None)
            if place is None or place.slot is None:  # an orphan
                os.waitpid(pid, 0)
                continue
            # Kill what jobs left running. Until the slot is reaped, no other process group can get its number.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            self._kill_orphans()
            _, status = os.waitpid(pid, 0)
            place.slot.receive_messages()  # those that the slot sent just before it ended
            yield Reaped(place, place.slot, os.waitstatus_to_exitcode(status))

    def _kill_orphans(self) -> None:
        """Kill what a slot that has ended has left in other process groups, and wait until that has ended.

        A living slot is itself the subreaper of what its jobs start, so orphans come only from slots that have ended.
        """
        until = time.monotonic() + _KILL_SECONDS
        # Looked for again and again, because a process may start another one just before it is killed.
        while (orphans := self._living_orphans()) and time.monotonic() < until:
            for pid in orphans:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_KILL_PAUSE)

    def _living_orphans(self) -> list[int]:
        slots = {slot.pid for slot in self.slots}
        orphans = [pid for pid in children(os.getpid()) if pid not in slots and pid not in self._not_ours]
        for orphan in orphans.copy():
            orphans += descendants(orphan)
        return [pid for pid in orphans if not has_ended(pid)]

    def why_recycled(self, reaped: Reaped) -> Recycled:
        """Return why a slot has ended that is to be replaced; only while it is in its place."""
        place, slot, _ = reaped
        if slot.page.request == Request.RELOAD:
            return Recycled.RELOAD
        if slot.page.request == Request.RECYCLE:
            return Recycled.MEMORY
        progress = place.progress._replace(jobs_begun=max(place.progress.jobs_begun, slot.jobs_begun))
        reached = progress.is_at_limit(self._settings.max_jobs, time.monotonic())
        return Recycled.LIMIT if reached and not slot.has_left_behind else Recycled.LATE_JOB

    def refill(self, reaped: Reaped, *, hold: bool = False) -> None:
        """Have another slot follow in the place: at once, or later if slots die there before they begin a job.

        If the place is to `hold`, no slot follows before `release`.
        """
        place, slot, _ = reaped
        died_early = slot.phase is not Phase.DONE and not slot.jobs_begun and not slot.was_interrupted
        pause = _BACKOFF_FIRST * 2**place.early_deaths if died_early and place.early_deaths else 0.0
        place.fork_at = math.inf if hold else time.monotonic() + min(pause, _BACKOFF_MOST)
        place.early_deaths = place.early_deaths + 1 if died_early else 0
        place.progress = self._progress_after(place.progress, slot)
        for lane in slot.lanes:
            lane.close_if_ended()
        place.inherited = place.connections
        self._vacate(place, slot)
        self.fill()

    def remove(self, reaped: Reaped) -> None:
        """Remove the place: no further slot follows."""
        place, slot, _ = reaped
        for lane in slot.lanes:
            lane.close_connection()
        self._vacate(place, slot)
        self._places.remove(place)

    def _vacate(self, place: Place, slot: SlotHandle) -> None:
        self._notices = [*slot.unpublished_notices, *self._notices]
        self._reactor.unregister(slot.control)
        if self._metrics and slot.tally:
            self._metrics.keep(slot.tally)
            self._metrics.files.end_slot(place.number)
        slot.close()
        place.slot = None

    def _progress_after(self, progress: Progress, slot: SlotHandle) -> Progress:
        """Return the progress of the next slot: none if this one was recycled at a limit, otherwise the same goes on.

        So the count goes on if a slot died before a limit, or if it was replaced because of a job that was late.
        """
        progress = progress._replace(jobs_begun=max(progress.jobs_begun, slot.jobs_begun))
        reached = progress.is_at_limit(self._settings.max_jobs, time.monotonic())
        if self._settings.on_limit == "recycle" and (reached or slot.page.request == Request.RECYCLE):
            return self._no_progress()
        return progress

    def _no_progress(self) -> Progress:
        return Progress(0, time.monotonic() + self._settings.max_time if self._settings.max_time else None)

    # Forking

    def _fork(self, place: Place) -> None:
        """Fork a slot into a vacant place; raises OSError, after which nothing stays open."""
        with ExitStack() as opened:
            page = SlotPage()
            opened.callback(page.close)
            if self._stopping or place.drains_for is not None:
                page.request = Request.STOP
            lanes = [LaneHandle(self._open_page(opened), connection) for connection in place.connections]
            for lane in lanes[1:]:  # the first page says STARTING, for the whole slot
                lane.page.write_phase_and_unlock(Phase.RESTING if lane.connection else Phase.CONNECTING)
            ours, theirs = map(moved_socket, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            ours.setblocking(False)
            opened.callback(ours.close)
            tally = self._open_tally(opened)
            with theirs:
                context = SlotContext(
                    number=place.number,
                    supervisor=os.getpid(),
                    page=page,
                    lanes=_slots_lanes(lanes),
                    control=theirs,
                    metrics=self._metrics,
                    tally=tally,
                    reserves=self._reserves,
                    progress=place.progress,
                    sources=self._sources,
                    entry_points=self._entry_points,
                    shows_banner=self._shows_banner,
                    notices=self._notices,
                )
                process = SlotProcess(self._settings, context, self._kind)
                pid = os.fork()
                if pid == 0:
                    self._close_in_fork(place)
                    ours.close()
                    process.run()
            opened.pop_all()
        # The slot does this too, because either process may run first. The second call may be refused.
        with suppress(OSError):
            os.setpgid(pid, pid)
        slot = place.slot = SlotHandle(pid, ours, page, lanes, self._notices, tally, remarks=self._remarks)
        self._notices, self._shows_banner = [], False
        self._reactor.register(ours, lambda: self._receive(slot))

    def _open_page(self, opened: ExitStack) -> Page:
        page = Page(self._settings.batch_size if self._settings.ack_after_flush else 0)
        opened.callback(page.close)
        return page

    def _open_tally(self, opened: ExitStack) -> Tally | None:
        if self._metrics is None:
            return None
        tally = self._metrics.open_tally()
        opened.callback(tally.close)
        opened.callback(self._metrics.keep, tally)
        return tally

    def _close_in_fork(self, own: Place) -> None:
        """Close, in the process of a new slot, the files of the supervisor and of the other slots."""
        self._reactor.close_in_fork()
        for place in self._places:
            if place is not own:
                for connection in filter(None, place.connections):
                    connection.close()
            if place.slot is not None:
                place.slot.close()

    def _receive(self, slot: SlotHandle) -> None:
        if not slot.receive_messages():
            self._reactor.unregister(slot.control)  # the selector would report the end of file again and again


def _slots_lanes(lanes: Sequence[LaneHandle]) -> Sequence[Lane]:
    """Return the lanes as the slot itself uses them."""
    return [
        Lane(number, lane.page, lane.connection, inherited=lane.connection is not None)
        for number, lane in enumerate(lanes)
    ]


def _next_ended() -> int | None:
    """Return the id of a child process that has ended and is not reaped yet, or None."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def _allow_files(lanes: int) -> None:
    """Raise the limit of open files as far as the system allows, if it is too low for so many lanes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_LANE * lanes + _FILES_BESIDE
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < needed:
        event = f"at most {hard} files may be open, and for so many jobs at a time up to {needed} are needed"
        log.warning(f"{event}: raise the limit (ulimit -n), or lower --concurrency or --async-concurrency")


def _kind_of_slot(settings: WorkerSettings) -> type[Slot]:
    """Import and return the class of the slots.

    asyncio takes 3 MiB. A single slot imports it only if a job needs it; if there are several, they share this memory.
    """
    if settings.async_concurrency > 1:
        from tubeherd.slot.concurrent import ConcurrentSlot

        return ConcurrentSlot
    if settings.concurrency > 1:
        from tubeherd.processing import job_loop  # noqa: F401 - loaded for the slots
    from tubeherd.slot.sequential import SequentialSlot

    return SequentialSlot
