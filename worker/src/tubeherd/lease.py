"""What a slot and its supervisor share: a page that says what the slot does, and a lock on its connection.

The page is an anonymous file in memory, mapped by both. Whoever has a command in flight on the shared connection holds
the file's lock, which the kernel frees when its holder dies.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final, NamedTuple

_PHASE_AT: Final = 0
_REQUEST_AT: Final = 1
_EXECUTION_AT: Final = 8
_EXECUTION: Final = struct.Struct("=QdQ")


class Phase(IntEnum):
    """What a slot is doing."""

    STARTING = 0
    """Importing the executors, then telling the listeners of burials that the supervisor did."""
    CONNECTING = 1
    """Without a connection."""
    COMMAND = 2
    """A command is in flight, or a lease was just taken or given up."""
    EXECUTING = 3
    """A job runs; the connection is at rest."""
    LISTENING = 4
    """No lease is held, the connection is at rest; listeners of `worker.flush` or `worker.job.buried` run."""
    DONE = 5
    """The slot ends by itself; its connection is at rest and holds no lease."""


class Request(IntEnum):
    """What a supervisor wants of a slot after its present job."""

    NOTHING = 0
    RECYCLE = 1
    STOP = 2


class State(NamedTuple):
    """What the page says; equal states of EXECUTING mean the same execution of the same job.

    In the other phases all but the phase are what the last execution left there.
    """

    phase: Phase
    job: int
    started: float
    """When the lease was taken, on the monotonic clock that all processes share, in seconds."""
    ttr: int
    """How long beanstalkd keeps the lease after it was taken or touched, in seconds."""


class Page:
    """The state page of one slot, with the lock on the slot's connection."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("tubeherd-slot")
        os.ftruncate(self._fd, mmap.PAGESIZE)
        self._map = mmap.mmap(self._fd, mmap.PAGESIZE)

    def write(self, phase: Phase, job: int = 0, started: float = 0.0, ttr: int = 0) -> None:
        """Say what the slot does now.

        A slot can be killed between any two bytes, so the phase changes last, in one, and alone where no job begins.
        """
        if phase is Phase.EXECUTING:
            _EXECUTION.pack_into(self._map, _EXECUTION_AT, job, started, ttr)
        self._map[_PHASE_AT] = phase

    def read(self) -> State:
        """Return what the slot does; only certain while the lock is held or the slot is dead."""
        return State(Phase(self._map[_PHASE_AT]), *_EXECUTION.unpack_from(self._map, _EXECUTION_AT))

    @property
    def request(self) -> int:
        """What the supervisor wants of the slot."""
        return self._map[_REQUEST_AT]

    @request.setter
    def request(self, request: Request) -> None:
        self._map[_REQUEST_AT] = request

    def lock(self) -> None:
        """Take the lock, waiting for it."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def try_lock(self) -> bool:
        """Take the lock unless another process holds it."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Give the lock back."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN)

    @contextmanager
    def locked_while(self, state: State) -> Iterator[bool]:
        """Hold the lock if the slot is in that very state, and tell whether it is."""
        locked = self.try_lock()
        try:
            yield locked and self.read() == state
        finally:
            if locked:
                self.unlock()

    def close(self) -> None:
        """Unmap the page and close its file."""
        self._map.close()
        os.close(self._fd)
