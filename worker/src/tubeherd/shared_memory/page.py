"""The page of a lane: memory in which a slot writes what it does with a connection, and the lock of that connection.

Words of this file:

- A **lane** of a slot has one connection to beanstalkd at a time. If it breaks, the slot opens another for the lane.
- A connection is **in use** from the first byte of a command until its answer is read. Otherwise it is **at rest**.
- A **verdict** is what is done with a job: delete, release or bury.
- A **deferred** job was executed. It will be deleted after the next event `worker.flush`, and its lease is kept until
  then.

Slot and supervisor both map the page and both have a copy of the connection. A process may send a command only while it
holds the lock, and holds the lock until the answer is read. A slot takes the lock by `claim` and gives it back by
`say_executing` or `leave`. The supervisor takes it by `try_lock`. The lock is a semaphore in shared memory, because
taking it needs no system call if it is free. If a process dies, nobody gives its lock back. This does no harm: the
supervisor of a dead slot needs no lock, and a slot whose supervisor is dead goes on without the lock.

The page lives as long as the slot. The next slot gets a new page, with the connection if it is at rest.

| phase      | connection               | leases that are held         | touched by | if the slot dies, supervisor |
|------------|--------------------------|------------------------------|------------|------------------------------|
| STARTING   | at rest, or there is none | none                        | nobody     | closes the connection        |
| CONNECTING | there is none            | none                         | nobody     | does nothing                 |
| COMMAND    | in use by the slot       | deferred jobs', perhaps more | nobody     | closes the connection        |
| WAITING    | in use: a reserve waits  | none                         | nobody     | closes the connection        |
| EXECUTING  | at rest                  | the job's and deferred jobs' | supervisor | gives the verdicts on them   |
| RESTING    | at rest                  | deferred jobs'               | supervisor | gives the verdicts on them   |
| DONE       | at rest, or there is none | none                        | nobody     | keeps it for the next slot   |

Between two jobs a lane goes from EXECUTING through COMMAND to EXECUTING. COMMAND lasts for a few round trips at most,
each bounded by the socket's timeout. WAITING lasts as long as the reserve may wait. EXECUTING lasts until the job ends;
a job that still runs five seconds after its deadline is killed with its slot. STARTING lasts until the executors are
imported. It is written on the page of the first lane only; the other lanes begin with CONNECTING or RESTING.
"""

import mmap
import os
import struct

# The lock inside multiprocessing.Lock; the rest of that package would cost each slot 1 MiB.
from _multiprocessing import SemLock  # type: ignore[import-not-found]
from enum import IntEnum
from typing import Final, NamedTuple

# The offset of each value on the page, in bytes. `begun` follows the lease, so that one call writes both.
_PHASE_AT: Final = 0
_LEASE_AT: Final = 8
_BEGUN_AT: Final = 32
_COUNT_AT: Final = 40
_DEFERRED_AT: Final = 48
_LEASE: Final = struct.Struct("=QdQ")
_EXECUTION: Final = struct.Struct("=QdQQ")
_COUNT: Final = struct.Struct("=Q")
_SEMAPHORE: Final = 1
"""The kind of SemLock that any process may give back, not only the one that has taken it."""
_PARENT_CHECK_SECONDS: Final = 1.0
"""How often a slot that waits for the lock checks whether its supervisor lives, in seconds."""


class Phase(IntEnum):
    """What a slot does with one of its connections; the table at the top of this file says what each phase means."""

    STARTING = 0
    CONNECTING = 1
    COMMAND = 2
    WAITING = 3
    EXECUTING = 4
    RESTING = 5
    DONE = 6


SHARED_PHASES: Final = (Phase.EXECUTING, Phase.RESTING)
"""The phases in which the supervisor may use the connection too, if it takes the lock."""


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
        """Take the lock, waiting until it is free, and write COMMAND: the slot is about to send commands.

        May be repeated before the lock is given back.
        """
        self._locked = self._locked or self._lock.acquire(False)
        while not self._locked:
            # A slot whose supervisor is dead goes on without the lock. The supervisor may have died before it read the
            # answer to a touch; the slot then reads an answer that it does not expect, and drops the connection.
            orphan = os.getppid() != self._maker
            self._locked = self._lock.acquire(not orphan, _PARENT_CHECK_SECONDS) or orphan
        self._map[_PHASE_AT] = Phase.COMMAND

    def say_executing(self, job: int, since: float, ttr: int, begun: int) -> None:
        """Write the lease of the job that executes and how many jobs the slot has begun; give the lock back."""
        # A slot can be killed between any two bytes: the phase, a single byte, is written last.
        _EXECUTION.pack_into(self._map, _LEASE_AT, job, since, ttr, begun)
        self._map[_PHASE_AT] = Phase.EXECUTING
        self.unlock()

    def leave(self, phase: Phase = Phase.RESTING) -> None:
        """Write a phase and give the lock back. With EXECUTING, the job that is already on the page goes on."""
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

    # Read by the supervisor

    @property
    def phase(self) -> Phase:
        """What the slot does with the connection."""
        return Phase(self._map[_PHASE_AT])

    @property
    def begun(self) -> int:
        """How many jobs the whole slot had begun, counted when this lane last began one; 0 if it began none."""
        return int(_COUNT.unpack_from(self._map, _BEGUN_AT)[0])

    def read(self) -> State:
        """Return what the page says. The slot may change it any moment, unless the caller holds the lock."""
        phase = self.phase
        executing = Lease(*_LEASE.unpack_from(self._map, _LEASE_AT))
        (count,) = _COUNT.unpack_from(self._map, _COUNT_AT)
        offsets = range(_DEFERRED_AT, _DEFERRED_AT + count * _LEASE.size, _LEASE.size)
        return State(phase, executing, tuple(Lease(*_LEASE.unpack_from(self._map, offset)) for offset in offsets))

    def try_lock(self) -> bool:
        """Take the lock if it is free, and return whether this process holds it; True if it held the lock already."""
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
        needed = "which has to be writable and needs 4 KiB for each job that may run at the same time"
        raise OSError(error.errno, f"no semaphore can be made in /dev/shm, {needed}: {error.strerror}") from error
