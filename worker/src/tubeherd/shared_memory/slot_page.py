"""Memory that a slot and its supervisor share about the slot as a whole; each lane has a `Page` of its own.

A listener is user code that is called for an event. The listeners of `worker.flush`, `worker.job.failed` and
`worker.job.buried` may run for long. Meanwhile no job of the slot goes on. A slot may run several jobs as coroutines on
one event loop. A job holds the loop while its code runs without awaiting anything.
"""

import mmap
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

# The offset of each value on the page, in bytes.
_REQUEST_AT: Final = 0
_LISTENING_AT: Final = 8
_HOLDER_AT: Final = 16
_IDLE_AT: Final = 24
_FLUSHING_AT: Final = 40
_SIZE: Final = 48
_JOB: Final = struct.Struct("=Q")
_TIME: Final = struct.Struct("=d")
_SPAN: Final = struct.Struct("=dd")
_UNKNOWN: Final = 2**64 - 1


class Request(IntEnum):
    """What the supervisor asks of a slot: how it goes on after its present job."""

    NOTHING = 0
    RECYCLE = 1
    STOP = 2
    RELOAD = 3


class SlotPage:
    """The supervisor writes `request`, both write `loop_holder`, and the slot writes the rest."""

    def __init__(self) -> None:
        """Make the page, in the supervisor, before the slot is forked; raises OSError."""
        self._map = mmap.mmap(-1, _SIZE)

    def close(self) -> None:
        """Unmap the page in this process."""
        self._map.close()

    @property
    def request(self) -> int:
        """What the supervisor asks of the slot, as a value of `Request`."""
        return self._map[_REQUEST_AT]

    @request.setter
    def request(self, request: Request) -> None:
        self._map[_REQUEST_AT] = request

    @property
    def listening_since(self) -> float:
        """When the listeners that run now began, on the monotonic clock; 0 if no listeners run."""
        return float(_TIME.unpack_from(self._map, _LISTENING_AT)[0])

    @listening_since.setter
    def listening_since(self, since: float) -> None:
        _TIME.pack_into(self._map, _LISTENING_AT, since)

    @property
    def is_flushing(self) -> bool:
        """Whether the listeners that run are those of `worker.flush`."""
        return self.listening_since > 0 and self._map[_FLUSHING_AT] != 0

    @contextmanager
    def listening(self, *, to_flush: bool = False) -> Iterator[None]:
        """Write, in the slot, that listeners run in the `with` block. The supervisor limits how long they may run."""
        self._map[_FLUSHING_AT] = to_flush
        self.listening_since = time.monotonic()
        try:
            yield
        finally:
            self.listening_since = 0.0

    @property
    def idle(self) -> tuple[float, float]:
        """From when to when no job of the slot ran and none was ready, on the monotonic clock; (0, 0) if unknown.

        The slot writes it for `--until-empty`. Nobody but the slot knows when a reserve of its was sent and that no job
        came.
        """
        since, until = _SPAN.unpack_from(self._map, _IDLE_AT)
        return since, until

    @idle.setter
    def idle(self, span: tuple[float, float]) -> None:
        _SPAN.pack_into(self._map, _IDLE_AT, *span)

    def clear_loop_holder(self) -> None:
        """Write, in the supervisor, that the loop's holder is unknown, before SIGTERM has the slot write it."""
        _JOB.pack_into(self._map, _HOLDER_AT, _UNKNOWN)

    def write_loop_holder(self, job: int) -> None:
        """Write, in the slot, the id of the job that holds the event loop; 0 if no job does."""
        _JOB.pack_into(self._map, _HOLDER_AT, job)

    @property
    def loop_holder(self) -> int | None:
        """The id that the slot wrote at the last SIGTERM; 0 if no job held the event loop; None if unknown."""
        (job,) = _JOB.unpack_from(self._map, _HOLDER_AT)
        return None if job == _UNKNOWN else job
