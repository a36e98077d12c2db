"""Reads the records of burials for a cluster's operator, which shows a new one within a second.

It parks the records that it has read: it gives them back with a long delay, so that the ready ones are those that it
has not seen, and takes only these out. Whoever else reads makes all of them ready. So being parked shows nothing; what
is new is found by the ids of the records, which only grow.
"""

from typing import Final

from tubeherd.burials.reader import QUIET_SECONDS, BurialReader, Clock, Kept, read_all, sort, take
from tubeherd.burials.record import RECORDS_MOST, Burials
from tubeherd.queue.bulk import BulkConnection

_LOOK_SECONDS: Final = 1.0
"""How long to wait before it is asked again whether there are new records, which takes one command."""
_TAKEN_A_SECOND: Final = 1000
"""After so many records were taken out it is waited a second, so that they are hidden for a tenth of the time at most.

Of two clusters that have pools on one beanstalkd, each parks new records before the other has seen them, and so both
read all records again while burials go on.
"""
_PARKED_SECONDS: Final = 4_000_000_000
"""The delay of parked records; beanstalkd takes at most 2^32 - 1."""


class ParkingReader(BurialReader):
    """Reads the records again and again, and parks them. It keeps what it read, but no tracebacks.

    `read` returns why jobs are buried, as of a second ago, or longer after many were read. What is buried no longer
    goes within 5 seconds.
    """

    def __init__(self, server: str, clock: Clock | None = None) -> None:
        """`server` is the beanstalkd at `host:port`; the first `read` connects."""
        super().__init__(server, clock)
        self._sort_at = 0.0
        """When all jobs whose records are kept are looked at again, on the monotonic clock."""
        self._take_at = 0.0
        """Before when no records are taken out, on the monotonic clock."""

    def hurry(self) -> None:
        """Have the next `read` ask beanstalkd, unless many records were taken out just now."""
        self._ask_at = min(self._ask_at, self._take_at)

    def _ask(self, connection: BulkConnection) -> float:
        is_due = self._clock.now() >= self._sort_at
        taken = None if self._ever < 0 else self._take_new(connection)
        if taken is None or (is_due and self._kept.burials.read_elsewhere):
            taken = self._take_all(connection)
        elif is_due:
            self._sort_again(connection)
        if is_due:
            self._sort_at = self._clock.now() + QUIET_SECONDS
        pause = taken / _TAKEN_A_SECOND
        self._take_at = self._clock.now() + pause
        return max(_LOOK_SECONDS, pause)

    def _take_all(self, connection: BulkConnection) -> int:
        """Take all records out anew, park them, and return how many."""
        before = connection.totals()
        self._kept = read_all(connection, self._clock, _PARKED_SECONDS, with_tracebacks=False)
        # Of those that were put meanwhile only those that were taken are known: others may have parked the rest.
        self._ever = before.ever + max(0, self._kept.taken - before.jobs)
        return self._kept.taken

    def _take_new(self, connection: BulkConnection) -> int | None:
        """Take out the records that are ready, park them, and return how many; jobs of the kept ones are not asked for.

        None if not all that are new were among them: others read them, or have parked them.
        """
        totals = connection.totals()
        if totals.ever == self._ever and not totals.ready:
            return 0
        before, kept = connection.buried_jobs(), self._kept
        taken = take(connection, with_tracebacks=False)
        found = sort(connection, taken, taken, before, 0, _PARKED_SECONDS)
        newest = max(kept.records, default=0)
        new = sum(record_id > newest for record_id in taken)
        if new < totals.ever - self._ever:
            return None
        self._ever += new
        self._kept = _joined(kept, found, before.now)
        return len(taken)


def _joined(kept: Kept, found: Kept, buried: int) -> Kept:
    """Return what was kept and what was found since then."""
    by_job = {record.job: record for burials in (kept.burials, found.burials) for record in burials.records}
    shown = tuple(sorted(by_job.values(), key=lambda record: record.newest_first))
    records = dict(sorted({**kept.records, **found.records}.items())[-RECORDS_MOST:])
    elsewhere = kept.burials.read_elsewhere
    burials = Burials(shown, elsewhere, max(0, buried - len(shown) - elsewhere))
    return Kept(records, burials, kept.as_of, unsettled=True)  # the jobs of those that were kept were not asked for
