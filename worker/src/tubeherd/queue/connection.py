"""The one module that talks to beanstalkd: a greenstalk client that never leaves a doubt about its connection.

Any trouble with the connection (closed, silent, or speaking something else) raises `QueueUnavailable`, after which
the connection must be dropped; beanstalkd then gives its lease back by itself.
"""

import errno
import re
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import greenstalk
from greenstalk import DeadlineSoonError, NotFoundError, TimedOutError

from tubeherd.job import JobStats
from tubeherd.policy import Bury, Delete, Release, Verdict
from tubeherd.queue.answers import LeaseGone, QueueUnavailable, RefusedError, Reserved, Settled, TubeStats
from tubeherd.queue.server import parse_server

DEFAULT_PRIORITY: Final = 65536
DEFAULT_TTR: Final = 60
"""How long a worker may hold a job without a sign of life, in seconds."""
REPLY_SECONDS: Final = 10
_LINE_MAX: Final = 1024
_ANSWER_MOST: Final = 1 << 11
"""Bytes in one read: room for nearly every answer, and no more memory to be had for each than that."""
_BODY_PIECE: Final = 1 << 16
"""Bytes in one read of a body that did not come whole with its answer."""
_SLOWEST: Final = 1 << 16
"""Bytes a second that a large body must come with at least."""
_BODY_MAX: Final = 1 << 30  # beanstalkd's own JOB_DATA_SIZE_LIMIT_MAX
PIPELINE_MOST: Final = 500
"""Commands in one write: with more, both sides could wait for the other to read."""
# No number has more than 19 digits, so that each fits 64 bits.
_RESERVED: Final = re.compile(rb"RESERVED (\d{1,19}) (\d{1,10})\r\n")
_FOUND: Final = re.compile(rb"FOUND (\d{1,19}) (\d{1,10})\r\n")
_OK: Final = re.compile(rb"OK (\d{1,10})\r\n")
_DELETED: Final = b"DELETED\r\n"
_RELEASED: Final = b"RELEASED\r\n"
_BURIED: Final = b"BURIED\r\n"
_TOUCHED: Final = b"TOUCHED\r\n"
_JOB_STATS: Final = re.compile(
    rb"OK \d+\r\n---\nid: (\d{1,19})\ntube: \"?([!-~]{1,200}?)\"?\nstate: [a-z]+\n"
    rb"pri: (\d{1,19})\nage: (\d{1,19})\ndelay: (\d{1,19})\nttr: (\d{1,19})\ntime-left: -?\d+\nfile: \d+\n"
    rb"reserves: (\d{1,19})\ntimeouts: \d+\nreleases: (\d{1,19})\nburies: (\d{1,19})\nkicks: (\d{1,19})\n\r\n"
)
"""The answer to `stats-job`, as beanstalkd 1.10 to 1.13 write it (prot.c, STATS_JOB_FMT)."""
_COUNT: Final = re.compile(rb"^current-jobs-(ready|reserved|delayed|buried): (\d{1,19})$", re.MULTILINE)


def connect(server: str, timeout: float = 5.0) -> "Connection":
    """Connect to beanstalkd at `host:port` within `timeout` seconds; raises QueueUnavailable."""
    address = parse_server(server)
    try:
        sock = socket.create_connection(address, timeout)
    except OSError as error:
        raise QueueUnavailable(f"cannot reach beanstalkd at {server}: {error.strerror or error}") from error
    except UnicodeError as error:  # a label of the name is empty or longer than 63 characters
        raise QueueUnavailable(f"cannot reach beanstalkd at {server}: it is no host name") from error
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer that vanished without a word is noticed after half a minute, also while nothing is sent.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    # The kernel's timeouts cost no extra system call, and hold for every process that shares the socket.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", REPLY_SECONDS, 0))
    connection = Connection(sock)
    connection.wait_at_most(REPLY_SECONDS)
    return connection


class Connection(greenstalk.Client[bytes]):
    """A client on a connected socket, which another process may share as long as the two take turns.

    Commands raise QueueUnavailable, or RefusedError with beanstalkd's answer (NOT_FOUND, OUT_OF_MEMORY, …), or OSError
    where somebody else has closed the socket in this process, before anything was sent.
    """

    def __init__(self, sock: socket.socket) -> None:
        try:
            super().__init__(sock, encoding=None)
        except OSError as error:
            raise QueueUnavailable(f"the connection to beanstalkd was closed: {error}") from error
        self._reply_seconds: float = REPLY_SECONDS
        self._unread = b""
        self._last = self._step = 0
        self._foreseen = 0
        """The id that the next job is likely to have; 0 where none is foreseen."""
        self.has_settled = False
        """Whether beanstalkd has carried out a verdict on it."""

    @property
    def socket(self) -> socket.socket:
        """The connected socket."""
        return self._sock

    def wait_at_most(self, seconds: float) -> None:
        """Change how long an answer may take, from REPLY_SECONDS; for every process that shares the socket."""
        self._reply_seconds = seconds
        whole, fraction = divmod(seconds, 1)
        limit = struct.pack("ll", int(whole), int(fraction * 1e6))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)

    def abandon(self) -> None:
        """Close the connection for every process that shares it: beanstalkd gives its leases back."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self.close()

    def watch_only(self, tubes: Sequence[str]) -> None:
        """Watch these tubes and no others that a new connection watches."""
        for tube in tubes:
            self.watch(tube)
        if greenstalk.DEFAULT_TUBE not in tubes:
            with suppress(greenstalk.NotIgnoredError):
                self.ignore(greenstalk.DEFAULT_TUBE)

    def ignore_others(self, tubes: Sequence[str]) -> None:
        """Watch no tubes but these, whatever a connection watched that was in use before."""
        self._write(b"list-tubes-watched\r\n")
        body = self._read_chunk(int(self._take(_OK)[1]))
        for tube in re.findall(rb"^- \"?([!-~]+?)\"?$", body, re.MULTILINE):
            if tube.decode() not in tubes:
                self.ignore(tube.decode())

    def ask_reserve(self, timeout: int) -> None:
        """Send a reserve that waits `timeout` seconds; `take_reserved` must follow."""
        self._foreseen = 0
        self._write(b"reserve-with-timeout %d\r\n" % timeout)

    def take_reserved(self) -> Reserved | None:
        """Read the answer to a reserve: a lease, or None where no job came in time.

        Raises LeaseGone, after which the connection can be used on.
        """
        foreseen, self._foreseen = self._foreseen, 0
        try:
            answer = self._take(_RESERVED)
        except (TimedOutError, DeadlineSoonError):
            if foreseen:
                self._take_stats(foreseen)
            return None
        since = time.monotonic()
        job_id = int(answer[1])
        body = self._take_body(int(answer[2]))  # if the stream is out of step instead, the counters will tell
        stats = self._take_stats(foreseen) if foreseen else None
        if not foreseen or foreseen != job_id:
            stats = self.job_stats(job_id)
        if stats is None:
            raise LeaseGone(job_id)
        self._foresee(job_id)
        return Reserved(stats, body, since)

    def job_stats(self, job_id: int) -> JobStats | None:
        """Ask for a job's counters; None where there is no such job."""
        self._write(b"stats-job %d\r\n" % job_id)
        return self._take_stats(job_id)

    def _take_stats(self, job_id: int) -> JobStats | None:
        """Read the counters of a job; None where there is no such job."""
        if not self._unread:
            self._unread = self._receive()
        match = _JOB_STATS.match(self._unread)
        if match is not None:
            self._unread = self._unread[match.end() :]
        else:
            match = self._complete_stats()
            if match is None:
                return None
        job, tube, priority, age, delay, ttr, reserves, releases, buries, kicks = match.groups()
        if int(job) != job_id:  # the answer to another command: a verdict by it would hit the wrong job
            raise _strange("counters of that job")
        return JobStats(
            job_id, tube.decode(), int(priority), int(age), int(delay), int(ttr),
            int(reserves), int(releases), int(buries), int(kicks),
        )  # fmt: skip

    def _complete_stats(self) -> re.Match[bytes] | None:
        """Read the counters of a job where they did not come whole and at once."""
        try:
            size = int(self._take(_OK)[1])
        except NotFoundError:
            return None
        body = self._read_chunk(size)
        match = _JOB_STATS.fullmatch(b"OK %d\r\n%b\r\n" % (size, body))
        if match is None:
            raise _strange("counters of a job")
        return match

    def settle(self, job_id: int, verdict: Verdict, *, ask_reserve: bool = False) -> Settled:
        """Give a verdict on a lease and return what became of it.

        Where `ask_reserve`, the next job is asked for in the same write, without a wait; `take_reserved` must follow.
        """
        command, expected = _verdict_command(job_id, verdict)
        self._write(command + self._reserve_at_once() if ask_reserve else command)
        return self._take_settled(expected)

    def settle_all(self, verdicts: Sequence[tuple[int, Verdict]]) -> Iterator[Settled]:
        """Give verdicts on many leases in few writes and yield what became of each, in their order."""
        for start in range(0, len(verdicts), PIPELINE_MOST):
            batch = [_verdict_command(job_id, verdict) for job_id, verdict in verdicts[start : start + PIPELINE_MOST]]
            self._write(b"".join(command for command, _ in batch))
            for _, expected in batch:
                yield self._take_settled(expected)

    def extend(self, job_id: int, *, ask_reserve: bool = False) -> Settled:
        """Touch a lease, and ask for the next job where `settle` would."""
        command = b"touch %d\r\n" % job_id
        self._write(command + self._reserve_at_once() if ask_reserve else command)
        return self._take_settled(_TOUCHED)

    def _take_settled(self, expected: bytes) -> Settled:
        if not self._unread:
            self._unread = self._receive()
        if self._unread.startswith(expected):  # as nearly always
            self._unread = self._unread[len(expected) :]
        else:
            pattern = re.compile(re.escape(expected))
            try:
                self._take(pattern)
            except NotFoundError:
                return Settled.LEASE_GONE
            except greenstalk.BuriedError:
                if expected is _RELEASED:
                    return Settled.BURIED_INSTEAD
                raise _strange(pattern) from None
        if expected is not _TOUCHED:
            self.has_settled = True
        return Settled.DONE

    def _foresee(self, job_id: int) -> None:
        """Foresee the id of the next job, where ids have gone on by the same step twice.

        So the counters of a job can be asked for together with the job, which saves a round trip. Where the job is
        another one, what was told is dropped and its own counters are asked for.
        """
        step, self._last = job_id - self._last, job_id
        self._foreseen = max(0, job_id + step) if step == self._step else 0
        self._step = step

    def _reserve_at_once(self) -> bytes:
        """Return the commands for the next job; its counters are asked for where its id is foreseen."""
        if self._foreseen:
            return b"reserve-with-timeout 0\r\nstats-job %d\r\n" % self._foreseen
        return b"reserve-with-timeout 0\r\n"

    # For the supervisor

    def ask_extend(self, job_ids: Iterable[int]) -> None:
        """Touch leases; `take_extended` must follow for each."""
        self._write(b"".join(b"touch %d\r\n" % job_id for job_id in job_ids))

    def take_extended(self) -> Settled:
        """Read the answer to a touch."""
        return self._take_settled(_TOUCHED)

    # For producers, scripts and the operator

    def put_in(self, tube: str, body: bytes, *, priority: int, delay: int, ttr: int) -> int:
        """Put a job into a tube and return its id; raises RefusedError (JOB_TOO_BIG, DRAINING, …)."""
        self.use(tube)
        return self.put(body, priority, delay, ttr)

    def stats_tubes(self, tubes: Iterable[str]) -> dict[str, TubeStats]:
        """Ask for the counts of many tubes in one write."""
        names = list(dict.fromkeys(tubes))
        stats: dict[str, TubeStats] = {}
        for start in range(0, len(names), PIPELINE_MOST):
            batch = names[start : start + PIPELINE_MOST]
            self._write(b"".join(b"stats-tube %b\r\n" % name.encode() for name in batch))
            stats.update({name: self._take_tube_stats(name) for name in batch})
        return stats

    def kick_buried(self, tube: str, bound: int) -> int:
        """Kick up to `bound` buried jobs of a tube and return how many.

        beanstalkd's `kick` promotes delayed jobs where none is buried, so the bound is what is buried now. Only another
        client that kicks the same tube between the two commands could still make it touch a delayed job.
        """
        buried = min(bound, self.stats_tubes([tube])[tube].buried)
        if buried <= 0:
            return 0
        self.use(tube)
        return self.kick(buried)

    def _take_tube_stats(self, name: str) -> TubeStats:
        try:
            body = self._read_chunk(int(self._take(_OK)[1]))
        except NotFoundError:
            return TubeStats(name)
        counts = {state.decode(): int(count) for state, count in _COUNT.findall(body)}
        if len(counts) != 4:
            raise _strange("counters of a tube")
        return TubeStats(name, **counts)

    # What greenstalk's own commands are made of

    def _send_cmd(self, cmd: bytes, expected: bytes) -> list[bytes]:
        self._write(cmd + b"\r\n")
        return self._take(re.compile(rb"%b((?: [!-~]+)*)\r\n" % expected))[1].split()

    def _int_cmd(self, cmd: bytes, expected: bytes) -> int:
        self._write(cmd + b"\r\n")
        return int(self._take(re.compile(rb"%b (\d{1,19})\r\n" % expected))[1])

    def _job_cmd(self, cmd: bytes, expected: bytes) -> greenstalk.Job[bytes]:
        self._write(cmd + b"\r\n")
        answer = self._take(_FOUND if expected == b"FOUND" else _RESERVED)
        return greenstalk.Job(int(answer[1]), self._read_chunk(int(answer[2])))

    # Bytes

    def _write(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            closed_by_others = error.errno in (errno.EBADF, errno.ENOTSOCK) and self._sock.fileno() >= 0
            if closed_by_others:  # this process is broken, not the connection, which other processes share
                raise
            raise _broken(error) from error

    def _take(self, expected: re.Pattern[bytes]) -> re.Match[bytes]:
        """Read a line, which must be the expected answer; raises what another line means."""
        if not self._unread:
            self._unread = self._receive()
        match = expected.match(self._unread)
        if match is None:
            self._complete_line(expected)
            match = expected.match(self._unread)
            if match is None:
                raise self._take_refusal(expected)
        self._unread = self._unread[match.end() :]
        return match

    def _take_refusal(self, expected: re.Pattern[bytes]) -> RefusedError | QueueUnavailable:
        line, _, self._unread = self._unread.partition(b"\r\n")
        status = b"".join(line.split()[:1])
        if status not in greenstalk.ERROR_RESPONSES:
            return _strange(expected)
        refusal: RefusedError = greenstalk.ERROR_RESPONSES[status]()
        refusal.args = (status.decode(),)  # what else stands in the line may be anything
        return refusal

    def _complete_line(self, expected: re.Pattern[bytes]) -> None:
        deadline = time.monotonic() + REPLY_SECONDS
        while b"\r\n" not in self._unread:
            if len(self._unread) > _LINE_MAX:
                raise _strange(expected)
            self._unread += self._receive_by(deadline, _ANSWER_MOST)

    def _take_body(self, size: int) -> bytes | None:
        """Read a body, or None where it does not end as one does."""
        whole = size + 2
        if len(self._unread) < whole:
            self._unread = self._receive_all(whole)
        body, end, self._unread = self._unread[:size], self._unread[size:whole], self._unread[whole:]
        return body if end == b"\r\n" else None

    def _read_chunk(self, size: int) -> bytes:
        body = self._take_body(size)
        if body is None:
            raise _strange("a body")
        return body

    def _receive_all(self, whole: int) -> bytes:
        if whole > _BODY_MAX:
            raise _strange("a body")
        # Piece by piece: a size that is only claimed costs no memory, and who dribbles bytes holds nobody up for ever.
        deadline = time.monotonic() + REPLY_SECONDS + whole / _SLOWEST
        data = bytearray(self._unread)
        while len(data) < whole:
            data += self._receive_by(deadline, _BODY_PIECE)
        return bytes(data)

    def _receive_by(self, deadline: float, most: int) -> bytes:
        if time.monotonic() > deadline:
            raise _silent(REPLY_SECONDS)
        return self._receive(most)

    def _receive(self, most: int = _ANSWER_MOST) -> bytes:
        try:
            data = self._sock.recv(most)
        except BlockingIOError as error:  # the kernel's timeout
            raise _silent(self._reply_seconds) from error
        except OSError as error:
            raise _broken(error) from error
        if not data:
            raise QueueUnavailable("beanstalkd closed the connection")
        return data


def _verdict_command(job_id: int, verdict: Verdict) -> tuple[bytes, bytes]:
    match verdict:
        case Delete():
            return b"delete %d\r\n" % job_id, _DELETED
        case Release(delay, priority):
            return b"release %d %d %d\r\n" % (job_id, priority, delay), _RELEASED
        case Bury(priority):
            return b"bury %d %d\r\n" % (job_id, priority), _BURIED


def _broken(error: OSError) -> QueueUnavailable:
    return QueueUnavailable(f"the connection to beanstalkd broke: {error.strerror or error}")


def _silent(seconds: float) -> QueueUnavailable:
    return QueueUnavailable(f"beanstalkd gave no answer within {seconds:g} s")


def _strange(expected: re.Pattern[bytes] | str) -> QueueUnavailable:
    if not isinstance(expected, str):
        expected = re.split(r"[^A-Z]", expected.pattern.decode())[0]
    return QueueUnavailable(f"the server's answer is not beanstalkd's ({expected} was expected)")
