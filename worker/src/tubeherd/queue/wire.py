"""Sends bytes to beanstalkd and reads its answers. `connection` knows which bytes; this module only moves them.

`QueueUnavailable` is raised if the connection breaks, if beanstalkd does not answer in time, or if an answer is not one
of beanstalkd's. The wire must then be closed, because the next bytes could be the rest of the wrong answer.
"""

import errno
import re
import socket
import struct
import time
from contextlib import suppress
from typing import Final

from tubeherd.descriptors import moved_socket, opening
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Unreachable, refusal
from tubeherd.queue.server import parse_server

REPLY_SECONDS: float = 10.0
"""How long one read may wait, unless `Wire.set_timeout` changes that; and how long an answer may take once it began.

In seconds. A long body may take longer. Not Final, because tests change it, and a compiled module keeps what is Final.
"""
_LINE_MAX: Final = 1024
_READ_BYTES: Final = 1 << 11
"""The most bytes of one read. Python allocates as many for each read, and nearly every answer is shorter."""
_READ_BODY_BYTES: Final = 1 << 16
"""The most bytes of one read of a long body."""
_LEAST_BYTES_PER_SECOND: Final = 1 << 16
"""A long body may arrive as slowly as this. If it is slower, QueueUnavailable is raised."""
_BODY_MAX: Final = 1 << 30  # beanstalkd's own JOB_DATA_SIZE_LIMIT_MAX


def open_socket(server: str, timeout: float) -> socket.socket:
    """Connect to `host:port` within `timeout` seconds. Raises Unreachable, or ValueError for a wrong address."""
    address = parse_server(server)
    try:
        sock = _connected(address, timeout)
    except OSError as error:
        raise Unreachable(f"cannot reach beanstalkd at {server}: {error.strerror or error}") from error
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # If the server's machine is gone, the connection breaks after half a minute, even if nothing is sent on it.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    _set_timeout(sock, socket.SO_SNDTIMEO, REPLY_SECONDS)
    _set_timeout(sock, socket.SO_RCVTIMEO, REPLY_SECONDS)
    return sock


def _connected(address: tuple[str, int], timeout: float) -> socket.socket:
    """Return a socket connected to the first address of the host that answers; raises OSError.

    `socket.create_connection` does the same. But here the socket gets its final number before it is connected, so that
    nothing which code of a job prints meanwhile can be sent to beanstalkd.
    """
    failure = OSError("the host has no address")
    host, port = address
    # As bytes, because for a text, which may be no ASCII, Python would load half a MiB of tables in each slot.
    for family, kind, protocol, _, peer in socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM):
        with opening():  # a thread may do this while a job closes a standard stream
            sock = moved_socket(socket.socket(family, kind, protocol))
        try:
            sock.settimeout(timeout)
            sock.connect(peer)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


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
        self._timeout = REPLY_SECONDS
        self._unread = b""

    def set_timeout(self, seconds: float) -> None:
        """Set how long one read of the socket may wait, in seconds, in every process that shares the socket."""
        self._timeout = seconds
        _set_timeout(self.socket, socket.SO_RCVTIMEO, seconds)

    def close(self) -> None:
        """Close the socket in this process only."""
        self.socket.close()

    def break_off(self) -> None:
        """End the connection for every process that shares it; the next command raises QueueUnavailable."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def shut_down(self) -> None:
        """End the connection for every process that shares it, and close the socket."""
        self.break_off()
        self.socket.close()

    def write(self, data: bytes) -> None:
        """Send `data`; raises QueueUnavailable, or OSError if code of a job has closed the socket in this process."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            closed_by_job = error.errno in (errno.EBADF, errno.ENOTSOCK) and self.socket.fileno() >= 0
            if closed_by_job:  # the connection is still open, because the parent of this process has a copy of it
                raise
            raise _connection_broke(error) from error

    def take_if(self, expected: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Take the next answer if it has arrived as a whole and matches; otherwise take nothing and return None.

        If no bytes are there, wait for some.
        """
        if not self._unread:
            self._unread = self._receive(_READ_BYTES)
        match = expected.match(self._unread)
        if match is not None:
            self._unread = self._unread[match.end() :]
        return match

    def take_line(self, expected: re.Pattern[bytes]) -> re.Match[bytes]:
        """Take the next line, which must match; raises RefusedError if beanstalkd refuses the command instead."""
        # The first steps are those of `take_if`, written out: two lines are taken for each job, and a call takes time.
        if not self._unread:
            self._unread = self._receive(_READ_BYTES)
        match = expected.match(self._unread)
        if match is None:
            self._complete_line(expected)
            match = expected.match(self._unread)
            if match is None:
                raise self._take_refusal(expected)
        self._unread = self._unread[match.end() :]
        return match

    def take_exactly(self, answers: bytes) -> bool:
        """Take these bytes if they are what comes next, and return whether they are; waits for as many bytes."""
        if (missing := len(answers) - len(self._unread)) > 0:
            # beanstalkd sends each answer alone. The kernel waits for all of them, which may end early.
            self._unread += self._receive(missing, socket.MSG_WAITALL)
            self._receive_until(len(answers))
        found = self._unread.startswith(answers)
        if found:
            self._unread = self._unread[len(answers) :]
        return found

    def take_body(self, size: int) -> bytes | None:
        """Take `size` bytes and the line end that follows them; return the bytes, or None if no line end follows."""
        whole = size + 2
        if len(self._unread) < whole:
            self._receive_until(whole)
        unread, self._unread = self._unread, self._unread[whole:]
        return unread[:size] if unread[size:whole] == b"\r\n" else None

    def skip_body(self, size: int) -> None:
        """Read past `size` bytes and the line end that follows them, and keep none of them."""
        left = size + 2
        if left > _BODY_MAX:
            raise unexpected_answer("a body")
        deadline = time.monotonic() + REPLY_SECONDS + left / _LEAST_BYTES_PER_SECOND
        while left:
            if not self._unread:
                self._unread = self._receive_by(deadline, _READ_BODY_BYTES)
            passed = min(left, len(self._unread))
            self._unread = self._unread[passed:]
            left -= passed

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
        # The buffer grows as bytes arrive: a peer that announces a huge body and sends none must not cost memory. The
        # deadline is for the whole body: a peer that sends byte after byte would never exceed the timeout of a read.
        deadline = time.monotonic() + REPLY_SECONDS + whole / _LEAST_BYTES_PER_SECOND
        data = bytearray(self._unread)
        while len(data) < whole:
            data += self._receive_by(deadline, _READ_BODY_BYTES)
        self._unread = bytes(data)

    def _receive_by(self, deadline: float, most: int) -> bytes:
        if time.monotonic() > deadline:
            raise _no_answer(REPLY_SECONDS)
        return self._receive(most)

    def _receive(self, most: int, flags: int = 0) -> bytes:
        try:
            data = self.socket.recv(most, flags)
        except BlockingIOError as error:  # the timeout of `_set_timeout` has passed
            raise _no_answer(self._timeout) from error
        except OSError as error:
            raise _connection_broke(error) from error
        if not data:
            raise QueueUnavailable("beanstalkd closed the connection")
        return data


def unexpected_answer(expected: re.Pattern[bytes] | str) -> QueueUnavailable:
    """Return the error for an answer that beanstalkd would not give; `expected` is a line's pattern, or words."""
    if not isinstance(expected, str):
        expected = re.split(r"[^A-Z]", expected.pattern.decode())[0]
    return QueueUnavailable(f"the server's answer is not beanstalkd's ({expected} was expected)")


def _connection_broke(error: OSError) -> QueueUnavailable:
    return QueueUnavailable(f"the connection to beanstalkd broke: {error.strerror or error}")


def _no_answer(seconds: float) -> QueueUnavailable:
    return QueueUnavailable(f"beanstalkd gave no answer within {seconds:g} s")


def _set_timeout(sock: socket.socket, option: int, seconds: float) -> None:
    """Set a timeout in the kernel: it holds in all processes that share the socket, and reads need no extra `poll`."""
    whole, fraction = divmod(seconds, 1)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(whole), int(fraction * 1e6)))
