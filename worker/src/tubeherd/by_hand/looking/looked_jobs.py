"""What one gets who looks at jobs."""

from typing import NamedTuple

from tubeherd.burials.record import BurialRecord
from tubeherd.queue.answers import JobCounters


class InspectedJob(NamedTuple):
    """A job as it was when it was looked at."""

    counters: JobCounters
    body: bytes | None
    """The bytes that were put; None if beanstalkd lost them in a crash."""
    record: BurialRecord | None
    """Why the job is buried; None if it is not, or if no record was read that says why."""


class NextJobs(NamedTuple):
    """The jobs of a tube that are taken, become ready and are kicked next; None if no job is in the state."""

    ready: InspectedJob | None
    delayed: InspectedJob | None
    buried: InspectedJob | None


class Inspected(NamedTuple):
    """Some of the jobs of a tube that are in one state."""

    jobs: tuple[InspectedJob, ...]
    counted: int
    """How many jobs of the tube are in the state, by beanstalkd's own counter."""
    walked: int
    """How many ids were looked at to find jobs that have no burial record."""
    read_elsewhere: int
    """How many burial records could not be seen, because others were reading them."""
