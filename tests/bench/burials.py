"""What the records of burials cost: how fast jobs are buried with them and without.

Two workers, each with a beanstalkd of its own, bury in turn a thousand jobs at a time: one writes records, the other
none. All of it is on one core, so that what is counted is all that beanstalkd and the worker do, and not how long an
idle core takes to wake up. At first both bury as many jobs as there may be records. So in each round that counts, every
new record makes an old one go.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final

from tests.bench.broker import FAILING, Broker, beanstalkd
from tests.bench.contestants import bench_elsewhere
from tests.bench.report import figure
from tests.bench.throughput import PINNED
from tests.bench.worker import Worker, tubeherd_run
from tubeherd.burials.record import RECORDS_A_LOOK, RECORDS_MOST

_PAIRS: Final = 60
_GROUP: Final = 10
"""Of so many pairs in a row the median is taken, so that the smallest and the largest of these show the error."""
_JOBS: Final = 1_000
_FIRST_JOBS: Final = RECORDS_MOST + 5 * RECORDS_A_LOOK


class _Burier:
    """A worker that buries jobs."""

    def __init__(self, broker: Broker, worker: Worker) -> None:
        self._broker = broker
        self._worker = worker
        self._notes = 0

    def rate(self, count: int) -> float:
        """Have so many jobs buried, and return how many were in a second."""
        with self._broker.paused():
            self._broker.fill(count, FAILING)
        self._notes += 2
        first, last = self._worker.wait_for_notes(self._notes)[-2:]
        return (count - 1) / (last.time - first.time)


def with_and_without_records() -> list[list[str]]:
    """Measure in turn how many jobs a second are buried with records and without."""
    with bench_elsewhere(PINNED.cores), _burier("on") as on, _burier("off") as off:
        for burier in (on, off):
            burier.rate(_FIRST_JOBS)
        pairs = [_pair(on, off, on_first=bool(number % 2)) for number in range(_PAIRS)]
    costs = [(1 - recorded / without) * 100 for recorded, without in pairs]
    return [
        figure("burials without records", [rate for _, rate in pairs], "jobs/s"),
        figure(f"burials with records, of which {RECORDS_MOST:,} are kept", [rate for rate, _ in pairs], "jobs/s"),
        figure(
            f"throughput of burying that records cost, each sample the median of {_GROUP} pairs",
            [median(costs[start : start + _GROUP]) for start in range(0, _PAIRS, _GROUP)],
            "%",
            most=15,
        ),
    ]


def _pair(on: _Burier, off: _Burier, *, on_first: bool) -> tuple[float, float]:
    """Return the rate with records and the one without, measured right after each other."""
    if on_first:
        return on.rate(_JOBS), off.rate(_JOBS)
    without = off.rate(_JOBS)
    return on.rate(_JOBS), without


@contextmanager
def _burier(records: str) -> Iterator[_Burier]:
    options = ("--retry-delays", "none", "--burial-records", records)
    with beanstalkd(PINNED.cores) as broker, tubeherd_run(broker, *options, cores=PINNED.cores) as worker:
        worker.wait_until_idle()
        yield _Burier(broker, worker)
