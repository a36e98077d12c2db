"""dramatiq with one process and the middleware that it has by default.

The mode says with how many threads, and how many jobs are taken ahead if not twice as many.
"""

import sys
from typing import Final

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.bench.peers import given, job

_QUEUE: Final = "default"
_HASTY: Final = {"heartbeat_timeout": 5_000, "maintenance_chance": 1_000_000}

broker = RedisBroker(url=given.url(), **(_HASTY if given.hasty() else {}))
dramatiq.set_broker(broker)


@dramatiq.actor(max_retries=1, min_backoff=job.RETRY_SECONDS * 1000, queue_name=_QUEUE)
def work(number: int, name: str) -> None:
    """Execute the job."""
    job.work(number, name)


def put(count: int, number: int) -> None:
    """Send messages."""
    for _ in range(count):
        work.send(number=number, name=job.NAME)


def command() -> list[str]:
    """Return the command line of a worker."""
    threads, *ahead = given.mode().split()
    settings = [f"dramatiq_queue_prefetch={count}" for count in ahead]
    return ["env", *settings, sys.executable, "-m", "dramatiq", __name__, "--processes", "1", "--threads", threads]


def left() -> int:
    """Count the messages that are not acknowledged, those with a delay too."""
    return sum(int(broker.client.hlen(f"{broker.namespace}:{queue}.msgs")) for queue in (_QUEUE, f"{_QUEUE}.DQ"))
