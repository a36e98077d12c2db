"""What beanstalkd answers, as values and errors.

If beanstalkd refuses a command, the error is one of greenstalk's classes, so that users catch the errors that they know
from that client. A lease is the reservation of a job by a connection; a verdict is to delete, release or bury the job.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from greenstalk import (
    BadFormatError,
    BuriedError,
    DeadlineSoonError,
    DrainingError,
    ExpectedCrlfError,
    InternalError,
    JobTooBigError,
    NotFoundError,
    NotIgnoredError,
    OutOfMemoryError,
    TimedOutError,
    UnknownCommandError,
)
from greenstalk import BeanstalkdError as RefusedError

from tubeherd.job import JobStats

__all__ = [
    "AnswerLost",
    "BuriedError",
    "Burying",
    "DeadlineSoonError",
    "DrainingError",
    "JobCounters",
    "JobTooBigError",
    "LeaseGone",
    "NotFoundError",
    "NotIgnoredError",
    "OutOfMemoryError",
    "QueueUnavailable",
    "RefusedError",
    "Reserved",
    "ServerCounters",
    "Settled",
    "TimedOutError",
    "TubeCounters",
    "TubeStats",
    "refusal",
]

_REFUSALS: Final[Mapping[bytes, type[RefusedError]]] = {
    b"BAD_FORMAT": BadFormatError,
    b"BURIED": BuriedError,
    b"DEADLINE_SOON": DeadlineSoonError,
    b"DRAINING": DrainingError,
    b"EXPECTED_CRLF": ExpectedCrlfError,
    b"INTERNAL_ERROR": InternalError,
    b"JOB_TOO_BIG": JobTooBigError,
    b"NOT_FOUND": NotFoundError,
    b"NOT_IGNORED": NotIgnoredError,
    b"OUT_OF_MEMORY": OutOfMemoryError,
    b"TIMED_OUT": TimedOutError,
    b"UNKNOWN_COMMAND": UnknownCommandError,
}


class QueueUnavailable(ConnectionError):
    """beanstalkd cannot be reached, or the connection to it cannot be used any more."""


class Unreachable(QueueUnavailable):
    """No connection to beanstalkd could be opened."""


class AnswerLost(QueueUnavailable):
    """A put or kick was sent, and the connection broke before its answer came: beanstalkd may have done it, or not."""


class LeaseGone(Exception):
    """A job was reserved, but did not exist any more when its counters were asked for.

    The TTR of the lease passed in between, and then another client deleted the job.
    """

    def __init__(self, job_id: int) -> None:
        super().__init__(f"the lease of job {job_id} was gone as soon as it was given")
        self.job_id = job_id


class Settled(Enum):
    """What beanstalkd did after a delete, release, bury or touch."""

    DONE = "done"
    LEASE_GONE = "lease gone"
    """Nothing: the lease's TTR had passed, or another client had deleted the job."""
    BURIED_INSTEAD = "buried instead"
    """It buried a job that was to be released, because it had no memory to queue the job."""


class Burying(NamedTuple):
    """A reserved job that is to be buried."""

    job_id: int
    priority: int
    record: bytes | None
    """What is put into another tube just before the job is buried; None if nothing is."""


class Reserved(NamedTuple):
    """A job that a connection has reserved."""

    stats: JobStats
    body: bytes | None
    """The bytes that were put; None if beanstalkd kept the job but lost its bytes in a crash."""
    since: float
    """When the job was reserved, on the monotonic clock, in seconds."""


@dataclass(frozen=True, slots=True)
class TubeStats:
    """How many jobs of a tube are in each state, and went through it; all 0 for a tube that does not exist."""

    name: str
    ready: int = 0
    reserved: int = 0
    delayed: int = 0
    buried: int = 0
    put: int = 0
    """How many jobs were put into the tube since it exists. A tube exists while it has jobs or is used or watched."""
    deleted: int = 0
    """How many of its jobs were deleted, as all that are done are, since it exists."""
    # What follows does not tell one state of a tube's jobs from another.
    urgent: int = field(default=0, compare=False)
    """How many of the ready jobs have a priority below 1024."""
    using: int = field(default=0, compare=False)
    """How many connections put into it."""
    watching: int = field(default=0, compare=False)
    """How many connections take jobs from it."""
    waiting: int = field(default=0, compare=False)
    """How many of these wait for a job."""
    pauses: int = field(default=0, compare=False)
    """How often it was paused since it exists."""
    pause: int = field(default=0, compare=False)
    """For how many seconds it was paused; 0 if it is not paused."""
    pause_left: int = field(default=0, compare=False)
    """For how many seconds more it is paused."""


class TubeCounters(NamedTuple):
    """What beanstalkd counts of a tube; all 0 for a tube that does not exist. Times in seconds."""

    name: str
    ready: int = 0
    reserved: int = 0
    delayed: int = 0
    buried: int = 0
    total_jobs: int = 0
    """How many jobs were put into the tube since it exists. A tube exists while it has jobs or is used or watched."""
    using: int = 0
    """How many connections put into it."""
    watching: int = 0
    """How many connections take jobs from it: mostly the slots of workers."""
    waiting: int = 0
    """How many of these wait for a job at the moment."""
    deleted: int = 0
    """How many of its jobs were deleted, as all that are done are, since it exists."""
    pauses: int = 0
    """How often it was paused."""
    pause: int = 0
    """For how long it was paused; 0 if it is not paused."""
    pause_left: int = 0
    """How much longer it is paused."""

    @property
    def jobs(self) -> int:
        """The number of its jobs in all states."""
        return self.ready + self.reserved + self.delayed + self.buried


class JobCounters(NamedTuple):
    """What beanstalkd counts of a job, in whatever state it is; times in seconds."""

    id: int
    tube: str
    state: str
    """ready, reserved, delayed or buried."""
    priority: int
    age: int
    """Since it was put."""
    delay: int
    """That of the last release, or of the put if there was no release."""
    ttr: int
    time_left: int
    """Until its lease or its delay ends; 0 in other states."""
    reserves: int
    timeouts: int
    releases: int
    buries: int
    kicks: int


class ServerCounters(NamedTuple):
    """What beanstalkd counts of itself."""

    total_jobs: int
    """How many jobs were put since it started."""
    tubes: int
    workers: int
    """How many connections have ever reserved a job."""
    ready: int
    reserved: int
    delayed: int
    buried: int


def refusal(line: bytes) -> RefusedError | None:
    """Return the error for a line by which beanstalkd refuses a command; None if the line is no refusal.

    The message of the error is the first word of the line.
    """
    status = b"".join(line.split()[:1])
    if status not in _REFUSALS:
        return None
    error = _REFUSALS[status]()
    error.args = (status.decode(),)  # the rest of the line is left out: it may be anything
    return error
