"""The places of a worker's slots: each has one slot after another, a living slot or none until the next is forked.

A slot that ends hands over to the next in its place what it left at rest: its connections, and how far it had come
towards the limits. Every child process is forked here and reaped here, orphans included where it is process 1.
"""

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from tubeherd.logs import log
from tubeherd.metrics import Metrics
from tubeherd.processing.reporting import Burial
from tubeherd.queue.connection import Connection
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.page import Page, Phase
from tubeherd.shared_memory.slot_page import SlotPage
from tubeherd.shared_memory.tally import Tally
from tubeherd.slot.concurrent import ConcurrentSlot
from tubeherd.slot.context import SlotContext
from tubeherd.slot.lane import Lane
from tubeherd.slot.limits import Progress
from tubeherd.slot.process import SlotProcess
from tubeherd.slot.sequential import SequentialSlot
from tubeherd.supervisor.lane_handle import LaneHandle
from tubeherd.supervisor.reactor import Reactor
from tubeherd.supervisor.slot_handle import SlotHandle

_BACKOFF_FIRST: Final = 0.1
"""Seconds; doubled for each slot that died in the place without beginning a job, from the second on."""
_BACKOFF_MOST: Final = 5.0
"""Seconds before another slot is forked in a place where they die, or where the last fork failed."""
_FILES_PER_LANE: Final = 3
"""A connection, and a slot's control socket and tally."""
_FILES_BESIDE: Final = 100
"""What the worker has open beside its lanes, with room to spare."""


@dataclass(eq=False, slots=True)
class Place:
    """Where one slot at a time runs."""

    number: int
    """Its own; names the files of what executors count."""
    left: Sequence[Connection | None]
    """By lane, the connections that the last slot left at rest for the next one."""
    progress: Progress
    """How far the slots of this place have come towards their limits."""
    fork_at: float
    """When the next slot is to be forked, on the monotonic clock."""
    deaths: int = 0
    """How many slots have died here in a row without having begun a job."""
    slot: SlotHandle | None = None
    """The slot that lives here."""

    @property
    def connections(self) -> Sequence[Connection | None]:
        """By lane, the connections of the slot that lives here, or of the next one."""
        return self.left if self.slot is None else [lane.connection for lane in self.slot.lanes]


class Reaped(NamedTuple):
    """A slot that has ended, and still is in its place: `refill` or `remove` must follow."""

    place: Place
    slot: SlotHandle
    code: int
    """Its exit code; negative: the number of the signal that killed it."""


class Places:
    """Forks, replaces and reaps the slots of one worker."""

    def __init__(self, settings: WorkerSettings, metrics: Metrics | None, reactor: Reactor) -> None:
        self._settings = settings
        self._metrics = metrics
        self._reactor = reactor
        self._kind = ConcurrentSlot if settings.async_concurrency > 1 else SequentialSlot
        self._places: list[Place] = []
        self._burials: list[Burial] = []
        """Those that no slot has been given yet to tell its listeners."""
        _allow_files(settings.concurrency * settings.async_concurrency)

    @property
    def empty(self) -> bool:
        """Whether there is no slot left, and none to come."""
        return not self._places

    @property
    def slots(self) -> Sequence[SlotHandle]:
        """The living slots."""
        return [place.slot for place in self._places if place.slot is not None]

    def add(self, count: int) -> None:
        """Make so many places, with a slot in each."""
        taken = len(self._places)
        vacant: list[Connection | None] = [None] * self._settings.async_concurrency
        self._places += [
            Place(number, vacant, self._no_progress(), time.monotonic()) for number in range(taken, taken + count)
        ]
        self.fill()

    def fill(self) -> None:
        """Fork a slot into each vacant place where one is due."""
        now = time.monotonic()
        for place in self._places:
            if place.slot is None and now >= place.fork_at:
                try:
                    self._fork(place)
                except OSError as error:  # out of processes, files or memory
                    log.error(f"a slot could not be started, it is tried again: {error.strerror or error}")
                    place.fork_at = now + _BACKOFF_MOST

    def announce(self, burials: Sequence[Burial]) -> None:
        """Have the next slot tell its listeners of these burials, or the one after it where it dies before that."""
        self._burials += burials

    def stop(self) -> None:
        """Ask every slot to end after its present job, and fork no other."""
        for place in [place for place in self._places if place.slot is None]:
            self._places.remove(place)
            for connection in filter(None, place.connections):
                connection.abandon()
        for slot in self.slots:
            slot.ask_to_stop()

    def reap(self) -> Iterator[Reaped]:
        """Reap every process that has ended, and yield the slots among them."""
        while (pid := _next_ended()) is not None:
            place = next((place for place in self._places if place.slot and place.slot.pid == pid), None)
            if place is None or place.slot is None:  # an orphan
                os.waitpid(pid, 0)
                continue
            # What a job left running goes with its slot; before reaping, so that the group cannot be another's.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            place.slot.receive_connections()  # those of its last moments
            yield Reaped(place, place.slot, os.waitstatus_to_exitcode(status))

    def refill(self, reaped: Reaped) -> None:
        """Have another slot in the place: at once, or later where slots die there without beginning a job."""
        place, slot, _ = reaped
        died_early = slot.phase is not Phase.DONE and not slot.begun
        pause = _BACKOFF_FIRST * 2**place.deaths if died_early and place.deaths else 0.0
        place.fork_at = time.monotonic() + min(pause, _BACKOFF_MOST)
        place.deaths = place.deaths + 1 if died_early else 0
        if self._settings.on_limit == "stop":  # else a limit would begin anew with each death
            place.progress = place.progress._replace(begun=max(place.progress.begun, slot.begun))
        else:
            place.progress = self._no_progress()
        place.left = place.connections
        self._vacate(place, slot)
        self.fill()

    def remove(self, reaped: Reaped) -> None:
        """Have no further slot in the place."""
        place, slot, _ = reaped
        for lane in slot.lanes:
            lane.close_connection()
        self._vacate(place, slot)
        self._places.remove(place)

    def _vacate(self, place: Place, slot: SlotHandle) -> None:
        self._burials = [*slot.unannounced_burials, *self._burials]
        self._reactor.unregister(slot.control)
        if self._metrics and slot.tally:
            self._metrics.keep(slot.tally)
        slot.close()
        place.slot = None

    def _no_progress(self) -> Progress:
        return Progress(0, time.monotonic() + self._settings.max_time if self._settings.max_time else None)

    # Forking

    def _fork(self, place: Place) -> None:
        """Fork a slot into a vacant place; raises OSError, and leaves nothing open then."""
        with ExitStack() as opened:
            page = SlotPage()
            opened.callback(page.close)
            lanes = [LaneHandle(self._open_page(opened), connection) for connection in place.connections]
            for lane in lanes[1:]:  # the first lane's page tells that the slot starts
                lane.page.leave(Phase.RESTING if lane.connection else Phase.CONNECTING)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
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
                    progress=place.progress,
                    burials=self._burials,
                )
                process = SlotProcess(self._settings, context, self._kind)
                pid = os.fork()
                if pid == 0:
                    self._close_in_fork(place)
                    ours.close()
                    process.run()
            opened.pop_all()
        with suppress(OSError):  # the slot does the same, whoever comes first
            os.setpgid(pid, pid)
        slot = place.slot = SlotHandle(pid, ours, page, lanes, self._burials, tally)
        self._burials = []
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
        """Close, in a new slot, what belongs to the supervisor and to the other slots."""
        self._reactor.close_in_fork()
        for place in self._places:
            if place is not own:
                for connection in filter(None, place.connections):
                    connection.close()
            if place.slot is not None:
                place.slot.close()

    def _receive(self, slot: SlotHandle) -> None:
        if not slot.receive_connections():
            self._reactor.unregister(slot.control)  # it would stay ready for ever


def _slots_lanes(lanes: Sequence[LaneHandle]) -> Sequence[Lane]:
    """Return the slot's own side of its lanes."""
    return [
        Lane(number, lane.page, lane.connection, inherited=lane.connection is not None)
        for number, lane in enumerate(lanes)
    ]


def _next_ended() -> int | None:
    """Return the id of a slot process that has ended and is not reaped yet."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def _allow_files(lanes: int) -> None:
    """Have the system allow the files that so many lanes need, where it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES_PER_LANE * lanes + _FILES_BESIDE:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
