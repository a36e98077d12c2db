"""Makes the record of a burial, which says why the job was buried, from what is known of the job."""

import os
import time
from typing import Final

from tubeherd.burials.record import encode
from tubeherd.logs import log
from tubeherd.policy import Bury
from tubeherd.processing.processed import Processed
from tubeherd.processing.reasons import error_name, type_name

_HOST: Final = os.uname().nodename


def record_of(done: Processed, verdict: Bury) -> bytes | None:
    """Return the record of a job that is to be buried. If none can be made, that is logged and not raised."""
    job = done.job
    try:
        return encode(
            {
                "job": job.id,
                "tube": job.tube,
                "time": time.time(),
                "kind": verdict.kind._value_,  # `value` takes ten times as long in Python 3.11
                "error": None if done.error is None else error_name(done.error),
                "place": done.place,
                "message": verdict.reason,
                "attempts": job.attempt,
                "worker": _HOST,
                "traceback": done.traceback,
            }
        )
    except Exception as error:  # a burial must not fail because of its record
        log.warning(f"no record could be made of the burial: {type_name(error)}", job=job.id)
        return None
