"""The commands that Tubeherd sends to beanstalkd, and the answers as values.

A lease is the reservation of a job by a connection. A verdict is what is done with a reserved job: delete, release or
bury it. After `QueueUnavailable` a connection must be closed; beanstalkd then makes its reserved jobs ready again. A
slot is a process that executes jobs. Its parent, the supervisor, shares its connections to touch its jobs.
"""

import re
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from tubeherd.job import JobStats
from tubeherd.policy import Bury, Delete, Release, Verdict
from tubeherd.queue.answers import (
    BuriedError,
    DeadlineSoonError,
    LeaseGone,
    NotFoundError,
    NotIgnoredError,
    Reserved,
    Settled,
    TimedOutError,
    TubeStats,
)
from tubeherd.queue.wire import Wire, open_socket, unexpected_answer

DEFAULT_PRIORITY: Final = 65536
DEFAULT_TTR: Final = 60
"""How long a worker may hold a job without a touch, in seconds."""
PIPELINE_MOST: Final = 500
"""The most commands in one write. With more, both sides could block: each waits until the other reads."""
_WATCHED_AT_FIRST: Final = "default"
"""The tube that a new connection watches."""
# At most 19 digits are accepted, because every number of 19 digits fits into 64 bits.
_RESERVED: Final = re.compile(rb"RESERVED (\d{1,19}) (\d{1,10})\r\n")
_OK: Final = re.compile(rb"OK (\d{1,10})\r\n")
_INSERTED: Final = re.compile(rb"INSERTED (\d{1,19})\r\n")
_KICKED: Final = re.compile(rb"KICKED (\d{1,19})\r\n")
_USING: Final = re.compile(rb"USING [!-~]+\r\n")
_WATCHING: Final = re.compile(rb"WATCHING \d{1,19}\r\n")
_DELETED: Final = re.compile(rb"DELETED\r\n")
_RELEASED: Final = re.compile(rb"RELEASED\r\n")
_BURIED: Final = re.compile(rb"BURIED\r\n")
_TOUCHED: Final = re.compile(rb"TOUCHED\r\n")
_JOB_STATS: Final = re.compile(
    rb"OK \d+\r\n---\nid: (\d{1,19})\ntube: \"?([!#-~]{1,200})\"?\nstate: [a-z]+\n"
    rb"pri: (\d{1,19})\nage: (\d{1,19})\ndelay: (\d{1,19})\nttr: (\d{1,19})\ntime-left: -?\d+\nfile: \d+\n"
    rb"reserves: (\d{1,19})\ntimeouts: \d+\nreleases: (\d{1,19})\nburies: (\d{1,19})\nkicks: (\d{1,19})\n\r\n"
)
"""The answer to `stats-job`, as beanstalkd 1.10 to 1.13 write it (prot.c, STATS_JOB_FMT)."""
_DONE: Final = Settled.DONE  # a global, because in Python 3.11 `Settled.DONE` takes as long as a call
_COUNT: Final = re.compile(rb"^current-jobs-(ready|reserved|delayed|buried): (\d{1,19})$", re.MULTILINE)
_LISTED: Final = re.compile(rb"^- \"?([!#-~]+)\"?$", re.MULTILINE)


def connect(server: str, timeout: float = 5.0) -> "Connection":
    """Connect to beanstalkd at `host:port` within `timeout` seconds; raises QueueUnavailable."""
    return Connection(open_socket(server, timeout))


class Connection:
    """A connection to beanstalkd, which another process may share as long as the two take turns.

    Every method that sends a command may raise three errors: QueueUnavailable; RefusedError with beanstalkd's answer
    (NOT_FOUND, OUT_OF_MEMORY, …); and OSError if code of a job has closed the socket in this process, in which case
    nothing was sent. Most methods send a command and read its answer. A method `ask_…` only sends one, and a method
    `take_…` only reads the answer; the answers must be read in the order in which the commands were sent.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Use a connected socket; raises QueueUnavailable if it is not connected any more."""
        self._wire = Wire(sock)
        self._last_id = 0
        """The id of the last reserved job."""
        self._last_step = 0
        """By how much that id was greater than the one before."""
        self._foreseen = 0
        """The id that the next job is likely to have; 0 if nothing can be said about it."""
        self.has_settled = False
        """Whether beanstalkd has deleted, released or buried at least one job by a command of this connection."""

    @property
    def socket(self) -> socket.socket:
        """The connected socket."""
        return self._wire.socket

    def set_timeout(self, seconds: float) -> None:
        """Set how long to wait for the beginning of an answer, in every process that shares the socket.

        Before the first call it is REPLY_SECONDS.
        """
        self._wire.set_timeout(seconds)

    def close(self) -> None:
        """Close the connection in this process. If other processes share it, beanstalkd keeps its leases."""
        self._wire.close()

    def abandon(self) -> None:
        """Close the connection in every process that shares it; beanstalkd makes its reserved jobs ready again."""
        self._wire.shut_down()

    # Tubes

    def watch_only(self, tubes: Sequence[str]) -> None:
        """Watch these tubes, and not `default`, which every new connection watches."""
        for tube in tubes:
            self._wire.write(b"watch %b\r\n" % tube.encode("ascii"))
            self._wire.take_line(_WATCHING)
        if _WATCHED_AT_FIRST not in tubes:
            with suppress(NotIgnoredError):
                self._ignore(_WATCHED_AT_FIRST)

    def ignore_others(self, tubes: Sequence[str]) -> None:
        """Ignore every tube but these. The slot that used this connection before may have watched other tubes."""
        self._wire.write(b"list-tubes-watched\r\n")
        for tube in _LISTED.findall(self._take_document()):
            if tube.decode() not in tubes:
                self._ignore(tube.decode())

    def stats_tubes(self, tubes: Iterable[str]) -> dict[str, TubeStats]:
        """Return how many jobs each tube has in each state, by the names of the tubes."""
        names = list(dict.fromkeys(tubes))
        stats: dict[str, TubeStats] = {}
        for start in range(0, len(names), PIPELINE_MOST):
            batch = names[start : start + PIPELINE_MOST]
            self._wire.write(b"".join(b"stats-tube %b\r\n" % name.encode() for name in batch))
            stats.update({name: self._take_tube_stats(name) for name in batch})
        return stats

    def kick_buried(self, tube: str, bound: int) -> int:
        """Kick up to `bound` buried jobs of a tube and return how many.

        If no job is buried, beanstalkd's `kick` makes delayed jobs ready, which is not wanted here. So the buried jobs
        are counted first, and no more are kicked. Delayed jobs are still made ready if another client kicks the tube
        between these two commands.
        """
        buried = min(bound, self.stats_tubes([tube])[tube].buried)
        if buried <= 0:
            return 0
        self._use(tube)
        self._wire.write(b"kick %d\r\n" % buried)
        return int(self._wire.take_line(_KICKED)[1])

    def _use(self, tube: str) -> None:
        self._wire.write(b"use %b\r\n" % tube.encode("ascii"))
        self._wire.take_line(_USING)

    def _ignore(self, tube: str) -> None:
        self._wire.write(b"ignore %b\r\n" % tube.encode("ascii"))
        self._wire.take_line(_WATCHING)

    def _take_tube_stats(self, name: str) -> TubeStats:
        try:
            document = self._take_document()
        except NotFoundError:
            return TubeStats(name)
        counts = {state.decode(): int(count) for state, count in _COUNT.findall(document)}
        if len(counts) != 4:
            raise unexpected_answer("counters of a tube")
        return TubeStats(name, **counts)

    def _take_document(self) -> bytes:
        """Take an answer that is a list or a set of counters, and return its text."""
        document = self._wire.take_body(int(self._wire.take_line(_OK)[1]))
        if document is None:
            raise unexpected_answer("a body")
        return document

    # Jobs

    def put(self, tube: str, body: bytes, *, priority: int, delay: int, ttr: int) -> int:
        """Put a job into a tube and return its id; `delay` and `ttr` in seconds.

        Raises RefusedError (JOB_TOO_BIG, DRAINING, …).
        """
        self._use(tube)
        self._wire.write(b"put %d %d %d %d\r\n%b\r\n" % (priority, delay, ttr, len(body), body))
        return int(self._wire.take_line(_INSERTED)[1])

    def ask_reserve(self, timeout: int) -> None:
        """Send a reserve for which beanstalkd waits up to `timeout` seconds for a job; `take_reserved` must follow."""
        self._foreseen = 0
        self._wire.write(b"reserve-with-timeout %d\r\n" % timeout)

    def take_reserved(self) -> Reserved | None:
        """Take the answer to a reserve: the reserved job, or None if no job came in time.

        Raises LeaseGone if the job does not exist any more; the connection can be used further.
        """
        foreseen, self._foreseen = self._foreseen, 0
        try:
            answer = self._wire.take_line(_RESERVED)
        except (TimedOutError, DeadlineSoonError):
            if foreseen:  # a stats-job for the foreseen id was sent with the reserve, so its answer has to be read
                self._take_job_stats(foreseen)
            return None
        since = time.monotonic()
        job_id = int(answer[1])
        # The body is None if beanstalkd lost it. It is also None if what was read is not the answer to this reserve.
        # Then the counters that are read next are those of another job, which raises QueueUnavailable.
        body = self._wire.take_body(int(answer[2]))
        stats = self._take_job_stats(foreseen) if foreseen else None
        if not foreseen or foreseen != job_id:
            stats = self.stats_job(job_id)
        if stats is None:
            raise LeaseGone(job_id)
        self._foresee(job_id)
        return Reserved(stats, body, since)

    def stats_job(self, job_id: int) -> JobStats | None:
        """Return a job's counters, or None if there is no such job."""
        self._wire.write(b"stats-job %d\r\n" % job_id)
        return self._take_job_stats(job_id)

    def settle(self, job_id: int, verdict: Verdict, *, ask_reserve: bool = False) -> Settled:
        """Delete, release or bury a reserved job, and return what beanstalkd did.

        If `ask_reserve`, the same write also sends a reserve which is answered at once even if no job is ready;
        `take_reserved` must follow.
        """
        command, expected = _verdict_command(job_id, verdict)
        self._wire.write(command + self._reserve_command() if ask_reserve else command)
        return self._take_settled(expected)

    def settle_all(self, verdicts: Sequence[tuple[int, Verdict]]) -> Iterator[Settled]:
        """Delete, release or bury many reserved jobs in few writes; yield what beanstalkd did with each, in order."""
        for start in range(0, len(verdicts), PIPELINE_MOST):
            batch = [_verdict_command(job_id, verdict) for job_id, verdict in verdicts[start : start + PIPELINE_MOST]]
            self._wire.write(b"".join(command for command, _ in batch))
            for _, expected in batch:
                yield self._take_settled(expected)

    def touch(self, job_id: int, *, ask_reserve: bool = False) -> Settled:
        """Begin the TTR of a lease anew. If `ask_reserve`, a reserve is sent in the same write, as by `settle`."""
        command = b"touch %d\r\n" % job_id
        self._wire.write(command + self._reserve_command() if ask_reserve else command)
        return self._take_settled(_TOUCHED)

    def ask_touch(self, job_ids: Iterable[int]) -> None:
        """Send a touch for each lease, PIPELINE_MOST at most; `take_touched` must follow as many times."""
        self._wire.write(b"".join(b"touch %d\r\n" % job_id for job_id in job_ids))

    def take_touched(self) -> Settled:
        """Take the answer to one touch."""
        return self._take_settled(_TOUCHED)

    def _take_settled(self, expected: re.Pattern[bytes]) -> Settled:
        try:
            self._wire.take_line(expected)
        except NotFoundError:
            return Settled.LEASE_GONE
        except BuriedError:
            if expected is _RELEASED:
                return Settled.BURIED_INSTEAD
            raise unexpected_answer(expected) from None
        if expected is not _TOUCHED:
            self.has_settled = True
        return _DONE

    def _take_job_stats(self, job_id: int) -> JobStats | None:
        """Take the counters of a job; None if there is no such job."""
        match = self._wire.take_if(_JOB_STATS) or self._take_job_stats_slowly()
        if match is None:
            return None
        job, tube, priority, age, delay, ttr, reserves, releases, buries, kicks = match.groups()
        if int(job) != job_id:  # this is the answer to another command
            raise unexpected_answer("counters of that job")
        return JobStats(
            job_id, tube.decode(), int(priority), int(age), int(delay), int(ttr),
            int(reserves), int(releases), int(buries), int(kicks),
        )  # fmt: skip

    def _take_job_stats_slowly(self) -> re.Match[bytes] | None:
        """Take counters that did not arrive in one piece; None if there is no such job."""
        try:
            document = self._take_document()
        except NotFoundError:
            return None
        match = _JOB_STATS.fullmatch(b"OK %d\r\n%b\r\n" % (len(document), document))
        if match is None:
            raise unexpected_answer("counters of a job")
        return match

    def _foresee(self, job_id: int) -> None:
        """Foresee the id of the next job: one step after the last one, if the last three ids are equal steps apart.

        Otherwise nothing is foreseen. The counters of the foreseen job are asked for
        in the same write as the next reserve, which saves a round trip. If another job is reserved, these counters are
        not used, and those of the reserved job are asked for.
        """
        step, self._last_id = job_id - self._last_id, job_id
        self._foreseen = max(0, job_id + step) if step == self._last_step else 0
        self._last_step = step

    def _reserve_command(self) -> bytes:
        """Return the command for a reserve and, if the id of the next job is foreseen, the one for its counters."""
        if self._foreseen:
            return b"reserve-with-timeout 0\r\nstats-job %d\r\n" % self._foreseen
        return b"reserve-with-timeout 0\r\n"


def _verdict_command(job_id: int, verdict: Verdict) -> tuple[bytes, re.Pattern[bytes]]:
    """Return the command that carries out a verdict, and the pattern of its answer."""
    match verdict:
        case Delete():
            return b"delete %d\r\n" % job_id, _DELETED
        case Release(delay, priority):
            return b"release %d %d %d\r\n" % (job_id, priority, delay), _RELEASED
        case Bury(priority):
            return b"bury %d %d\r\n" % (job_id, priority), _BURIED
