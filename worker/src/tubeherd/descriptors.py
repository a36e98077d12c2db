"""Gives the file descriptors that Tubeherd opens numbers from 10 on, so that none of them is ever 0, 1 or 2.

A file or socket gets the lowest number that is free. If code of a job closed standard output, which is number 1, and a
connection to beanstalkd was opened then, the connection would get this number, and beanstalkd whatever is printed.
"""

import errno
import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LEAST: Final = 10
"""The least number of a descriptor that Tubeherd opens. Those from 3 to 9 are left to code of jobs."""

NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""The errors of a call that may succeed later, because there is no room at present, such as for another open file."""

_opening = threading.Lock()


@contextmanager
def opening() -> Iterator[None]:
    """Run a `with` block while no other thread opens or moves a descriptor of Tubeherd.

    A new descriptor has the lowest free number until it is moved. If that is 1, because code of a job has closed
    standard output, the one who opens closed streams again must wait until the number is free again.
    """
    with _opening:
        yield


def _make_lock_anew() -> None:
    """Make another lock after a fork, because the thread that held this one does not exist in the new process."""
    global _opening
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_make_lock_anew)


def moved(fd: int, least: int = LEAST) -> int:
    """Return a descriptor of the same file, of at least this number, and close `fd`; raises OSError.

    Programs that this process starts do not inherit it.
    """
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)
    finally:
        os.close(fd)


def moved_socket(sock: socket.socket) -> socket.socket:
    """Return the same socket, with the same timeout, under a number from LEAST on; close `sock`; raises OSError."""
    timeout = sock.gettimeout()
    high = socket.socket(sock.family, sock.type, sock.proto, fileno=moved(sock.detach()))
    high.settimeout(timeout)
    return high


@contextmanager
def low_numbers_taken() -> Iterator[None]:
    """Have all that is opened in a `with` block get numbers from LEAST on; raises OSError.

    For code that opens descriptors where they cannot be moved, such as an event loop.
    """
    taken: list[int] = []
    try:
        fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        while fd < LEAST:
            taken.append(fd)
            fd = os.dup(fd)
        taken.append(fd)
        yield
    finally:
        for fd in taken:
            os.close(fd)
