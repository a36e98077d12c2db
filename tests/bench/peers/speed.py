"""How many no-op jobs a second a contestant executes, what processor time that takes, and the memory of its worker.

The jobs are put while the worker is suspended, so that it finds them all. They are timed by the executor's clock, from
the first begin to the last.
"""

import time
from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple

from tests.bench import memory
from tests.bench.contestants import bench_elsewhere
from tests.bench.peers import job
from tests.bench.peers.running import PEERS, Peer, Running, running
from tests.bench.throughput import PINNED

ROUNDS: Final = 5
_SECONDS: Final = 1.5
_TRIAL_JOBS: Final = 150
_SETTLING_SECONDS: Final = 0.2
"""After which what a worker does after a job is done too, such as the end of the job's process."""


class Speed(NamedTuple):
    """What a run has shown."""

    rate: float
    """Jobs a second."""
    work: float
    """Microseconds of processor time a job, the broker's and the worker's together."""
    pss: float
    """MiB that the worker has in memory afterwards, idle."""


Rounds = dict[Peer, list[Speed]]


def race(rounds: int = ROUNDS, peers: Sequence[Peer] = PEERS) -> Rounds:
    """Measure all in turn, round by round."""
    with bench_elsewhere(PINNED.cores):
        # The first run of each is not counted: it shows how many jobs fill the time.
        counts = {peer: max(_TRIAL_JOBS, int(_speed(peer, _TRIAL_JOBS).rate * _SECONDS)) for peer in peers}
        speeds: Rounds = {peer: [] for peer in peers}
        for number in range(rounds):
            for peer in peers:
                speeds[peer].append(one := _speed(peer, counts[peer]))
                print(f"round {number + 1}, {peer.name}, {peer.runs_as}: {one.rate:,.0f} jobs/s", flush=True)
    return speeds


def cells(own: Sequence[Speed], tubeherds: Sequence[Speed]) -> list[str]:
    """Return the cells of a row; how much faster Tubeherd is, is the median of the rounds' ratios."""
    rates = [one.rate for one in own]
    faster = median(tubeherd.rate / one.rate for one, tubeherd in zip(own, tubeherds, strict=True))
    figures = [f"{value:,.0f}" for value in (median(rates), min(rates), max(rates))]
    columns = ([one.work for one in own], [one.pss for one in own])
    return [*figures, f"{faster:.3g}", *(f"{median(column):,.0f}" for column in columns)]


def _speed(peer: Peer, jobs: int) -> Speed:
    with running(peer, PINNED.cores) as contest:
        contest.do(job.NUMBER)
        time.sleep(_SETTLING_SECONDS)
        return _drain(contest, jobs)


def _drain(contest: Running, jobs: int) -> Speed:
    page, producer, worker = contest.page, contest.producer, contest.worker
    with worker.suspended():
        page.clear()
        producer.put(jobs, job.NUMBER)
        before = contest.worked()
    contest.wait_until_begun(jobs)
    spent = contest.worked() - before
    worker.wait_for(lambda: producer.left() == 0, f"the broker of {contest.peer.name} has no job left")
    time.sleep(_SETTLING_SECONDS)
    if page.count != jobs:
        raise RuntimeError(f"{contest.peer.name} has begun {page.count} of {jobs} jobs")
    rate = (jobs - 1) / (page.last - page.first)
    return Speed(rate, spent / jobs * 1e6, memory.usage(worker.pids()).pss)
