"""What became of jobs that were to be kicked or deleted by hand."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from tubeherd.queue.answers import QueueUnavailable, RefusedError, TubeCounters

Deed = Literal["kicked", "deleted"]
"""What is done with the jobs."""
Stopped = Literal["asked", "buried again"]
"""Why the rest was not done: it was asked to stop, or most of the kicked jobs came back buried."""


class TubeChange(NamedTuple):
    """What was done in one tube, with what beanstalkd counted of it before and after."""

    name: str
    done: int
    """How many jobs were kicked or deleted, as far as beanstalkd has answered."""
    before: TubeCounters
    after: TubeCounters | None
    """None if the connection broke before this was asked for."""


class Refused(NamedTuple):
    """A job that was chosen by its id and left alone."""

    job: int
    why: str


@dataclass(frozen=True, slots=True)
class Acted:
    """What was done with the chosen jobs."""

    deed: Deed
    done: int = 0
    """How many jobs were kicked or deleted; in a dry run, how many would have been."""
    unsure: int = 0
    """Up to so many more may have been, but the connection broke before beanstalkd's answers were read."""
    missed: int = 0
    """How many chosen jobs were left alone, because somebody else had changed them meanwhile."""
    buried_again: int = 0
    """How many of the kicked jobs came back buried while a slow kick went on, as far as it was looked."""
    of: int | None = None
    """How many jobs were to be kicked or deleted; None if that was not known in advance."""
    tubes: tuple[TubeChange, ...] = ()
    """The tubes in which jobs were kicked or deleted, and the one that was named; empty until the end."""
    refused: tuple[Refused, ...] = ()
    errors: tuple[str, ...] | None = None
    """If jobs are buried, but none because of the chosen error, the errors that there are."""
    unseen: int = 0
    """How many burial records could not be read, because others were reading them."""
    unfound: int = 0
    """At least so many jobs of these tubes were not looked at, because their ids are too far from the others."""
    stopped: Stopped | None = None
    dry_run: bool = False

    @property
    def in_words(self) -> str:
        """How many jobs were done, in words that promise no less than may have happened."""
        would = "would be " if self.dry_run else "was " if self.done == 1 else "were "
        words = f"{number(self.done, 'job')} {would}{self.deed}"
        if self.unsure:
            words += f", and up to {self.unsure:,} more, because the last answers were lost"
        return words


class BrokenOff(QueueUnavailable):
    """The connection to beanstalkd broke, or it refused a command, before all chosen jobs were kicked or deleted."""

    def __init__(self, acted: Acted, cause: Exception) -> None:
        said = f"beanstalkd answered {cause}" if isinstance(cause, RefusedError) else str(cause)
        super().__init__(f"{said}; {acted.in_words}")
        self.acted = acted
        """What was done before that."""


def number(count: int, thing: str) -> str:
    """Return a count and what is counted, such as `1 job` or `3,000 jobs`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
