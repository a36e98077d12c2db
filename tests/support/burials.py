"""The records of burials on a server, read by a client that knows nothing of Tubeherd."""

import json
from typing import Any, Final

import greenstalk

from tests.support.beanstalkd import Beanstalkd

RECORDS: Final = "tubeherd.burials"


def burial_records(beanstalkd: Beanstalkd) -> list[dict[str, Any]]:
    """Return all records as they are in their tube, those that were put first first."""
    client = beanstalkd.client()
    client.watch(RECORDS)
    client.ignore("default")
    taken = []
    try:
        while True:
            taken.append(client.reserve(timeout=0))
    except greenstalk.TimedOutError:
        return [json.loads(job.body) for job in taken]
    finally:
        for job in taken:
            client.release(job, priority=65536)
        client.close()


def count_records(beanstalkd: Beanstalkd) -> int:
    """Return how many records there are, in all states."""
    return sum(beanstalkd.count(RECORDS).values())
