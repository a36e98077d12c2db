"""Buries jobs together with their records, and keeps the number of records within its bound.

A record and the burial that it explains go to beanstalkd in one write, the record first, on the connection that holds
the lease. So no kill and no broken connection leaves a burial without its record. It may leave a record without a
burial, which readers drop.

No trouble with a record changes what becomes of its job. A record that cannot be kept is lost, and this is counted.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from tubeherd.burials.record import RECORD_PRIORITY, RECORD_TTR, RECORDS_A_LOOK, RECORDS_MOST, RECORDS_TUBE
from tubeherd.burials.sorting import sort_out
from tubeherd.logs import log
from tubeherd.policy import Delete
from tubeherd.queue.answers import Buried, Burying, QueueUnavailable, RefusedError, Settled, TubeStats
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
        self._own: deque[int] = deque(maxlen=RECORDS_MOST + RECORDS_A_LOOK)
        """The ids of the records that this process has put, the oldest first; some may be gone."""
        self._last_trouble = ""

    def bury(self, connection: Connection, job: Burying) -> Settled:
        """Bury one job, and return what beanstalkd did; raises QueueUnavailable or RefusedError if that is unknown."""
        if self._full or self._since_look >= RECORDS_A_LOOK - 1:
            (settled,) = self._bury_some(connection, [job])
            return settled
        self._since_look += 1
        buried = connection.bury(job, RECORDS_TUBE, RECORD_TTR)
        if orphans := self._check(buried):
            _delete(connection, orphans)
        return buried.settled

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
        for buried in connection.bury_all(jobs, RECORDS_TUBE, RECORD_TTR, ask_stats=look):
            orphans += self._check(buried)
            yield buried.settled
        if look:
            self._look(connection.take_tube_stats(RECORDS_TUBE))
        if orphans:
            _delete(connection, orphans)

    def _check(self, buried: Buried) -> list[int]:
        """Count the record if it was lost; return its id if the job was not buried, because the record must go then."""
        settled, record = buried
        if not isinstance(record, int):
            self._lose(record)
        elif settled is Settled.LEASE_GONE:
            return [record]
        else:
            self._own.append(record)
        return []

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
                excess = connection.totals().jobs - RECORDS_MOST
                if excess <= 0:
                    break
                connection.make_all_ready()  # parked records are older than those that are ready
                if not (self._remove_own(connection, excess) or _remove_some(connection)):
                    break
            return connection.totals().jobs - RECORDS_MOST
        finally:
            connection.abandon()

    def _remove_own(self, connection: BulkConnection, excess: int) -> bool:
        """Remove RECORDS_A_LOOK records of this process, if as many have to go and the oldest of all is among them.

        Return whether they were removed. This takes half as long as to take records out, and nearly always does: if
        other processes bury jobs too, their records are among the oldest as well, and they do the same.
        """
        if excess < RECORDS_A_LOOK:
            return False
        oldest = connection.oldest()
        while oldest is not None and self._own and self._own[0] < oldest:  # others have removed it
            self._own.popleft()
        if oldest is None or not self._own or self._own[0] != oldest:
            return False
        connection.delete([self._own.popleft() for _ in range(min(RECORDS_A_LOOK, len(self._own)))])
        return True

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


def _delete(connection: Connection, orphans: Sequence[int]) -> None:
    """Delete records whose jobs were not buried. If one is gone, or is being read, readers drop it."""
    for _ in connection.settle_all([(record, Delete()) for record in orphans]):
        pass


def _remove_some(connection: BulkConnection) -> bool:
    """Remove up to RECORDS_A_LOOK old records, and return whether there may be more to remove."""
    taken = connection.take(RECORDS_A_LOOK)
    excess = connection.totals().jobs - RECORDS_MOST
    if excess >= len(taken):  # all of them have to go, whatever became of their jobs
        connection.delete([one.id for one in taken])
        return excess > len(taken) > 0
    # Those of jobs that are not buried any more go first.
    found = sort_out(taken, connection.states)
    oldest = sorted([*found.buried, *found.kept])[: max(0, excess - len(found.stale))]
    going = {*found.stale, *oldest}
    connection.delete(sorted(going))
    connection.give_back([one.id for one in taken if one.id not in going], RECORD_PRIORITY)
    return False
