"""A job: its counters in beanstalkd, and what an executor gets of them."""

from typing import NamedTuple


class JobStats(NamedTuple):
    """The counters of `stats-job` by which the policy decides about a reserved job; times in seconds."""

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
        """How often the job was reserved and came back without a verdict: a crash, or its TTR passed.

        Every reservation but the present one ends in a release, a bury, or is lost; only meaningful while reserved.
        """
        lost = self.reserves - 1 - self.releases - self.buries
        return lost if lost > 0 else 0


class Job(NamedTuple):
    """What an executor with a second parameter annotated `Job` gets, and what the job events carry."""

    id: int
    tube: str
    attempt: int
    """1 for the first attempt, 2 for the one after a failure."""
    priority: int
    """0 is the most urgent."""
    age: int
    """Seconds since the put."""
    lost_deliveries: int
    """How often the job was reserved and came back without a verdict."""
