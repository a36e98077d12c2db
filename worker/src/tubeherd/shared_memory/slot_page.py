"""What a slot and its supervisor share about the slot as a whole, beside the pages of its lanes."""

import mmap
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

# Where each value stands on the page, in bytes.
_REQUEST_AT: Final = 0
_LISTENING_AT: Final = 8
_HOLDER_AT: Final = 16
_SIZE: Final = 24
_JOB: Final = struct.Struct("=Q")
_TIME: Final = struct.Struct("=d")
_NO_ANSWER: Final = 2**64 - 1


class Request(IntEnum):
    """What a supervisor wants of a slot after its present job."""

    NOTHING = 0
    RECYCLE = 1
    STOP = 2


class SlotPage:
    """Memory that a slot and its supervisor have both mapped; each value is written by one of them."""

    def __init__(self) -> None:
        """Make the page, in the supervisor, before the slot is forked; raises OSError."""
        self._map = mmap.mmap(-1, _SIZE)

    def close(self) -> None:
        """Unmap the page in this process."""
        self._map.close()

    @property
    def request(self) -> int:
        """What the supervisor wants of the slot, as a value of `Request`."""
        return self._map[_REQUEST_AT]

    @request.setter
    def request(self, request: Request) -> None:
        self._map[_REQUEST_AT] = request

    @property
    def listening_since(self) -> float:
        """When listeners of a flush or a burial began to run, on the monotonic clock; 0 if none run now."""
        return float(_TIME.unpack_from(self._map, _LISTENING_AT)[0])

    @listening_since.setter
    def listening_since(self, since: float) -> None:
        _TIME.pack_into(self._map, _LISTENING_AT, since)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Say, in the slot, that listeners run, whose time the supervisor limits."""
        self.listening_since = time.monotonic()
        try:
            yield
        finally:
            self.listening_since = 0.0

    def ask_loop_holder(self) -> None:
        """Forget, in the supervisor, who holds the event loop; the slot is then asked by SIGTERM."""
        _JOB.pack_into(self._map, _HOLDER_AT, _NO_ANSWER)

    def answer_loop_holder(self, job: int) -> None:
        """Answer, in the slot, that this job's code holds the event loop (0: no job's)."""
        _JOB.pack_into(self._map, _HOLDER_AT, job)

    @property
    def loop_holder(self) -> int | None:
        """The job whose code held the event loop at the last SIGTERM, 0 for none; None if no answer came."""
        (job,) = _JOB.unpack_from(self._map, _HOLDER_AT)
        return None if job == _NO_ANSWER else job
