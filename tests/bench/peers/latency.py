"""How long a job waits that is put while the worker has nothing to do.

The workers of all contestants are up at once on all cores, but for one that spins while it is idle: that comes last,
alone. In each round each gets a job, the next one some time after the other, and all jobs have begun before the next
round. So each worker has been idle for half a second or more, and jobs come at no fixed distance from the time at which
those workers that poll look at their queue.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from random import Random
from typing import Final

from tests.bench.peers import job
from tests.bench.peers.running import PEERS, Peer, Running, running

SAMPLES: Final = 100
_MOST_SECONDS: Final = 0.08


def put_to_begin(samples: int = SAMPLES, peers: Sequence[Peer] = PEERS) -> dict[Peer, list[float]]:
    """Return the milliseconds of each job, from before the put to the begin."""
    together = [peer for peer in peers if not peer.spins]
    alone = [[peer] for peer in peers if peer.spins]
    return {peer: waits for group in (together, *alone) for peer, waits in _waits(samples, group).items()}


def _waits(samples: int, peers: Sequence[Peer]) -> dict[Peer, list[float]]:
    chance = Random(1)  # noqa: S311 - no secret depends on it
    waits: dict[Peer, list[float]] = {peer: [] for peer in peers}
    with ExitStack() as stack:
        contests = [stack.enter_context(running(peer)) for peer in peers]
        for contest in contests:
            contest.do(job.NUMBER)
        for _ in range(samples):
            puts = [_put(contest, chance.uniform(0, _MOST_SECONDS)) for contest in contests]
            for contest, (count, put) in zip(contests, puts, strict=True):
                contest.wait_until_begun(count + 1)
                waits[contest.peer].append((contest.page.last - put) * 1000)
    return waits


def _put(contest: Running, pause: float) -> tuple[int, float]:
    """Put a job after a pause; return how many had begun before, and the time of the put."""
    time.sleep(pause)
    return contest.page.count, contest.producer.put(1, job.NUMBER)
