"""Looks at jobs with their bodies and burial records, without any change to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from tubeherd.burials.reader import read_burials
from tubeherd.by_hand.finding import WALK_MOST, Search
from tubeherd.by_hand.looked_jobs import Inspected, InspectedJob, NextJobs
from tubeherd.formats.tubes import check_tube
from tubeherd.queue.looking import PEEKS_MOST, LookingConnection, connect_to_look

PEEKED_STATES: Final = ("ready", "delayed", "buried")
"""The states of which beanstalkd shows the first job."""
_FIRST_PAGE: Final = 10
"""How many bodies are asked for at first, so that the first page appears at once."""


def peek(server: str, tube: str) -> NextJobs:
    """Return the first jobs of a tube on the beanstalkd at `host:port`, without their burial records.

    Raises QueueUnavailable or RefusedError, and ValueError for a wrong address or tube.
    """
    check_tube(tube)
    with _looking(server) as connection:
        return NextJobs(*[_first(connection, tube, state) for state in PEEKED_STATES])


def inspect_job(server: str, job_id: int) -> InspectedJob | None:
    """Return all that is known of a job, with the burial record if it is buried; None if there is no such job.

    Raises QueueUnavailable or RefusedError, and ValueError for a wrong address.
    """
    with _looking(server) as connection:
        (counters,) = connection.jobs([job_id])
        (peeked,) = connection.peek([job_id])
    if counters is None or peeked is None:
        return None
    records = read_burials(server).records if counters.state == "buried" else ()
    return InspectedJob(counters, peeked.body, next((record for record in records if record.job == job_id), None))


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
    with _looking(server) as connection:
        yield Inspection(connection, server, tube, state, walk)


def inspect(server: str, tube: str, state: str, *, count: int, skip: int = 0, walk: int = WALK_MOST) -> Inspected:
    """Return up to `count` jobs of a tube that are in one state, but for the first `skip` ones."""
    with inspecting(server, tube, state, walk) as inspection:
        jobs = tuple(islice(inspection.jobs(skip), count))
        return Inspected(jobs, inspection.search.counted, inspection.search.walked, inspection.read_elsewhere)


def _first(connection: LookingConnection, tube: str, state: str) -> InspectedJob | None:
    peeked = connection.peek_next(tube, state)
    if peeked is None:
        return None
    (counters,) = connection.jobs([peeked.id])
    return None if counters is None else InspectedJob(counters, peeked.body, None)


@contextmanager
def _looking(server: str) -> Iterator[LookingConnection]:
    connection = connect_to_look(server)
    try:
        yield connection
    finally:
        connection.close()
