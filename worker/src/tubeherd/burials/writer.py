"""Buries jobs together with their records, and keeps the number of records within its bound.

A record and the burial that it explains go to beanstalkd in one write, the record first, on the connection that holds
the lease. So no kill and no broken connection leaves a burial without its record. It may leave a record without a
burial, which readers drop.

No trouble with a record changes what becomes of its job. A record that cannot be kept is lost, and this is counted.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from tubeherd.burials.record import RECORD_PRIORITY, RECORD_TTR, RECORDS_A_LOOK, RECORDS_MOST, RECORDS_TUBE
from tubeherd.burials.sorting import sort_out
from tubeherd.logs import log
from tubeherd.policy import Delete
from tubeherd.queue.answers import Burying, QueueUnavailable, RefusedError, Settled, TubeStats
from tubeherd.queue.bulk import BulkConnection, connect_to_tube
from tubeherd.queue.connection import Connection

if TYPE_CHECKING:  # only the types need it, so a script that puts jobs starts without it
    from tubeherd.settings import WorkerSettings

_PATIENCE_SECONDS: Final = 1.0
"""How long to wait for each answer when old records are removed, in seconds. The process does nothing else then."""
_ROUNDS_MOST: Final = 5
"""How many times in a row RECORDS_A_LOOK old records are taken out at most."""


class LossCounter(Protocol):
    """Counts lost records for the metrics."""

    def count_lost_record(self) -> None:
        """Count one record that could not be written."""


class BurialWriter:
    """Buries the jobs of one process, and writes their records."""

    def __init__(self, server: str, counter: LossCounter | None = None) -> None:
        """`server` is where the jobs are, as `host:port`; without a counter, lost records are not counted."""
        self._server = server
        self._counter = counter
        self._since_look = RECORDS_A_LOOK - 1  # the first burial of the process looks, as many processes bury only one
        """How many jobs were buried since the last look at the number of records."""
        self._excess = 0
        """How many records too many there were at the last look."""
        self._full = False
        """Whether no record is put until the next look, because no room could be made."""
        self._last_trouble = ""

    def bury(self, connection: Connection, job: Burying) -> Settled:
        """Bury one job, and return what beanstalkd did; raises QueueUnavailable or RefusedError if that is unknown."""
        (settled,) = self._bury_some(connection, [job])
        return settled

    def bury_all(self, connection: Connection, jobs: Iterable[Burying]) -> Iterator[Settled]:
        """Bury many jobs in few writes; yield what beanstalkd did with each, in order. Raises what `bury` raises."""
        left = iter(jobs)
        while some := list(islice(left, max(1, RECORDS_A_LOOK - self._since_look))):
            yield from self._bury_some(connection, some)
            self.make_room()

    def make_room(self) -> None:
        """Remove old records if the last look found too many; to be called after `bury`. Raises nothing."""
        if self._excess <= 0:
            return
        self._excess = 0
        try:
            left = self._remove_oldest()
        except (QueueUnavailable, RefusedError, OSError) as error:
            self._full = True
            self._warn(f"old burial records cannot be removed, so further burials get none for now: {error}")
        else:
            self._full = left > RECORDS_A_LOOK  # others are reading the old ones

    def _bury_some(self, connection: Connection, jobs: Sequence[Burying]) -> Iterator[Settled]:
        """Bury the jobs in one write."""
        self._since_look += len(jobs)
        look = self._since_look >= RECORDS_A_LOOK
        if self._full:
            jobs = [job._replace(record=None) for job in jobs]
        orphans = []
        for settled, record in connection.bury_all(jobs, RECORDS_TUBE, RECORD_TTR, ask_stats=look):
            if settled is Settled.LEASE_GONE and isinstance(record, int):
                orphans.append(record)
            elif not isinstance(record, int):
                self._lose(record)
            yield settled
        if look:
            self._look(connection.take_tube_stats(RECORDS_TUBE))
        if orphans:  # if a record is gone already, or is being read, there is nothing to do: readers drop it
            for _ in connection.settle_all([(record, Delete()) for record in orphans]):
                pass

    def _look(self, stats: TubeStats) -> None:
        self._since_look = 0
        self._excess = stats.ready + stats.reserved + stats.delayed + stats.buried - RECORDS_MOST
        if self._excess <= 0:
            self._full = False

    def _remove_oldest(self) -> int:
        """Remove the oldest records, but those of jobs that are not buried any more first; return the excess left."""
        connection = connect_to_tube(self._server, RECORDS_TUBE, _PATIENCE_SECONDS)
        try:
            for _ in range(_ROUNDS_MOST):
                if not _remove_some(connection):
                    break
            return connection.totals().jobs - RECORDS_MOST
        finally:
            connection.abandon()

    def _lose(self, refused: str | None) -> None:
        """Count a record that was not written."""
        if refused is not None:
            self._warn(f"beanstalkd refused the record of a burial: {refused}")
        if self._counter is not None:
            self._counter.count_lost_record()

    def _warn(self, trouble: str) -> None:
        """Log a trouble, once for all burials that it concerns."""
        if trouble != self._last_trouble:
            self._last_trouble = trouble
            log.warning(f"{trouble}; jobs are buried all the same")


def writer_of(settings: "WorkerSettings", counter: LossCounter | None) -> BurialWriter | None:
    """Return what writes the records of a worker; None if its settings say that there are to be none."""
    return BurialWriter(settings.server, counter) if settings.burial_records == "on" else None


def _remove_some(connection: BulkConnection) -> bool:
    """Remove up to RECORDS_A_LOOK old records, and return whether there may be more to remove."""
    connection.make_all_ready()  # parked records are older than those that are ready
    taken = connection.take(RECORDS_A_LOOK)
    excess = connection.totals().jobs - RECORDS_MOST
    if excess >= len(taken):  # all of them have to go, whatever became of their jobs
        connection.delete([one.id for one in taken])
        return excess > len(taken) > 0
    found = sort_out(taken, connection.states)
    oldest = sorted([*found.buried, *found.kept])[: max(0, excess - len(found.stale))]
    going = {*found.stale, *oldest}
    connection.delete(sorted(going))
    connection.give_back([one.id for one in taken if one.id not in going], RECORD_PRIORITY)
    return False
