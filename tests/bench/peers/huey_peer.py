"""Huey with one thread, its default, and results on, which it does not store if a task returns None."""

import sys
from pathlib import Path

from huey import RedisHuey

from tests.bench.peers import given, job

huey = RedisHuey("bench", url=given.url())


@huey.task(retries=1, retry_delay=job.RETRY_SECONDS)
def work(number: int, name: str) -> None:
    """Execute the job."""
    job.work(number, name)


def put(count: int, number: int) -> None:
    """Call the task."""
    for _ in range(count):
        work(number=number, name=job.NAME)


def command() -> list[str]:
    """Return the command line of a consumer."""
    return [str(Path(sys.executable).with_name("huey_consumer")), f"{__name__}.huey", "--workers", "1"]


def left() -> int:
    """Count the jobs that wait and that are scheduled."""
    return huey.pending_count() + huey.scheduled_count()
