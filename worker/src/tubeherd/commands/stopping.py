"""Lets a command that is asked to stop (Ctrl-C, SIGTERM, a closed terminal) finish its step, and print what it did."""

import os
import signal
from types import FrameType, TracebackType
from typing import Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping:
    """Within its `with` block the first signal is noted, and the second one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that came first."""
        self.fd, self._wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        """A descriptor that can be read as soon as a signal came, for what waits for other descriptors."""
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self.fd)
        os.close(self._wakeup)

    def is_asked(self) -> bool:
        """Return whether the command was asked to stop."""
        return self.number is not None

    @property
    def name(self) -> str:
        """What asked the command to stop."""
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number or signal.SIGINT).name

    @property
    def exit_code(self) -> int:
        """The exit code of a command that was ended by the signal."""
        return 128 + (self.number or signal.SIGINT)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
        os.write(self._wakeup, b".")
