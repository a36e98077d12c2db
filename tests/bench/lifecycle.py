"""How long the worker takes to start, to recycle a slot and to stop."""

from itertools import pairwise
from typing import Final

from tests.bench.broker import NOTED, beanstalkd
from tests.bench.report import figure
from tests.bench.worker import tubeherd_run

_STARTS: Final = 10
_RECYCLES: Final = 25
_MAX_JOBS: Final = 100


def start_and_stop() -> list[list[str]]:
    """Measure from the start of the command to the first job, and from SIGTERM to the end of the idle worker."""
    starts, stops = [], []
    for _ in range(_STARTS):
        with beanstalkd() as broker:
            broker.client.put(NOTED)
            with tubeherd_run(broker) as worker:
                (note,) = worker.wait_for_notes(1)
                starts.append(note.time - worker.started)
                worker.wait_until_idle()
                stops.append(worker.stop())
    return [
        figure("start of the command to start of the first job, which waits already", starts, "s", most=0.3),
        figure("SIGTERM to exit, idle", stops, "s", most=1, judged=max),
    ]


def recycle_gap() -> list[list[str]]:
    """Measure from the last job before a slot is recycled to the first one after it, while jobs are ready."""
    jobs = _MAX_JOBS * (_RECYCLES + 1)
    with beanstalkd() as broker:
        broker.fill(jobs, NOTED)
        with tubeherd_run(broker, "--max-jobs", str(_MAX_JOBS)) as worker:
            notes = worker.wait_for_notes(jobs)
    gaps = [(after.time - before.time) * 1000 for before, after in pairwise(notes) if before.pid != after.pid]
    if len(gaps) < _RECYCLES:
        raise RuntimeError(f"the slot was recycled {len(gaps)} times, not {_RECYCLES}")
    return [figure("last job before to first job after a recycle, jobs ready", gaps, "ms", most=300, judged=max)]
