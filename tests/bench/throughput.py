"""How many no-op jobs a second leave a tube, by `tubeherd run` and by bare loops on the same client library."""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from broker import ALL_CORES, Broker, beanstalkd, wait_for
from report import NO_TARGET, at_least, both, table
from worker import tubeherd_run

ROUNDS: Final = 5
_SECONDS: Final = 1.75
_TRIAL_JOBS: Final = 3000
_BARE, _STATS = "reserve + delete", "reserve + stats-job + delete"
_RUN, _QUIET = "`tubeherd run`", "`tubeherd run --log-level warning`"
CONTESTANTS: Final = (_BARE, _STATS, _RUN, _QUIET)


class Placement(NamedTuple):
    """How many processes take jobs at a time, and on which cores they and beanstalkd run."""

    name: str
    concurrency: int
    cores: Collection[int]
    over_bare: float | None
    """What `tubeherd run` is to reach, as a multiple of the bare loop."""
    over_stats: float


PINNED: Final = Placement("one core, concurrency 1", 1, {max(ALL_CORES)}, 0.7, 1.15)
PLACEMENTS: Final = (
    PINNED,
    Placement("all cores, concurrency 1", 1, ALL_CORES, None, 1.0),
    Placement("all cores, concurrency 2", 2, ALL_CORES, None, 1.0),
)


def measure(placements: Collection[Placement], rounds: int = ROUNDS) -> str:
    """Measure all contestants in turn, round by round, and return the table."""
    lines: list[list[str]] = []
    for placement in placements:
        rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        with bench_elsewhere(placement.cores):
            # The first run of each is not counted: it warms the caches and tells how many jobs fill the time.
            counts = {name: int(_rate(name, placement, _TRIAL_JOBS) * _SECONDS) for name in CONTESTANTS}
            for number in range(rounds):
                for name in CONTESTANTS:
                    rates[name].append(_rate(name, placement, counts[name]))
                done = ", ".join(f"{rates[name][-1]:,.0f}" for name in CONTESTANTS)
                print(f"throughput, {placement.name}, round {number + 1}: {done} jobs/s", flush=True)
        lines += [_line(placement, name, rates) for name in CONTESTANTS]
    head = ["where", "loop", "jobs/s", "min", "max", "x bare", "x stats-job", "target", "met"]
    return table(head, lines)


def _line(placement: Placement, name: str, rates: dict[str, list[float]]) -> list[str]:
    over_bare, over_stats = _ratio(rates[name], rates[_BARE]), _ratio(rates[name], rates[_STATS])
    verdict = NO_TARGET
    if name == _RUN:
        verdict = at_least(over_stats, placement.over_stats, "x stats-job")
        if placement.over_bare is not None:
            verdict = both(verdict, at_least(over_bare, placement.over_bare, "x bare"))
    own = rates[name]
    speeds = [f"{speed:,.0f}" for speed in (median(own), min(own), max(own))]
    return [placement.name, name, *speeds, f"{over_bare:.2f}", f"{over_stats:.2f}", *verdict]


def _ratio(rates: list[float], base: list[float]) -> float:
    """Return the median of the rounds' ratios: what slows a whole round down does not count."""
    return median(own / other for own, other in zip(rates, base, strict=True))


def _rate(name: str, placement: Placement, count: int) -> float:
    with beanstalkd(placement.cores) as broker:
        match name:
            case _ if name == _BARE:
                seconds = _loop_seconds(broker, placement, "bare", count)
            case _ if name == _STATS:
                seconds = _loop_seconds(broker, placement, "stats", count)
            case _:
                options = ["--log-level", "warning"] if name == _QUIET else []
                seconds = _run_seconds(broker, placement, options, count)
        wait_for(lambda: broker.deleted() == count, f"{count} jobs deleted by {name}", seconds=5)
    return count / seconds


def _loop_seconds(broker: Broker, placement: Placement, loop: str, count: int) -> float:
    """Return the seconds from the first reserve to the last delete, by the loops' own clock."""
    broker.fill(count)
    command = [sys.executable, str(Path(__file__).with_name("bare_loop.py")), str(broker.port), loop]
    with ExitStack() as stack:
        loops = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    preexec_fn=lambda: os.sched_setaffinity(0, placement.cores),
                )
            )
            for _ in range(placement.concurrency)
        ]
        for process in loops:
            assert process.stdout is not None
            process.stdout.readline()
        for process in loops:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        times = [[float(word) for word in process.communicate()[0].split()] for process in loops]
    return max(ended for _, ended in times) - min(began for began, _ in times)


def _run_seconds(broker: Broker, placement: Placement, options: list[str], count: int) -> float:
    """Return the seconds from the first job's call to the last one's, by the executors' own clock."""
    slots = placement.concurrency
    with tubeherd_run(broker, "--concurrency", str(slots), *options, cores=placement.cores) as worker:
        broker.wait_for_waiting(slots)
        with broker.paused():
            broker.fill(count)
        first, last = worker.wait_for_notes(2, pause=0.05)
    return last.time - first.time


@contextmanager
def bench_elsewhere(cores: Collection[int]) -> Iterator[None]:
    """Keep this process off the measured cores, where it can do with others."""
    if others := ALL_CORES - set(cores):
        os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, ALL_CORES)
