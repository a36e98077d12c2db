"""What jobs cost the others that are stopped at their deadline: 50 coroutines at a time, of which 1 in 100 is late.

Each late job leaves a task, which can be ended, so nothing is left behind. It keeps its lane until its deadline, so the
timeout is short enough that lanes are not what limits the others.
"""

from typing import Final

from tests.bench.broker import NOTED, SILENT, beanstalkd
from tests.bench.contestants import Spent, worked
from tests.bench.report import figure
from tests.bench.worker import tubeherd_run
from tests.support.waiting import wait_for

_JOBS: Final = 16_000
_ROUNDS: Final = 11
_LANES: Final = 50
_LATE_EACH: Final = 100
_TRIES: Final = 10
_TIMEOUT: Final = "250ms"
_LATE: Final = b'{"number": 2, "name": "abcdefgh"}'


def cost() -> list[list[str]]:
    """Measure without and with late jobs, in turn; the median of the rounds' ratios is what counts."""
    rates, works = [], []
    for number in range(_ROUNDS):
        if number % 2:
            late, without = _spent(late=True), _spent(late=False)
        else:
            without, late = _spent(late=False), _spent(late=True)
        rates.append(100 * (1 - without.elapsed / late.elapsed))
        works.append(100 * (late.worked / without.worked - 1))
    what = "1 % of late jobs on 50 lanes costs, nothing left behind"
    return [
        figure(f"throughput that {what}", rates, "%", most=10),
        figure(f"processor time that {what}", works, "%"),
    ]


def _spent(late: bool) -> Spent:
    """Return what it takes until the last of the jobs begins, if no other jobs were late than those that should be."""
    bodies = [_LATE if late and number % _LATE_EACH == 0 else SILENT for number in range(1, _JOBS)]
    for _ in range(_TRIES):
        spent, buried = _run(bodies)
        if buried == bodies.count(_LATE):
            return spent
    raise RuntimeError(f"of jobs that take a millisecond some took {_TIMEOUT}: the machine is too busy")


def _run(bodies: list[bytes]) -> tuple[Spent, int]:
    """Return what these jobs take, with a noted one before and after them, and how many of them were late."""
    with beanstalkd() as broker:
        options = ("--async-concurrency", str(_LANES), "--retry-delays", "none", "--job-timeout", _TIMEOUT)
        with tubeherd_run(broker, *options, executors="tests.bench.late_executors") as worker:
            worker.wait_until_idle()
            with broker.paused():
                broker.put_all([NOTED, *bodies, NOTED])
                before = worked(*worker.pids())
            first, last = worker.wait_for_notes(2, pause=0.05)
            spent = Spent(last.time - first.time, worked(*worker.pids()) - before)
            wait_for(lambda: sum(broker.done()) == len(bodies) + 2, "each job is deleted or buried")
            return spent, broker.done()[1]
