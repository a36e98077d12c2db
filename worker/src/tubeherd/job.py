"""A job, in two forms: its counters in beanstalkd, and what the function that does the job (its executor) gets."""

from contextvars import ContextVar
from typing import Final, NamedTuple


class JobStats(NamedTuple):
    """The counters of a reserved job, as beanstalkd's command `stats-job` returns them; times in seconds."""

    id: int
    tube: str
    priority: int
    age: int
    delay: int
    """The delay of the last release, or of the put if there was no release."""
    ttr: int
    reserves: int
    releases: int
    buries: int
    kicks: int

    @property
    def lost_deliveries(self) -> int:
        """How often the job was reserved and lost: its worker or connection died, or its TTR passed.

        The job must be reserved now. Each reservation before this one ended in a release or a bury, or was lost.
        """
        lost = self.reserves - 1 - self.releases - self.buries
        return lost if lost > 0 else 0


class Job(NamedTuple):
    """What an executor gets if it has a second parameter annotated `Job`, and what listeners of events get."""

    id: int
    tube: str
    attempt: int
    """1 for the first attempt, 2 for the one after a failure."""
    priority: int
    """0 is the most urgent."""
    age: int
    """Seconds since the job was put into its tube."""
    lost_deliveries: int
    """How often the job was reserved and lost: its worker or connection died, or its TTR passed."""


current_job: Final[ContextVar[Job | None]] = ContextVar("job", default=None)
"""The job to which the code that runs now belongs, for log lines; tasks and threads of `asyncio.to_thread` inherit it.

It is set when a job begins, and not reset when the job ends, which would take time for each job. So what calls user
code between two jobs sets it too.
"""
