"""The one module that talks to beanstalkd: a greenstalk client that never leaves a doubt about its connection.

Any trouble with the connection (closed, silent, or speaking something else) raises `QueueUnavailable`, after which
the connection must be dropped; beanstalkd then gives its lease back by itself.
"""

import re
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

import greenstalk
from greenstalk import BeanstalkdError as RefusedError
from greenstalk import DeadlineSoonError, NotFoundError, TimedOutError

from tubeherd.job import JobStats
from tubeherd.policy import Bury, Delete, Release, Verdict

__all__ = [
    "DEFAULT_PORT",
    "Connection",
    "NotFoundError",
    "QueueUnavailable",
    "RefusedError",
    "Reserved",
    "TubeStats",
    "connect",
    "parse_server",
]

DEFAULT_PORT: Final = 11300
_REPLY_SECONDS: Final = 10
_LINE_MAX: Final = 1024
_BODY_MAX: Final = 1 << 30  # beanstalkd's own JOB_DATA_SIZE_LIMIT_MAX
_SERVER: Final = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")


class QueueUnavailable(ConnectionError):
    """beanstalkd cannot be reached, or the connection to it can't be used any more."""


class Reserved(NamedTuple):
    """A job that this connection holds a lease on."""

    id: int
    body: bytes


@dataclass(frozen=True, slots=True)
class TubeStats:
    """How many jobs of a tube are in each state; all 0 for a tube that does not exist."""

    name: str
    ready: int = 0
    reserved: int = 0
    delayed: int = 0
    buried: int = 0


def parse_server(server: str) -> tuple[str, int]:
    """Return host and port of `host`, `host:port` or `[v6]:port`. Raises ValueError for anything else."""
    match = _SERVER.fullmatch(server)
    port = int(match["port"] or DEFAULT_PORT) if match else 0
    if not match or not 0 < port < 65536:
        raise ValueError(f"{server[:80]!r} is no server: write it like beanstalkd:11300 or [::1]:11300")
    return match["v6"] or match["host"], port


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
    limit = struct.pack("ll", _REPLY_SECONDS, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    return Connection(sock)


class Connection(greenstalk.Client[bytes]):
    """A client on a connected socket, which another process may share as long as the two take turns.

    Commands raise QueueUnavailable, or RefusedError with beanstalkd's answer (NOT_FOUND, OUT_OF_MEMORY, …).
    """

    def __init__(self, sock: socket.socket) -> None:
        try:
            super().__init__(sock, encoding=None)
        except OSError as error:
            raise QueueUnavailable(f"the connection to beanstalkd was closed: {error}") from error

    @property
    def socket(self) -> socket.socket:
        """The connected socket."""
        return self._sock

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

    def ask_reserve(self, timeout: int) -> None:
        """Send a reserve that waits `timeout` seconds; `take_reserved` must follow."""
        self._write(b"reserve-with-timeout %d\r\n" % timeout)

    def take_reserved(self) -> Reserved | None:
        """Read the answer to a reserve: a lease, or None where no job came in time."""
        try:
            job_id, size = self._ints(b"RESERVED", 2)
        except (TimedOutError, DeadlineSoonError):
            return None
        return Reserved(job_id, self._read_chunk(size))

    def job_stats(self, job_id: int) -> JobStats:
        """Ask for a job's counters; raises NotFoundError where there is no such job."""
        self._write(b"stats-job %d\r\n" % job_id)
        (size,) = self._ints(b"OK", 1)
        return _job_stats(self._read_chunk(size))

    def settle(self, job_id: int, verdict: Verdict) -> bool:
        """Give a verdict on a lease; returns False where the lease was gone already."""
        command, expected = _verdict_command(job_id, verdict)
        self._write(command)
        return self._take_settled(expected)

    def settle_and_ask_reserve(self, job_id: int, verdict: Verdict, timeout: int) -> bool:
        """Give a verdict and ask for the next job in one write; returns what `settle` does, before the job is there."""
        command, expected = _verdict_command(job_id, verdict)
        self._write(b"%breserve-with-timeout %d\r\n" % (command, timeout))
        return self._take_settled(expected)

    def ask_extend(self, job_id: int) -> None:
        """Touch a lease; `take_extended` must follow."""
        self._write(b"touch %d\r\n" % job_id)

    def take_extended(self) -> bool:
        """Read the answer to a touch; returns False where the lease was gone already."""
        return self._take_settled(b"TOUCHED")

    def put_in(self, tube: str, body: bytes, *, priority: int, delay: int, ttr: int) -> int:
        """Put a job into a tube and return its id; raises RefusedError (JOB_TOO_BIG, DRAINING, …)."""
        self.use(tube)
        return self.put(body, priority, delay, ttr)

    def stats_tubes(self, tubes: Iterable[str]) -> dict[str, TubeStats]:
        """Ask for the counts of many tubes in one write."""
        names = list(dict.fromkeys(tubes))
        stats: dict[str, TubeStats] = {}
        # A bounded batch: both sides could otherwise wait for the other to read.
        for start in range(0, len(names), 500):
            batch = names[start : start + 500]
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
            (size,) = self._ints(b"OK", 1)
        except NotFoundError:
            return TubeStats(name)
        values = _yaml(self._read_chunk(size))
        try:
            states = (int(values[b"current-jobs-" + state]) for state in (b"ready", b"reserved", b"delayed", b"buried"))
            return TubeStats(name, *states)
        except (KeyError, ValueError) as error:
            raise _strange(b"stats-tube") from error

    def _take_settled(self, expected: bytes) -> bool:
        try:
            self._read_answer(expected)
        except NotFoundError:
            return False
        except greenstalk.BuriedError:
            # Out of memory for its queue of ready or delayed jobs, beanstalkd buried the job instead: it is safe.
            return True
        return True

    def _ints(self, expected: bytes, count: int) -> list[int]:
        return self._numbers(self._read_answer(expected), expected, count)

    def _int_cmd(self, cmd: bytes, expected: bytes) -> int:
        (number,) = self._numbers(self._send_cmd(cmd, expected), expected, 1)
        return number

    def _job_cmd(self, cmd: bytes, expected: bytes) -> greenstalk.Job[bytes]:
        job_id, size = self._numbers(self._send_cmd(cmd, expected), expected, 2)
        return greenstalk.Job(job_id, self._read_chunk(size))

    def _numbers(self, values: list[bytes], expected: bytes, count: int) -> list[int]:
        try:
            numbers = [int(value) for value in values]
        except ValueError as error:
            raise _strange(expected) from error
        if len(numbers) != count:
            raise _strange(expected)
        return numbers

    def _send_cmd(self, cmd: bytes, expected: bytes) -> list[bytes]:
        self._write(cmd + b"\r\n")
        return self._read_answer(expected)

    def _write(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise QueueUnavailable(f"the connection to beanstalkd broke while sending: {error}") from error

    def _read_answer(self, expected: bytes) -> list[bytes]:
        try:
            line = self._reader.readline(_LINE_MAX)
        except OSError as error:
            raise QueueUnavailable(f"the connection to beanstalkd broke while reading: {error}") from error
        if line[-2:] != b"\r\n":
            raise _strange(expected) if len(line) == _LINE_MAX else _silent()
        status, *values = line.split() or [b""]
        if status == expected:
            return values
        if status in greenstalk.ERROR_RESPONSES:
            raise greenstalk.ERROR_RESPONSES[status](values)
        raise _strange(expected)

    def _read_chunk(self, size: int) -> bytes:
        if not 0 <= size <= _BODY_MAX:
            raise _strange(b"a body")
        try:
            data = self._reader.read(size + 2)
        except OSError as error:
            raise QueueUnavailable(f"the connection to beanstalkd broke while reading: {error}") from error
        if data is None or len(data) != size + 2:
            raise _silent()
        if data[-2:] != b"\r\n":
            raise _strange(b"a body")
        return data[:-2]


def _verdict_command(job_id: int, verdict: Verdict) -> tuple[bytes, bytes]:
    match verdict:
        case Delete():
            return b"delete %d\r\n" % job_id, b"DELETED"
        case Release(delay, priority):
            return b"release %d %d %d\r\n" % (job_id, priority, delay), b"RELEASED"
        case Bury(priority):
            return b"bury %d %d\r\n" % (job_id, priority), b"BURIED"


def _job_stats(data: bytes) -> JobStats:
    values = _yaml(data)
    try:
        return JobStats(
            id=int(values[b"id"]),
            tube=values[b"tube"].strip(b'"').decode("ascii"),
            priority=int(values[b"pri"]),
            age=int(values[b"age"]),
            delay=int(values[b"delay"]),
            ttr=int(values[b"ttr"]),
            reserves=int(values[b"reserves"]),
            releases=int(values[b"releases"]),
            buries=int(values[b"buries"]),
            kicks=int(values[b"kicks"]),
        )
    except (KeyError, ValueError) as error:
        raise _strange(b"stats-job") from error


def _yaml(data: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b": ") for line in data.split(b"\n"))
    return {key: value for key, _, value in pairs}


def _silent() -> QueueUnavailable:
    return QueueUnavailable(f"beanstalkd closed the connection, or gave no answer within {_REPLY_SECONDS} s")


def _strange(expected: bytes) -> QueueUnavailable:
    return QueueUnavailable(f"the server's answer is not beanstalkd's ({expected.decode()} was expected)")
