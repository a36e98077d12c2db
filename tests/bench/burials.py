"""What the records of burials cost: how fast jobs are buried with them and without.

Of 40,000 burials the last 30,000 each make an old record go.
Measured in processor time of beanstalkd and the worker together, because on one core that is what bounds the speed, and
other programs on the machine change it less than the time on the clock.
"""

from statistics import median
from typing import Final

from tests.bench.broker import FAILING, beanstalkd
from tests.bench.contestants import bench_elsewhere, worked
from tests.bench.report import figure
from tests.bench.throughput import PINNED
from tests.bench.worker import tubeherd_run

_ROUNDS: Final = 3
_JOBS: Final = 40_000


def with_and_without_records() -> list[list[str]]:
    """Measure in turn what 40,000 burials take with records and without, beanstalkd and the worker on one core."""
    times: dict[str, list[float]] = {"on": [], "off": []}
    with bench_elsewhere(PINNED.cores):
        for _ in range(_ROUNDS):
            for records, seconds in times.items():
                seconds.append(_burial(records) * 1e6)
    ratios = [(1 - off / on) * 100 for on, off in zip(times["on"], times["off"], strict=True)]
    return [
        figure("burial without a record", times["off"], "us"),
        figure("burial with its record, of which 10,000 are kept", times["on"], "us"),
        figure("throughput of burying that records cost", ratios, "%", most=15, judged=median),
    ]


def _burial(records: str) -> float:
    """Return how many seconds of processor time one burial takes."""
    options = ("--retry-delays", "none", "--burial-records", records)
    with beanstalkd(PINNED.cores) as broker, tubeherd_run(broker, *options, cores=PINNED.cores) as worker:
        worker.wait_until_idle()
        with broker.paused():
            broker.fill(_JOBS, FAILING)
            before = worked(broker.pid, *worker.pids())
        worker.wait_for_notes(2, pause=0.05)
        return (worked(broker.pid, *worker.pids()) - before) / _JOBS
