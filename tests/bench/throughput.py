"""How many no-op jobs a second leave a tube, by `tubeherd run` and by bare loops on the same client library."""

from collections.abc import Collection
from statistics import median
from typing import Final

from tests.bench.broker import ALL_CORES
from tests.bench.contestants import (
    BARE,
    QUIET,
    RUN,
    SHUFFLED,
    STATS,
    Contestant,
    Placement,
    Speed,
    bench_elsewhere,
    speed,
)
from tests.bench.report import NO_TARGET, Verdict, at_least, both, table

ROUNDS: Final = 5
_SECONDS: Final = 1.75
_TRIAL_JOBS: Final = 3000
_CONTESTANTS: Final = (BARE, STATS, RUN, SHUFFLED, QUIET)

PINNED: Final = Placement("one core, concurrency 1", 1, {max(ALL_CORES)})
TWO_PINNED: Final = Placement("one core, concurrency 2", 2, PINNED.cores)
ONE: Final = Placement("all cores, concurrency 1", 1, ALL_CORES)
TWO: Final = Placement("all cores, concurrency 2", 2, ALL_CORES)
PLACEMENTS: Final = (PINNED, TWO_PINNED, ONE, TWO)
_OVER_STATS: Final = {
    (PINNED.name, RUN): 1.5,
    (PINNED.name, SHUFFLED): 1.15,
    (TWO_PINNED.name, RUN): 1.15,
    (ONE.name, RUN): 1.0,
    (TWO.name, RUN): 1.15,
}
"""How many times as fast as the loop with stats-job a contestant should be."""

Rounds = dict[Contestant, list[Speed]]


def measure(placements: Collection[Placement], rounds: int = ROUNDS) -> str:
    """Measure all contestants in turn, round by round, and return the table."""
    lines: list[list[str]] = []
    for placement in placements:
        speeds = _race(placement, rounds)
        lines += [_line(placement, contestant, speeds) for contestant in _CONTESTANTS]
    head = ["where", "loop", "jobs/s", "min", "max", "x bare", "x stats-job", "CPU us/job", "target", "met"]
    return table(head, lines)


def _race(placement: Placement, rounds: int) -> Rounds:
    speeds: Rounds = {contestant: [] for contestant in _CONTESTANTS}
    with bench_elsewhere(placement.cores):
        # The first run of each is not counted: it warms the caches and tells how many jobs fill the time.
        counts = {one: int(speed(one, placement, _TRIAL_JOBS).rate * _SECONDS) for one in _CONTESTANTS}
        for number in range(rounds):
            for one in _CONTESTANTS:
                speeds[one].append(speed(one, placement, counts[one]))
            done = ", ".join(f"{speeds[one][-1].rate:,.0f}" for one in _CONTESTANTS)
            print(f"throughput, {placement.name}, round {number + 1}: {done} jobs/s", flush=True)
    return speeds


def _line(placement: Placement, contestant: Contestant, speeds: Rounds) -> list[str]:
    rates = [one.rate for one in speeds[contestant]]
    cells = [f"{value:,.0f}" for value in (median(rates), min(rates), max(rates))]
    over_bare, over_stats = _ratio(speeds, contestant, BARE), _ratio(speeds, contestant, STATS)
    cells += [f"{over_bare:.2f}", f"{over_stats:.2f}", f"{median(one.work for one in speeds[contestant]):.0f}"]
    verdict = _verdict(placement, contestant, over_bare, over_stats)
    return [placement.name, contestant.name, *cells, *verdict]


def _verdict(placement: Placement, contestant: Contestant, over_bare: float, over_stats: float) -> Verdict:
    least = _OVER_STATS.get((placement.name, contestant))
    if least is None:
        return NO_TARGET
    verdict = at_least(over_stats, least, "x stats-job")
    if placement is PINNED and contestant is RUN:
        return both(verdict, at_least(over_bare, 0.85, "x bare"))
    return verdict


def _ratio(speeds: Rounds, contestant: Contestant, base: Contestant) -> float:
    """Return the median of the rounds' ratios: what slows a whole round down does not count."""
    return median(own.rate / other.rate for own, other in zip(speeds[contestant], speeds[base], strict=True))
