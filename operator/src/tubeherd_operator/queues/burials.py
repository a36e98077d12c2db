"""Reads why jobs are buried on one beanstalkd, from the records of burials.

It does so in a thread of its own: to read ten thousand records takes a second, and neither counts nor requests wait for
it.
"""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tubeherd.burials.parking import ParkingReader
from tubeherd.burials.reader import Clock
from tubeherd.burials.record import BurialRecord
from tubeherd.logs import log
from tubeherd.queue.answers import QueueUnavailable, RefusedError
from tubeherd_operator.decisions.burials import Burials, burials_of, by_tube
from tubeherd_operator.decisions.tubes import PoolTubes
from tubeherd_operator.objects import Key

_Records = Mapping[str, Sequence[BurialRecord]]
"""By tube: a beanstalkd may have a thousand pools, and each looks only at the records of its own tubes."""
_AGAIN_SECONDS: Final = 15.0
"""How long to wait, at most, after beanstalkd could not be read."""


@dataclass(slots=True)
class _Watched:
    """The tubes of a pool, and what the pool was last given."""

    tubes: PoolTubes
    given: Burials | None = None
    records: _Records | None = None
    """The records from which that was made."""

    def give(self, records: _Records, found: Burials) -> bool:
        """Give the pool what was found for it in these records; return whether it is anything else than before."""
        before, self.given, self.records = self.given, found, records
        return found is not before and found != before


class BurialWatch:
    """Reads the records of one beanstalkd while any pool wants to know of them."""

    def __init__(
        self, server: str, interval: float, changed: Callable[[Key], None], clock: Clock | None = None
    ) -> None:
        """Begin to look every `interval` seconds whether the reader has anything new; it asks beanstalkd less often.

        `changed` is called with a pool whose burials are others than before.
        """
        self._interval = interval
        self._changed = changed
        self._reader = ParkingReader(server, clock)
        # The dictionary is replaced and never changed, because the thread may be iterating over it.
        self._watched: dict[Key, _Watched] = {}
        self._read_last: tuple[BurialRecord, ...] | None = None
        self._records: _Records | None = None
        self._wake = threading.Event()
        self._ended = False
        threading.Thread(target=self._run, name=f"burials {server}", daemon=True).start()

    def watch(self, key: Key, tubes: PoolTubes) -> None:
        """Find out for a pool why jobs of these tubes are buried, and give it at once what is already known."""
        watched = self._watched.get(key)
        if watched is None or watched.tubes != tubes:
            new = _Watched(tubes)
            if self._records is not None:
                new.give(self._records, burials_of(tubes, self._records))
            self._watched = {**self._watched, key: new}

    def hurry(self) -> None:
        """Read new records at once if possible: jobs were buried, and pools are to be told why with how many."""
        self._wake.set()

    def forget(self, key: Key) -> bool:
        """Drop a pool, and return whether it was the last one. The thread then ends."""
        self._watched = {other: watched for other, watched in self._watched.items() if other != key}
        if not self._watched:
            self._ended = True
            self._wake.set()
        return self._ended

    def burials(self, key: Key) -> Burials | None:
        """Return what a pool was last given; None if it does not watch, or the records have not been read yet."""
        watched = self._watched.get(key)
        return watched.given if watched else None

    def _run(self) -> None:
        while not self._ended:
            records = self._read()
            if records is not None:
                self._give(records)
            wait = self._interval if records is not None else random.uniform(0.5, 1) * _AGAIN_SECONDS  # noqa: S311 - spreads reconnects
            if self._wake.wait(wait):
                self._wake.clear()
                self._reader.hurry()
        self._reader.close()

    def _read(self) -> _Records | None:
        """Return the records; None if they cannot be read. Pools then keep what they have."""
        try:
            records = self._reader.read().records
        except (QueueUnavailable, RefusedError):  # the condition ServerReachable says so
            return None
        except Exception as error:  # whatever it is, counts and requests go on
            log.error(f"burial records could not be read: {error!r}")
            return None
        if records != self._read_last:
            self._read_last, self._records = records, by_tube(records)
        return self._records

    def _give(self, records: _Records) -> None:
        found: dict[PoolTubes, Burials] = {}  # many pools may have the same tubes
        for key, watched in self._watched.items():
            if watched.records is records:
                continue
            if watched.tubes not in found:
                found[watched.tubes] = burials_of(watched.tubes, records)
            if watched.give(records, found[watched.tubes]):
                self._changed(key)
