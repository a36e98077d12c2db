"""The one module of the operator that talks to beanstalkd: it counts tubes and kicks.

One poller, a thread, for each server, whatever the number of pools.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from tubeherd.queue.answers import QueueUnavailable, RefusedError
from tubeherd.queue.connection import Connection, connect
from tubeherd_operator.decisions.counts import Counts, Kicked
from tubeherd_operator.objects import Key

_BACKOFF_MOST: Final = 15.0
_COUNTS_SECONDS: Final = 30.0
_EVERY_JOB: Final = 2**31


class Servers:
    """Counts the tubes of every pool and says which pool to look at again."""

    def __init__(self, interval: float, changed: Callable[[Key], None]) -> None:
        """Poll every `interval` seconds; `changed` is called with a pool whose counts tell something new."""
        self._interval = interval
        self._changed = changed
        self._pollers: dict[str, _Poller] = {}
        self._lock = threading.Lock()

    def watch(self, key: Key, server: str, tubes: Sequence[str]) -> None:
        """Count these tubes for a pool from now on, and none it had before."""
        with self._lock:
            for address in [address for address in self._pollers if address != server]:
                self._forget(key, address)
            if server not in self._pollers:
                self._pollers[server] = _Poller(server, self._interval, self._changed)
            self._pollers[server].watch(key, tubes)

    def forget(self, key: Key) -> None:
        """Count nothing for a pool any more."""
        with self._lock:
            for address in list(self._pollers):
                self._forget(key, address)

    def counts(self, server: str, tubes: Sequence[str]) -> Counts | None:
        """Return the last counts of these tubes; None where they have not been asked for yet."""
        with self._lock:
            poller = self._pollers.get(server)
        return poller.counts(tubes) if poller else None

    def kick(self, server: str, tubes: Sequence[str], most: int | None) -> Kicked:
        """Kick up to `most` buried jobs (None: all), tube by tube."""
        with self._lock:
            poller = self._pollers.get(server)
        return poller.kick(tubes, most) if poller else Kicked({}, f"{server} is not polled")

    def _forget(self, key: Key, address: str) -> None:
        if self._pollers[address].forget(key):
            del self._pollers[address]


class _Poller:
    """Counts the tubes of one server, in a thread of its own, until no pool watches any."""

    def __init__(self, server: str, interval: float, changed: Callable[[Key], None]) -> None:
        self._server = server
        self._interval = interval
        self._changed = changed
        self._watched: dict[Key, tuple[str, ...]] = {}
        self._told: dict[Key, tuple[float, Counts]] = {}
        self._counts: Counts | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = False
        threading.Thread(target=self._run, name=f"poller {server}", daemon=True).start()

    def watch(self, key: Key, tubes: Sequence[str]) -> None:
        if self._watched.get(key) != tuple(tubes):
            self._watched = {**self._watched, key: tuple(tubes)}
            self._told.pop(key, None)
            self._wake.set()

    def forget(self, key: Key) -> bool:
        """Drop a pool and tell whether it was the last."""
        self._watched = {other: tubes for other, tubes in self._watched.items() if other != key}
        self._told.pop(key, None)
        self._ended = not self._watched
        self._wake.set()
        return self._ended

    def counts(self, tubes: Sequence[str]) -> Counts | None:
        counts = self._counts
        if counts is None or counts.error is not None:
            return counts
        if any(tube not in counts.tubes for tube in tubes):
            return None
        return Counts({tube: counts.tubes[tube] for tube in tubes})

    def kick(self, tubes: Sequence[str], most: int | None) -> Kicked:
        kicked: dict[str, int] = {}
        left = _EVERY_JOB if most is None else most
        with self._lock:
            try:
                for tube in tubes:
                    kicked[tube] = self._connected().kick_buried(tube, left)
                    left -= kicked[tube]
            except (QueueUnavailable, RefusedError) as error:
                self._disconnect()
                return Kicked(kicked, _describe(self._server, error))
        self._wake.set()
        return Kicked(kicked)

    def _run(self) -> None:
        backoff = self._interval
        while not self._ended:
            self._wake.clear()
            self._counts = self._ask()
            backoff = min(backoff * 2, _BACKOFF_MOST) if self._counts.error else self._interval
            self._tell()
            self._wake.wait(random.uniform(0.5, 1) * backoff if self._counts.error else backoff)  # noqa: S311 - spreads
        with self._lock:
            self._disconnect()

    def _ask(self) -> Counts:
        watched = self._watched
        tubes = dict.fromkeys(tube for names in watched.values() for tube in names)
        with self._lock:
            try:
                return Counts(self._connected().stats_tubes(tubes))
            except Exception as error:  # whatever it is, the poller has to go on and the pools' conditions to say it
                self._disconnect()
                return Counts(error=_describe(self._server, error))

    def _tell(self) -> None:
        """Say which pools have news: buried jobs and the server at once, other counts now and then."""
        now = time.monotonic()
        for key, tubes in self._watched.items():
            counts = self.counts(tubes)
            if counts is None:
                continue
            when, told = self._told.get(key, (0.0, None))
            if told is None or _urgent(told) != _urgent(counts) or (told != counts and now - when >= _COUNTS_SECONDS):
                self._told[key] = (now, counts)
                self._changed(key)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = connect(self._server)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None


def _urgent(counts: Counts) -> tuple[str | None, tuple[int, ...]]:
    return counts.error, tuple(stats.buried for stats in counts.tubes.values())


def _describe(server: str, error: Exception) -> str:
    message = str(error) or f"beanstalkd answered {type(error).__name__}"
    return message if server in message else f"{server}: {message}"
