"""Tubeherd with the same job as its peers."""

import json
from functools import cache

from pydantic import BaseModel

from tests.bench.broker import TUBE, Broker
from tests.bench.peers import given, job
from tests.bench.worker import run_command
from tubeherd import executor


class Work(BaseModel):
    number: int
    name: str


@executor(TUBE)
def work(work: Work) -> None:
    """Execute the job."""
    job.work(work.number, work.name)


@cache
def _broker() -> Broker:
    return Broker(given.server()[1], pid=0)


def put(count: int, number: int) -> None:
    """Put one job as users do, more in one write."""
    body = json.dumps({"number": number, "name": job.NAME}).encode()
    if count == 1:
        _broker().client.put(body)
    else:
        _broker().put_all([body] * count)


def command() -> list[str]:
    """Return the command line of a worker with one slot."""
    retries = ["--retry-delays", "1s"] if given.hasty() else []
    return run_command(_broker().server, __name__, *retries)


def left() -> int:
    """Count the jobs in the tube, those that wait for a retry too."""
    stats = _broker().client.stats_tube(TUBE)
    waiting = stats["current-jobs-ready"] + stats["current-jobs-delayed"]
    return waiting + stats["current-jobs-reserved"] + stats["current-jobs-buried"]
