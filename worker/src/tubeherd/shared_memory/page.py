"""The page of a lane: shared memory in which a slot writes what it does with a connection; and the connection's lock.

Words of this file:

- A **slot** is a process that runs jobs. When it ends, the supervisor starts the next slot in its place.
- A **lane** of a slot has one connection to beanstalkd at a time. If it breaks, the slot opens another for the lane.
- A connection is **in use** from the first byte of a command until its answer is read. Otherwise it is **at rest**.
- A **verdict** is what is done with a job: delete, release or bury.
- A **deferred** job was executed and waits for the next event `worker.flush`, after which it is deleted. Until then
  its lease is kept.

Slot and supervisor both map the page, and both have a copy of the connection. A process may send a command only while
it holds the lock, and it holds the lock until it has read the answer. A slot takes the lock by `lock_for_command`, and
gives it back by `write_job_and_unlock` or `write_phase_and_unlock`. The supervisor takes it by `try_lock`, and gives it
back by `unlock`. The lock is a semaphore in shared memory, because taking a free one needs no system call. If a process
dies with the lock, nobody gives it back. This does no harm: the supervisor needs no lock to use the connections of a
dead slot, and a slot whose supervisor is dead goes on without the lock.

The page lives as long as the slot. The next slot gets a new page, and the connection unless it was closed. This table
lists the phases of a page. Its last column says what the supervisor does with the connection if the slot ends in that
phase.

| phase      | connection                | leases held on it            | touched by | when the slot has ended  |
|------------|---------------------------|------------------------------|------------|--------------------------|
| STARTING   | at rest, or there is none | none                         | nobody     | closes it                |
| CONNECTING | there is none             | none                         | nobody     | nothing                  |
| COMMAND    | in use by the slot        | the command changes them     | nobody     | closes it                |
| WAITING    | in use: a reserve waits   | none                         | nobody     | closes it                |
| EXECUTING  | at rest                   | the job's and deferred jobs' | supervisor | sends the verdicts on it |
| RESTING    | at rest                   | deferred jobs'               | supervisor | sends the verdicts on it |
| DONE       | at rest, or there is none | none                         | nobody     | leaves it open           |

Between two jobs a lane goes from EXECUTING through COMMAND to EXECUTING. COMMAND lasts for a few commands at most; if
an answer takes longer than the socket's timeout, the slot closes the connection. WAITING lasts as long as the reserve
may wait. EXECUTING lasts until the job ends; if a job still runs five seconds after its deadline, the supervisor kills
the slot. STARTING lasts until the slot has imported the modules of user code. Only the first lane begins with it.
The other lanes begin with RESTING if they have a connection, otherwise with CONNECTING.
"""

import mmap
import os
import struct

# The lock inside multiprocessing.Lock. To import multiprocessing itself would cost each slot 1 MiB of memory.
from _multiprocessing import SemLock  # type: ignore[import-not-found]
from enum import IntEnum
from typing import Final, NamedTuple

# The offset of each value on the page, in bytes. One call writes all from the lease to `timeout`.
_PHASE_AT: Final = 0
_LEASE_AT: Final = 8
_JOBS_BEGUN_AT: Final = 32
_LATE_AT: Final = 40
_LEFT_BEHIND_AT: Final = 41
_WAITS_FOR_LOCK_AT: Final = 42
_TIMEOUT_AT: Final = 48
_DEFERRED_COUNT_AT: Final = 56
_DEFERRED_REMOVED_AT: Final = 64
_DEFERRED_AT: Final = 72
_LEASE: Final = struct.Struct("=QdQ")
_JOB: Final = struct.Struct("=QdQQQd")
_SECONDS: Final = struct.Struct("=d")
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


# Globals, because in Python 3.11 `Phase.COMMAND` takes as long as a call, and each job writes both.
_COMMAND: Final = int(Phase.COMMAND)
_EXECUTING: Final = int(Phase.EXECUTING)
SHARED_PHASES: Final = (Phase.EXECUTING, Phase.RESTING)
"""The phases in which the supervisor may use the connection too, while it holds the lock."""


class Lease(NamedTuple):
    """The lease of one job on this connection."""

    job: int
    since: float
    """When the job was reserved; for a deferred job, when it was deferred. In seconds on the monotonic clock."""
    ttr: int
    """The job's TTR: how many seconds the lease lasts after it was taken or touched."""


class State(NamedTuple):
    """What a page says at one moment. If it says EXECUTING twice with the same lease, the same job still executes."""

    phase: Phase
    last_begun: Lease
    """The lease of the job that began last on this lane. In the phase EXECUTING this job executes."""
    deferred: tuple[Lease, ...] = ()
    """The leases of the deferred jobs."""
    timeout: float = 0.0
    """How long the last job may run, in seconds, if its executor has a timeout of its own; otherwise 0."""

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Every lease held on the connection. Complete only in the phases EXECUTING and RESTING."""
        return (self.last_begun, *self.deferred) if self.phase is Phase.EXECUTING else self.deferred


class Page:
    """The page of one lane, with the lock of its connection."""

    __deletable__ = ("_lock",)

    def __init__(self, deferred_most: int = 0, parent_check_seconds: float = _PARENT_CHECK_SECONDS) -> None:
        """Make page and lock, with room for the leases of `deferred_most` deferred jobs; raises OSError.

        The supervisor makes them before it forks the slot, which checks every so many seconds while it waits for the
        lock whether the supervisor lives.
        """
        self._parent_check_seconds = parent_check_seconds
        self._map = mmap.mmap(-1, _DEFERRED_AT + deferred_most * _LEASE.size)
        self._lock = _make_lock()
        self._locked: bool = False
        """Whether this process holds the lock. Also True in a slot that goes on without it: its supervisor is dead."""
        self._maker = os.getpid()

    # Written by the slot

    def lock_for_command(self) -> None:
        """Wait until the lock is free, take it, and write COMMAND: the slot is about to send a command.

        If the slot holds the lock already, this only writes COMMAND.
        """
        self._locked = self._locked or self._lock.acquire(False)
        if not self._locked:
            self._wait_for_lock()
        self._map[_PHASE_AT] = _COMMAND

    def _wait_for_lock(self) -> None:
        self._map[_WAITS_FOR_LOCK_AT] = 1
        while not self._locked:
            # A slot whose supervisor is dead goes on without the lock. If the supervisor died before it read the answer
            # to a touch, the slot reads that answer instead of its own, and therefore closes the connection.
            orphan = os.getppid() != self._maker
            self._locked = self._lock.acquire(not orphan, self._parent_check_seconds) or orphan
        self._map[_WAITS_FOR_LOCK_AT] = 0

    def write_job_and_unlock(self, job: int, since: float, ttr: int, jobs_begun: int, timeout: float = 0.0) -> None:
        """Write the lease of a job that now executes, not late, `jobs_begun`, `timeout` and EXECUTING; unlock."""
        # The phase is written last, because the slot can be killed before all bytes of the rest are written.
        _JOB.pack_into(self._map, _LEASE_AT, job, since, ttr, jobs_begun, 0, timeout)
        self._map[_PHASE_AT] = _EXECUTING
        self.unlock()

    def write_phase_and_unlock(self, phase: Phase = Phase.RESTING) -> None:
        """Write a phase and give the lock back. EXECUTING means that the last job on the page still executes."""
        self._map[_PHASE_AT] = phase
        self.unlock()

    def write_left_behind(self) -> None:
        """Write that code of the job, which was stopped at its deadline, goes on. It will, until the slot ends."""
        self._map[_LEFT_BEHIND_AT] = 1

    def write_waiting(self) -> None:
        """Write WAITING: a reserve was sent, which beanstalkd may answer much later. The slot keeps the lock."""
        self._map[_PHASE_AT] = Phase.WAITING

    def add_deferred(self, lease: Lease) -> None:
        """Add the lease of a deferred job; only in the phase COMMAND."""
        (count,) = _COUNT.unpack_from(self._map, _DEFERRED_COUNT_AT)
        _LEASE.pack_into(self._map, _DEFERRED_AT + count * _LEASE.size, *lease)
        _COUNT.pack_into(self._map, _DEFERRED_COUNT_AT, count + 1)

    def remove_first_deferred(self) -> None:
        """Remove the lease that was added first of those that are left; only in the phase COMMAND."""
        (removed,) = _COUNT.unpack_from(self._map, _DEFERRED_REMOVED_AT)
        _COUNT.pack_into(self._map, _DEFERRED_REMOVED_AT, removed + 1)

    def clear_deferred(self) -> None:
        """Remove the leases of all deferred jobs; only in the phase COMMAND, or if there is no connection."""
        _COUNT.pack_into(self._map, _DEFERRED_COUNT_AT, 0)
        _COUNT.pack_into(self._map, _DEFERRED_REMOVED_AT, 0)

    # Written by the supervisor

    def write_late(self) -> None:
        """Write that the job which executes is late; only with the lock held."""
        self._map[_LATE_AT] = 1

    # Read by both

    @property
    def late(self) -> bool:
        """Whether the last job of this lane was broken off at its deadline. It has failed then, whatever it did next.

        The slot must hold the lock, so that the supervisor cannot change it.
        """
        return self._map[_LATE_AT] != 0

    @property
    def left_behind(self) -> bool:
        """Whether code of a job that was stopped at its deadline goes on; its verdict is given when the slot ends."""
        return self._map[_LEFT_BEHIND_AT] != 0 and self._map[_PHASE_AT] == Phase.EXECUTING

    # Read by the supervisor

    @property
    def phase(self) -> Phase:
        """What the slot does with the connection."""
        return Phase(self._map[_PHASE_AT])

    @property
    def is_held_up(self) -> bool:
        """Whether the slot waits for an answer of beanstalkd, or for the lock, which it needs to ask.

        On a lane that still executes, the job has ended then and only its verdict is missing, or another lane flushes.
        """
        return self.phase is Phase.COMMAND or self._map[_WAITS_FOR_LOCK_AT] != 0

    @property
    def jobs_begun(self) -> int:
        """How many jobs the whole slot had begun when the last job of this lane began; 0 if this lane had no job."""
        return int(_COUNT.unpack_from(self._map, _JOBS_BEGUN_AT)[0])

    def read(self) -> State:
        """Return what the page says. Unless the caller holds the lock, the slot may change the page at any moment."""
        phase = self.phase
        last_begun = Lease(*_LEASE.unpack_from(self._map, _LEASE_AT))
        (count,) = _COUNT.unpack_from(self._map, _DEFERRED_COUNT_AT)
        (removed,) = _COUNT.unpack_from(self._map, _DEFERRED_REMOVED_AT)
        offsets = range(_DEFERRED_AT + removed * _LEASE.size, _DEFERRED_AT + count * _LEASE.size, _LEASE.size)
        deferred = tuple(Lease(*_LEASE.unpack_from(self._map, offset)) for offset in offsets)
        return State(phase, last_begun, deferred, *_SECONDS.unpack_from(self._map, _TIMEOUT_AT))

    def try_lock(self) -> bool:
        """Take the lock if it is free; return whether this process holds the lock, now or since an earlier call."""
        self._locked = self._locked or self._lock.acquire(False)
        return self._locked

    def unlock(self) -> None:
        """Give the lock back, if this process holds it."""
        if self._locked:
            self._locked = False
            self._lock.release()

    def close(self) -> None:
        """Unmap page and lock in this process. If this process holds the lock, nobody gives it back."""
        self._map.close()
        del self._lock


def _make_lock() -> SemLock:
    """Make a lock that this process shares with the processes forked from it."""
    try:
        return SemLock(_SEMAPHORE, 1, 1, f"/tubeherd-{os.urandom(8).hex()}", True)
    except OSError as error:
        needed = "which has to be writable and needs 4 KiB for each job that may run at the same time"
        raise OSError(error.errno, f"no semaphore can be made in /dev/shm, {needed}: {error.strerror}") from error
