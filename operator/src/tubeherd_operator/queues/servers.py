"""The beanstalkd servers that pools name: one poller and one reader of burial records for each, however many pools.

No method waits for a server.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from tubeherd.queue.server import parse_server
from tubeherd_operator.decisions.burials import Burials
from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.errands import Errand
from tubeherd_operator.decisions.retries import Served, tubes_that_differ
from tubeherd_operator.decisions.tubes import PoolTubes
from tubeherd_operator.objects import Key
from tubeherd_operator.queues.burials import BurialWatch
from tubeherd_operator.queues.figures import ServerFigures
from tubeherd_operator.queues.poller import Poller

_Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Watched:
    """A pool that is watched: its beanstalkd, and what it serves there."""

    address: _Address
    served: Served


class _Compared:
    """The pools of each beanstalkd by their number of retry delays, so that only those are compared that differ."""

    def __init__(self) -> None:
        self._groups: dict[_Address, dict[int, dict[Key, Served]]] = {}

    def put(self, key: Key, pool: _Watched) -> None:
        self._groups.setdefault(pool.address, {}).setdefault(pool.served.retries, {})[key] = pool.served

    def drop(self, key: Key, pool: _Watched) -> None:
        groups, retries = self._groups[pool.address], pool.served.retries
        del groups[retries][key]
        if not groups[retries]:
            del groups[retries]
        if not groups:
            del self._groups[pool.address]

    def differing(self, pool: _Watched) -> dict[Key, Served]:
        """Return the pools of the same beanstalkd with another number of retry delays."""
        groups = self._groups.get(pool.address, {})
        return {
            key: served
            for retries, group in groups.items()
            if retries != pool.served.retries
            for key, served in group.items()
        }


class Servers:
    """Counts the jobs of every pool, kicks and deletes buried ones, finds out why they are buried, and compares pools.

    Several threads may use it, but only one thread at a time for the same pool.
    """

    def __init__(self, interval: float, changed: Callable[[Key], None]) -> None:
        """Look every `interval` seconds whether anything has happened, and count the tubes if so.

        `changed` is called with a pool that was given new counts or burials, and with one whose number of retry delays
        begins or ceases to differ from that of a pool that was changed or forgotten.
        """
        self._interval = interval
        self._changed = changed
        self._pollers: dict[_Address, Poller] = {}
        self._burials: dict[_Address, BurialWatch] = {}
        self._watched: dict[Key, _Watched] = {}
        self._compared = _Compared()
        self._lock = threading.Lock()

    def watch(self, key: Key, server: str, served: Served, replicas: int = 0) -> None:
        """Count the tubes of a pool on that server from now on, and none that it had before.

        If the pool is autoscaled, that begins with so many `replicas`, unless it has begun. Raises ValueError if the
        server is no address.
        """
        new = _Watched(parse_server(server), served)
        with self._lock:
            before = self._watched.get(key)
            if before == new:
                return
            self._begin(key, server, new)  # first, because it raises if no thread can be started
            if before and before.address != new.address:
                self._forget(key)
            elif before:
                self._compared.drop(key, before)
            self._watched[key] = new
            self._compared.put(key, new)
            self._pollers[new.address].watch(key, served.tubes, served.autoscale, replicas)
            self._watch_burials(key, new)
            concerned = self._concerned(key, before, new)
        self._report(concerned)

    def forget(self, key: Key) -> None:
        """Count nothing for a pool any more."""
        with self._lock:
            before = self._forget(key)
            concerned = self._concerned(key, before, None)
        self._report(concerned)

    def others(self, key: Key) -> dict[Key, Served]:
        """Return what those pools of a pool's beanstalkd serve that have another number of retry delays."""
        with self._lock:
            own = self._watched.get(key)
            return self._compared.differing(own) if own else {}

    def counts(self, key: Key) -> Counts | None:
        """Return the counts that a pool was last given; None if its server has not been asked yet."""
        poller = self._poller(key)
        return poller.counts(key) if poller else None

    def burials(self, key: Key) -> Burials | None:
        """Return why a pool's jobs are buried; None if it keeps no records, or they have not been read yet."""
        with self._lock:
            watched = self._watched.get(key)
            reading = self._burials.get(watched.address) if watched else None
        return reading.burials(key) if reading else None

    def figures(self) -> list[ServerFigures]:
        """Return what is known of each server, for the metrics."""
        with self._lock:
            pollers = [*self._pollers.values()]
        return [poller.figures() for poller in pollers]

    def give(self, key: Key, errand: Errand | None) -> None:
        """Have an errand run for a pool that is watched, in place of the one before; `changed` is called afterwards."""
        if poller := self._poller(key):
            poller.give(key, errand)

    def errand(self, key: Key) -> Errand | None:
        """Return the errand that a pool was given last, with its answer once there is one."""
        poller = self._poller(key)
        return poller.errand(key) if poller else None

    def _poller(self, key: Key) -> Poller | None:
        with self._lock:
            watched = self._watched.get(key)
            return self._pollers[watched.address] if watched else None

    def _begin(self, key: Key, server: str, new: _Watched) -> None:
        """Start what asks this server, unless it runs already; raises RuntimeError if a thread cannot be started."""
        is_first = new.address not in self._pollers
        if is_first:
            buried = partial(self._hurry, new.address)
            self._pollers[new.address] = Poller(server, self._interval, self._changed, buried)
        if new.served.records and new.address not in self._burials:
            try:
                self._burials[new.address] = BurialWatch(server, self._interval, self._changed)
            except RuntimeError:
                if is_first:  # it would ask the server for ever, for no pool
                    self._pollers.pop(new.address).forget(key)
                raise

    def _watch_burials(self, key: Key, new: _Watched) -> None:
        if not new.served.records:
            self._forget_burials(key, new.address)
            return
        self._burials[new.address].watch(key, new.served.tubes)

    def _hurry(self, address: _Address) -> None:
        with self._lock:
            reading = self._burials.get(address)
        if reading:
            reading.hurry()

    def _forget_burials(self, key: Key, address: _Address) -> None:
        if address in self._burials and self._burials[address].forget(key):
            del self._burials[address]

    def _forget(self, key: Key) -> _Watched | None:
        watched = self._watched.pop(key, None)
        if watched:
            self._compared.drop(key, watched)
            self._forget_burials(key, watched.address)
        if watched and self._pollers[watched.address].forget(key):
            del self._pollers[watched.address]
        return watched

    def _concerned(self, key: Key, before: _Watched | None, after: _Watched | None) -> set[Key]:
        """Return the other pools that differ from this one in another way than before."""
        return {other for other, _ in self._differences(key, before) ^ self._differences(key, after)}

    def _differences(self, key: Key, watched: _Watched | None) -> set[tuple[Key, Served]]:
        """Return the other pools that may differ, each with the tubes concerned and this pool's retry delays.

        If both have globs, that depends on the tubes that there are.
        """
        if watched is None:
            return set()
        own = watched.served
        return {
            (other, Served(tubes, own.retries))
            for other, served in self._compared.differing(watched).items()
            if other != key and (tubes := _may_differ(own, served)).wanted
        }

    def _report(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._changed(key)


def _may_differ(one: Served, other: Served) -> PoolTubes:
    """Return the tubes in which two pools may differ; if both have globs, those of the first."""
    if one.retries != other.retries and one.tubes.has_globs and other.tubes.has_globs:
        return one.tubes
    return PoolTubes(tubes_that_differ(one, other))
