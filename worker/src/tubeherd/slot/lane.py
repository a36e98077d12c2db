"""One connection of a slot, with the leases on it: the job that executes, and those that wait for a flush."""

import math
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tubeherd.job import JobStats
from tubeherd.logs import log
from tubeherd.processing.processor import Processed
from tubeherd.queue.answers import QueueUnavailable
from tubeherd.queue.connection import Connection
from tubeherd.shared_memory.page import Lease, Page, Phase

PAUSE_FIRST: Final = 0.1
"""Seconds between a connection that came to nothing and the next; doubled each time."""
_PAUSE_MOST: Final = 5.0


class HeldBack(NamedTuple):
    """A job that was executed and is deleted after the next flush."""

    stats: JobStats
    processed: Processed


@dataclass
class Lane:
    """A place for one job at a time in a slot; the supervisor knows its page, and a copy of its socket."""

    number: int
    page: Page
    connection: Connection | None
    inherited: bool = False
    """Whether the connection was an earlier slot's."""
    held_back: list[HeldBack] = field(default_factory=list)
    flush_by: float = math.inf
    """When half of a lease that is held back is gone, on the monotonic clock."""
    _watching: bool = False
    _pause: float = PAUSE_FIRST

    def open(self, connection: Connection, control: socket.socket) -> None:
        """Use a new connection, and hand a copy of its socket to the supervisor."""
        self.connection, self.inherited = connection, False
        socket.send_fds(control, [b"%d" % self.number], [connection.socket.fileno()])

    def connected(self) -> Connection:
        """Return the connection; raises QueueUnavailable where it broke."""
        if self.connection is None:
            raise QueueUnavailable("the connection to beanstalkd broke")
        return self.connection

    def claim_watching(self, tubes: Sequence[str]) -> Connection:
        """Take the lock and return the connection, with these tubes watched; raises QueueUnavailable."""
        connection = self.connected()
        self.page.claim()
        if not self._watching:
            connection.watch_only(tubes)
            if self.inherited:  # the slot before may have had other executors
                connection.ignore_others(tubes)
            self._watching = True
        return connection

    def hold_back(self, lease: Lease, job: HeldBack) -> None:
        """Keep a job, and its lease that has just been extended, until the next flush."""
        self.held_back.append(job)
        self.page.hold_back(lease)
        self.flush_by = min(self.flush_by, lease.since + lease.ttr / 2)

    def drop_held_back(self) -> None:
        """Forget the jobs that waited for a flush."""
        self.held_back.clear()
        self.page.drop_held_back()
        self.flush_by = math.inf

    def drop(self, phase: Phase = Phase.CONNECTING) -> None:
        """Close the connection: beanstalkd gives every lease on it back. A job that executes goes on as it may."""
        if self.connection is not None:
            if self.connection.has_settled:
                self._pause = PAUSE_FIRST
            self.connection.abandon()
            self.connection = None
            self._watching = False
        for job in self.held_back:
            message = "executed, but the connection broke before it was deleted: it may run again"
            log.warning(message, job=job.stats.id, tube=job.stats.tube)
        self.drop_held_back()
        self.page.leave(phase)

    def next_pause(self) -> float:
        """Return how many seconds to wait before the next connection, longer each time until one was of use."""
        pause, self._pause = self._pause, min(self._pause * 2, _PAUSE_MOST)
        return random.uniform(pause / 2, pause)  # noqa: S311 - spreads reconnects, guards nothing

    def forget(self) -> None:
        """Close page and connection in a process that was forked from the slot; the slot's stay open."""
        self.page.close()
        if self.connection is not None:
            self.connection.close()
