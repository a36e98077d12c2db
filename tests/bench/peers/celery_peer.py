"""Celery with one process that executes, either as it comes or acknowledging late, which is what Tubeherd does too.

Acknowledging late, it also takes 64 short jobs ahead, as its guide on optimizing advises.
"""

import sys
from typing import Final

from celery import Celery

from tests.bench.peers import given, job

_QUEUE: Final = "celery"
_LATE: Final = {"task_acks_late": True, "task_reject_on_worker_lost": True, "worker_prefetch_multiplier": 64}
_HASTY: Final = {"visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}

app = Celery("bench", broker=given.url())
app.conf.update(_LATE if given.mode() == "late" else {})
app.conf.broker_transport_options = _HASTY if given.hasty() else {}


@app.task(autoretry_for=(Exception,), max_retries=1, default_retry_delay=job.RETRY_SECONDS)
def work(number: int, name: str) -> None:
    """Execute the job."""
    job.work(number, name)


def put(count: int, number: int) -> None:
    """Send messages."""
    for _ in range(count):
        work.delay(number=number, name=job.NAME)


def command() -> list[str]:
    """Return the command line of a worker."""
    return [sys.executable, "-m", "celery", "--app", __name__, "worker", "--concurrency", "1"]


def left() -> int:
    """Count the messages that wait and those that are not acknowledged."""
    with app.connection_for_read() as connection:
        client = connection.default_channel.client
        return int(client.llen(_QUEUE)) + int(client.hlen("unacked"))
