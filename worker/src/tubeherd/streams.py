"""The standard streams of a worker: descriptors 0, 1 and 2, which code of jobs may close, and whose readers may go.

A slot is a process that executes jobs, and the supervisor is its parent. What a job does to the standard streams must
not harm the jobs after it. So a slot opens a stream again that was closed, and replaces a stream whose reader is gone
by /dev/null.
"""

import fcntl
import os
import resource
import select
import sys
from contextlib import suppress
from typing import Any, Final, TextIO

from tubeherd.descriptors import LEAST, opening
from tubeherd.printers import printer_to

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
_NAMES: Final = {STDIN: "stdin", STDOUT: "stdout", STDERR: "stderr"}
_COPIES_FROM: Final = 1000
"""The least number of the copies.

It is that high because code of jobs may close all descriptors that it does not know, and the next files that it opens
get the lowest numbers. So these files do not get the numbers of the copies, to which log lines are written.
"""


class StandardStreams:
    """The standard streams of this process."""

    def __init__(self) -> None:
        """Do nothing to the streams: a script that uses the library keeps them as they are."""
        self._copies: dict[int, int] = {}
        """By the number of the stream, a descriptor of the file that the stream was at first."""
        self._out: TextIO | None = None
        """What `sys.stdout` is in a slot, unless user code puts something else in its place."""
        self._err: TextIO | None = None
        """The same for `sys.stderr`."""
        self._poll = select.poll()
        for fd in _NAMES:
            self._poll.register(fd, 0)

    # In the command

    def open_closed(self) -> None:
        """Open each stream that is closed on /dev/null, so that no other file gets its number; raises OSError."""
        while (fd := os.open(os.devnull, os.O_RDWR)) <= STDERR:
            os.set_inheritable(fd, True)
        os.close(fd)
        for fd, name in _NAMES.items():
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(fd, "r" if fd == STDIN else "w", closefd=False))

    def keep(self) -> int:
        """Keep a copy of each stream, for this process and its slots; return the copy of standard error, for the log.

        Raises OSError.
        """
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        least = max(LEAST, min(_COPIES_FROM, soft - len(_NAMES)))
        self._copies = {fd: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least) for fd in _NAMES}
        return self._copies[STDERR]

    # In a slot

    def begin_slot(self) -> None:
        """Read standard input from /dev/null, and have what is printed appear at once; raises OSError."""
        _put_null(STDIN)
        self._out = sys.stdout = sys.__stdout__ = printer_to(STDOUT, sys.stdout, self.open_again)  # type: ignore[assignment, misc]
        self._err = sys.stderr = sys.__stderr__ = printer_to(STDERR, sys.stderr, self.open_again)  # type: ignore[assignment, misc]

    def mend(self) -> None:
        """Open again each stream that is closed, and replace those whose other end is gone. Cheap if there is none.

        If a job has set `sys.stdout` or `sys.stderr` to None or to what is closed, it is set again to what prints. Only
        in one thread at a time.
        """
        try:
            replaced = sys.stdout is not self._out or sys.stderr is not self._err
        except AttributeError:  # a job has deleted one
            replaced = True
        if replaced:
            self._mend_printers()
        if self._poll.poll(0):
            self._mend_descriptors()

    def open_again(self, fd: int) -> bool:
        """Open a stream as it was at first, if it is closed; return whether it was opened."""
        if fd not in self._copies:
            return False
        with suppress(OSError):  # code of a job has closed the copy too
            # The lowest free number from `fd` on is `fd` if it is closed. No other thread can take it in between.
            opened = fcntl.fcntl(self._copies[fd], fcntl.F_DUPFD, fd)
            if opened == fd:
                return True
            os.close(opened)
        return False

    def _mend_printers(self) -> None:
        for name, printer in (("stdout", self._out), ("stderr", self._err)):
            if _is_closed(getattr(sys, name, None)):
                setattr(sys, name, printer)

    def _mend_descriptors(self) -> None:
        with opening():  # what was found may have been a socket of another thread, which is moved to a higher number
            for fd, event in self._poll.poll(0):
                if event & select.POLLNVAL:
                    self.open_again(fd)
                else:
                    with suppress(OSError):  # no number is free: the next call tries again
                        _put_null(fd)

    def write_error(self, data: bytes) -> None:
        """Write what a program has written to its standard error to that of this process."""
        printer = self._err or sys.__stderr__
        if printer is not None:
            printer.buffer.write(data)
            printer.flush()


def _is_closed(stream: Any) -> bool:
    """Return whether what user code has made a standard stream is None or closed."""
    try:
        return stream is None or stream.closed is True
    except Exception:  # what has no such attribute prints somehow, as user code wants it
        return False


def _put_null(fd: int) -> None:
    """Make a stream one of /dev/null; raises OSError."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    if null != fd:
        os.close(null)
    else:
        os.set_inheritable(fd, True)


streams: Final = StandardStreams()
"""The standard streams of this process."""
