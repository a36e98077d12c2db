"""What beanstalkd's side is asked to do for the kick of a pool, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from tubeherd_operator.decisions.kick_value import Kick


@dataclass(frozen=True, slots=True)
class Request:
    """A value of the annotation on one pool. The same value on a later pool of the same name is another request."""

    pool: str
    """The pool's uid."""
    value: str


@dataclass(frozen=True, slots=True)
class Find:
    """Count the buried jobs that a request is about."""

    request: Request
    kick: Kick


@dataclass(frozen=True, slots=True)
class PutBack:
    """Kick up to so many buried jobs of each tube."""

    most: Mapping[str, int]
    job: int | None = None
    """Only this job; None for any."""
    error: str | None = None
    """Only jobs that were buried because of this error; None for any."""
    slowly: bool = False
    """Whether to look what becomes of the jobs, and to stop if most of them are buried again."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many jobs of each tube are buried, or why that is not known."""

    tubes: Mapping[str, int]
    error: str | None = None
    refused: str | None = None
    """Why there is no such job."""


@dataclass(frozen=True, slots=True)
class Kicked:
    """How many jobs of each tube were kicked, and why the rest could not be."""

    tubes: Mapping[str, int]
    lost: str | None = None
    """The tube whose kick was sent, but not answered: some of its jobs may have been kicked, or none."""
    error: str | None = None
    stopped: str | None = None
    """Why no further jobs are to be kicked."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be done for a pool. Each errand has an id of its own."""

    id: str
    work: Find | PutBack
    answer: Found | Kicked | None = None
    """None until it is done. The answer to a `Find` is a `Found`, that to a `PutBack` is a `Kicked`."""
