"""Payload in, verdict out, without a server."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from tubeherd.by_hand.executing import JobRun, execute
from tubeherd.by_hand.putting.putting import body_of
from tubeherd.executors import registry
from tubeherd.formats.tubes import check_tube


def run_job(
    tube: str,
    payload: Any,
    *,
    attempt: int = 1,
    retry_delays: Iterable[str | float | timedelta] | None = None,
) -> JobRun:
    """Execute a payload as a job of a tube whose executor was imported, and return what a worker would do with it.

    The payload becomes JSON, or is the body itself if it is of bytes, as for `QueueManager.put`. The same events are
    published as in a worker, `worker.flush` at the end. `attempt` is 2 for a job that has failed once, and so on.
    `retry_delays` are those of the worker ("10s", seconds, timedelta), unless the executor has its own; if None, one of
    10 minutes. No time limit holds.

    Raises ExecutorError if the tube has no executor; ValueError for a payload that cannot be written as JSON, and for
    an attempt that a job could not have with these delays; RuntimeError if the executor is a coroutine function and an
    event loop runs in this thread; and KeyboardInterrupt if Ctrl-C stopped the executor.
    """
    run = execute(registry, check_tube(tube), body_of(payload), attempt=attempt, retry_delays=retry_delays)
    if isinstance(run.error, KeyboardInterrupt):
        raise run.error
    return run
