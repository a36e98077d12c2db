"""Buries jobs together with their records, and keeps the number of records within its bound.

A record and the burial that it explains go to beanstalkd in one write, the record first, on the connection that holds
the lease. So no kill and no broken connection leaves a burial without its record. It may leave a record without a
burial, which readers drop.

No trouble with a record changes what becomes of its job. A record that cannot be kept is lost, and this is counted.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from tubeherd.burials.record import RECORD_PRIORITY, RECORD_TTR, RECORDS_A_LOOK, RECORDS_MOST, RECORDS_TUBE
from tubeherd.burials.sorting import decoded, sort_out
from tubeherd.logs import log
from tubeherd.queue.answers import Burying, QueueUnavailable, RefusedError, Settled, TubeStats
from tubeherd.queue.bulk import BulkConnection, connect_to_tube
from tubeherd.queue.connection import Connection
from tubeherd.shared_memory.tally import Incident

if TYPE_CHECKING:  # only the types need it, so a script that puts jobs starts without it
    from tubeherd.settings import WorkerSettings

_PATIENCE_SECONDS: Final = 1.0
"""How long to wait for each answer when old records are removed, in seconds. The process does nothing else then."""
_ROUNDS_MOST: Final = 5
"""How many times in a row RECORDS_A_LOOK old records are taken out at most."""


class LossCounter(Protocol):
    """Counts lost records for the metrics."""

    def count_incident(self, incident: Incident) -> None:
        """Count one record that could not be written."""


class BurialWriter:
    """Buries the jobs of one process, and writes their records; threads may do so on several connections."""

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
        """The ids of the records that this process has put on this server, the oldest first; some may be gone."""
        self._server_id = ""
        """What beanstalkd called itself at the last look. Another one, or one that was restarted, gives ids anew."""
        self._orphans: list[int] = []
        """The ids of the records, put since the last write, whose jobs were not buried, because the lease was gone."""
        self._last_trouble = ""
        self._deciding = threading.Lock()
        """Held while a thread decides by `_own` what to remove, and never while it waits for an answer."""

    @property
    def looks_next(self) -> bool:
        """Whether the next burial is to look at the number of records, and perhaps to remove old ones."""
        return self._since_look >= RECORDS_A_LOOK - 1

    def bury(
        self, connection: Connection, job_id: int, priority: int, record: bytes | None, *, ask_reserve: bool = False
    ) -> Settled:
        """Bury one job, and return what beanstalkd did; raises QueueUnavailable or RefusedError if that is unknown.

        If `ask_reserve`, a reserve is sent in the same write; it must not be if the writer `looks_next`.
        """
        if self.looks_next or self._full or record is None or connection.used != RECORDS_TUBE:
            (job,), looks = self._send(connection, [Burying(job_id, priority, record)], ask_reserve)
            settled = self._keep_account(*connection.take_buried(job.record is not None))
        else:  # nearly every burial: with as few calls and objects as possible
            self._since_look += 1
            self._orphans, looks = [], False
            buried = connection.bury(job_id, priority, record, RECORD_TTR, ask_reserve=ask_reserve)
            settled = self._keep_account(*buried)
        if not ask_reserve:
            try:
                self._tidy(connection, looks)
            except QueueUnavailable:  # the job is buried all the same, and the next command raises this again
                connection.break_off()  # not closed, because the caller still waits for it, or sets its timeout
        return settled

    def bury_all(self, connection: Connection, jobs: Iterable[Burying]) -> Iterator[Settled]:
        """Bury many jobs in few writes; yield what beanstalkd did with each, in order. Raises what `bury` raises."""
        left = iter(jobs)
        while some := list(islice(left, max(1, RECORDS_A_LOOK - self._since_look))):
            sent, looks = self._send(connection, some)
            for job in sent:
                yield self._keep_account(*connection.take_buried(job.record is not None))
            self._tidy(connection, looks)
            self.make_room()

    def make_room(self) -> None:
        """Remove old records if the last look found too many, and the record of a job that was not buried.

        To be called after `bury`, when no other command of the job follows. Raises nothing.
        """
        orphans, self._orphans = self._orphans, []
        excess, self._excess = self._excess, 0
        if excess <= 0 and not orphans:
            return
        try:
            left = self._remove_oldest(orphans)
        except (QueueUnavailable, RefusedError, OSError) as error:
            if excess > 0:  # readers drop an orphan that stays
                self._full = True
                self._warn(f"old burial records cannot be removed, so further burials get none for now: {error}")
        else:
            self._full = left > RECORDS_A_LOOK  # others are reading the old ones

    def _send(
        self, connection: Connection, jobs: Sequence[Burying], ask_reserve: bool = False
    ) -> tuple[Sequence[Burying], bool]:
        """Send burials in one write. Return them, without their records if there is no room, and whether it looks too.

        Another thread may bury jobs before the answers are read, so only this tells whether a look was sent.
        """
        self._orphans = []
        uses = self._uses_tube(connection)
        if self._full or not uses:
            jobs = [job._replace(record=None) for job in jobs]
        self._since_look += len(jobs)
        looks = uses and self._since_look >= RECORDS_A_LOOK
        connection.ask_burials(jobs, RECORD_TTR, look=looks, ask_reserve=ask_reserve)
        return jobs, looks

    def _uses_tube(self, connection: Connection) -> bool:
        """Return whether puts on this connection go into the tube of the records, as they should."""
        if connection.used != RECORDS_TUBE:  # whoever shares the connection uses no other tube
            try:
                connection.begin_puts(RECORDS_TUBE)
            except RefusedError as error:  # beanstalkd has no memory for a tube; the record must go into no other
                self._warn(f"beanstalkd refused the tube of burial records: {error}")
                return False
        return True

    def _keep_account(self, settled: Settled, record: int | str | None) -> Settled:
        """Count a record that was lost, and remember the id of one that was not; return what became of its job."""
        if settled is Settled.LEASE_GONE:  # nothing was buried
            if isinstance(record, int):
                self._orphans.append(record)
        elif isinstance(record, int):
            self._own.append(record)
        else:
            self._lose(record)
        return settled

    def _tidy(self, connection: Connection, looks: bool) -> None:
        """Take the look, if one was sent. Delete records that nobody needs; readers drop those that stay."""
        try:
            if looks:
                self._look(connection)
            orphans, self._orphans = self._orphans, []
            connection.delete(orphans)
        except RefusedError as error:  # all answers were read
            self._since_look = 0
            self._warn(f"beanstalkd answered {error} when burial records were counted or removed")

    def _look(self, connection: Connection) -> None:
        """Look how many records there are too many, and remove them at once if this process has put the oldest ones.

        It nearly always has: if other processes bury jobs too, their records are among the oldest as well, and they do
        the same. To take records out, as `make_room` does, takes far longer.
        """
        stats, oldest, server_id = connection.take_look()
        self._since_look = 0
        with self._deciding:
            going = self._too_old(stats, oldest, server_id)
        connection.delete(going)
        self._excess -= len(going)
        if self._excess <= 0:
            self._full = False

    def _too_old(self, stats: TubeStats, oldest: int | None, server_id: str) -> Sequence[int]:
        """Return the ids of those records of this process that are to be removed, by what a look has found."""
        if server_id != self._server_id:  # a job of a user may have the id of what was a record
            self._own.clear()
            self._server_id = server_id
        self._excess = stats.ready + stats.reserved + stats.delayed + stats.buried - RECORDS_MOST
        parked = stats.delayed + stats.buried  # records that were parked are older than those that are ready
        while oldest is not None and self._own and self._own[0] < oldest:  # others have removed it
            self._own.popleft()
        if self._excess >= RECORDS_A_LOOK and not parked and self._own and self._own[0] == oldest:
            return [self._own.popleft() for _ in range(min(RECORDS_A_LOOK, len(self._own)))]
        return []

    def _remove_oldest(self, orphans: Sequence[int]) -> int:
        """Remove orphans, then the oldest records, those of jobs not buried any more first; return the excess left."""
        connection = connect_to_tube(self._server, RECORDS_TUBE, _PATIENCE_SECONDS)
        try:
            if orphans and connection.server_id() == self._server_id:
                connection.delete(orphans)
            for _ in range(_ROUNDS_MOST):
                excess = connection.totals().jobs - RECORDS_MOST
                if excess <= 0:
                    break
                connection.make_ready(RECORDS_A_LOOK)  # parked records are older than those that are ready
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
            self._counter.count_incident(Incident.LOST_RECORD)

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
    taken = connection.take(RECORDS_A_LOOK)
    excess = connection.totals().jobs - RECORDS_MOST
    if excess >= len(taken):  # all of them have to go, whatever became of their jobs
        connection.delete([one.id for one in taken])
        return excess > len(taken) > 0
    # Those of jobs that are not buried any more go first.
    found = sort_out(decoded(taken), connection.states)
    oldest = sorted([*found.buried, *found.kept])[: max(0, excess - len(found.stale))]
    going = {*found.stale, *oldest}
    connection.delete(sorted(going))
    connection.give_back([one.id for one in taken if one.id not in going], RECORD_PRIORITY)
    return False
