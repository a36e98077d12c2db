"""The page of a lane: what a slot does with one of its connections, with the lock of that connection.

A lane is one connection of a slot to beanstalkd. Its page is memory that the slot and the supervisor have both mapped.
The page lives as long as the slot. The connection may be replaced while the slot lives; the connection that a slot
leaves at rest is used by the next slot, with a new page.

Whoever holds the lock may send a command, and keeps the lock until the answer is read. A slot takes the lock by `claim`
and gives it back by `say_executing` or `leave`. The supervisor takes it by `try_lock` and keeps it from a touch to its
answer, and from a kill until the slot is reaped. The lock is a semaphore in shared memory, because taking and giving it
back need no system call unless somebody waits. A process that dies keeps the lock: if the slot is dead, the supervisor
needs no lock; if the supervisor is dead, the slot goes on without one.

| phase      | who may use the connection  | leases held               | touched by | if the slot dies               |
|------------|-----------------------------|---------------------------|------------|--------------------------------|
| STARTING   | nobody: at rest, or none    | none                      | nobody     | the connection is closed       |
| CONNECTING | nobody: there is none       | none                      | nobody     | nothing is to be done          |
| COMMAND    | the slot, with the lock     | unknown, and deferred     | nobody     | closed: all leases come back   |
| WAITING    | the slot, with the lock     | none, a reserve is out    | nobody     | closed                         |
| EXECUTING  | whoever takes the lock      | the job's, and deferred   | supervisor | the supervisor gives verdicts  |
| RESTING    | whoever takes the lock      | the deferred              | supervisor | the supervisor gives verdicts  |
| DONE       | the next slot               | none                      | nobody     | nothing is to be done          |

A deferred lease is that of a job which was executed and is deleted after the next `worker.flush`.

Between two jobs a lane goes from EXECUTING through COMMAND to EXECUTING. COMMAND lasts for a few round trips at most,
each bounded by the socket's timeout. WAITING lasts as long as a reserve may wait. EXECUTING lasts until the job's
deadline and five seconds at most. STARTING is written on the page of the first lane only, and lasts until the executors
are imported and the burials by the supervisor are published; the other lanes begin with CONNECTING or RESTING.
"""

import mmap
import os
import struct

# The lock inside multiprocessing.Lock; the rest of that package would cost each slot 1 MiB.
from _multiprocessing import SemLock  # type: ignore[import-not-found]
from enum import IntEnum
from typing import Final, NamedTuple

# The offset of each value on the page, in bytes. `begun` follows the lease, so that both are written at once.
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
"""How often a slot that waits for the lock checks that its supervisor lives."""


class Phase(IntEnum):
    """What a slot does with one of its connections; the table at the top of this file says what each phase means."""

    STARTING = 0
    CONNECTING = 1
    COMMAND = 2
    WAITING = 3
    EXECUTING = 4
    RESTING = 5
    DONE = 6


AT_REST: Final = (Phase.EXECUTING, Phase.RESTING)
"""The phases in which a connection is at rest: whoever takes the lock may use it."""


class Lease(NamedTuple):
    """The lease of one job on this connection."""

    job: int
    since: float
    """When the lease was taken, on the monotonic clock that all processes share, in seconds."""
    ttr: int
    """How long beanstalkd keeps the lease after it was taken or touched (the job's TTR), in seconds."""


class State(NamedTuple):
    """What a page says at one moment. Two equal states in the phase EXECUTING mean the same attempt at the same job."""

    phase: Phase
    executing: Lease
    """The lease of the job that executes; in other phases that of the last job that executed."""
    deferred: tuple[Lease, ...] = ()
    """The leases of jobs that were executed and are deleted after the next `worker.flush`."""

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Every lease that the connection holds; right in the phases EXECUTING and RESTING only."""
        return (self.executing, *self.deferred) if self.phase is Phase.EXECUTING else self.deferred


class Page:
    """The page of one lane, with the lock of its connection."""

    def __init__(self, deferred_most: int = 0) -> None:
        """Make page and lock, in the supervisor, with room for `deferred_most` deferred leases; raises OSError."""
        self._map = mmap.mmap(-1, _DEFERRED_AT + deferred_most * _LEASE.size)
        self._lock = _make_lock()
        self._locked: bool = False
        """Whether this process holds the lock."""
        self._maker = os.getpid()

    # Written by the slot

    def claim(self) -> None:
        """Take the lock, waiting for it, and write COMMAND: the slot is about to send commands.

        May be repeated before the lock is given back.
        """
        self._locked = self._locked or self._lock.acquire(False)
        while not self._locked:
            # If the supervisor is dead, the slot goes on without the lock. Should the answer to a touch of the dead
            # supervisor still come, it is not the answer that the slot expects: the slot drops the connection.
            orphan = os.getppid() != self._maker
            self._locked = self._lock.acquire(not orphan, _DEAD_HOLDER_SECONDS) or orphan
        self._map[_PHASE_AT] = Phase.COMMAND

    def say_executing(self, job: int, since: float, ttr: int, begun: int) -> None:
        """Write the lease of the job that executes and how many jobs the slot has begun; give the lock back."""
        # A slot can be killed between any two bytes: the phase, a single byte, is written last.
        _EXECUTION.pack_into(self._map, _LEASE_AT, job, since, ttr, begun)
        self._map[_PHASE_AT] = Phase.EXECUTING
        self.unlock()

    def leave(self, phase: Phase = Phase.RESTING) -> None:
        """Write a phase and give the lock back; EXECUTING if a job goes on that executed before the command."""
        self._map[_PHASE_AT] = phase
        self.unlock()

    def say_waiting(self) -> None:
        """Write WAITING: the command in flight is a reserve, which may wait long."""
        self._map[_PHASE_AT] = Phase.WAITING

    def add_deferred(self, lease: Lease) -> None:
        """Add a deferred lease; only in the phase COMMAND."""
        (count,) = _COUNT.unpack_from(self._map, _COUNT_AT)
        _LEASE.pack_into(self._map, _DEFERRED_AT + count * _LEASE.size, *lease)
        _COUNT.pack_into(self._map, _COUNT_AT, count + 1)

    def clear_deferred(self) -> None:
        """Remove all deferred leases; only in the phase COMMAND, or without a connection."""
        _COUNT.pack_into(self._map, _COUNT_AT, 0)

    # Read by the supervisor, and the lock

    @property
    def phase(self) -> Phase:
        """What the slot does with the connection."""
        return Phase(self._map[_PHASE_AT])

    @property
    def begun(self) -> int:
        """How many jobs the slot had begun when the last one began on this lane; 0 if none did."""
        return int(_COUNT.unpack_from(self._map, _BEGUN_AT)[0])

    def read(self) -> State:
        """Return what the page says; it may change at once unless the lock is held or the slot is dead."""
        phase = self.phase
        executing = Lease(*_LEASE.unpack_from(self._map, _LEASE_AT))
        (count,) = _COUNT.unpack_from(self._map, _COUNT_AT)
        offsets = range(_DEFERRED_AT, _DEFERRED_AT + count * _LEASE.size, _LEASE.size)
        return State(phase, executing, tuple(Lease(*_LEASE.unpack_from(self._map, offset)) for offset in offsets))

    def try_lock(self) -> bool:
        """Take the lock without waiting, and return whether this process holds it now; it may have held it before."""
        self._locked = self._locked or self._lock.acquire(False)
        return self._locked

    def unlock(self) -> None:
        """Give the lock back, if this process holds it."""
        if self._locked:
            self._locked = False
            self._lock.release()

    def close(self) -> None:
        """Unmap page and lock in this process; if it holds the lock, the lock stays taken."""
        self._map.close()
        del self._lock


def _make_lock() -> SemLock:
    """Make a lock that this process shares with those forked from it."""
    try:
        return SemLock(_SEMAPHORE, 1, 1, f"/tubeherd-{os.urandom(8).hex()}", True)
    except OSError as error:
        needed = "which has to be writable, with 4 KiB for each job at a time"
        raise OSError(error.errno, f"no semaphore can be made in /dev/shm, {needed}: {error.strerror}") from error
