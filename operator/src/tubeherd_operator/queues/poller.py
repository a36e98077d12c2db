"""The one module of the operator that talks to beanstalkd: it counts the jobs in tubes, and kicks buried jobs."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tubeherd.queue.answers import QueueUnavailable, RefusedError
from tubeherd.queue.connection import Connection, connect
from tubeherd_operator.decisions.counts import Counts, Kicked, is_due
from tubeherd_operator.objects import Key

_BACKOFF_MOST: Final = 15.0
_EVERY_JOB: Final = 2**31


@dataclass(slots=True)
class _Watched:
    """The tubes of a pool, and the counts of these tubes that the pool was last given."""

    tubes: tuple[str, ...]
    given: Counts | None
    given_at: float


class Poller:
    """Counts the jobs of one beanstalkd by tube and state, in its own thread, while any pool has tubes there."""

    def __init__(self, server: str, interval: float, changed: Callable[[Key], None]) -> None:
        """Begin to count every `interval` seconds; `changed` is called with a pool that was given new counts."""
        self._server = server
        self._interval = interval
        self._changed = changed
        # The dictionary is replaced and never changed, because the poller's thread may be iterating over it.
        self._watched: dict[Key, _Watched] = {}
        self._counts: Counts | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = False
        threading.Thread(target=self._run, name=f"poller {server}", daemon=True).start()

    def watch(self, key: Key, tubes: Sequence[str]) -> None:
        """Count these tubes for a pool, and give it at once what is already known of them."""
        watched = self._watched.get(key)
        if watched is None or watched.tubes != tuple(tubes):
            new = _Watched(tuple(tubes), self._known(tubes), time.monotonic())
            self._watched = {**self._watched, key: new}
            self._wake.set()

    def forget(self, key: Key) -> bool:
        """Drop a pool, and return whether it was the last one. The poller then ends."""
        self._watched = {other: watched for other, watched in self._watched.items() if other != key}
        self._ended = not self._watched
        self._wake.set()
        return self._ended

    def counts(self, key: Key) -> Counts | None:
        """Return the counts that a pool was last given; None if its tubes have not been counted yet."""
        return self._watched[key].given

    def kick(self, tubes: Sequence[str], most: int | None) -> Kicked:
        """Kick up to `most` buried jobs (None: all), tube by tube."""
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
            self._counts = self._ask()
            backoff = min(backoff * 2, _BACKOFF_MOST) if self._counts.error else self._interval
            self._give(time.monotonic())
            self._wake.wait(random.uniform(0.5, 1) * backoff if self._counts.error else backoff)  # noqa: S311 - spreads reconnects
            self._wake.clear()  # before the next look at what is watched, so that no change is missed
        with self._lock:
            self._disconnect()

    def _ask(self) -> Counts:
        tubes = dict.fromkeys(tube for watched in self._watched.values() for tube in watched.tubes)
        with self._lock:
            try:
                return Counts(self._connected().stats_tubes(tubes))
            except Exception as error:  # whatever it is, the poller goes on and the pools' conditions show it
                self._disconnect()
                return Counts(error=_describe(self._server, error))

    def _give(self, now: float) -> None:
        """Give each pool new counts of its tubes, if `is_due` says that the pool is to show them."""
        for key, watched in self._watched.items():
            known = self._known(watched.tubes)
            if known is not None and is_due(watched.given, known, now - watched.given_at):
                watched.given, watched.given_at = known, now
                self._changed(key)

    def _known(self, tubes: Sequence[str]) -> Counts | None:
        counts = self._counts
        if counts is None or counts.error is not None:
            return counts
        if any(tube not in counts.tubes for tube in tubes):
            return None
        return Counts({tube: counts.tubes[tube] for tube in tubes})

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = connect(self._server)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None


def _describe(server: str, error: Exception) -> str:
    message = str(error) or f"beanstalkd answered {type(error).__name__}"
    return message if server in message else f"{server}: {message}"
