"""A lane: one connection of a slot, with the lease of the job that executes on it and those of deferred jobs.

A deferred job was executed and is deleted after the next `worker.flush`, whose listeners write its result.
"""

import math
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tubeherd.logs import log
from tubeherd.processing.attempt import Processed
from tubeherd.queue.answers import QueueUnavailable, Reserved
from tubeherd.queue.connection import Connection
from tubeherd.shared_memory.page import Lease, Page, Phase

PAUSE_FIRST: Final = 0.1
"""Seconds to wait after a connection on which no verdict was settled; doubled after each such connection."""
_PAUSE_MOST: Final = 5.0


class Deferred(NamedTuple):
    """A job that was executed and is deleted after the next flush."""

    reserved: Reserved
    done: Processed


@dataclass
class Lane:
    """A slot's own side of one connection, for one job at a time; `LaneHandle` is the supervisor's side."""

    number: int
    page: Page
    connection: Connection | None
    inherited: bool = False
    """Whether an earlier slot of this place opened the connection."""
    deferred: list[Deferred] = field(default_factory=list)
    flush_by: float = math.inf
    """When the first of the deferred jobs has half of its lease left, on the monotonic clock."""
    _watching: bool = False
    _pause: float = PAUSE_FIRST

    def open(self, connection: Connection, control: socket.socket) -> None:
        """Use a new connection, and send a copy of its socket to the supervisor."""
        self.connection, self.inherited = connection, False
        socket.send_fds(control, [b"%d" % self.number], [connection.socket.fileno()])

    def connected(self) -> Connection:
        """Return the connection; raises QueueUnavailable if it broke."""
        if self.connection is None:
            raise QueueUnavailable("the connection to beanstalkd broke")
        return self.connection

    def claim_watching(self, tubes: Sequence[str]) -> Connection:
        """Take the lock, watch these tubes and no others, and return the connection; raises QueueUnavailable."""
        connection = self.connected()
        self.page.claim()
        if not self._watching:
            connection.watch_only(tubes)
            if self.inherited:  # an earlier slot may have watched other tubes on it
                connection.ignore_others(tubes)
            self._watching = True
        return connection

    def defer(self, lease: Lease, job: Deferred) -> None:
        """Keep a job until the next flush. `lease` begins with the touch that the job was just given."""
        self.deferred.append(job)
        self.page.add_deferred(lease)
        self.flush_by = min(self.flush_by, lease.since + lease.ttr / 2)

    def forget_deferred(self) -> None:
        """Forget the deferred jobs."""
        self.deferred.clear()
        self.page.clear_deferred()
        self.flush_by = math.inf

    def drop(self, phase: Phase = Phase.CONNECTING) -> None:
        """Close the connection, so that beanstalkd makes its jobs ready again; write `phase` on the page."""
        if self.connection is not None:
            if self.connection.has_settled:
                self._pause = PAUSE_FIRST
            self.connection.abandon()
            self.connection = None
            self._watching = False
        for job, _ in self.deferred:
            message = "executed, but the connection broke before it was deleted: it may run again"
            log.warning(message, job=job.stats.id, tube=job.stats.tube)
        self.forget_deferred()
        self.page.leave(phase)

    def next_pause(self) -> float:
        """Return how many seconds to wait before the next connection; the wait grows until a verdict is settled."""
        pause, self._pause = self._pause, min(self._pause * 2, _PAUSE_MOST)
        return random.uniform(pause / 2, pause)  # noqa: S311 - spreads reconnects, guards nothing

    def forget(self) -> None:
        """Close page and connection in a process that a job forked; they stay open in the slot."""
        self.page.close()
        if self.connection is not None:
            self.connection.close()
