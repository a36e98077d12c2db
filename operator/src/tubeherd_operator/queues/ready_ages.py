"""For how long jobs have been ready: of each tube the job that is the next one.

To find it takes three commands for each tube. So only tubes with ready jobs are asked about, at a slow pace, and while
a server rests, its jobs grow older without a command.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tubeherd.queue.answers import JobCounters, TubeStats
from tubeherd.queue.looking import LookingConnection

_PAUSE_SECONDS: Final = 15.0
"""How long to wait between two askings."""
_TUBES_MOST: Final = 50
"""About so many tubes a server is asked: those that nobody watches first, then those with the most ready jobs."""
_AGAIN_SECONDS: Final = 60.0
"""After so long a tube is asked about again though its counts are the same: a job may have been taken and put back."""


class _Seen(NamedTuple):
    tube: TubeStats
    """The tube as it was then."""
    job: JobCounters | None
    """The next job; None if it was gone by then."""
    at: float
    """When it was asked about, on the monotonic clock."""
    since: float
    """From this time on it was certainly ready, on the monotonic clock."""


class ReadyAges:
    """Since when the next jobs of the tubes of one beanstalkd have been ready; to be used by one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._clock = clock
        self._ask_at = 0.0
        self._moved_at = -math.inf
        """When it was last seen that anything had happened in the server."""
        # The dictionary is replaced and never changed, because another thread may read it.
        self._seen: dict[str, _Seen] = {}

    def look(self, connection: LookingConnection, counted: Mapping[str, TubeStats], *, rests: bool = False) -> None:
        """Ask about the tubes in which something may have changed, if it is time to.

        Nothing has since the last look if the server `rests`. Raises QueueUnavailable, RefusedError.
        """
        ready = [tube for tube in counted.values() if tube.ready]
        most = sorted(ready, key=lambda tube: (tube.watching > 0, -tube.ready, tube.name))[:_TUBES_MOST]
        kept = {tube.name: self._seen[tube.name] for tube in most if tube.name in self._seen}
        now = self._clock()
        if not rests:
            self._moved_at = now
        since = min(self._moved_at, now - _AGAIN_SECONDS)
        changed = [tube for tube in most if not (seen := kept.get(tube.name)) or seen.tube != tube or seen.at < since]
        if changed and now >= self._ask_at:
            self._ask_at = now + _PAUSE_SECONDS
            jobs = connection.next_ready([tube.name for tube in changed])
            kept |= {tube.name: self._judge(tube, jobs.get(tube.name), kept.get(tube.name)) for tube in changed}
        self._seen = kept

    def forget(self) -> None:
        """Forget all: after a restart of beanstalkd, the ids of its jobs may be those of others."""
        self._seen, self._ask_at = {}, 0.0

    def ready_for(self) -> dict[str, float]:
        """Return by tube for at least how many seconds its next job has been ready; for any thread."""
        now = self._clock()
        return {name: max(0.0, now - seen.since) for name, seen in self._seen.items() if seen.job}

    def _judge(self, tube: TubeStats, job: JobCounters | None, before: _Seen | None) -> _Seen:
        now = self._clock()
        if job is None:
            return _Seen(tube, None, now, now)
        if not job.reserves and not job.kicks:  # it became ready when its first delay ended, and has been since
            return _Seen(tube, job, now, now - max(0, job.age - job.delay))
        if before and before.job and _same(job, before.job):
            return _Seen(tube, job, now, before.since)
        return _Seen(tube, job, now, now)


def _same(one: JobCounters, other: JobCounters) -> bool:
    """Return whether a job was ready all the time between two looks at it."""
    return (one.id, one.reserves, one.kicks) == (other.id, other.reserves, other.kicks)
