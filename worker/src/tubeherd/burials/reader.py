"""Reads the records of burials: takes all of them out of their tube, and gives them back.

beanstalkd shows the jobs of a tube only to those who reserve them. So for the moment of a reading, about a second for
ten thousand records, a reader hides them from every other. If a reader is killed, beanstalkd makes the records ready
again at once, as it does with all jobs of a connection that ends.

A tube exists only while it has jobs or is watched, and its counters end with it. A `BurialReader` watches the tube all
the time. So as long as its connection lives, the server is the same, and the number of records that were ever put only
grows: if it has not changed, there are no new records.
"""

import random
import time
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from tubeherd.burials.record import RECORD_PRIORITY, RECORDS_MOST, RECORDS_TUBE, BurialRecord, Burials
from tubeherd.burials.sorting import decoded, sort_out
from tubeherd.formats.tubes import check_tube
from tubeherd.queue.bulk import BulkConnection, BuriedJobs, connect_to_tube
from tubeherd.queue.wire import REPLY_SECONDS

_PATIENCE_SECONDS: Final = 5.0
"""How long to wait for records that others are reading."""
_PAUSE_SECONDS: Final = 0.05
"""How long to wait before it is tried again, at least."""
QUIET_SECONDS: Final = 5.0
"""How long a `BurialReader` keeps what it read before it asks beanstalkd again, at least."""
_BUSY_SECONDS: Final = 30.0
"""The same while burials go on: each reading takes all records out."""
_TAKEN_MOST: Final = 2 * RECORDS_MOST
"""So many records are taken out at most, so that a reading ends even if others put more and more."""
_TAKEN_AT_ONCE: Final = 1000
"""So many records are in memory with their tracebacks at most, if the tracebacks are not wanted."""


class Clock:
    """What time it is, and waiting; tests have another."""

    def now(self) -> float:
        """Return the time on the monotonic clock, in seconds."""
        return time.monotonic()

    def pause(self) -> None:
        """Wait for a short time, which is another each time, so that two readers do not meet again and again."""
        time.sleep(_PAUSE_SECONDS * random.uniform(1, 4))  # noqa: S311 - spreads readers, is no secret


def read_burials(
    server: str, tube: str | None = None, clock: Clock | None = None, *, with_tracebacks: bool = True
) -> Burials:
    """Return why jobs are buried, in all tubes or in one, by the records on the beanstalkd at `host:port`.

    Tracebacks take most of the memory, and may be left out. Raises QueueUnavailable or RefusedError, and ValueError for
    a tube that is none of the users'.
    """
    if tube is not None:
        check_tube(tube)
    connection = connect(server)
    try:
        before = 0 if tube is None else connection.stats_tubes([tube])[tube].buried
        burials = read_all(connection, clock or Clock(), with_tracebacks=with_tracebacks).burials
        return burials if tube is None else burials.of(tube, min(before, connection.stats_tubes([tube])[tube].buried))
    finally:
        connection.abandon()


class BurialReader:
    """Reads the records again and again, for what shows them all the time. It keeps what it read, but no tracebacks."""

    def __init__(self, server: str, clock: Clock | None = None) -> None:
        """`server` is the beanstalkd at `host:port`; the first `read` connects."""
        self._server = server
        self._clock = clock or Clock()
        self._connection: BulkConnection | None = None
        self._kept = NOTHING
        self._ever = -1
        """How many records had ever been put when records were last taken out; -1 before the first reading."""
        self._ask_at = 0.0
        """When beanstalkd may be asked again, on the monotonic clock."""

    def read(self) -> Burials:
        """Return why jobs are buried, as of 5 seconds ago at most, or 30 seconds while burials go on.

        Raises QueueUnavailable or RefusedError; the next call then connects and reads anew.
        """
        if self._connection is None or self._clock.now() >= self._ask_at:
            try:
                pause = self._ask(self._connected())
            except BaseException:
                self.close()
                raise
            self._ask_at = self._clock.now() + pause
        return self._kept.burials

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None

    def _connected(self) -> BulkConnection:
        if self._connection is None:
            self._connection, self._kept, self._ever = connect(self._server), NOTHING, -1
        return self._connection

    def _ask(self, connection: BulkConnection) -> float:
        """Ask beanstalkd for what has changed; return how many seconds to wait before it is asked again."""
        before, self._ever = self._ever, connection.totals().ever
        if self._ever == before and not self._kept.burials.read_elsewhere:
            self._sort_again(connection)
            return QUIET_SECONDS
        # A record that was put after the others were taken out counts as new the next time.
        self._kept = read_all(connection, self._clock, with_tracebacks=False)
        return QUIET_SECONDS if before < 0 else _BUSY_SECONDS

    def _sort_again(self, connection: BulkConnection) -> None:
        """Ask for the jobs of all records that are kept, unless those that were buried are buried still."""
        buried = connection.buried_jobs()
        if self._kept.unsettled or self._kept.as_of != buried:
            self._kept = sort(connection, self._kept.records, (), buried)


class Kept(NamedTuple):
    """What a reading has found."""

    records: Mapping[int, BurialRecord | None]
    """The records that are in their tube, by their ids; None for what is no record."""
    burials: Burials
    as_of: BuriedJobs = BuriedJobs(0, 0)
    """What was buried before the jobs of all records were asked for."""
    unsettled: bool = False
    """Whether they are to be asked for again in any case: a job was reserved, and may be buried or go on; or records
    have come since."""
    taken: int = 0
    """How many records were taken out for that."""


NOTHING: Final = Kept({}, Burials())


def connect(server: str) -> BulkConnection:
    """Connect to the tube of the records; raises QueueUnavailable or RefusedError."""
    return connect_to_tube(server, RECORDS_TUBE, REPLY_SECONDS)


def read_all(
    connection: BulkConnection, clock: Clock, given_back_for: int = 0, *, with_tracebacks: bool = True
) -> Kept:
    """Take all records out, give those back that are to be kept, and delete the rest."""
    give_up_at = clock.now() + _PATIENCE_SECONDS
    while True:
        # Nothing is held during the wait: of two readers that wait for each other, none would get on.
        while connection.totals().reserved and clock.now() < give_up_at:
            clock.pause()
        connection.make_all_ready()
        # Counted before and after: a job that is buried or kicked meanwhile is none without a record.
        before = connection.buried_jobs()
        taken = take(connection, with_tracebacks)
        elsewhere = max(0, connection.totals().reserved - len(taken))
        found = sort(connection, taken, taken, before, elsewhere, given_back_for)
        if not elsewhere or clock.now() >= give_up_at:
            return found
        clock.pause()


def take(connection: BulkConnection, with_tracebacks: bool) -> dict[int, BurialRecord | None]:
    """Take records out, a few at a time, because tracebacks are most of them."""
    taken: dict[int, BurialRecord | None] = {}
    while len(taken) < _TAKEN_MOST and (some := decoded(connection.take(_TAKEN_AT_ONCE))):
        taken |= (
            some
            if with_tracebacks
            else {id_: record and record._replace(traceback=None) for id_, record in some.items()}
        )
    return taken


def sort(
    connection: BulkConnection,
    records: Mapping[int, BurialRecord | None],
    taken: Collection[int],
    buried_before: BuriedJobs,
    elsewhere: int = 0,
    given_back_for: int = 0,
) -> Kept:
    """Delete the records that nobody needs any more, and give back those that were taken out and are needed."""
    found = sort_out(records, connection.states)
    connection.delete(found.stale)
    stale = {*found.stale}
    left = {record_id: record for record_id, record in records.items() if record_id not in stale}
    given_back = sorted(record_id for record_id in taken if record_id not in stale)
    connection.give_back(given_back, RECORD_PRIORITY, given_back_for)
    shown = tuple(sorted(found.buried.values(), key=lambda record: record.newest_first))
    buried = min(buried_before.now, connection.buried_jobs().now)
    burials = Burials(shown, elsewhere, max(0, buried - len(shown) - elsewhere))
    unsettled = any(records[record_id] for record_id in found.kept)
    return Kept(left, burials, buried_before, unsettled, len(taken))
