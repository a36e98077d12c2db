"""Looks at jobs with their bodies and burial records, without any change to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from tubeherd.burials.reader import read_burials
from tubeherd.burials.record import BurialRecord
from tubeherd.by_hand.looking.finding import WALK_MOST, Search
from tubeherd.by_hand.looking.looked_jobs import Inspected, InspectedJob, NextJobs
from tubeherd.formats.tubes import check_tube
from tubeherd.job_options import check_job_id
from tubeherd.queue.looking import PEEKS_MOST, LookingConnection, connect_to_look

_NUMBER_MOST: Final = 10**12
"""The largest number of jobs, or of ids, that is taken."""
PEEKED_STATES: Final = ("ready", "delayed", "buried")
"""The states of which beanstalkd shows the first job."""
_PEEKS_MOST: Final = 20
"""So many times the next job may be gone when its counters are asked for, as it may be if workers are fast."""
_FIRST_PAGE: Final = 10
"""How many bodies are asked for at first, so that the first page appears at once."""


def peek(server: str, tube: str) -> NextJobs:
    """Return the first jobs of a tube on the beanstalkd at `host:port`, the buried one with its burial record.

    Raises QueueUnavailable or RefusedError, and ValueError for a wrong address or tube.
    """
    check_tube(tube)
    with _looking(server) as connection:
        first = NextJobs(*[_first(connection, tube, state) for state in PEEKED_STATES])
    if first.buried is None:
        return first
    record = _record(server, first.buried.counters.id, tube)
    return first._replace(buried=first.buried._replace(record=record))


def inspect_job(server: str, job_id: int) -> InspectedJob | None:
    """Return all that is known of a job, with the burial record if it is buried; None if there is no such job.

    Raises QueueUnavailable or RefusedError, and ValueError for a wrong address or id.
    """
    check_job_id(job_id)
    with _looking(server) as connection:
        (counters,) = connection.jobs([job_id])
        (peeked,) = connection.peek([job_id])
    if counters is None or peeked is None:
        return None
    return InspectedJob(counters, peeked.body, _record(server, job_id) if counters.state == "buried" else None)


class Inspection:
    """Yields the jobs of a tube in one state with their bodies, as they are found."""

    def __init__(self, connection: LookingConnection, server: str, tube: str, state: str, walk: int) -> None:
        """Read the burial records, if the state is buried. Raises what `Search` raises."""
        burials = read_burials(server, check_tube(tube)) if state == "buried" else None
        self._connection = connection
        self.search: Final = Search(connection, tube, state, burials, walk)
        self.read_elsewhere: Final = burials.read_elsewhere if burials else 0

    def jobs(self, skip: int = 0) -> Iterator[InspectedJob]:
        """Yield the jobs but for the first `skip` ones."""
        wanted = islice(self.search, skip, None)
        size = _FIRST_PAGE
        while batch := list(islice(wanted, size)):
            size = PEEKS_MOST
            bodies = self._connection.peek([job.counters.id for job in batch])
            for job, peeked in zip(batch, bodies, strict=True):
                if peeked is not None:  # otherwise it was deleted meanwhile
                    yield InspectedJob(job.counters, peeked.body, job.record)


@contextmanager
def inspecting(server: str, tube: str, state: str, walk: int = WALK_MOST) -> Iterator[Inspection]:
    """Look at the jobs of a tube that are in one state, on a connection of its own; raises what `Search` raises."""
    check_tube(tube)
    _check_number("walk", walk)
    with _looking(server) as connection:
        yield Inspection(connection, server, tube, state, walk)


def inspect(server: str, tube: str, state: str, *, count: int, skip: int = 0, walk: int = WALK_MOST) -> Inspected:
    """Return up to `count` jobs of a tube that are in one state, but for the first `skip` ones.

    Raises what `Search` raises, and ValueError for a number out of range.
    """
    _check_number("count", count)
    _check_number("skip", skip)
    with inspecting(server, tube, state, walk) as inspection:
        jobs = tuple(islice(inspection.jobs(skip), count))
        return Inspected(jobs, inspection.search.counted, inspection.search.walked, inspection.read_elsewhere)


def _record(server: str, job_id: int, tube: str | None = None) -> BurialRecord | None:
    """Return why a buried job is buried, as its record says; None if it has none."""
    return next((record for record in read_burials(server, tube).records if record.job == job_id), None)


def _first(connection: LookingConnection, tube: str, state: str) -> InspectedJob | None:
    """Return the first job in a state; None if there is none, or if others take each one before it can be looked at."""
    for _ in range(_PEEKS_MOST):
        peeked = connection.peek_next(tube, state)
        if peeked is None:
            break
        (counters,) = connection.jobs([peeked.id])
        if counters is not None and counters.state == state:
            return InspectedJob(counters, peeked.body, None)
    return None


def _check_number(name: str, number: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _NUMBER_MOST:
        raise ValueError(f"{name} is a whole number from 0 to {_NUMBER_MOST}, not {repr(number)[:60]}")


@contextmanager
def _looking(server: str) -> Iterator[LookingConnection]:
    connection = connect_to_look(server)
    try:
        yield connection
    finally:
        connection.close()
