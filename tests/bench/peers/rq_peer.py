"""RQ with a worker of the class that the mode names, in a script that imports the job first, as its guide advises."""

import sys
from typing import Final

import rq
from redis import Redis
from rq.registry import ScheduledJobRegistry, StartedJobRegistry

from tests.bench.peers import given, job

_OPTIONS: Final = {"retry": rq.Retry(max=1, interval=job.RETRY_SECONDS)}
_HASTY_OPTIONS: Final = {"timeout": 5, "retry": rq.Retry(max=1)}
_HASTY: Final = {"job_monitoring_interval": 1, "maintenance_interval": 1, "worker_ttl": 20}

queue = rq.Queue("bench", connection=Redis.from_url(given.url()))


def put(count: int, number: int) -> None:
    """Enqueue in one go."""
    options = _HASTY_OPTIONS if given.hasty() else _OPTIONS
    arguments = {"number": number, "name": job.NAME}
    queue.enqueue_many([rq.Queue.prepare_data(job.work, kwargs=arguments, **options) for _ in range(count)])


def command() -> list[str]:
    """Return the command line of this module."""
    return [sys.executable, "-m", __name__]


def left() -> int:
    """Count the jobs that wait, that are scheduled and that are executed."""
    registries = (StartedJobRegistry(queue=queue), ScheduledJobRegistry(queue=queue))
    return int(queue.count) + sum(registry.get_job_count(cleanup=False) for registry in registries)


if __name__ == "__main__":
    worker = getattr(rq, given.mode())([queue], connection=queue.connection, **(_HASTY if given.hasty() else {}))
    worker.work(with_scheduler=True)
