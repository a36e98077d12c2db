"""The beanstalkd servers that pools name: one poller for each, whatever the number of pools."""

import threading
from collections.abc import Callable, Sequence

from tubeherd_operator.decisions.counts import Counts, Kicked
from tubeherd_operator.objects import Key
from tubeherd_operator.queues.poller import Poller


class Servers:
    """Counts and kicks the jobs of every pool.

    Several threads may use it, but only one thread at a time for the same pool.
    """

    def __init__(self, interval: float, changed: Callable[[Key], None]) -> None:
        """Count every `interval` seconds; `changed` is called with a pool that was given new counts."""
        self._interval = interval
        self._changed = changed
        self._pollers: dict[str, Poller] = {}
        self._server_of: dict[Key, str] = {}
        self._lock = threading.Lock()

    def watch(self, key: Key, server: str, tubes: Sequence[str]) -> None:
        """Count these tubes of that server for a pool from now on, and none that it had before."""
        with self._lock:
            if self._server_of.get(key) != server:
                self._forget(key)
                self._server_of[key] = server
                if server not in self._pollers:
                    self._pollers[server] = Poller(server, self._interval, self._changed)
            self._pollers[server].watch(key, tubes)

    def forget(self, key: Key) -> None:
        """Count nothing for a pool any more."""
        with self._lock:
            self._forget(key)

    def counts(self, key: Key) -> Counts | None:
        """Return the counts that a pool was last given; None if its server has not been asked yet."""
        poller = self._poller(key)
        return poller.counts(key) if poller else None

    def kick(self, key: Key, tubes: Sequence[str], most: int | None) -> Kicked:
        """Kick up to `most` buried jobs (None: all) of a pool that is watched, tube by tube."""
        poller = self._poller(key)
        return poller.kick(tubes, most) if poller else Kicked({}, f"pool {key.name} is not watched")

    def _poller(self, key: Key) -> Poller | None:
        with self._lock:
            return self._pollers.get(self._server_of.get(key, ""))

    def _forget(self, key: Key) -> None:
        server = self._server_of.pop(key, None)
        if server is not None and self._pollers[server].forget(key):
            del self._pollers[server]
