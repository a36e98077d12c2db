"""The connections of one process to a beanstalkd, which all threads of the process may use.

A thread that sends a command has a connection for itself until the answer is read. A lease is the reservation of a job;
it belongs to the connection that reserved the job, so the verdict on the job (delete, release or bury) is sent on that
connection, whichever thread sends it. A process that is forked inherits copies of the connections. It closes its copies
and opens connections of its own, because two processes would read each other's answers.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socket import SHUT_RDWR
from typing import NamedTuple

from tubeherd.queue.answers import LeaseGone, QueueUnavailable, RefusedError, Reserved
from tubeherd.queue.connection import Connection, connect
from tubeherd.queue.tubes import ALWAYS_WATCHED


class NotReserved(ValueError):
    """A job is not reserved by any of the connections, so there can be no verdict on it."""

    def __init__(self, job_id: int) -> None:
        super().__init__(
            f"job {job_id} is not reserved by this QueueManager in this process: it has its verdict already, its "
            "connection broke, or another QueueManager or process has reserved it"
        )


class _Lease(NamedTuple):
    thread: int
    """The thread that has the job."""
    until: float
    """When the lease ends without a verdict, on the monotonic clock."""


@dataclass(eq=False, slots=True)
class _Opened:
    """A connection, with what the threads have to know of each other's use of it."""

    connection: Connection
    in_use: bool = False
    watched: Sequence[str] | None = None
    """The tubes that the connection watches: a reserve takes jobs of these tubes. None before the first reserve."""
    leases: dict[int, _Lease] = field(default_factory=dict)
    """By job, the leases on the connection."""

    def holds_lease(self, *, of_others: bool = False) -> bool:
        """Return whether the connection holds a lease; if `of_others`, one of a job that another thread has."""
        now, own = time.monotonic(), threading.get_ident()
        return any(lease.until > now and not (of_others and lease.thread == own) for lease in self.leases.values())


class Connections:
    """Opens as many connections as threads use at the same time, and uses those that are open again."""

    def __init__(self, server: str) -> None:
        """Open the first connection to `server`, which is `host:port`; raises QueueUnavailable."""
        self._server = server
        self._open = [_Opened(connect(server))]
        self._changed = threading.Condition()
        """Notified when a connection is not in use any more."""
        self._closed = False

    @contextmanager
    def any(self) -> Iterator[Connection]:
        """Use a connection for commands that concern no lease; raises QueueUnavailable."""
        with self._use(lambda _: True) as opened:
            yield opened.connection

    @contextmanager
    def without_lease(self) -> Iterator[Connection]:
        """Use a connection that holds no lease for long, so that no verdict has to wait; raises QueueUnavailable."""
        with self._use(lambda each: not each.holds_lease()) as opened:
            yield opened.connection

    def reserve(self, tubes_on: Callable[[Connection], Sequence[str]], seconds: int) -> Reserved | None:
        """Reserve a job and return it, or None if none came within `seconds`, or earlier.

        `tubes_on` returns the tubes from which to take it, and may ask beanstalkd on the connection which there are. If
        there is none, returns None at once. Raises QueueUnavailable, RefusedError, LeaseGone.
        """
        # Not on a connection with a job of another thread, because the verdict on that job would have to wait.
        with self._use(lambda each: not each.holds_lease(of_others=True)) as opened:
            tubes = tubes_on(opened.connection)
            if tubes != opened.watched:
                opened.connection.watch_only(tubes, opened.watched or [ALWAYS_WATCHED])
                opened.watched = tubes
            if not tubes:
                return None
            # No wait if this thread has a job there: it may give the job to another thread, which sends the verdict.
            with self._changed:
                wait = 0 if opened.holds_lease() else seconds
            opened.connection.ask_reserve(wait)
            reserved = opened.connection.take_reserved()
            if reserved is not None:
                self._note(opened, reserved)
            return reserved

    def begin(self, job_id: int) -> None:
        """Note that the calling thread now has the job; raises NotReserved, QueueUnavailable."""
        with self._changed:
            leases = self._holder(job_id).leases
            leases[job_id] = leases[job_id]._replace(thread=threading.get_ident())

    @contextmanager
    def ending_lease(self, job_id: int) -> Iterator[Connection]:
        """Use the connection that has reserved a job, to send the verdict; raises NotReserved, QueueUnavailable."""
        with self._changed:
            while (opened := self._holder(job_id)).in_use:
                self._changed.wait()
            opened.in_use = True
        with self._giving_back(opened):
            yield opened.connection
            with self._changed:
                opened.leases.pop(job_id, None)

    def close(self) -> None:
        """Close all connections; beanstalkd then makes the reserved jobs ready again. Waiting threads get an error."""
        with self._changed:
            self._closed = True
            for opened in self._open:
                if opened.in_use:  # the thread that uses it gets an error at once, and closes it
                    with suppress(OSError):
                        opened.connection.socket.shutdown(SHUT_RDWR)
                else:
                    opened.connection.abandon()
            self._open = []
            self._changed.notify_all()

    def begin_in_fork(self) -> None:
        """Leave the connections to the parent, in a process that was just forked."""
        for opened in self._open:
            opened.connection.close()
        self._open = []
        self._changed = threading.Condition()  # a thread of the parent may have held the one before

    # The use of one connection

    def _note(self, opened: _Opened, reserved: Reserved) -> None:
        """Note a new lease; a lease of the same job on another connection has ended."""
        job_id, until = reserved.stats.id, reserved.since + reserved.stats.ttr
        with self._changed:
            for each in self._open:
                each.leases.pop(job_id, None)
            opened.leases[job_id] = _Lease(threading.get_ident(), until)

    @contextmanager
    def _use(self, suits: Callable[[_Opened], bool]) -> Iterator[_Opened]:
        """Use a connection that suits and is not in use; or another one, which is opened for it."""
        with self._changed:
            self._check_open()
            opened = next((each for each in self._open if not each.in_use and suits(each)), None)
            if opened is not None:
                opened.in_use = True
        if opened is None:
            opened = self._open_another()
        with self._giving_back(opened):
            yield opened

    def _open_another(self) -> _Opened:
        opened = _Opened(connect(self._server), in_use=True)
        with self._changed:
            if self._closed:
                opened.connection.close()
            self._check_open()
            self._open.append(opened)
        return opened

    @contextmanager
    def _giving_back(self, opened: _Opened) -> Iterator[None]:
        """Give the connection back after a `with` block, or close it if an answer may still come on it."""
        try:
            yield
        except (RefusedError, LeaseGone):  # these are answers
            raise
        except BaseException as error:  # also what breaks off a command, such as KeyboardInterrupt
            self._drop(opened)
            if isinstance(error, QueueUnavailable):
                self._drop_idle()
                self._check_open()
            raise
        finally:
            with self._changed:
                opened.in_use = False
                self._changed.notify_all()

    def _drop(self, opened: _Opened) -> None:
        with self._changed:
            if opened in self._open:
                self._open.remove(opened)
        opened.connection.abandon()

    def _drop_idle(self) -> None:
        """Close the connections that are not in use and hold no lease: the server has probably closed them too."""
        with self._changed:
            idle = [each for each in self._open if not each.in_use and not each.leases]
            self._open = [each for each in self._open if each not in idle]
        for opened in idle:
            opened.connection.abandon()

    def _holder(self, job_id: int) -> _Opened:
        self._check_open()
        for opened in self._open:
            if job_id in opened.leases:
                return opened
        raise NotReserved(job_id)

    def _check_open(self) -> None:
        if self._closed:
            raise QueueUnavailable("this QueueManager was closed: make a new one")
