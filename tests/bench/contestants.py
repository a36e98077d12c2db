"""Ways to empty a tube, each timed by its own clock."""

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final, NamedTuple

import psutil

from tests.bench.broker import ALL_CORES, Broker, beanstalkd
from tests.bench.worker import tubeherd_run
from tests.support.project import ROOT
from tests.support.waiting import wait_for


class Placement(NamedTuple):
    """How many processes take jobs at a time, and on which cores they and beanstalkd run."""

    name: str
    concurrency: int
    cores: Collection[int]


class Speed(NamedTuple):
    """How fast a tube was emptied."""

    rate: float
    """Jobs a second."""
    work: float
    """Microseconds of processor time a job, beanstalkd's and the worker's together."""


class Spent(NamedTuple):
    """Seconds on the clock, and of processor time."""

    elapsed: float
    worked: float


class Contestant(NamedTuple):
    """A way to empty a tube."""

    name: str
    drain: Callable[[Broker, Placement, int], Spent]


def speed(contestant: Contestant, placement: Placement, jobs: int) -> Speed:
    """Measure once, with a fresh beanstalkd; raises TimeoutError where a job is not deleted."""
    with beanstalkd(placement.cores) as broker:
        spent = contestant.drain(broker, placement, jobs)
        wait_for(lambda: broker.deleted() == jobs, f"{jobs} jobs deleted by {contestant.name}", seconds=5)
    return Speed(jobs / spent.elapsed, spent.worked / jobs * 1e6)


def _drain_by_loop(loop: str, broker: Broker, placement: Placement, jobs: int) -> Spent:
    """Time from the first reserve to the last delete."""
    broker.fill(jobs)
    command = [sys.executable, "-m", "tests.bench.bare_loop", str(broker.port), loop]
    with ExitStack() as stack:
        loops = [stack.enter_context(_loop(command, placement.cores)) for _ in range(placement.concurrency)]
        for process in loops:
            _line(process)
        before = worked(broker.pid, *(process.pid for process in loops))
        for process in loops:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        times = [[float(word) for word in _line(process).split()] for process in loops]
        spent = worked(broker.pid, *(process.pid for process in loops)) - before
    return Spent(max(ended for _, ended in times) - min(began for began, _ in times), spent)


def _drain_by_worker(
    options: Collection[str], broker: Broker, placement: Placement, jobs: int, in_order: bool = True
) -> Spent:
    """Time from the call for the first job to the call for the last one."""
    slots = placement.concurrency
    with tubeherd_run(broker, "--concurrency", str(slots), *options, cores=placement.cores) as worker:
        worker.wait_until_idle(slots)
        with broker.paused():
            broker.fill(jobs, in_order=in_order)
            before = worked(broker.pid, *worker.pids())
        first, last = worker.wait_for_notes(2, pause=0.05)
        spent = worked(broker.pid, *worker.pids()) - before
    return Spent(last.time - first.time, spent)


BARE: Final = Contestant("reserve + delete", partial(_drain_by_loop, "bare"))
STATS: Final = Contestant("reserve + stats-job + delete", partial(_drain_by_loop, "stats"))
RUN: Final = Contestant("`tubeherd run`", partial(_drain_by_worker, ()))
SHUFFLED: Final = Contestant("`tubeherd run`, ids in no order", partial(_drain_by_worker, (), in_order=False))
QUIET: Final = Contestant("`tubeherd run --log-level warning`", partial(_drain_by_worker, ("--log-level", "warning")))


def _loop(command: list[str], cores: Collection[int]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )


def _line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def worked(*pids: int) -> float:
    """Return the seconds of processor time that these processes have used, with children that they have waited for."""
    return float(sum(sum(psutil.Process(pid).cpu_times()[:4]) for pid in pids))


@contextmanager
def bench_elsewhere(cores: Collection[int]) -> Iterator[None]:
    """Keep this process off the measured cores, where it can do with others."""
    if others := ALL_CORES - set(cores):
        os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, ALL_CORES)
