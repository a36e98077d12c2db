"""Sends bytes to beanstalkd and reads its answers from the socket; nothing here knows what a job is.

`QueueUnavailable` is raised if the connection breaks, if beanstalkd does not answer in time, or if the answer is none
that beanstalkd gives. The wire must then be closed, because it is not known which command the next bytes would answer.
"""

import errno
import re
import socket
import struct
import time
from contextlib import suppress
from typing import Final

from tubeherd.queue.answers import QueueUnavailable, RefusedError, refusal
from tubeherd.queue.server import parse_server

REPLY_SECONDS: Final = 10
"""How long an answer may take, in seconds."""
_LINE_MAX: Final = 1024
_READ_BYTES: Final = 1 << 11
"""Bytes to read at once. Each read allocates as many; nearly every answer is shorter."""
_READ_BODY_BYTES: Final = 1 << 16
"""Bytes to read at once of a large body."""
_LEAST_BYTES_PER_SECOND: Final = 1 << 16
"""The wire gives up on a body that arrives more slowly."""
_BODY_MAX: Final = 1 << 30  # beanstalkd's own JOB_DATA_SIZE_LIMIT_MAX


def open_socket(server: str, timeout: float) -> socket.socket:
    """Connect to `host:port` within `timeout` seconds; raises QueueUnavailable, or ValueError if that is no address."""
    address = parse_server(server)
    try:
        sock = socket.create_connection(address, timeout)
    except OSError as error:
        raise QueueUnavailable(f"cannot reach beanstalkd at {server}: {error.strerror or error}") from error
    except UnicodeError as error:  # a label of the name is empty or longer than 63 characters
        raise QueueUnavailable(f"cannot reach beanstalkd at {server}: it is no host name") from error
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A server that vanished without closing is noticed after half a minute, even if nothing is sent.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    _set_timeout(sock, socket.SO_SNDTIMEO, REPLY_SECONDS)
    _set_timeout(sock, socket.SO_RCVTIMEO, REPLY_SECONDS)
    return sock


class Wire:
    """A socket connected to beanstalkd, with the bytes that were received and not yet returned to a caller.

    A method whose name begins with `take` returns the next part of an answer and removes it from these bytes. Another
    process may share the socket, if the two take turns and each reads its answers to the end.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Use a connected socket; raises QueueUnavailable if its connection is closed already."""
        try:
            sock.getpeername()
        except OSError as error:
            raise QueueUnavailable(f"the connection to beanstalkd was closed: {error}") from error
        self.socket: Final = sock
        self._timeout: float = REPLY_SECONDS
        self._unread = b""

    def set_timeout(self, seconds: float) -> None:
        """Bound the wait for each read of the socket, in seconds, in every process that shares it."""
        self._timeout = seconds
        _set_timeout(self.socket, socket.SO_RCVTIMEO, seconds)

    def close(self) -> None:
        """Close the socket in this process; other processes that share it can go on using it."""
        self.socket.close()

    def shut_down(self) -> None:
        """End the connection for every process that shares it, and close the socket."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def write(self, data: bytes) -> None:
        """Send `data`; raises QueueUnavailable, or OSError if code of a job has closed the socket in this process."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            closed_by_job = error.errno in (errno.EBADF, errno.ENOTSOCK) and self.socket.fileno() >= 0
            if closed_by_job:  # the connection itself is intact: the supervisor has a copy of the socket
                raise
            raise _connection_broke(error) from error

    def take_if(self, expected: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Wait until something is received; take the answer if it is complete and matches, otherwise take nothing."""
        if not self._unread:
            self._unread = self._receive(_READ_BYTES)
        match = expected.match(self._unread)
        if match is not None:
            self._unread = self._unread[match.end() :]
        return match

    def take_line(self, expected: re.Pattern[bytes]) -> re.Match[bytes]:
        """Take the next line, which must match; raises RefusedError if it is a refusal of beanstalkd instead."""
        if not self._unread:  # the next lines are those of `take_if`; a call of it would cost each job twice its time
            self._unread = self._receive(_READ_BYTES)
        match = expected.match(self._unread)
        if match is None:
            self._complete_line(expected)
            match = expected.match(self._unread)
            if match is None:
                raise self._take_refusal(expected)
        self._unread = self._unread[match.end() :]
        return match

    def take_body(self, size: int) -> bytes | None:
        """Take `size` bytes and the line end that follows them; return the bytes, or None if no line end follows."""
        whole = size + 2
        if len(self._unread) < whole:
            self._receive_until(whole)
        unread, self._unread = self._unread, self._unread[whole:]
        return unread[:size] if unread[size:whole] == b"\r\n" else None

    def _take_refusal(self, expected: re.Pattern[bytes]) -> RefusedError | QueueUnavailable:
        line, _, self._unread = self._unread.partition(b"\r\n")
        return refusal(line) or unexpected_answer(expected)

    def _complete_line(self, expected: re.Pattern[bytes]) -> None:
        deadline = time.monotonic() + REPLY_SECONDS
        while b"\r\n" not in self._unread:
            if len(self._unread) > _LINE_MAX:
                raise unexpected_answer(expected)
            self._unread += self._receive_by(deadline, _READ_BYTES)

    def _receive_until(self, whole: int) -> None:
        """Receive until `whole` bytes are unread."""
        if whole > _BODY_MAX:
            raise unexpected_answer("a body")
        # Memory grows only with what arrives, so a wrong size costs none; the deadline ends a peer that sends slowly.
        deadline = time.monotonic() + REPLY_SECONDS + whole / _LEAST_BYTES_PER_SECOND
        data = bytearray(self._unread)
        while len(data) < whole:
            data += self._receive_by(deadline, _READ_BODY_BYTES)
        self._unread = bytes(data)

    def _receive_by(self, deadline: float, most: int) -> bytes:
        if time.monotonic() > deadline:
            raise _no_answer(REPLY_SECONDS)
        return self._receive(most)

    def _receive(self, most: int) -> bytes:
        try:
            data = self.socket.recv(most)
        except BlockingIOError as error:  # the timeout that is set in the kernel
            raise _no_answer(self._timeout) from error
        except OSError as error:
            raise _connection_broke(error) from error
        if not data:
            raise QueueUnavailable("beanstalkd closed the connection")
        return data


def unexpected_answer(expected: re.Pattern[bytes] | str) -> QueueUnavailable:
    """Return the error for an answer that beanstalkd does not give; `expected` is the pattern of a line, or words."""
    if not isinstance(expected, str):
        expected = re.split(r"[^A-Z]", expected.pattern.decode())[0]
    return QueueUnavailable(f"the server's answer is not beanstalkd's ({expected} was expected)")


def _connection_broke(error: OSError) -> QueueUnavailable:
    return QueueUnavailable(f"the connection to beanstalkd broke: {error.strerror or error}")


def _no_answer(seconds: float) -> QueueUnavailable:
    return QueueUnavailable(f"beanstalkd gave no answer within {seconds:g} s")


def _set_timeout(sock: socket.socket, option: int, seconds: float) -> None:
    """Set a timeout in the kernel, which adds no system call to a read and holds in all processes with the socket."""
    whole, fraction = divmod(seconds, 1)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(whole), int(fraction * 1e6)))
