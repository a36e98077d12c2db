"""What a slot and its supervisor share of one lane: a page that says what the slot does there, and a lock.

The page is memory that both have mapped; it lives as long as the slot. The lane's connection may be replaced meanwhile,
and outlives the page where the next slot inherits it. Whoever has a command in flight on the connection holds the lock.
A slot takes it by `claim` and gives it back by `say_executing` or `leave`.

The lock is a semaphore in shared memory, so that to take it and to give it back are no system calls as long as nobody
waits. Who dies keeps it: where the slot is dead its supervisor needs it no more, and where the supervisor is dead the
slot goes on without it.

| phase      | the connection belongs to   | leases held               | touched by | where the slot dies            |
|------------|-----------------------------|---------------------------|------------|--------------------------------|
| STARTING   | nobody; at rest, or none    | none                      | nobody     | the connection is closed       |
| CONNECTING | nobody; there is none       | none                      | nobody     | -                              |
| COMMAND    | the slot, which has locked  | unknown, and deferred     | nobody     | closed: all come back          |
| WAITING    | the slot, which has locked  | none, a reserve is out    | nobody     | closed                         |
| EXECUTING  | who takes the lock          | the job's, and deferred   | supervisor | it gives the verdicts          |
| RESTING    | who takes the lock          | the deferred              | supervisor | it gives the verdicts          |
| DONE       | the next slot               | none                      | nobody     | -                              |

The slot goes from EXECUTING through COMMAND to EXECUTING between two jobs. COMMAND lasts for round trips, each of which
the socket's timeout bounds; WAITING as long as a reserve may wait; EXECUTING until the job's deadline and five seconds.
STARTING, on the page of the first lane, lasts until executors are imported and listeners of burials told; the pages of
the other lanes begin with CONNECTING or RESTING. The supervisor keeps the lock from a touch to its answer, and from a
kill until the slot is reaped.
"""

import mmap
import os
import struct

# What multiprocessing.Lock is made of, without the rest of that package, which would cost each slot 1 MiB.
from _multiprocessing import SemLock  # type: ignore[import-not-found]
from enum import IntEnum
from typing import Final, NamedTuple

# Where each thing stands on the page, in bytes; `begun` follows the lease, so that both are written at once.
_PHASE_AT: Final = 0
_LEASE_AT: Final = 8
_BEGUN_AT: Final = 32
_COUNT_AT: Final = 40
_DEFERRED_AT: Final = 48
_LEASE: Final = struct.Struct("=QdQ")
_EXECUTION: Final = struct.Struct("=QdQQ")
_COUNT: Final = struct.Struct("=Q")
_SEMAPHORE: Final = 1
"""The kind of SemLock that one process may take and another give back."""
_DEAD_HOLDER_SECONDS: Final = 1.0
"""How often a slot that waits for the lock looks whether its supervisor lives."""


class Phase(IntEnum):
    """What a slot is doing with one of its connections, as the table above says."""

    STARTING = 0
    CONNECTING = 1
    COMMAND = 2
    WAITING = 3
    EXECUTING = 4
    RESTING = 5
    DONE = 6


AT_REST: Final = (Phase.EXECUTING, Phase.RESTING)
"""The phases in which whoever takes the lock may use the connection."""


class Lease(NamedTuple):
    """A job that the connection holds."""

    job: int
    since: float
    """When the lease was taken, on the monotonic clock that all processes share, in seconds."""
    ttr: int
    """How long beanstalkd keeps the lease after it was taken or touched, in seconds."""


class State(NamedTuple):
    """What the page says; equal states of EXECUTING mean the same execution of the same job."""

    phase: Phase
    executing: Lease
    """The lease of the job that runs; in other phases of the last one that ran."""
    deferred: tuple[Lease, ...] = ()
    """The leases of jobs that were executed and wait for `worker.flush`."""

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Every lease that is held, in the phases that leave the connection at rest."""
        return (self.executing, *self.deferred) if self.phase is Phase.EXECUTING else self.deferred


class Page:
    """The state page of one connection of a slot, with the connection's lock."""

    def __init__(self, deferred_most: int = 0) -> None:
        """Make a page with room for `deferred_most` leases beside the one that executes; raises OSError."""
        self._map = mmap.mmap(-1, _DEFERRED_AT + deferred_most * _LEASE.size)
        self._lock = _make_lock()
        self._locked: bool = False
        """Whether this process holds the lock."""
        self._maker = os.getpid()

    # What a slot says

    def claim(self) -> None:
        """Claim the connection for commands, waiting for it; the other process keeps off until it is at rest.

        May be repeated before the connection is left.
        """
        self._locked = self._locked or self._lock.acquire(False)
        while not self._locked:
            # An orphan does without; where a touch of the dead is unanswered, its answer ends the connection.
            orphan = os.getppid() != self._maker
            self._locked = self._lock.acquire(not orphan, _DEAD_HOLDER_SECONDS) or orphan
        self._map[_PHASE_AT] = Phase.COMMAND

    def say_executing(self, job: int, since: float, ttr: int, begun: int) -> None:
        """Say that a job runs (see `Lease`), the slot's `begun`-th, and leave the connection at rest."""
        # A slot can be killed between any two bytes, so the phase changes last, in one.
        _EXECUTION.pack_into(self._map, _LEASE_AT, job, since, ttr, begun)
        self._map[_PHASE_AT] = Phase.EXECUTING
        self.unlock()

    def leave(self, phase: Phase = Phase.RESTING) -> None:
        """Leave the connection at rest, in this phase; EXECUTING means the job that ran before the command."""
        self._map[_PHASE_AT] = phase
        self.unlock()

    def say_waiting(self) -> None:
        """Say that the command in flight is a reserve that may wait long."""
        self._map[_PHASE_AT] = Phase.WAITING

    def add_deferred(self, lease: Lease) -> None:
        """Add a lease that waits for `worker.flush`; only in the phase COMMAND."""
        (count,) = _COUNT.unpack_from(self._map, _COUNT_AT)
        _LEASE.pack_into(self._map, _DEFERRED_AT + count * _LEASE.size, *lease)
        _COUNT.pack_into(self._map, _COUNT_AT, count + 1)

    def clear_deferred(self) -> None:
        """Forget the leases that waited; only in the phase COMMAND, or without a connection."""
        _COUNT.pack_into(self._map, _COUNT_AT, 0)

    # What its supervisor reads, and the lock

    @property
    def phase(self) -> Phase:
        """What the slot does with the connection."""
        return Phase(self._map[_PHASE_AT])

    @property
    def begun(self) -> int:
        """The number, among the jobs that the slot has begun, of the last one that ran here; 0 where none did."""
        return int(_COUNT.unpack_from(self._map, _BEGUN_AT)[0])

    def read(self) -> State:
        """Return what the slot does; only certain while the lock is held or the slot is dead."""
        phase = self.phase
        executing = Lease(*_LEASE.unpack_from(self._map, _LEASE_AT))
        (count,) = _COUNT.unpack_from(self._map, _COUNT_AT)
        places = range(_DEFERRED_AT, _DEFERRED_AT + count * _LEASE.size, _LEASE.size)
        return State(phase, executing, tuple(Lease(*_LEASE.unpack_from(self._map, place)) for place in places))

    def try_lock(self) -> bool:
        """Take the lock unless another process holds it; this one may hold it already."""
        self._locked = self._locked or self._lock.acquire(False)
        return self._locked

    def unlock(self) -> None:
        """Give the lock back, if this process holds it."""
        if self._locked:
            self._locked = False
            self._lock.release()

    def close(self) -> None:
        """Unmap page and lock in this process; the lock stays as it is."""
        self._map.close()
        del self._lock


def _make_lock() -> SemLock:
    """Make a lock that whoever has it mapped shares: this process and those forked from it."""
    try:
        return SemLock(_SEMAPHORE, 1, 1, f"/tubeherd-{os.urandom(8).hex()}", True)
    except OSError as error:
        needed = "which has to be writable, with 4 KiB for each job at a time"
        raise OSError(error.errno, f"no semaphore can be made in /dev/shm, {needed}: {error.strerror}") from error
