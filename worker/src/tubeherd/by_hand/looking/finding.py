"""Finds the jobs of a tube that are in one state, without any change to them.

beanstalkd names only the first job of a tube in each state. Buried jobs are found by their burial records, which say
why they were buried. All others are found by a walk over the ids near those that are known: each id costs a command, so
the walk has a bound. Reading the records reserves and releases the records, not the jobs.
"""

from collections.abc import Generator, Iterable, Iterator
from typing import Final, NamedTuple

from tubeherd.burials.record import BurialRecord, Burials
from tubeherd.formats.tubes import check_tube
from tubeherd.queue.answers import JobCounters
from tubeherd.queue.looking import STATES, LookingConnection
from tubeherd.queue.tubes import PIPELINE_MOST

WALK_MOST: Final = 100_000
"""How many ids a walk looks at, unless the caller asks for another number. They take about a second."""
_EMPTY_MOST: Final = 4 * PIPELINE_MOST
"""After so many ids in a row without a job, above all ids that are known, a walk goes no further upwards."""


class FoundJob(NamedTuple):
    """A job as it was when it was found."""

    counters: JobCounters
    record: BurialRecord | None
    """Why it is buried; None if it is not, or if no record says that."""


class Search:
    """Yields the jobs of a tube in one state as it finds them; its attributes are right when the search has ended."""

    def __init__(
        self, connection: LookingConnection, tube: str, state: str, burials: Burials | None, walk: int = WALK_MOST
    ) -> None:
        """Begin to count.

        `burials` are the records of the tube, if its buried jobs are looked for. `walk` is how many ids without a
        record are looked at. Between two jobs, `connection` may be used for other commands. Raises ValueError for a
        state that there is not.
        """
        if state not in STATES:
            raise ValueError(f"{state!r} is no state of a job: write {', '.join(STATES[:-1])} or {STATES[-1]}")
        self.tube: Final = check_tube(tube)
        self.state: Final = state
        self._connection = connection
        (counters,) = connection.tubes([tube])
        self._records = {record.job: record for record in burials.records} if burials else {}
        self.counted: Final = {name: int(getattr(counters, name)) for name in STATES}[state]
        self._walk_most = walk
        self.found = 0
        """How many jobs were found so far."""
        self.walked = 0
        """How many ids the walk looked at so far."""

    def __iter__(self) -> Iterator[FoundJob]:
        """Yield each job once; raises QueueUnavailable or RefusedError."""
        yield from self._found_among(self._records)
        if self.found < self.counted:
            yield from self._walk()

    def _found_among(self, ids: Iterable[int]) -> Iterator[FoundJob]:
        for counters in self._connection.jobs(ids):
            if counters is not None and counters.tube == self.tube and counters.state == self.state:
                self.found += 1
                yield FoundJob(counters, self._records.get(counters.id))

    def _walk(self) -> Iterator[FoundJob]:
        """Look at the ids on both sides of the first job in the state, the nearest first."""
        first, newest = self._known_ids()
        upwards, downwards = first, first - 1
        empty = 0
        while self.found < self.counted and self.walked < self._walk_most:
            goes_up = upwards <= newest or empty < _EMPTY_MOST
            if not goes_up and downwards < 1:
                break
            if goes_up:
                batch = range(upwards, upwards + min(PIPELINE_MOST, self._walk_most - self.walked))
                upwards = batch.stop
                jobs = yield from self._look_at(batch)
                empty = 0 if jobs else empty + len(batch)
            if downwards >= 1 and self.walked < self._walk_most:
                batch = range(downwards, max(0, downwards - min(PIPELINE_MOST, self._walk_most - self.walked)), -1)
                downwards = batch.stop
                yield from self._look_at(batch)

    def _look_at(self, ids: Iterable[int]) -> Generator[FoundJob, None, int]:
        """Yield the jobs wanted among these ids, and return how many of the ids belong to a job of any kind."""
        batch = [job_id for job_id in ids if job_id not in self._records]
        self.walked += len(batch)
        exist = 0
        for counters in self._connection.jobs(batch):
            if counters is not None:
                exist += 1
                if counters.tube == self.tube and counters.state == self.state:
                    self.found += 1
                    yield FoundJob(counters, None)
        return exist

    def _known_ids(self) -> tuple[int, int]:
        """Return the id at which the walk begins, and the highest id that is known to have been given."""
        peeked = {state: self._connection.peek_next(self.tube, state) for state in ("ready", "delayed", "buried")}
        ids = {state: job.id for state, job in peeked.items() if job is not None}
        # beanstalkd gives ids one after another. With a binlog it goes on with them after a restart, but counts anew.
        newest = max(1, self._connection.server().total_jobs, *ids.values(), *self._records)
        return ids.get(self.state, newest), newest
