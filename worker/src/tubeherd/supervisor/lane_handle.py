"""A lane as the supervisor handles it: its page, a copy of its connection, and the touches that keep its leases.

A lane of a slot has one connection to beanstalkd at a time, and a page in shared memory on which the slot writes what
it does with the connection. While a job executes, the slot sends nothing and the supervisor touches the job, so that
its lease does not end. The supervisor sends only while it holds the page's lock, and holds the lock until it has read
the answers. If the answers do not come at once, it reads them when it looks at the slot again, so that a silent
beanstalkd delays no other slot.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from tubeherd.descriptors import moved
from tubeherd.logs import log
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Settled
from tubeherd.queue.connection import Connection
from tubeherd.queue.sockets import readable
from tubeherd.queue.tubes import PIPELINE_MOST
from tubeherd.queue.wire import REPLY_SECONDS
from tubeherd.shared_memory.page import Lease, Page, State

STALL_SECONDS: Final = 1.0
"""How long the supervisor waits for one answer at most, in seconds. Meanwhile it touches no lease of any slot."""
_NO_COPY: Final = (
    "the supervisor can open no more files, so no lease is kept on a connection that a slot has opened, and a job that "
    "runs for longer than its TTR may run twice: raise the limit of open files (ulimit -n) and start the worker again"
)


class SigtermSent(NamedTuple):
    """The slot was sent SIGTERM, because a job was past its deadline."""

    lease: Lease
    """The lease of the late job."""
    at: float
    """When the signal was sent, on the monotonic clock."""
    timeout: float
    """How long the job was allowed to run, in seconds."""


class Unchanged(NamedTuple):
    """A page that has not changed for some time, after the slot was asked to stop."""

    state: State
    since: float
    """When the supervisor first read this state from the page, on the monotonic clock."""


@dataclass(eq=False, slots=True)
class LaneHandle:
    """One lane of a living slot; or of a dead slot, until the verdicts on its jobs are given."""

    page: Page
    connection: Connection | None
    sigterm_sent: SigtermSent | None = None
    unchanged: Unchanged | None = None
    lost: Lease | None = None
    """A lease that beanstalkd no longer knew when it was touched."""
    _last_touched: dict[Lease, float] = field(default_factory=dict)
    """By lease, when the last touch was sent, on the monotonic clock."""
    _unanswered: list[Lease] = field(default_factory=list)
    """The leases whose touches are not answered yet. While there are any, this process keeps the lock."""
    _touches_sent_at: float = 0.0

    # The lock

    def unlock(self) -> None:
        """Give the lock back, unless there are unanswered touches."""
        if not self._unanswered:
            self.page.unlock()

    @contextmanager
    def locked_if_still(self, state: State) -> Iterator[bool]:
        """Try to hold the lock during a `with` block.

        The block gets True if the lock is held and the page still says `state`.
        """
        locked = self.page.try_lock()
        try:
            yield locked and self.page.read() == state
        finally:
            if locked:
                self.unlock()

    # The connection

    def adopt(self, fd: int | None) -> None:
        """Use a connection that the slot has just opened, of which `fd` is a copy; close the one before it.

        `fd` is None if no copy could be made, because this process has too many files open.
        """
        self.close_connection()
        try:
            copy = None if fd is None else moved(fd)
        except OSError:  # the same: for a moment it needs two
            copy = None
        if copy is None:
            log.error(_NO_COPY)
            return
        sock = socket.socket(fileno=copy)
        try:
            self.connection = Connection(sock)
        except QueueUnavailable:
            sock.close()

    def close_connection(self) -> None:
        """Close the connection, also for the slot. beanstalkd then makes the leased jobs ready again."""
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None

    def close_if_ended(self) -> None:
        """Close the connection if the slot, which has ended, had closed it, such as while it waited for a job."""
        if self.connection is not None and not self._unanswered and readable([self.connection.socket], 0):
            self.close_connection()

    def is_lost(self, state: State) -> bool:
        """Return whether the lease of the job that executes is gone: the job may run elsewhere at any moment."""
        if self.connection is None or self.lost == state.last_begun:
            return True
        with self.locked_if_still(state) as same:
            # Nothing was asked, so there is nothing to read but the end of the connection.
            return same and not self._unanswered and bool(readable([self.connection.socket], 0))

    # Touches

    def touch(self, state: State, now: float) -> None:
        """Send the touches that are due, if the page still says `state`; `take_answers` must follow."""
        due = self._due_for_touch(state, now)
        if not due or self._unanswered or self.connection is None:
            return
        with self.locked_if_still(state) as same:
            if same:
                self._send_touches(self.connection, due, state, now)

    def take_answers(self, seconds: float) -> None:
        """Read the answers to touches if they come within so many seconds; otherwise leave them for a later call.

        Closes the connection if no answer came for REPLY_SECONDS, or if what came is no answer to a touch.
        """
        if not self._unanswered:
            return
        answered = self.connection is None or bool(readable([self.connection.socket], seconds))
        if not answered and time.monotonic() < self._touches_sent_at + REPLY_SECONDS:
            return
        try:
            self._read_touches(answered)
        except (QueueUnavailable, RefusedError) as error:
            log.warning(f"cannot keep the lease: {error}; the job may run twice", job=self._unanswered[0].job)
            self.close_connection()
        self._unanswered = []
        self.unlock()

    def finish_touches(self, seconds: float) -> bool:
        """After the slot's death, read the answers to touches; return False if none came within so many seconds.

        The connection is then closed: if an answer came later, it would be taken for the answer to the next command.
        """
        self.take_answers(seconds)
        if not self._unanswered:
            return True
        self.close_connection()
        self._unanswered = []
        return False

    def _due_for_touch(self, state: State, now: float) -> list[Lease]:
        """Return the leases that were not touched for half of their TTR, at most as many as go into one write."""
        due = (lease for lease in state.leases if now >= self._last_touched.get(lease, lease.since) + lease.ttr / 2)
        return list(islice(due, PIPELINE_MOST))

    def _send_touches(self, connection: Connection, due: list[Lease], state: State, now: float) -> None:
        """Send the touches, with the lock held."""
        held = set(state.leases)
        self._last_touched = {lease: when for lease, when in self._last_touched.items() if lease in held}
        self._last_touched |= dict.fromkeys(due, now)
        self._unanswered, self._touches_sent_at = due, now
        with suppress(QueueUnavailable):  # `take_answers` meets the same trouble and handles it
            connection.ask_touch(lease.job for lease in due)

    def _read_touches(self, answered: bool) -> None:
        """Read the answer to each touch; raises QueueUnavailable or RefusedError if one is missing or wrong."""
        if self.connection is None:
            raise QueueUnavailable("the connection to beanstalkd was closed")
        if not answered:
            raise QueueUnavailable(f"beanstalkd gave no answer within {REPLY_SECONDS:g} s")
        # The touches were sent together, so the other answers follow the first one at once.
        self.connection.set_timeout(STALL_SECONDS)
        for lease in self._unanswered:
            if self.connection.take_touched() is not Settled.DONE:
                log.warning("lease was gone while the job was executing: it may run twice", job=lease.job)
                self.lost = lease
        self.connection.set_timeout(REPLY_SECONDS)
