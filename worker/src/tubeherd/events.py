"""The events of a worker, as signals of the library blinker: `events.flush.connect(listener)` connects a listener.

A listener is called with the sender and the keyword arguments that each event names below. blinker keeps only a weak
reference to a listener: a function of a module stays connected, a lambda that nothing else refers to does not.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from blinker import Namespace

from tubeherd.job import Job

DEFAULT_BATCH_SIZE: Final = 15
"""How many jobs are executed between two `worker.flush`, unless a setting changes it."""
_events: Final = Namespace()
FlushReason = Literal["batch", "idle", "end"]
"""Why `worker.flush` is published: a batch is full, no job is ready, or the slot (the process with the jobs) ends.

With the setting `ack_after_flush`, "batch" is also given if half of the TTR of one of the jobs has passed since it was
reserved or touched.
"""


@dataclass(slots=True)
class Action:
    """One call of an executor, which is the function that does a tube's jobs."""

    job: Job
    payload: Any
    """Before the call: decoded JSON, not yet validated, or bytes if the executor takes them.

    After the call: the argument of the call.
    """
    result: Any = None
    """What the executor returned; None before the call."""


class SlotDied(Exception):
    """The slot of a job died or was killed, so that the supervisor gave the verdict; the message says why."""


flush: Final = _events.signal("worker.flush")
"""Listeners write what the jobs since the last `worker.flush` collected.

The sender is the reason ("batch", "idle" or "end"); `count` is the number of these jobs. If a listener raises, the
worker stops with exit code 1.
"""
execute_pre: Final = _events.signal("worker.action.execute.pre")
"""An executor is about to be called. The sender is an `Action`; a listener may replace its `payload`."""
execute_post: Final = _events.signal("worker.action.execute.post")
"""An executor has returned. The sender is an `Action`; a listener may replace its `result`."""
job_execute: Final = _events.signal("worker.job.execute")
"""An attempt at a job begins. The sender is the `Job`."""
job_failed: Final = _events.signal("worker.job.failed")
"""An attempt at a job has failed, whether the job is tried again or was buried; poison jobs are not attempted.

The sender is the `Job`; `error`, which is an exception, `reason` and `attempts` are given. If the slot of the job died,
the next slot publishes the event, and `error` is a `SlotDied`.
"""
job_buried: Final = _events.signal("worker.job.buried")
"""A job was buried. The sender is the `Job`; `error` is an exception or None, and `reason` and `attempts` are given."""
