"""Makes the record of a burial, which says why the job was buried, from what is known of the job."""

import os
from typing import Final

from tubeherd.burials.record import encode
from tubeherd.logs import log
from tubeherd.policy import Bury
from tubeherd.processing.attempt import Processed
from tubeherd.processing.reasons import type_name
from tubeherd.queue.answers import Burying

_HOST: Final = os.uname().nodename


def with_record(done: Processed, verdict: Bury) -> Burying:
    """Return a job that is to be buried, with its record. If no record can be made, that is logged and not raised."""
    job = done.job
    try:
        record = encode(
            job=job.id,
            tube=job.tube,
            time=log.timestamp(),
            kind=verdict.kind.value,
            error=None if done.error is None else type_name(done.error),
            place=done.place,
            message=verdict.reason,
            attempts=job.attempt,
            worker=_HOST,
            traceback=done.traceback,
        )
    except Exception as error:  # a burial must not fail because of its record
        log.warning(f"no record could be made of the burial: {type_name(error)}", job=job.id)
        record = None
    return Burying(job.id, verdict.priority, record)
