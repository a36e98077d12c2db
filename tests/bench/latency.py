"""How long a job waits that is put while the worker has nothing to do."""

import time
from typing import Final

from tests.bench.broker import NOTED, beanstalkd
from tests.bench.report import figure
from tests.bench.worker import tubeherd_run

_JOBS: Final = 500
_IDLE_SECONDS: Final = 0.02


def put_to_start() -> list[list[str]]:
    """Measure from before the put to the executor's call, a job at a time."""
    puts: list[float] = []
    with beanstalkd() as broker, tubeherd_run(broker) as worker:
        worker.wait_until_idle()
        for _ in range(_JOBS):
            puts.append(time.monotonic())
            broker.client.put(NOTED)
            time.sleep(_IDLE_SECONDS)
        notes = worker.wait_for_notes(_JOBS)
    waits = [(note.time - put) * 1000 for put, note in zip(puts, notes, strict=True)]
    return [figure("put to start of the job, worker idle", waits, "ms", most=1)]
