"""What the value of the annotation `kick` or `discard` asks for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from tubeherd.by_hand.changing.choice import parse_rate
from tubeherd_operator.decisions.tubes import PoolTubes

Deed = Literal["kick", "discard"]
"""What is done with buried jobs, in the name of the annotation: they are put back, or deleted."""
DEEDS: Final[Sequence[Deed]] = get_args(Deed)
"""The order in which they are done if both are asked for: what was kicked is not deleted any more."""
_JOBS: Final = re.compile(r"(all)|([1-9][0-9]{0,17})|job/([1-9][0-9]{0,17})|error/([^\s:@]{1,200})")

_SHOWN: Final = 500
"""So many characters of a value messages show: all of one that is understood."""


class BadRequest(ValueError):
    """The annotation's value is not understood, or names a wrong tube; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which buried jobs are to be kicked or deleted."""

    tubes: PoolTubes
    """Their tubes."""
    most: int | None
    """How many jobs at most in all tubes together; None: every one."""
    job: int | None = None
    """Only this job; None for any."""
    error: str | None = None
    """Only jobs that were buried because of this error, as `tubeherd why` names it; None for any."""
    rate: float | None = None
    """At most so many jobs a second; None for as fast as possible."""


def parse_value(deed: Deed, value: str, tubes: PoolTubes) -> Wanted:
    """Return what a value such as `all`, `mail:25`, `job/7` or `mail:error/KeyError` asks of a pool with these tubes.

    The tube may be a glob, as in `reports.*:all`.

    Raises BadRequest.
    """
    tube, jobs, pace = _split(value)
    found = _JOBS.fullmatch(jobs)
    given = f"{deed}={value[:80]!r}"
    forms = (
        f"write {deed}=all, {deed}=25, {deed}=job/ID or {deed}=error/NAME, for one tube {deed}=TUBE:all and so on, and "
        f"to go slowly {deed}=all@50/s and so on"
    )
    if not found:
        raise BadRequest(f"{given} is not understood: {forms}")
    try:
        rate = None if pace is None else parse_rate(pace)
    except ValueError as error:
        raise BadRequest(f"{given} is not understood: {error}") from error
    wanted = tubes if tube is None else tubes.only(tube)
    is_none = ":" in (tube or "") or not (wanted.named or wanted.has_globs)  # no tube has a colon in its name
    first = (tube or "").rpartition(":")[2]
    if is_none and _JOBS.fullmatch(first):
        raise BadRequest(f"{given} is not understood: it says twice which jobs, {first[:80]} and {jobs}; {forms}")
    if is_none:
        raise BadRequest(f"{given} names a tube that is not the pool's: it has {tubes}")
    _, count, job, name = found.groups()
    return Wanted(
        wanted,
        most=int(count) if count else None,
        job=int(job) if job else None,
        error=name,
        rate=rate,
    )


def in_words(deed: Deed, value: str) -> str:
    """Return a request as messages name it. A value that is not understood may be as long as an annotation can be."""
    return f"{deed}={value.strip()[:_SHOWN]}"


def has_bound(value: str) -> bool:
    """Return whether the jobs of an understood value may be asked for only once.

    `all` is about all jobs that are buried. All else is about so many jobs, or about those that were found at first.
    """
    return _split(value)[1] != "all"


def names_jobs(value: str) -> bool:
    """Return whether a value is about jobs that are changed by their ids, and not about those that come first."""
    return _split(value)[1].startswith(("job/", "error/"))


def _split(value: str) -> tuple[str | None, str, str | None]:
    """Return the tube, which jobs, and how fast; None for what is not there."""
    tube, colon, rest = value.strip().rpartition(":")
    jobs, at, pace = rest.partition("@")
    return tube if colon else None, jobs, pace if at else None
