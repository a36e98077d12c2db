"""What the supervisor waits with: one selector for all its sockets, woken by every signal.

Whoever registers a socket gives a function without parameters as its data, which is called when the socket is ready.
Signals are only noted by their handlers, and returned by `wait`, so that the supervisor's code is never interrupted.
"""

import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tubeherd.logs import log
from tubeherd.processing.reasons import describe

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_WAKEUP_BYTES: Final = 4096
"""Read at once of what signals wrote, a byte each; what is left wakes the next wait."""


class Reactor:
    """The selector, with the signals of the process: SIGTERM, SIGINT, and SIGCHLD, which only wakes it."""

    def __init__(self) -> None:
        """Catch the signals; only in the main thread."""
        self.selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._wakeup, self._wakeup_write = socket.socketpair()
        for end in (self._wakeup, self._wakeup_write):
            end.setblocking(False)
        self.register(self._wakeup, self._drain_wakeup)
        signal.set_wakeup_fd(self._wakeup_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _STOP_SIGNALS:
            signal.signal(number, lambda number, _: self._signals.append(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)  # as the image's entry point blocks them

    def register(self, sock: socket.socket, receive: Callable[[], None]) -> None:
        """Have `receive` called whenever the socket has something to read, or its peer is gone."""
        self.selector.register(sock, selectors.EVENT_READ, receive)

    def unregister(self, sock: socket.socket) -> None:
        """Look at the socket no more; it may be unregistered already, but not closed."""
        with suppress(KeyError):
            self.selector.unregister(sock)

    def wait(self, seconds: float) -> list[int]:
        """Wait so long for sockets and signals, serve the sockets, and return the stop signals that came."""
        for key, _ in self.selector.select(seconds):
            try:
                key.data()
            except Exception as error:  # whoever asks for health must not end the worker
                log.error(f"a request could not be answered: {describe(error)}")
        came = []
        while self._signals:  # one by one: another may come at any moment
            came.append(self._signals.pop(0))
        return came

    def close_in_fork(self) -> None:
        """Close, in a forked process, all that is registered here; the parent's files stay open."""
        signal.set_wakeup_fd(-1)
        for key in list(self.selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self.selector.close()
        self._wakeup_write.close()

    def _drain_wakeup(self) -> None:
        with suppress(BlockingIOError):
            self._wakeup.recv(_WAKEUP_BYTES)
