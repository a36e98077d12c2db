"""Decides on the verdict, which is what is done with a job: delete, release or bury it. Pure: no clock, no network.

How often a job has failed is stored only in beanstalkd, in the delay of the job's last release, which `stats-job`
returns. If the retry schedule has n delays, a job that is released has failed from 0 to n times. So the delay of every
release, whether the job failed or not, is lengthened by at most n seconds, until it leaves the number of failures on
division by n + 1. A burial and a kick do not change that delay.

An executor is the function that does the jobs of a tube; a slot is a process of a worker that calls executors.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tubeherd.job import Job, JobStats

MAX_DELAY: Final = 2**32 - 1
"""The longest delay that beanstalkd takes, in seconds."""
MAX_PRIORITY: Final = 2**32 - 1
"""The largest priority that beanstalkd takes; the larger it is, the less urgent the job."""
ABORT_DELAY: Final = 60
"""If an executor stops the worker, its job is delayed for this many seconds."""
DEFAULT_RETRY_DELAYS: Final = (600,)
DEFAULT_MAX_LOST_DELIVERIES: Final = 3


class BurialKind(StrEnum):
    """Why a job was buried, in one word."""

    EXCEPTION = "exception"
    """The executor or a listener raised an exception."""
    INVALID = "invalid"
    """The payload does not fit the executor."""
    DEADLINE = "deadline"
    """The job or a listener ran longer than its limit, or held up another job past its deadline."""
    MEMORY = "memory"
    """The slot used more memory than its share, or the kernel killed it for the memory of the container."""
    KILLED = "killed"
    """The slot died for another reason."""
    POISON = "poison"
    """The job was lost so often that it was not executed again."""
    REJECTED = "rejected"
    """The executor said that no further attempt would help."""


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """The executor asked to have the job executed again after `delay` seconds; priority None keeps the job's own."""

    delay: int
    priority: int | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The job failed: an exception was raised, a limit of time or memory was exceeded, or its slot died."""

    reason: str
    kind: BurialKind = BurialKind.EXCEPTION
    """The kind of the burial, if the job has no further attempt."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """The payload does not fit the executor; the reason holds no part of the payload."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The executor said that no further attempt would help."""

    reason: str


@dataclass(frozen=True, slots=True)
class Aborted:
    """The executor asked the whole worker to stop."""

    reason: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The worker had to stop before the job was done."""

    reason: str


Outcome = Rescheduled | Failed | Invalid | Rejected | Aborted | Interrupted


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the job: it was done."""


DELETE: Final = Delete()
"""The verdict on each job whose executor returned, whatever it returned."""


@dataclass(frozen=True, slots=True)
class Release:
    """Put the job back into its tube; it is ready again after `delay` seconds."""

    delay: int
    priority: int
    reason: str | None = None
    failure: BurialKind | None = None
    """Why the job failed, if it is released because of that."""
    stop: bool = False
    """Whether the worker stops after the release."""


@dataclass(frozen=True, slots=True)
class Bury:
    """Bury the job until somebody kicks it."""

    priority: int
    reason: str
    kind: BurialKind


_EXCEPTION: Final = BurialKind.EXCEPTION
Verdict = Delete | Release | Bury


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The delays before further attempts at a failed job, in whole seconds; raises ValueError for any other delay."""

    delays: tuple[int, ...]

    def __post_init__(self) -> None:
        for delay in self.delays:
            if not isinstance(delay, int) or not 0 <= delay <= self.longest:
                raise ValueError(f"a retry delay is from 0 to {self.longest} whole seconds, not {delay!r}")

    @classmethod
    def of(cls, delays: Iterable[float]) -> "RetrySchedule":
        """Make a schedule of delays in seconds, each rounded up; raises ValueError for a delay out of range."""
        whole: list[int] = []
        for delay in delays:
            if not 0 <= delay <= MAX_DELAY:  # NaN too
                raise ValueError(f"a retry delay is from 0 to {MAX_DELAY} seconds, not {delay}")
            whole.append(math.ceil(delay))
        return cls(tuple(whole))

    @property
    def longest(self) -> int:
        """The longest delay, in seconds, that `showing` can lengthen and beanstalkd can hold."""
        return MAX_DELAY - len(self.delays)

    def failures(self, stats: JobStats) -> int:
        """Return how often the job has failed, as the delay of its last release shows.

        If that was released by another client, or under a schedule of another length, this is any number from 0 to the
        number of delays.
        """
        if stats.releases == 0:
            return 0
        return stats.delay % (len(self.delays) + 1)

    def showing(self, failures: int, delay: int) -> int:
        """Return the shortest delay, from `delay` on, that shows that a job has failed so many times."""
        return delay + (failures - delay) % (len(self.delays) + 1)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules by which a worker decides on verdicts; raises ValueError for a value out of range."""

    schedule: RetrySchedule = RetrySchedule(DEFAULT_RETRY_DELAYS)
    max_lost_deliveries: int = DEFAULT_MAX_LOST_DELIVERIES
    """A job that was lost this often is poison, and is not executed again. If 0, no job counts as poison."""

    def __post_init__(self) -> None:
        most = self.max_lost_deliveries
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise ValueError(f"max_lost_deliveries is a whole number from 0 (never bury), not {most!r}")

    def with_own(self, schedule: RetrySchedule | None, max_lost_deliveries: int | None = None) -> "Policy":
        """Return these rules with what an executor has of its own; None where it has nothing of its own."""
        most = self.max_lost_deliveries if max_lost_deliveries is None else max_lost_deliveries
        return Policy(self.schedule if schedule is None else schedule, most)

    def job(self, stats: JobStats) -> Job:
        """Return the job as an executor gets it."""
        if stats.reserves == 1 and stats.releases == 0:  # true of nearly every job, and faster than to count
            attempt, lost = 1, 0
        else:
            attempt, lost = self.schedule.failures(stats) + 1, stats.lost_deliveries
        # A call of Job would call another function of Python.
        return tuple.__new__(Job, (stats.id, stats.tube, attempt, stats.priority, stats.age, lost))

    def guard(self, stats: JobStats) -> Bury | None:
        """Return the verdict on a poison job, or None if the job may be executed."""
        if stats.reserves <= self.max_lost_deliveries:  # true of nearly every job, and faster than to count the losses
            return None
        lost = stats.lost_deliveries
        # A kick allows as many losses again, because a person who kicks a poison job wants it executed.
        if self.max_lost_deliveries == 0 or lost < self.max_lost_deliveries * (stats.kicks + 1):
            return None
        reason = f"lost {lost} times: its worker or its connection died, or its TTR of {stats.ttr} s passed"
        return Bury(stats.priority, reason, BurialKind.POISON)

    def decide(self, outcome: Outcome, stats: JobStats) -> Verdict:
        """Return the verdict on a reserved job whose executor did not return."""
        match outcome:
            case Rescheduled(delay, priority, message):
                if delay > self.schedule.longest:
                    longest = f"with its retry delays at most by {self.schedule.longest}"
                    return self._failed(f"the job asked to be delayed by {delay} s, {longest}", _EXCEPTION, stats)
                kept = stats.priority if priority is None else priority
                return Release(self._unspent(delay, stats), kept, message)
            case Failed(reason, kind):
                return self._failed(reason, kind, stats)
            case Invalid(reason):
                return Bury(stats.priority, reason, BurialKind.INVALID)
            case Rejected(reason):
                return Bury(stats.priority, reason, BurialKind.REJECTED)
            case Aborted(reason):
                return Release(self._unspent(ABORT_DELAY, stats), stats.priority, reason, stop=True)
            case Interrupted(reason):
                return Release(self._unspent(0, stats), stats.priority, reason)

    def _failed(self, reason: str, kind: BurialKind, stats: JobStats) -> Verdict:
        schedule = self.schedule
        failures = schedule.failures(stats)
        if failures < len(schedule.delays):
            delay = schedule.showing(failures + 1, schedule.delays[failures])
            return Release(delay, stats.priority, reason, failure=kind)
        return Bury(stats.priority, reason, kind)

    def _unspent(self, delay: int, stats: JobStats) -> int:
        """Return the delay of a release that neither adds a failure nor forgives one."""
        return self.schedule.showing(self.schedule.failures(stats), delay)
