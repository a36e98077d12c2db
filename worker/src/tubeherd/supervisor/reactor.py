"""Waits for sockets and signals at the same time: one selector for all sockets of the supervisor.

Each socket is registered with a function without parameters, which is called when the socket is ready. A signal handler
only stores the number of its signal, and the signal ends the wait. `wait` returns the numbers, so that the supervisor
handles a signal only between two steps of its loop.
"""

import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tubeherd.descriptors import low_numbers_taken
from tubeherd.logs import ErrorDetail, log
from tubeherd.processing.reasons import describe, source_line

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_WAKEUP_BYTES: Final = 4096
"""How many bytes to read at once; Python writes one for each signal. If any are left, the next wait ends at once."""


class Reactor:
    """A selector that also returns SIGTERM, SIGINT and SIGHUP; SIGCHLD only ends the wait."""

    def __init__(self, error_detail: ErrorDetail = "full") -> None:
        """Install the signal handlers; only in the main thread. `error_detail` says what is logged of an exception."""
        self._detail: ErrorDetail = error_detail
        with low_numbers_taken():
            self.selector = selectors.DefaultSelector()
            self._wakeup, self._wakeup_write = socket.socketpair()
        self._signals: list[int] = []
        for end in (self._wakeup, self._wakeup_write):
            end.setblocking(False)
        self.register(self._wakeup, self._drain_wakeup)
        signal.set_wakeup_fd(self._wakeup_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _STOP_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, lambda number, _: self._signals.append(number))
        # The entry point of the container's image blocks SIGTERM, so that one which came before now is not lost.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

    def register(self, sock: socket.socket, receive: Callable[[], None]) -> None:
        """Call `receive` whenever the socket has something to read, or its other end was closed."""
        self.selector.register(sock, selectors.EVENT_READ, receive)

    def unregister(self, sock: socket.socket) -> None:
        """Stop watching a socket. It must still be open; nothing happens if it is not registered."""
        with suppress(KeyError):
            self.selector.unregister(sock)

    def wait(self, seconds: float) -> list[int]:
        """Wait up to `seconds`, call the functions of the ready sockets, and return the stop signals received."""
        for key, _ in self.selector.select(seconds):
            try:
                key.data()
            except Exception as error:  # a request for /healthz or /metrics must not end the worker
                log.error(f"a request could not be answered: {describe(error, self._detail)}", at=source_line(error))
        came = []
        while self._signals:  # one by one, because a signal handler may add another at any moment
            came.append(self._signals.pop(0))
        return came

    def close_in_fork(self) -> None:
        """Close all registered sockets in a forked process; in its parent they stay open."""
        signal.set_wakeup_fd(-1)
        for key in list(self.selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self.selector.close()
        self._wakeup_write.close()

    def _drain_wakeup(self) -> None:
        with suppress(BlockingIOError):
            self._wakeup.recv(_WAKEUP_BYTES)
