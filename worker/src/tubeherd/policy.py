"""Decides on the verdict, which is what is done with a job: delete, release or bury it. Pure: no clock, no network.

How often a job has failed is stored only in beanstalkd. A failed job is released with a delay of the retry schedule,
and each delay is in the schedule only once. So the delay of the job's last release, which `stats-job` returns, shows
how many failures came before. An executor is the function that does the jobs of a tube; a slot is a process of a worker
that calls executors.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tubeherd.job import Job, JobStats

MAX_DELAY: Final = 2**32 - 1
"""The longest delay, in seconds, and also the largest priority that beanstalkd takes."""
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
class Returned:
    """The executor returned a value, which does not matter here."""


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
class Aborted:
    """The executor asked the whole worker to stop."""

    reason: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The worker had to stop before the job was done."""

    reason: str


Outcome = Returned | Rescheduled | Failed | Invalid | Aborted | Interrupted


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the job: it was done."""


@dataclass(frozen=True, slots=True)
class Release:
    """Put the job back into its tube; it is ready again after `delay` seconds."""

    delay: int
    priority: int
    reason: str | None = None
    failure: bool = False
    """Whether the job is released because it failed."""
    stop: bool = False
    """Whether the worker stops after the release."""


@dataclass(frozen=True, slots=True)
class Bury:
    """Bury the job until somebody kicks it."""

    priority: int
    reason: str
    kind: BurialKind


_DELETE: Final = Delete()
Verdict = Delete | Release | Bury


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The delays before further attempts at a failed job, in seconds. Each is longer than the one before."""

    delays: tuple[int, ...]

    @classmethod
    def of(cls, delays: tuple[float, ...]) -> "RetrySchedule":
        """Round each delay up to whole seconds, and lengthen it by seconds until it is longer than the one before.

        Raises ValueError for a delay that beanstalkd cannot hold.
        """
        whole: list[int] = []
        for delay in delays:
            at_least = whole[-1] + 1 if whole else 1
            whole.append(max(at_least, math.ceil(delay)))
        if whole and whole[-1] >= MAX_DELAY:
            raise ValueError(f"a retry delay is at most {MAX_DELAY - 1} seconds, not {whole[-1]}")
        return cls(tuple(whole))

    def failures(self, stats: JobStats) -> int:
        """Return how often the job has failed, as the delay of its last release shows.

        Return 0 if that delay is not in the schedule. The job was then released for another reason than a failure, such
        as a reschedule, and the failures before that do not count any more.
        """
        if stats.releases == 0 or stats.delay not in self.delays:
            return 0
        return self.delays.index(stats.delay) + 1

    def outside(self, delay: int) -> int:
        """Return the delay or, if it is in the schedule, the next longer one that is not.

        A release that is no failure needs such a delay, because one of the schedule would be counted as a failure.
        """
        while delay in self.delays:
            delay += 1
        return delay


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules by which a worker decides on verdicts."""

    schedule: RetrySchedule = RetrySchedule(DEFAULT_RETRY_DELAYS)
    max_lost_deliveries: int = DEFAULT_MAX_LOST_DELIVERIES
    """A job that was lost this often is poison, and is not executed again. If 0, no job counts as poison."""

    def job(self, stats: JobStats) -> Job:
        """Return the job as an executor gets it."""
        attempt = self.schedule.failures(stats) + 1
        return Job(stats.id, stats.tube, attempt, stats.priority, stats.age, stats.lost_deliveries)

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
        """Return the verdict on a reserved job."""
        match outcome:
            case Returned():
                return _DELETE
            case Rescheduled(delay, priority, message):
                kept = stats.priority if priority is None else priority
                return Release(self.schedule.outside(delay), kept, message)
            case Failed(reason, kind):
                failures = self.schedule.failures(stats)
                if failures < len(self.schedule.delays):
                    return Release(self.schedule.delays[failures], stats.priority, reason, failure=True)
                # A kick does not change the delay of the last release, so a kicked job is buried at its next failure.
                return Bury(stats.priority, reason, kind)
            case Invalid(reason):
                return Bury(stats.priority, reason, BurialKind.INVALID)
            case Aborted(reason):
                return Release(self.schedule.outside(ABORT_DELAY), stats.priority, reason, stop=True)
            case Interrupted(reason):
                return Release(0, stats.priority, reason)


def check_priority(priority: int) -> int:
    """Return a priority as it is; raises ValueError for one that beanstalkd cannot hold."""
    if not 0 <= priority <= MAX_DELAY:
        raise ValueError(f"a priority is from 0 (most urgent) to {MAX_DELAY}, not {priority}")
    return priority
