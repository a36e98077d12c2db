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
_PARKED_SECONDS: Final = 4_000_000_000
"""The delay of parked records; beanstalkd takes at most 2^32 - 1."""


class ParkingReader(BurialReader):
    """Reads the records again and again, and parks them. It keeps what it read, but no tracebacks."""

    def __init__(self, server: str, clock: Clock | None = None) -> None:
        """`server` is the beanstalkd at `host:port`; the first `read` connects."""
        super().__init__(server, clock)
        self._sort_at = 0.0
        """When all jobs whose records are kept are looked at again, on the monotonic clock."""

    def read(self) -> Burials:
        """Return why jobs are buried, as of a second ago at most; what is buried no longer goes within 5 seconds.

        Raises QueueUnavailable or RefusedError; the next call then connects and reads anew.
        """
        return super().read()

    def _ask(self, connection: BulkConnection) -> float:
        kept = self._with_new(connection)
        is_due = self._clock.now() >= self._sort_at
        if kept is None or (is_due and kept.burials.read_elsewhere):
            kept = read_all(connection, self._clock, _PARKED_SECONDS, with_tracebacks=False)
        elif is_due:
            kept = sort(connection, kept.records, (), connection.buried_jobs())
        if is_due:
            self._sort_at = self._clock.now() + QUIET_SECONDS
        if kept is not self._kept:
            # A record that was put after the others were taken out is ready, and is taken out the next time.
            self._kept, self._ever = kept, connection.totals().ever
        return _LOOK_SECONDS

    def _with_new(self, connection: BulkConnection) -> Kept | None:
        """Return what is kept and what is new; None if all records are to be read."""
        if self._ever < 0:
            return None
        totals = connection.totals()
        new = totals.ever - self._ever
        return _with_ready(connection, self._kept, new) if new or totals.ready else self._kept


def _with_ready(connection: BulkConnection, kept: Kept, new: int) -> Kept | None:
    """Take the records out that are ready, and park them; return them with the kept ones, whose jobs are not asked for.

    None if there are not as many as so many new ones: others read them, or have parked them.
    """
    before = connection.buried_jobs()
    found = sort(connection, taken := take(connection, with_tracebacks=False), taken, before, 0, _PARKED_SECONDS)
    newest, elsewhere = max(kept.records, default=0), kept.burials.read_elsewhere
    if sum(record_id > newest for record_id in taken) < new:
        return None
    by_job = {record.job: record for burials in (kept.burials, found.burials) for record in burials.records}
    shown = tuple(sorted(by_job.values(), key=lambda record: record.newest_first))
    records = dict(sorted({**kept.records, **found.records}.items())[-RECORDS_MOST:])
    return Kept(records, Burials(shown, elsewhere, max(0, before - len(shown) - elsewhere)))
