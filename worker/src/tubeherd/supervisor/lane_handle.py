"""The supervisor's side of a lane: its page, a copy of its connection, and the touches that keep its leases.

Commands are sent with the page's lock held, while the page says that the connection is at rest, so that slot and
supervisor never speak at once. The lock is kept from a touch to its answer, which is taken at a later look if need be:
a silent beanstalkd must not hold up all the other slots.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from tubeherd.logs import log
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Settled
from tubeherd.queue.connection import PIPELINE_MOST, REPLY_SECONDS, Connection
from tubeherd.queue.sockets import readable
from tubeherd.shared_memory.page import Lease, Page, State

STALL_SECONDS: Final = 1.0
"""How long the supervisor, and with it every slot's lease, waits for one answer of beanstalkd at most."""


class Warned(NamedTuple):
    """An execution that got SIGTERM for its deadline."""

    execution: Lease
    at: float
    """On the monotonic clock."""


class Lingering(NamedTuple):
    """What a slot was seen in the middle of while it was to stop."""

    state: State
    since: float
    """On the monotonic clock."""


@dataclass(eq=False, slots=True)
class LaneHandle:
    """What the supervisor knows of one lane of a living slot, or of a dead one until its jobs are taken over."""

    page: Page
    connection: Connection | None
    warned: Warned | None = None
    lingering: Lingering | None = None
    _touched: dict[Lease, float] = field(default_factory=dict)
    """When each lease that is still held was last touched, on the monotonic clock."""
    _asked: list[Lease] = field(default_factory=list)
    """The leases whose touches are not answered yet; while there are any, this process holds the lock."""
    _asked_at: float = 0.0

    # The lock

    def unlock(self) -> None:
        """Give the lock back, unless answers are to come."""
        if not self._asked:
            self.page.unlock()

    @contextmanager
    def locked_while(self, state: State) -> Iterator[bool]:
        """Hold the lock if the slot is in that very state, and tell whether it is."""
        locked = self.page.try_lock()
        try:
            yield locked and self.page.read() == state
        finally:
            if locked:
                self.unlock()

    # The connection

    def adopt(self, fd: int) -> None:
        """Use a copy of the connection that the slot has just opened, in place of the one before."""
        self.close_connection()
        os.set_inheritable(fd, False)  # no program that a slot starts is to keep a connection open
        sock = socket.socket(fileno=fd)
        try:
            self.connection = Connection(sock)
        except QueueUnavailable:
            sock.close()

    def close_connection(self) -> None:
        """Close the connection for the slot too: beanstalkd gives its leases back."""
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None

    # Touches

    def touch(self, state: State, now: float) -> None:
        """Touch the leases of which half is gone, if the slot is still in that state; `take_answers` must follow."""
        due = self._half_gone(state, now)
        if not due or self._asked or self.connection is None:
            return
        with self.locked_while(state) as same:
            if same:
                self._ask(self.connection, due, state, now)

    def take_answers(self, seconds: float) -> None:
        """Take the answers to touches if they come within so many seconds, or else leave them for later.

        The connection is closed where there was none for REPLY_SECONDS, or none that makes sense.
        """
        if not self._asked:
            return
        answered = self.connection is None or bool(readable([self.connection.socket], seconds))
        if not answered and time.monotonic() < self._asked_at + REPLY_SECONDS:
            return
        try:
            self._read_touches(answered)
        except (QueueUnavailable, RefusedError) as error:
            log.warning(f"cannot keep the lease: {error}; the job may run twice", job=self._asked[0].job)
            self.close_connection()
        self._asked = []
        self.unlock()

    def finish_touches(self, seconds: float) -> bool:
        """Take the answers of a dead slot's touches within so many seconds, and tell whether they came.

        Where none came the connection is closed: the answer to another command could not be told from theirs.
        """
        self.take_answers(seconds)
        if not self._asked:
            return True
        self.close_connection()
        self._asked = []
        return False

    def _half_gone(self, state: State, now: float) -> list[Lease]:
        """Return leases of which half is gone, no more than go into one write."""
        due = (lease for lease in state.leases if now >= self._touched.get(lease, lease.since) + lease.ttr / 2)
        return list(islice(due, PIPELINE_MOST))

    def _ask(self, connection: Connection, due: list[Lease], state: State, now: float) -> None:
        """Send the touches, with the lock held."""
        held = set(state.leases)
        self._touched = {lease: when for lease, when in self._touched.items() if lease in held}
        self._touched |= dict.fromkeys(due, now)
        self._asked, self._asked_at = due, now
        with suppress(QueueUnavailable):  # reading the answers will tell
            connection.ask_extend(lease.job for lease in due)

    def _read_touches(self, answered: bool) -> None:
        """Take the answers to all touches; raises what `Connection` does where they are missing or make no sense."""
        if self.connection is None:
            raise QueueUnavailable("the connection to beanstalkd was closed")
        if not answered:
            raise QueueUnavailable(f"beanstalkd gave no answer within {REPLY_SECONDS} s")
        self.connection.wait_at_most(STALL_SECONDS)  # the first bytes are there
        for lease in self._asked:
            if self.connection.take_extended() is not Settled.DONE:
                log.warning("lease was gone while the job was executing: it may run twice", job=lease.job)
        self.connection.wait_at_most(REPLY_SECONDS)
