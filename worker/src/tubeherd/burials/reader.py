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
from typing import Final

from tubeherd.burials.record import RECORD_PRIORITY, RECORDS_MOST, RECORDS_TUBE, Burials
from tubeherd.burials.sorting import sort_out
from tubeherd.formats.tubes import check_tube
from tubeherd.queue.bulk import BulkConnection, connect_to_tube
from tubeherd.queue.wire import REPLY_SECONDS

_PATIENCE_SECONDS: Final = 5.0
"""How long to wait for records that others are reading."""
_PAUSE_SECONDS: Final = 0.05
"""How long to wait before it is tried again, at least."""
_QUIET_SECONDS: Final = 5.0
"""How long a `BurialReader` keeps what it read before it asks beanstalkd again, at least."""
_BUSY_SECONDS: Final = 30.0
"""The same while burials go on: each reading takes all records out."""
_TAKEN_MOST: Final = 2 * RECORDS_MOST
"""So many records are taken out at most, so that a reading ends even if others put more and more."""


class Clock:
    """What time it is, and waiting; tests have another."""

    def now(self) -> float:
        """Return the time on the monotonic clock, in seconds."""
        return time.monotonic()

    def pause(self) -> None:
        """Wait for a short time, which is another each time, so that two readers do not meet again and again."""
        time.sleep(_PAUSE_SECONDS * random.uniform(1, 4))  # noqa: S311 - spreads readers, is no secret


def read_burials(server: str, tube: str | None = None, clock: Clock | None = None) -> Burials:
    """Return why jobs are buried, in all tubes or in one, by the records on the beanstalkd at `host:port`.

    Raises QueueUnavailable or RefusedError, and ValueError for a tube that is none of the users'.
    """
    if tube is not None:
        check_tube(tube)
    connection = connect_to_tube(server, RECORDS_TUBE, REPLY_SECONDS)
    try:
        before = 0 if tube is None else connection.stats_tubes([tube])[tube].buried
        burials = _read_all(connection, clock or Clock())
        return burials if tube is None else burials.of(tube, min(before, connection.stats_tubes([tube])[tube].buried))
    finally:
        connection.abandon()


class BurialReader:
    """Reads the records again and again, for what shows them all the time. It keeps what it read."""

    def __init__(self, server: str, clock: Clock | None = None) -> None:
        """`server` is the beanstalkd at `host:port`; the first `read` connects."""
        self._server = server
        self._clock = clock or Clock()
        self._connection: BulkConnection | None = None
        self._kept = Burials()
        self._ever = -1
        """How many records had ever been put when the kept ones were read."""
        self._ask_at = 0.0
        """When beanstalkd may be asked again, on the monotonic clock."""

    def read(self) -> Burials:
        """Return why jobs are buried, as of 5 seconds ago at most, or 30 seconds while burials go on.

        Raises QueueUnavailable or RefusedError; the next call then connects and reads anew.
        """
        if self._connection is None or self._clock.now() >= self._ask_at:
            try:
                self._ask()
            except BaseException:
                self.close()
                raise
        return self._kept

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None

    def _ask(self) -> None:
        if self._connection is None:
            self._connection = connect_to_tube(self._server, RECORDS_TUBE, REPLY_SECONDS)
            self._ever = -1
        ever = self._connection.totals().ever
        new = ever - self._ever
        if new or self._kept.read_elsewhere:
            self._kept = _read_all(self._connection, self._clock)
        else:
            self._kept = _without_released(self._connection, self._kept)
        wait = _BUSY_SECONDS if new and self._ever >= 0 else _QUIET_SECONDS
        self._ask_at, self._ever = self._clock.now() + wait, ever


def _read_all(connection: BulkConnection, clock: Clock) -> Burials:
    """Take all records out, give those back that are to be kept, and delete the rest."""
    give_up_at = clock.now() + _PATIENCE_SECONDS
    while True:
        # Nothing is held during the wait: of two readers that wait for each other, none would get on.
        while connection.totals().reserved and clock.now() < give_up_at:
            clock.pause()
        connection.make_all_ready()
        # Counted before and after: a job that is buried or kicked meanwhile is none without a record.
        before = connection.buried_jobs()
        taken = connection.take(_TAKEN_MOST)
        elsewhere = max(0, connection.totals().reserved - len(taken))
        found = sort_out(taken, connection.states)
        connection.delete(found.stale)
        connection.give_back(sorted([*found.buried, *found.kept]), RECORD_PRIORITY)
        if not elsewhere or clock.now() >= give_up_at:
            break
        clock.pause()
    records = tuple(sorted(found.buried.values(), key=lambda record: record.newest_first))
    buried = min(before, connection.buried_jobs())
    return Burials(records, elsewhere, max(0, buried - len(records) - elsewhere))


def _without_released(connection: BulkConnection, kept: Burials) -> Burials:
    """Return the kept burials without those of jobs that are buried no longer."""
    states = connection.states([record.job for record in kept.records])
    records = tuple(
        record
        for record, state in zip(kept.records, states, strict=True)
        if state is not None and state.state == "buried" and state.tube == record.tube
    )
    return Burials(records, 0, max(0, connection.buried_jobs() - len(records)))
