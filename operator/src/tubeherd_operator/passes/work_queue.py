"""The queue of pools to look at.

A pool is queued at most once, one thread at a time works on it, and it waits longer after each failure. Of the pools
that are due, those come first for which somebody waits, then those that have no Deployment yet: a kick takes no longer
because a thousand pools were changed.
"""

import heapq
import random
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from tubeherd_operator.decisions.rank import Rank
from tubeherd_operator.objects import Key

_WRITTEN_SECONDS: Final = 1.0
"""So much later a pool is looked at that the operator itself has changed: there is most likely nothing to do."""
_SHORTEST_DELAY: Final = 0.25
_LONGEST_DELAY: Final = 60.0


class Depth(NamedTuple):
    """How many pools are in the queue."""

    due: int
    """They wait for a thread."""
    later: int
    """They are to be looked at at a later time."""
    in_pass: int


class _Turn(NamedTuple):
    """When a pool's turn is, on the monotonic clock, and before which others."""

    due: float
    rank: Rank


class WorkQueue:
    """Hands out keys to worker threads; every method is safe to call from any thread."""

    def __init__(self, rank: Callable[[Key], Rank] = lambda _: Rank.OTHER) -> None:
        """`rank` may use no method of the queue."""
        self._rank = rank
        self._condition = threading.Condition()
        self._due: dict[Rank, list[tuple[float, Key]]] = {each: [] for each in Rank}
        """By their rank: the pools by the time when they are due."""
        self._waiting: dict[Key, _Turn] = {}
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        """Those of them that have changed since their pass began."""
        self._written: set[Key] = set()
        """Those of them that the pass itself has changed."""
        self._failing: dict[Key, float] = {}
        """Those whose last pass failed: after how many seconds at most they come again."""
        self._closed = False

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Have a pool looked at after `delay` seconds, or earlier if that is already planned."""
        with self._condition:
            if key in self._working and delay == 0.0:
                self._again.add(key)
                return
            rank = self._rank(key)  # here, so that of two threads none puts an older rank in place of a newer one
            turn, planned = _Turn(time.monotonic() + delay, rank), self._waiting.get(key)
            if planned:
                turn = _Turn(min(turn.due, planned.due), rank)
            if turn != planned:
                self._waiting[key] = turn
                heapq.heappush(self._due[turn.rank], (turn.due, key))
                self._condition.notify_all()  # some threads take only pools of certain ranks

    def add_written(self, key: Key) -> None:
        """Have a pool looked at that the operator itself has changed: at once if somebody waits, otherwise soon."""
        with self._condition:
            if key in self._working:
                self._written.add(key)
                return
        self.add(key, self._after_a_write(key))

    def get(self, last: Rank = Rank.OTHER) -> Key:
        """Wait for a pool that is due and take it; `done` or `failed` must follow.

        Pools whose rank comes after `last` are left for others.
        """
        with self._condition:
            while True:
                now = time.monotonic()
                while not self._closed and (found := self._next(now, last)):
                    turn, key = found
                    if self._waiting.get(key) != turn:
                        continue  # it was added again for an earlier time, or to come before others
                    del self._waiting[key]
                    if key in self._working:
                        self._again.add(key)
                        continue
                    self._working.add(key)
                    return key
                soonest = min((heap[0][0] for rank, heap in self._due.items() if heap and rank <= last), default=None)
                self._condition.wait(None if soonest is None or self._closed else soonest - now)

    def _next(self, now: float, last: Rank) -> tuple[_Turn, Key] | None:
        """Take out what is due next."""
        for rank, heap in self._due.items():
            if rank <= last and heap and heap[0][0] <= now:
                due, key = heapq.heappop(heap)
                return _Turn(due, rank), key
        return None

    def depth(self) -> Depth:
        """Return how many pools are in the queue; one that is looked at again after its pass counts as in a pass."""
        with self._condition:
            now = time.monotonic()
            due = sum(turn.due <= now for turn in self._waiting.values())
            return Depth(due, len(self._waiting) - due, len(self._working))

    def close(self, seconds: float) -> bool:
        """Hand out no pool any more, and wait up to `seconds` for running passes; return whether all have ended."""
        with self._condition:
            self._closed = True
            return self._condition.wait_for(lambda: not self._working, seconds)

    def done(self, key: Key, again_after: float | None = None) -> None:
        """Give a pool back; have it looked at again after that many seconds, or at once if it changed meanwhile.

        If the pass has written something, it is looked at again after a second at most.
        """
        self._failing.pop(key, None)
        self._give_back(key, again_after)

    def failed(self, key: Key, again_after: float | None = None) -> None:
        """Give a pool back whose pass failed; it comes again after a random time that grows with each failure.

        It comes again after `again_after` seconds if that is sooner.
        """
        longest = self._failing[key] = min(self._failing.get(key, _SHORTEST_DELAY) * 2, _LONGEST_DELAY)
        delay = random.uniform(longest / 2, longest)  # noqa: S311 - spreads retries
        self._give_back(key, delay if again_after is None else min(delay, again_after))

    def _give_back(self, key: Key, delay: float | None) -> None:
        with self._condition:
            self._working.discard(key)
            if self._closed:
                self._condition.notify_all()
            failed, changed, written = key in self._failing, key in self._again, key in self._written
            self._again.discard(key)
            self._written.discard(key)
        if changed and not failed:
            delay = 0.0
        elif written and not failed:
            delay = min(self._after_a_write(key), _WRITTEN_SECONDS if delay is None else delay)
        if delay is not None:
            self.add(key, delay)

    def _after_a_write(self, key: Key) -> float:
        return _WRITTEN_SECONDS if self._rank(key) is Rank.OTHER else 0.0
