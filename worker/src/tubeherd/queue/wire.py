"""The bytes that go to beanstalkd and come back; nothing here knows what a job is.

Any trouble raises `QueueUnavailable`: the connection broke, beanstalkd was silent, or the answer is not beanstalkd's.
The wire must then be closed, as nobody can tell which command the next bytes would answer.
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
"""How long an answer may take, unless `Wire.wait_at_most` says otherwise."""
_LINE_MAX: Final = 1024
_ANSWER_MOST: Final = 1 << 11
"""Bytes in one read: nearly every answer fits, and no answer takes more memory before it has come."""
_BODY_PIECE: Final = 1 << 16
"""Bytes in one read of a body that did not come whole with its answer."""
_SLOWEST: Final = 1 << 16
"""Bytes a second: a body that comes more slowly is given up."""
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
    """A socket connected to beanstalkd, with what came on it and was not taken yet.

    Another process may share the socket, as long as the two take turns and leave no answer untaken.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Own a socket; raises QueueUnavailable if it is not connected any more."""
        try:
            sock.getpeername()
        except OSError as error:
            raise QueueUnavailable(f"the connection to beanstalkd was closed: {error}") from error
        self.socket: Final = sock
        self._reply_seconds: float = REPLY_SECONDS
        self._unread = b""

    def wait_at_most(self, seconds: float) -> None:
        """Change how long an answer may take; for every process that shares the socket."""
        self._reply_seconds = seconds
        _set_timeout(self.socket, socket.SO_RCVTIMEO, seconds)

    def close(self) -> None:
        """Close the socket in this process; other processes that share it can use it on."""
        self.socket.close()

    def shut_down(self) -> None:
        """End the connection for every process that shares it, and close the socket."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def write(self, data: bytes) -> None:
        """Send all of it; raises QueueUnavailable, or OSError if somebody else closed the socket in this process."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            closed_by_others = error.errno in (errno.EBADF, errno.ENOTSOCK) and self.socket.fileno() >= 0
            if closed_by_others:  # this process is broken, not the connection, which other processes share
                raise
            raise _broke(error) from error

    def take_if(self, expected: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Wait for the first bytes, and take what matches if it came next and whole; otherwise take nothing."""
        if not self._unread:
            self._unread = self._receive(_ANSWER_MOST)
        match = expected.match(self._unread)
        if match is not None:
            self._unread = self._unread[match.end() :]
        return match

    def take_line(self, expected: re.Pattern[bytes]) -> re.Match[bytes]:
        """Take the next line, which must match; raises RefusedError if it is a refusal of beanstalkd instead."""
        if not self._unread:  # like `take_if`, which is not called here, as each job reads two lines
            self._unread = self._receive(_ANSWER_MOST)
        match = expected.match(self._unread)
        if match is None:
            self._complete_line(expected)
            match = expected.match(self._unread)
            if match is None:
                raise self._take_refusal(expected)
        self._unread = self._unread[match.end() :]
        return match

    def take_body(self, size: int) -> bytes | None:
        """Take `size` bytes and the line end behind them, which is dropped; None if something else stands there."""
        whole = size + 2
        if len(self._unread) < whole:
            self._receive_until(whole)
        unread, self._unread = self._unread, self._unread[whole:]
        return unread[:size] if unread[size:whole] == b"\r\n" else None

    def _take_refusal(self, expected: re.Pattern[bytes]) -> RefusedError | QueueUnavailable:
        line, _, self._unread = self._unread.partition(b"\r\n")
        return refusal(line) or not_beanstalkds(expected)

    def _complete_line(self, expected: re.Pattern[bytes]) -> None:
        deadline = time.monotonic() + REPLY_SECONDS
        while b"\r\n" not in self._unread:
            if len(self._unread) > _LINE_MAX:
                raise not_beanstalkds(expected)
            self._unread += self._receive_by(deadline, _ANSWER_MOST)

    def _receive_until(self, whole: int) -> None:
        """Receive until `whole` bytes are unread."""
        if whole > _BODY_MAX:
            raise not_beanstalkds("a body")
        # Piece by piece: a size that is only claimed costs no memory, and single bytes hold nobody up for ever.
        deadline = time.monotonic() + REPLY_SECONDS + whole / _SLOWEST
        data = bytearray(self._unread)
        while len(data) < whole:
            data += self._receive_by(deadline, _BODY_PIECE)
        self._unread = bytes(data)

    def _receive_by(self, deadline: float, most: int) -> bytes:
        if time.monotonic() > deadline:
            raise _silent(REPLY_SECONDS)
        return self._receive(most)

    def _receive(self, most: int) -> bytes:
        try:
            data = self.socket.recv(most)
        except BlockingIOError as error:  # the kernel's timeout
            raise _silent(self._reply_seconds) from error
        except OSError as error:
            raise _broke(error) from error
        if not data:
            raise QueueUnavailable("beanstalkd closed the connection")
        return data


def not_beanstalkds(expected: re.Pattern[bytes] | str) -> QueueUnavailable:
    """Return the error for an answer that no beanstalkd gives; `expected`: the pattern of a line, or a description."""
    if not isinstance(expected, str):
        expected = re.split(r"[^A-Z]", expected.pattern.decode())[0]
    return QueueUnavailable(f"the server's answer is not beanstalkd's ({expected} was expected)")


def _broke(error: OSError) -> QueueUnavailable:
    return QueueUnavailable(f"the connection to beanstalkd broke: {error.strerror or error}")


def _silent(seconds: float) -> QueueUnavailable:
    return QueueUnavailable(f"beanstalkd gave no answer within {seconds:g} s")


def _set_timeout(sock: socket.socket, option: int, seconds: float) -> None:
    """Set a timeout of the kernel's, which costs no system calls and holds for every process that shares the socket."""
    whole, fraction = divmod(seconds, 1)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(whole), int(fraction * 1e6)))
