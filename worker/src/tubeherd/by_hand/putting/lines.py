"""Reads JSON lines, each of which is the payload of a job to be put, with a bound on memory."""

import os
import re
import select
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from pydantic_core import from_json

from tubeherd.by_hand.putting.feeding import Item

_READ_BYTES: Final = 1 << 16
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_PLACE: Final = re.compile(r" at line 1 column (\d+)$")


class WrongLine(ValueError):
    """A line cannot be put; the message names the line, and shows nothing of it."""


class Unreadable(ValueError):
    """The file cannot be read, or not any further."""


class Stopped(Exception):
    """The command was asked to stop while it read lines."""


def _raise(error: WrongLine) -> NoReturn:
    raise error


class Lines:
    """The payloads of a file of JSON lines. Empty lines are counted, and left out."""

    def __init__(
        self,
        fd: int,
        max_job_size: int,
        skip: int,
        stop_fd: int,
        *,
        wrong: Callable[[WrongLine], object] = _raise,
        note: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Read from a descriptor, and leave out the first `skip` lines.

        As soon as `stop_fd` can be read, Stopped is raised. `wrong` gets the error of each line that cannot be put; if
        it returns, the line is left out. `note` is called now and then with the number of bytes that were read.
        """
        self.last = 0
        """The number of the last line that was read, from 1."""
        self._fd = fd
        self._most = max_job_size
        self._skip = skip
        self._stop_fd = stop_fd
        self._wrong = wrong
        self._note = note
        self._rest = b""
        """The beginning of a line whose end was not read yet."""
        self._too_long = False
        """Whether that line is too long, so that nothing more of it is kept."""

    def __iter__(self) -> Iterator[Item | None]:
        """Yield each payload with the number of its line, and None whenever no further line is there at the moment.

        Raises Unreadable, Stopped, and what `wrong` raises.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._stop_fd, select.POLLIN)
        read = 0
        while True:
            ready = poll.poll(0)
            if not ready:
                yield None
                ready = poll.poll()
            if any(fd == self._stop_fd for fd, _ in ready):
                raise Stopped
            try:
                data = os.read(self._fd, _READ_BYTES)
            except OSError as error:
                raise Unreadable(f"line {self.last + 1} cannot be read: {error.strerror or error}") from error
            if not data:
                break
            read += len(data)
            self._note(read)
            yield from self._take(data)
        if self._rest or self._too_long:
            yield from self._take(b"\n")

    def _take(self, data: bytes) -> Iterator[Item]:
        """Yield the payloads of the lines that end in these bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.last += 1
            if self._too_long:
                self._too_long = False
            elif self.last > self._skip:
                try:
                    item = self._item(line)
                except WrongLine as error:
                    self._wrong(error)
                else:
                    if item is not None:
                        yield item
        if len(self._rest) > self._most + _READ_BYTES or self._too_long:
            self._rest = b""
            if not self._too_long and self.last >= self._skip:
                self._wrong(_too_big(self.last + 1, f"more than {self._most}", self._most))
            self._too_long = True

    def _item(self, line: bytes) -> Item | None:
        text = line.removeprefix(_BYTE_ORDER_MARK).strip() if self.last == 1 else line.strip()
        if not text:
            return None
        if len(text) > self._most:
            raise _too_big(self.last, str(len(text)), self._most)
        return Item(self.last, checked_json(text, f"line {self.last}"))


def checked_json(text: bytes, name: str) -> bytes:
    """Return a JSON text as it is; raises WrongLine, with the name of the text, if it is none."""
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError as error:
        reason = _PLACE.sub(r" at column \1", str(error))
        raise WrongLine(f"{name} is no JSON: {reason}") from None
    return text


def _too_big(line: int, size: str, most: int) -> WrongLine:
    return WrongLine(
        f"line {line} is too big: it has {size} bytes, and this beanstalkd takes {most} (JOB_TOO_BIG; see its -z)"
    )
