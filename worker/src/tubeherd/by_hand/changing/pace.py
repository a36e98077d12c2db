"""How fast jobs are kicked, and when a slow kick is stopped because most of its jobs come back buried."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from tubeherd.queue.answers import JobCounters
from tubeherd.queue.tubes import PIPELINE_MOST

_BURST_SECONDS: Final = 0.1
"""As many jobs as the rate allows in this time may be kicked at once."""
_LONGEST_PAUSE: Final = 0.05
"""How long a pause lasts at most before it is asked whether to stop, in seconds."""
_SHORTEST_PAUSE: Final = 0.001
"""A shorter one might end before the clock shows that any time has passed."""
_REMEMBERED_MOST: Final = PIPELINE_MOST
"""So many kicked jobs are looked at again, the newest ones, so that a kick of any size needs no more memory."""
_ENOUGH: Final = 10
"""So many jobs must have come back buried before a kick is stopped because of it."""
_LOOK_SECONDS: Final = 0.5


class Clock:
    """What time it is, and waiting; tests have another."""

    def now(self) -> float:
        """Return the time on the monotonic clock, in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Pace:
    """Says how many jobs may be changed now, so that there are no more than the rate allows."""

    def __init__(self, rate: float | None, clock: Clock) -> None:
        """`rate` is in jobs a second; None for no limit."""
        self._rate = rate
        self._clock = clock
        self._most = 0.0 if rate is None else max(1.0, rate * _BURST_SECONDS)
        self._credit = 1.0
        """How many jobs may be changed now."""
        self._counted_at = clock.now()

    def wait(self, stop: Callable[[], bool]) -> int:
        """Wait until a job may be changed, and return how many may be: PIPELINE_MOST at most, 0 to stop."""
        while not stop():
            if self._rate is None:
                return PIPELINE_MOST
            now = self._clock.now()
            self._credit = min(self._most, self._credit + (now - self._counted_at) * self._rate)
            self._counted_at = now
            if self._credit >= 1:
                return min(PIPELINE_MOST, int(self._credit))
            self._clock.sleep(min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, (1 - self._credit) / self._rate)))
        return 0

    def spend(self, jobs: int) -> None:
        """Note that so many jobs were changed."""
        self._credit -= jobs


class Comebacks:
    """Notes which of the kicked jobs are buried again, and which are done."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kicked: deque[int] = deque(maxlen=_REMEMBERED_MOST)
        """The ids of the jobs that were kicked last."""
        self._undecided: deque[int] = deque(maxlen=_REMEMBERED_MOST)
        """Those of which it is not known yet what became of them."""
        self._look_at = clock.now() + _LOOK_SECONDS
        self.buried_again = 0
        self.done = 0

    def note(self, job_id: int) -> None:
        """Note that a job was kicked."""
        self._kicked.append(job_id)
        self._undecided.append(job_id)

    def has(self, job_id: int) -> bool:
        """Return whether a job is one of those that were kicked last."""
        return job_id in self._kicked

    def is_due(self) -> bool:
        """Return whether it is time to look at the jobs again."""
        return self._clock.now() >= self._look_at

    def look(self, see: Callable[[list[int]], Iterable[JobCounters | None]]) -> None:
        """Look at the jobs of which it is not known yet what became of them."""
        self._look_at = self._clock.now() + _LOOK_SECONDS
        ids = list(self._undecided)
        self._undecided.clear()
        for job_id, seen in zip(ids, see(ids), strict=True):
            if seen is None:
                self.done += 1
            elif seen.state == "buried":
                self.buried_again += 1
            else:
                self._undecided.append(job_id)

    @property
    def are_most(self) -> bool:
        """Return whether most of the jobs of which it is known what became of them are buried again."""
        return self.buried_again >= _ENOUGH and self.buried_again > self.done
