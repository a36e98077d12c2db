"""What `sys.stdout` and `sys.stderr` are in a slot, a process that executes jobs.

Code of a job cannot close them. What it prints is written at once: otherwise it would be lost if the slot is killed.
"""

import io
import os
import select
from collections.abc import Callable
from typing import Any, TextIO


def printer_to(fd: int, before: TextIO | None, open_again: Callable[[int], bool]) -> TextIO:
    """Return what prints to a standard stream, in the encoding of what did `before`.

    If the stream is closed, `open_again` is called with its number; it returns whether it has opened the stream.
    """
    encoding, errors = (before.encoding, before.errors) if before else ("utf-8", "backslashreplace")
    return _Printer(_Raw(fd, open_again), encoding, errors, write_through=True)


class _Printer(io.TextIOWrapper):
    """A text stream that stays open, because the next job prints too."""

    def close(self) -> None:
        self.flush()

    def detach(self) -> Any:
        """Return the bytes' stream and keep it, as `codecs.getwriter("utf-8")(sys.stdout.detach())` needs it."""
        self.flush()
        return self.buffer


class _Raw(io.RawIOBase):
    """Writes to a standard stream. What cannot be written is lost, so that no job fails because it prints."""

    mode = "wb"

    def __init__(self, fd: int, open_again: Callable[[int], bool]) -> None:
        self.name = f"<{'stdout' if fd == 1 else 'stderr'}>"
        self._fd = fd
        self._open_again = open_again

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # a program that shares the stream has made it non-blocking
                _wait_until_writable(self._fd)
            except OSError:
                if not self._open_again(self._fd):
                    break
        return size

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open: see `_Printer`."""


def _wait_until_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
