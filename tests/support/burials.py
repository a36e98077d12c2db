"""The records of burials on a server, read by a client that knows nothing of Tubeherd."""

import json
from typing import Any, Final

import greenstalk

from tests.support.beanstalkd import Beanstalkd
from tubeherd.burials import record as records
from tubeherd.burials.record import BurialRecord

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


def encode(record: BurialRecord) -> bytes:
    """Return a record as the body of a job, as a worker writes it."""
    return records.encode(
        {
            "job": record.job,
            "tube": record.tube,
            "time": record.time.timestamp(),
            "kind": record.kind.value,
            "error": record.error,
            "place": record.place,
            "message": record.message,
            "attempts": record.attempts,
            "worker": record.worker,
            "traceback": record.traceback,
        }
    )


def count_records(beanstalkd: Beanstalkd) -> int:
    """Return how many records there are, in all states."""
    return sum(beanstalkd.count(RECORDS).values())


def put_record(beanstalkd: Beanstalkd, job: int, **fields: Any) -> None:
    """Put the record of a burial; see `as_written`."""
    beanstalkd.put(RECORDS, as_written(job, **fields), priority=65536, ttr=120)


def as_written(job: int, **fields: Any) -> bytes:
    """Return the record of a burial because of a KeyError in the tube mail; `fields` replace those of the record."""
    record = {
        "job": job,
        "tube": "mail",
        "time": "2026-11-28T12:00:00Z",
        "kind": "exception",
        "error": "KeyError",
        "place": "mail.py:3",
        "message": "KeyError: 'adress'",
        "attempts": 2,
        "worker": "here",
    }
    return json.dumps(record | fields).encode()
