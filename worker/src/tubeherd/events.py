"""The events of a worker, as blinker signals: `events.flush.connect(listener)`.

A listener takes the signal's sender and its keyword arguments. blinker keeps only a weak reference to a listener, so
something else has to refer to it, as a module does to its functions.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from blinker import Namespace

from tubeherd.job import Job

DEFAULT_BATCH_SIZE: Final = 15
"""Executed jobs between two `worker.flush`."""
_events: Final = Namespace()
FlushReason = Literal["batch", "idle", "end"]
"""Why `worker.flush` is sent: the batch is full or its leases run out; no job is ready; the slot ends."""


@dataclass(slots=True)
class Action:
    """One call of an executor, for the listeners before and after it."""

    job: Job
    payload: Any
    """Before the call: decoded JSON, not yet validated; bytes if the executor takes bytes. After it: its argument."""
    result: Any = None
    """What the executor returned; set after the call."""


flush: Final = _events.signal("worker.flush")
"""Sent with the reason ("batch", "idle" or "end") and `count`, the jobs executed since the last one.

A listener that raises stops the worker with exit code 1.
"""
execute_pre: Final = _events.signal("worker.action.execute.pre")
"""Sent with an `Action` before its payload is validated; a listener may replace `payload`."""
execute_post: Final = _events.signal("worker.action.execute.post")
"""Sent with an `Action` after the executor returned; a listener may replace `result`."""
job_execute: Final = _events.signal("worker.job.execute")
"""Sent with a `Job` when its execution begins."""
job_buried: Final = _events.signal("worker.job.buried")
"""Sent with a `Job` after it was buried, with `error` (the exception, or None), `reason` and `attempts`."""
