"""What the records of burials cost: how fast jobs are buried with them and without.

Three workers, each with a beanstalkd of its own, fail in turn a thousand jobs at a time: one buries them with records,
one buries them without, and one releases them with a delay. A job with one retry, as a pool has by default, takes a
release and a burial. So what records cost of these is computed from the three rates.

All of it is on one core, so that what is counted is all that beanstalkd and the worker do, and not how long an idle
core takes to wake up. At first the two that bury do so with as many jobs as there may be records. So in each round that
counts, every new record makes an old one go. That is a put and a delete more for beanstalkd, which has only a reserve,
a stats-job and a bury without records.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final, NamedTuple

from tests.bench.broker import FAILING, Broker, beanstalkd
from tests.bench.contestants import bench_elsewhere
from tests.bench.report import figure
from tests.bench.throughput import PINNED
from tests.bench.worker import Worker, tubeherd_run
from tubeherd.burials.record import RECORDS_A_LOOK, RECORDS_MOST

_ROUNDS: Final = 60
_GROUP: Final = 10
"""Of so many rounds in a row the median is taken, so that the smallest and the largest of these show the error."""
_COST: Final = f"throughput of burying jobs {{}} that records cost, each sample the median of {_GROUP} rounds"
_JOBS: Final = 1_000
_FIRST_JOBS: Final = RECORDS_MOST + 5 * RECORDS_A_LOOK


class _Burier:
    """A worker that buries or releases jobs, which all fail."""

    def __init__(self, broker: Broker, worker: Worker) -> None:
        self._broker = broker
        self._worker = worker
        self._notes = 0

    def rate(self, count: int) -> float:
        """Have so many jobs fail, and return how many did in a second."""
        with self._broker.paused():
            self._broker.fill(count, FAILING)
        self._notes += 2
        first, last = self._worker.wait_for_notes(self._notes)[-2:]
        return (count - 1) / (last.time - first.time)


def with_and_without_records() -> list[list[str]]:
    """Measure in turn how many jobs a second are buried with records and without."""
    with (
        bench_elsewhere(PINNED.cores),
        _burier("none", "on") as on,
        _burier("none", "off") as off,
        _burier("1h", "off") as retried,
    ):
        for burier in (on, off):
            burier.rate(_FIRST_JOBS)
        rounds = [_round(on, off, retried, on_first=bool(number % 2)) for number in range(_ROUNDS)]
    return [
        figure("failures that are released", [rates.released for rates in rounds], "jobs/s"),
        figure("burials without records", [rates.without for rates in rounds], "jobs/s"),
        figure(
            f"burials with records, of which {RECORDS_MOST:,} are kept", [rates.recorded for rates in rounds], "jobs/s"
        ),
        figure(_COST.format("with one retry"), _medians([rates.cost(retries=1) for rates in rounds]), "%", most=15),
        figure(_COST.format("without retries"), _medians([rates.cost(retries=0) for rates in rounds]), "%"),
    ]


class _Rates(NamedTuple):
    """How many jobs a second were released, buried without records, and buried with records."""

    released: float
    without: float
    recorded: float

    def cost(self, retries: int) -> float:
        """Return how much of the throughput of burying jobs with so many retries records cost, in percent."""
        before = retries / self.released
        return (1 - (before + 1 / self.without) / (before + 1 / self.recorded)) * 100


def _round(on: _Burier, off: _Burier, retried: _Burier, *, on_first: bool) -> _Rates:
    """Measure the three right after each other."""
    released = retried.rate(_JOBS)
    if on_first:
        recorded = on.rate(_JOBS)
        return _Rates(released, off.rate(_JOBS), recorded)
    without = off.rate(_JOBS)
    return _Rates(released, without, on.rate(_JOBS))


def _medians(samples: list[float]) -> list[float]:
    return [median(samples[start : start + _GROUP]) for start in range(0, _ROUNDS, _GROUP)]


@contextmanager
def _burier(delays: str, records: str) -> Iterator[_Burier]:
    options = ("--retry-delays", delays, "--burial-records", records)
    with beanstalkd(PINNED.cores) as broker, tubeherd_run(broker, *options, cores=PINNED.cores) as worker:
        worker.wait_until_idle()
        yield _Burier(broker, worker)
