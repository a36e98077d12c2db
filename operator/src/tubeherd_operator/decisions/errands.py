"""What beanstalkd's side is asked to do for a request, which is a kick or a discard, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from tubeherd_operator.decisions.request_value import Deed, Wanted, in_words


@dataclass(frozen=True, slots=True)
class Request:
    """A value of an annotation on one pool. The same value on a later pool of the same name is another request."""

    pool: str
    """The pool's uid."""
    deed: Deed
    value: str

    def __str__(self) -> str:
        return in_words(self.deed, self.value)


@dataclass(frozen=True, slots=True)
class Find:
    """Count the buried jobs that a request is about."""

    request: Request
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Step:
    """Kick or delete up to so many buried jobs of each tube."""

    deed: Deed
    most: Mapping[str, int]
    job: int | None = None
    """Only this job; None for any."""
    error: str | None = None
    """Only jobs that were buried because of this error; None for any."""
    slowly: bool = False
    """Whether to look what becomes of kicked jobs, and to stop if most of them are buried again."""
    in_order: bool = False
    """Whether those jobs are meant that were buried first; only for some that are neither named nor all."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many jobs of each tube are buried, or why that is not known."""

    tubes: Mapping[str, int]
    error: str | None = None
    refused: str | None = None
    """Why there is no such job."""


@dataclass(frozen=True, slots=True)
class Done:
    """How many jobs of each tube were kicked or deleted, and why the rest could not be."""

    tubes: Mapping[str, int]
    lost: str | None = None
    """The tube whose command was sent, but not answered: it may have been done for some of its jobs, or for none."""
    error: str | None = None
    stopped: str | None = None
    """Why no further jobs are to be kicked."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be done for a pool. Each errand has an id of its own."""

    id: str
    work: Find | Step
    answer: Found | Done | None = None
    """None until it is done. The answer to a `Find` is a `Found`, that to a `Step` is a `Done`."""
