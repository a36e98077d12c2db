"""What beanstalkd answers, as values and errors. The errors of refusals are greenstalk's, which users may catch."""

from collections.abc import Mapping
from dataclasses import dataclass
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
    "BuriedError",
    "DeadlineSoonError",
    "LeaseGone",
    "NotFoundError",
    "NotIgnoredError",
    "QueueUnavailable",
    "RefusedError",
    "Reserved",
    "Settled",
    "TimedOutError",
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
    """beanstalkd cannot be reached, or the connection to it can't be used any more."""


class LeaseGone(Exception):
    """A lease was gone again as soon as it was given: its TTR had passed, and somebody deleted the job."""

    def __init__(self, job_id: int) -> None:
        super().__init__(f"the lease of job {job_id} was gone as soon as it was given")
        self.job_id = job_id


class Settled(Enum):
    """What became of a verdict, or of a touch."""

    DONE = "done"
    LEASE_GONE = "lease gone"
    """The lease's TTR had passed, or somebody had deleted the job."""
    BURIED_INSTEAD = "buried instead"
    """Out of memory for its queue of ready or delayed jobs, beanstalkd buried a job that was to be released."""


class Reserved(NamedTuple):
    """A job that this connection holds a lease on."""

    stats: JobStats
    body: bytes | None
    """None if beanstalkd lost it in a crash: the job is there, and its bytes are not."""
    since: float
    """When the lease was taken, on the monotonic clock, in seconds."""


@dataclass(frozen=True, slots=True)
class TubeStats:
    """How many jobs of a tube are in each state; all 0 for a tube that does not exist."""

    name: str
    ready: int = 0
    reserved: int = 0
    delayed: int = 0
    buried: int = 0


def refusal(line: bytes) -> RefusedError | None:
    """Return the error for a line by which beanstalkd refuses a command, with its word as the message; else None."""
    status = b"".join(line.split()[:1])
    if status not in _REFUSALS:
        return None
    error = _REFUSALS[status]()
    error.args = (status.decode(),)  # what else stands in the line may be anything
    return error
