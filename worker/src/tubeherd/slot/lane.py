"""A lane executes one job at a time in a slot. It has a connection to beanstalkd, and a page in shared memory.

The supervisor reads from the page what the lane does.

If the connection breaks, the lane gets another one. The connection holds the lease of the job that executes, and the
leases of deferred jobs. A deferred job was executed and is deleted after the next event `worker.flush`, for which user
code stores the results of all these jobs together.
"""

import math
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tubeherd.job import JobStats
from tubeherd.logs import log
from tubeherd.processing.processed import Processed
from tubeherd.queue.answers import QueueUnavailable, RefusedError
from tubeherd.queue.connection import Connection
from tubeherd.queue.tubes import ALWAYS_WATCHED
from tubeherd.shared_memory.control import encode_lane
from tubeherd.shared_memory.page import Lease, Page, Phase

PAUSE_FIRST: Final = 0.1
"""Seconds to wait before the next connection. Doubled after each connection on which no verdict was carried out."""
_PAUSE_MOST: Final = 5.0


class Deferred(NamedTuple):
    """A job that was executed and is deleted after the next `worker.flush`."""

    stats: JobStats
    done: Processed
    body: bytes | None
    """The bytes that were put, if log lines are to show payloads; otherwise they would only take memory."""


@dataclass
class Lane:
    """A lane as its slot uses it; the supervisor has a `LaneHandle` of the same lane."""

    number: int
    page: Page
    connection: Connection | None
    inherited: bool = False
    """Whether an earlier slot opened the connection, and left it to this one."""
    deferred: list[Deferred] = field(default_factory=list)
    flush_by: float = math.inf
    """When the first of the deferred jobs has used up half of its lease, on the monotonic clock."""
    watched: Sequence[str] | None = None
    """The tubes that this slot has the connection watch: a reserve takes jobs of these tubes. None before that."""
    quiet_until: float = 0.0
    """Before this time, on the monotonic clock, it is not worth a warning that beanstalkd is still out of reach."""
    broke: bool = False
    """Whether its last connection broke, and no other one was opened yet."""
    _pause: float = PAUSE_FIRST

    def open(self, connection: Connection, control: socket.socket) -> None:
        """Use a new connection, and send a copy of its socket to the supervisor.

        Raises QueueUnavailable if the supervisor is dead: then nobody would keep the leases.
        """
        try:
            socket.send_fds(control, [encode_lane(self.number)], [connection.socket.fileno()])
        except OSError as error:
            connection.close()
            raise QueueUnavailable("the supervisor has ended, so the slot does no further job") from error
        self.connection, self.inherited = connection, False

    def connected(self) -> Connection:
        """Return the connection; raises QueueUnavailable if it broke."""
        if self.connection is None:
            raise QueueUnavailable("the connection to beanstalkd broke")
        return self.connection

    def lock_and_watch(self, tubes: Sequence[str]) -> Connection:
        """Take the page's lock, watch these tubes and no others, and return the connection.

        Raises QueueUnavailable, RefusedError.
        """
        connection = self.connected()
        self.page.lock_for_command()
        if self.watched is not tubes:
            connection.watch_only(tubes, self._watched_before(connection))
            self.watched = tubes
        return connection

    def _watched_before(self, connection: Connection) -> Sequence[str]:
        if self.watched is not None:
            return self.watched or [ALWAYS_WATCHED]
        return connection.watched() if self.inherited else [ALWAYS_WATCHED]

    def defer(self, lease: Lease, job: Deferred) -> None:
        """Keep a job until the next flush. `lease` begins now, because the job was just touched."""
        self.deferred.append(job)
        self.page.add_deferred(lease)
        self.flush_by = min(self.flush_by, lease.since + lease.ttr / 2)

    def forget_first_deferred(self) -> None:
        """Forget the first deferred job, which was settled; the page thus shows the supervisor that answers come."""
        del self.deferred[0]
        self.page.remove_first_deferred()

    def forget_deferred(self) -> None:
        """Forget the deferred jobs, here and on the page."""
        self.deferred.clear()
        self.page.clear_deferred()
        self.flush_by = math.inf

    def drop(self, phase: Phase = Phase.CONNECTING) -> None:
        """Close the connection, so that beanstalkd makes its leased jobs ready again; write `phase` on the page."""
        if self.connection is not None:
            if self.connection.has_settled:
                self._pause = PAUSE_FIRST
            self.connection.abandon()
            self.connection = None
            self.watched = None
            self.broke = True
        for stats, _, _ in self.deferred:
            message = "executed, but the connection broke before it was deleted: it may run again"
            log.warning(message, job=stats.id, tube=stats.tube)
        self.forget_deferred()
        self.page.write_phase_and_unlock(phase)

    def next_pause(self) -> float:
        """Return how many seconds to wait before the next connection is opened."""
        pause, self._pause = self._pause, min(self._pause * 2, _PAUSE_MOST)
        return random.uniform(pause / 2, pause)  # noqa: S311 - spreads reconnects, is no secret

    def close_in_fork(self) -> None:
        """Close page and connection in a process that a job forked. They stay open in the slot's process."""
        self.page.close()
        if self.connection is not None:
            self.connection.close()


def in_words(error: QueueUnavailable | RefusedError) -> str:
    """Return why a connection is closed."""
    return str(error) if isinstance(error, QueueUnavailable) else f"beanstalkd answered {error}"
