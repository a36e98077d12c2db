"""The commands that Tubeherd sends to beanstalkd, and the answers as values.

A lease is the reservation of a job by a connection. A verdict is what is done with a reserved job: delete, release or
bury it. After `QueueUnavailable` a connection must be closed; beanstalkd then makes its reserved jobs ready again. A
slot is a process that executes jobs. Its parent, the supervisor, shares its connections to touch its jobs.
"""

import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from tubeherd.job import JobStats
from tubeherd.policy import Bury, Delete, Release, Verdict
from tubeherd.queue.answers import (
    AnswerLost,
    BuriedError,
    Burying,
    DeadlineSoonError,
    LeaseGone,
    NotFoundError,
    QueueUnavailable,
    RefusedError,
    Reserved,
    Settled,
    TimedOutError,
    TubeStats,
)
from tubeherd.queue.foresight import Foresight
from tubeherd.queue.tubes import PIPELINE_MOST, TubeConnection
from tubeherd.queue.wire import open_socket, unexpected_answer
from tubeherd.shared_memory.reserve_count import ReserveCount

Answer = TypeVar("Answer")
DEFAULT_PRIORITY: Final = 65536
DEFAULT_TTR: Final = 60
"""How long a worker may hold a job without a touch, in seconds."""
# At most 19 digits are accepted, because every number of 19 digits fits into 64 bits.
# Possessive, as `+` after a quantifier, and a range instead of `\d`: a job's counters are matched in less time.
RESERVED: Final = re.compile(rb"RESERVED ([0-9]{1,19}+) ([0-9]{1,10}+)\r\n")
_INSERTED: Final = re.compile(rb"INSERTED (\d{1,19})\r\n")
# beanstalkd answers BURIED if it has no memory to queue the new job, which exists nevertheless.
_INSERTED_OR_BURIED: Final = re.compile(rb"(?:INSERTED|BURIED) (\d{1,19})\r\n")
DELETED: Final = re.compile(rb"DELETED\r\n")
_FOUND: Final = re.compile(rb"FOUND (\d{1,19}) (\d{1,10})\r\n")
_RELEASED: Final = re.compile(rb"RELEASED\r\n")
_BURIED: Final = re.compile(rb"BURIED\r\n")
_INSERTED_AND_BURIED: Final = re.compile(rb"INSERTED (\d{1,19})\r\nBURIED\r\n")
"""The answers to a burial with its record, which nearly always are these; to take both at once takes half as long."""
_SERVER_ID: Final = re.compile(rb"^id: ([!-~]{1,100})$", re.MULTILINE)
_TOUCHED: Final = re.compile(rb"TOUCHED\r\n")
_JOB_STATS: Final = re.compile(
    rb"OK [0-9]++\r\n---\nid: ([0-9]{1,19}+)\ntube: \"?([!#-~]{1,200}+)\"?\nstate: [a-z]++\n"
    rb"pri: ([0-9]{1,19}+)\nage: (?:([0-9]{1,19}+)|-[0-9]{1,19}+)\ndelay: ([0-9]{1,19}+)\nttr: ([0-9]{1,19}+)\n"
    rb"time-left: -?[0-9]++\nfile: [0-9]++\nreserves: ([0-9]{1,19}+)\ntimeouts: [0-9]++\n"
    rb"releases: ([0-9]{1,19}+)\nburies: ([0-9]{1,19}+)\nkicks: ([0-9]{1,19}+)\n\r\n"
)
"""The answer to `stats-job`, as beanstalkd 1.10 to 1.13 write it (prot.c, STATS_JOB_FMT).

A job has an age below 0 if the clock of its machine was put back since it was put; then the group is None.
"""
_DONE: Final = Settled.DONE  # a global, because in Python 3.11 `Settled.DONE` takes as long as a call


def connect(server: str, timeout: float = 5.0) -> "Connection":
    """Connect to beanstalkd at `host:port` within `timeout` seconds; raises QueueUnavailable."""
    return Connection(open_socket(server, timeout))


class Connection(TubeConnection):
    """A connection to beanstalkd, which another process may share as long as the two take turns.

    Every method that sends a command may raise three errors: QueueUnavailable; RefusedError with beanstalkd's answer
    (NOT_FOUND, OUT_OF_MEMORY, …); and OSError if code of a job has closed the socket in this process, in which case
    nothing was sent. Most methods send a command and read its answer. A method `ask_…` only sends one, and a method
    `take_…` only reads the answer; the answers must be read in the order in which the commands were sent.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Use a connected socket; raises QueueUnavailable if it is not connected any more."""
        super().__init__(sock)
        self.foresight = Foresight(ReserveCount())
        """Foresees the id of the next job. All connections by which a process reserves jobs should have the same."""
        self._number: int | None = None
        """The number of the last reserve, which is unanswered; None if beanstalkd may wait for a job."""
        self._foreseen = 0
        """The job whose counters were asked for together with the last reserve, which is unanswered; 0 if none."""
        self.has_settled = False
        """Whether beanstalkd has deleted, released or buried at least one job by a command of this connection."""

    def put(self, tube: str, body: bytes, *, priority: int, delay: int, ttr: int) -> int:
        """Put a job into a tube and return its id; `delay` and `ttr` in seconds.

        Raises RefusedError (JOB_TOO_BIG, DRAINING, …); after BURIED the job exists, and is buried because beanstalkd
        has no memory to queue it. Raises AnswerLost if the put was sent, but not answered; after any other
        QueueUnavailable nothing was put.
        """
        self.begin_puts(tube)
        try:
            self.ask_puts([body], priority=priority, delay=delay, ttr=ttr)
            return self.take_put()
        except QueueUnavailable as error:
            raise AnswerLost(f"{error}, so the job may have been put or not") from error

    def begin_puts(self, tube: str) -> None:
        """Have each put go into this tube, until another one is used.

        If beanstalkd refuses that, puts go where they went before.
        """
        self._use(tube)

    def ask_puts(self, bodies: Iterable[bytes], *, priority: int, delay: int, ttr: int) -> None:
        """Send a put for each body, PIPELINE_MOST at most; `take_put` must follow as many times."""
        head = b"put %d %d %d " % (priority, delay, ttr)
        self._wire.write(b"".join([b"%b%d\r\n%b\r\n" % (head, len(body), body) for body in bodies]))

    def take_put(self) -> int:
        """Take the answer to one put, and return the id of the job; raises RefusedError, see `put`."""
        return int(self._wire.take_line(_INSERTED)[1])

    def ask_reserve(self, timeout: int) -> None:
        """Send a reserve for which beanstalkd waits up to `timeout` seconds for a job; `take_reserved` must follow."""
        self._number, self._foreseen = None, 0
        self._wire.write(b"reserve-with-timeout %d\r\n" % timeout)

    def take_reserved(self) -> Reserved | None:
        """Take the answer to a reserve: the reserved job, or None if no job came in time.

        Raises LeaseGone if the job does not exist any more; the connection can be used further.
        """
        number, foreseen = self._number, self._foreseen
        self._number, self._foreseen = None, 0
        try:
            answer = self._wire.take_line(RESERVED)
        except (TimedOutError, DeadlineSoonError):
            if number is not None:
                self.foresight.note_none()
            if foreseen:  # a stats-job for the foreseen id was sent with the reserve, so its answer has to be read
                self._take_job_stats(foreseen)
            return None
        since = time.monotonic()
        job_id = _number(answer[1])
        # The body is None if beanstalkd lost it. It is also None if what was read is not the answer to this reserve.
        # Then the counters that are read next are those of another job, which raises QueueUnavailable.
        body = self._wire.take_body(_number(answer[2]))
        stats = self._take_job_stats(foreseen) if foreseen else None
        if not foreseen or foreseen != job_id:
            stats = self.stats_job(job_id)
        if stats is None:
            raise LeaseGone(job_id)
        self.foresight.note(number, job_id)
        # A call of Reserved would call a function of Python, which takes far longer.
        return tuple.__new__(Reserved, (stats, body, since))

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
            self._wire.write(b"".join([command for command, _ in batch]))
            for _, expected in batch:
                yield self._take_settled(expected)

    def bury(
        self, job_id: int, priority: int, record: bytes, ttr: int, *, ask_reserve: bool = False
    ) -> tuple[Settled, int | str | None]:
        """Put a record and bury its job, a reserved one, in one write; return what `take_buried` returns.

        The record goes into the tube for which `begin_puts` was called, with this `ttr` in seconds. If `ask_reserve`, a
        reserve is sent as by `settle`.
        """
        command = _bury_command(job_id, priority, record, ttr)
        self._wire.write(command + self._reserve_command() if ask_reserve else command)
        return self.take_buried(with_record=True)

    def ask_burials(self, jobs: Iterable[Burying], ttr: int, *, look: bool = False, ask_reserve: bool = False) -> None:
        """Send the burials of reserved jobs in one write, each right after the put of its record, as `bury` does.

        There may be PIPELINE_MOST / 2 jobs at most; `take_buried` must follow for each. If `look`, `take_look` must
        follow next; and if `ask_reserve`, `take_reserved` must, as after `settle`.
        """
        commands = [_bury_command(*job, ttr) for job in jobs]
        if look:
            commands.append(b"stats-tube %b\r\npeek-ready\r\nstats\r\n" % self.used.encode())
        if ask_reserve:
            commands.append(self._reserve_command())
        self._wire.write(b"".join(commands))

    def take_buried(self, with_record: bool) -> tuple[Settled, int | str | None]:
        """Take the answers to one burial; return what beanstalkd did with the job, and with the record.

        Of the record this is its id; the word by which beanstalkd refused it, such as DRAINING; or None without one.
        """
        if with_record and (match := self._wire.take_if(_INSERTED_AND_BURIED)) is not None:
            self.has_settled = True
            return _DONE, int(match[1])
        record = self._take_put() if with_record else None
        try:
            return self._take_settled(_BURIED), record
        except RefusedError as error:  # the answers to the commands that follow are not read any more
            raise QueueUnavailable(f"beanstalkd answered {error} when a job was to be buried") from error

    def take_look(self) -> tuple[TubeStats, int | None, str]:
        """Take the counters of the tube that is used, the id of its first ready job or None, and the server's name.

        If beanstalkd refuses one of the commands, raises RefusedError when all answers are read.
        """
        stats = self._taken(lambda: self.take_tube_stats(self.used))
        oldest = self._taken(self._take_peeked)
        server_id = self._take_server_id()
        return _or_raise(stats), _or_raise(oldest), server_id

    def server_id(self) -> str:
        """Return the server's name for itself. A server that is started again has another, and may give ids again."""
        self._wire.write(b"stats\r\n")
        return self._take_server_id()

    def delete(self, job_ids: Sequence[int]) -> None:
        """Delete jobs that this connection has reserved, or that nobody has; those that are gone do not matter.

        If beanstalkd refuses one of the commands, raises RefusedError when all answers to the same write are read.
        """
        for start in range(0, len(job_ids), PIPELINE_MOST):
            batch = job_ids[start : start + PIPELINE_MOST]
            self._wire.write(b"".join([b"delete %d\r\n" % job_id for job_id in batch]))
            # To take each answer alone takes longer than all else. No answer is shorter than this one.
            if not self._wire.take_exactly(b"DELETED\r\n" * len(batch)):
                for answer in [self._taken(lambda: self._take_settled(DELETED)) for _ in batch]:
                    _or_raise(answer)

    def touch(self, job_id: int, *, ask_reserve: bool = False) -> Settled:
        """Begin the TTR of a lease anew. If `ask_reserve`, a reserve is sent in the same write, as by `settle`."""
        command = b"touch %d\r\n" % job_id
        self._wire.write(command + self._reserve_command() if ask_reserve else command)
        return self._take_settled(_TOUCHED)

    def ask_touch(self, job_ids: Iterable[int]) -> None:
        """Send a touch for each lease, PIPELINE_MOST at most; `take_touched` must follow as many times."""
        self._wire.write(b"".join([b"touch %d\r\n" % job_id for job_id in job_ids]))

    def take_touched(self) -> Settled:
        """Take the answer to one touch."""
        return self._take_settled(_TOUCHED)

    def _taken(self, take: Callable[[], Answer]) -> Answer | RefusedError:
        """Take an answer and return it; return the error if beanstalkd refused the command, as other answers follow."""
        try:
            return take()
        except RefusedError as error:
            return error

    def _take_put(self) -> int | str:
        """Take the answer to a put: the id of the new job, or the word by which beanstalkd refused it."""
        try:
            return int(self._wire.take_line(_INSERTED_OR_BURIED)[1])
        except RefusedError as error:
            return str(error)

    def _take_peeked(self) -> int | None:
        """Take the answer to a peek: the id of a job, or None if there is none."""
        try:
            found = self._wire.take_line(_FOUND)
        except NotFoundError:
            return None
        self._wire.take_body(int(found[2]))
        return int(found[1])

    def _take_server_id(self) -> str:
        if (found := _SERVER_ID.search(self._take_document())) is None:
            raise unexpected_answer("counters")
        return found[1].decode()

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
        if _number(job) != job_id:  # this is the answer to another command
            raise unexpected_answer("counters of that job")
        return tuple.__new__(
            JobStats,
            (
                job_id, tube.decode(), _number(priority), 0 if age is None else _number(age), _number(delay),
                _number(ttr), _number(reserves), _number(releases), _number(buries), _number(kicks),
            ),
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

    def _reserve_command(self) -> bytes:
        """Return the command for a reserve and, if the id of the next job is foreseen, the one for its counters.

        The latter saves a round trip. If another job is reserved, these counters are not used, and those of the
        reserved job are asked for.
        """
        self._number = self.foresight.reserves.add()
        self._foreseen = self.foresight.next_id(self._number)
        if self._foreseen:
            return b"reserve-with-timeout 0\r\nstats-job %d\r\n" % self._foreseen
        return b"reserve-with-timeout 0\r\n"


def _number(digits: bytes) -> int:
    """Return the number that digits stand for. Compiled, this takes a fifth of the time of `int`."""
    number = 0
    for place in range(len(digits)):  # compiled, a loop over the digits themselves takes three times as long
        number = number * 10 + digits[place] - ord("0")
    return number


def _or_raise(answer: Answer | RefusedError) -> Answer:
    """Return an answer, or raise it if it is a refusal."""
    if isinstance(answer, RefusedError):
        raise answer
    return answer


def _verdict_command(job_id: int, verdict: Verdict) -> tuple[bytes, re.Pattern[bytes]]:
    """Return the command that carries out a verdict, and the pattern of its answer."""
    match verdict:
        case Delete():
            return b"delete %d\r\n" % job_id, DELETED
        case Release(delay, priority):
            return b"release %d %d %d\r\n" % (job_id, priority, delay), _RELEASED
        case Bury(priority):
            return b"bury %d %d\r\n" % (job_id, priority), _BURIED


def _bury_command(job_id: int, priority: int, record: bytes | None, ttr: int) -> bytes:
    """Return the command that buries a job, after the one that puts its record, if there is one."""
    if record is None:
        return b"bury %d %d\r\n" % (job_id, priority)
    return b"put %d 0 %d %d\r\n%b\r\nbury %d %d\r\n" % (DEFAULT_PRIORITY, ttr, len(record), record, job_id, priority)
