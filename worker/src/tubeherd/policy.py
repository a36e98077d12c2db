"""The one place that decides what is done with a job. Pure functions: no clock, no network.

The state of the retries lives in beanstalkd: a failed job is released with a delay of the schedule, and `stats-job`
returns the delay of the last release. The position of that delay in the schedule is the number of failures.
"""

import math
from dataclasses import dataclass
from typing import Final

from tubeherd.job import Job, JobStats

MAX_DELAY: Final = 2**32 - 1
"""The longest delay, in seconds, and the largest priority that beanstalkd takes."""
ABORT_DELAY: Final = 60
DEFAULT_RETRY_DELAYS: Final = (600,)
DEFAULT_MAX_LOST_DELIVERIES: Final = 3


@dataclass(frozen=True, slots=True)
class Returned:
    """The executor returned, whatever the value."""


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """The executor asked for the job to come back after `delay` seconds; priority None keeps the job's own."""

    delay: int
    priority: int | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt was spent: an exception, a deadline or memory limit passed, a dead slot."""

    reason: str


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
    """Delete the job: it ran to its end."""


@dataclass(frozen=True, slots=True)
class Release:
    """Put the job back for `delay` seconds."""

    delay: int
    priority: int
    reason: str | None = None
    failure: bool = False
    """Whether the release spends an attempt."""
    stop: bool = False
    """Whether the worker stops after it."""


@dataclass(frozen=True, slots=True)
class Bury:
    """Bury the job until somebody kicks it."""

    priority: int
    reason: str


_DELETE: Final = Delete()
Verdict = Delete | Release | Bury


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The delays between attempts, in seconds: distinct and increasing, so that each delay has one position."""

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
        """Return how many failed attempts the job's last release stands for.

        A release whose delay is not in the schedule stands for none: a reschedule, an abort and an interruption forgive
        the failures before them.
        """
        if stats.releases == 0 or stats.delay not in self.delays:
            return 0
        return self.delays.index(stats.delay) + 1

    def outside(self, delay: int) -> int:
        """Return the delay, lengthened by seconds until it is none of the schedule's."""
        while delay in self.delays:
            delay += 1
        return delay


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one worker: its retry schedule, and how many lost deliveries make a job poison (0: never)."""

    schedule: RetrySchedule = RetrySchedule(DEFAULT_RETRY_DELAYS)
    max_lost_deliveries: int = DEFAULT_MAX_LOST_DELIVERIES

    def job(self, stats: JobStats) -> Job:
        """Return what an executor gets of the job."""
        attempt = self.schedule.failures(stats) + 1
        return Job(stats.id, stats.tube, attempt, stats.priority, stats.age, stats.lost_deliveries)

    def guard(self, stats: JobStats) -> Bury | None:
        """Return the verdict on a poison job, or None if the job may be executed."""
        if stats.reserves <= self.max_lost_deliveries:  # as nearly always: fewer deliveries are lost than made
            return None
        lost = stats.lost_deliveries
        # Each kick allows as many again: a person who kicks a poison job wants it tried.
        if self.max_lost_deliveries == 0 or lost < self.max_lost_deliveries * (stats.kicks + 1):
            return None
        reason = f"lost {lost} times: its worker or its connection died, or its TTR of {stats.ttr} s passed"
        return Bury(stats.priority, reason)

    def decide(self, outcome: Outcome, stats: JobStats) -> Verdict:
        """Return the verdict on a reserved job."""
        match outcome:
            case Returned():
                return _DELETE
            case Rescheduled(delay, priority, message):
                kept = stats.priority if priority is None else priority
                return Release(self.schedule.outside(delay), kept, message)
            case Failed(reason):
                failures = self.schedule.failures(stats)
                if failures < len(self.schedule.delays):
                    return Release(self.schedule.delays[failures], stats.priority, reason, failure=True)
                # A kicked job has one attempt: a kick leaves the delay as it is, so its next failure comes here again.
                return Bury(stats.priority, reason)
            case Invalid(reason):
                return Bury(stats.priority, reason)
            case Aborted(reason):
                return Release(self.schedule.outside(ABORT_DELAY), stats.priority, reason, stop=True)
            case Interrupted(reason):
                return Release(0, stats.priority, reason)


def check_priority(priority: int) -> int:
    """Return a priority as it is; raises ValueError for one that beanstalkd cannot hold."""
    if not 0 <= priority <= MAX_DELAY:
        raise ValueError(f"a priority is from 0 (most urgent) to {MAX_DELAY}, not {priority}")
    return priority
