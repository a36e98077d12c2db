"""Makes the record of a burial, which says why the job was buried, from what is known of the job."""

import os
from datetime import UTC, datetime
from typing import Final

from tubeherd.burials.record import BurialRecord, encode
from tubeherd.logs import log
from tubeherd.policy import Bury
from tubeherd.processing.attempt import Processed
from tubeherd.processing.reasons import type_name
from tubeherd.queue.answers import Burying

_HOST: Final = os.uname().nodename


def with_record(done: Processed, verdict: Bury) -> Burying:
    """Return a job that is to be buried, with its record. If no record can be made, that is logged and not raised."""
    try:
        record = encode(record_of(done, verdict, datetime.now(UTC)))
    except Exception as error:  # a burial must not fail because of its record
        log.warning(f"no record could be made of the burial: {type_name(error)}", job=done.job.id)
        record = None
    return Burying(done.job.id, verdict.priority, record)


def record_of(done: Processed, verdict: Bury, now: datetime) -> BurialRecord:
    """Return the record of a job that is buried `now`."""
    return BurialRecord(
        job=done.job.id,
        tube=done.job.tube,
        time=now,
        kind=verdict.kind,
        error=None if done.error is None else type_name(done.error),
        place=done.place,
        message=verdict.reason,
        attempts=done.job.attempt,
        worker=_HOST,
        traceback=done.traceback,
    )
