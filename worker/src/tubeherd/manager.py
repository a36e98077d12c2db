"""`QueueManager`, with which a script puts jobs into tubes, and reserves and processes jobs without a worker.

A lease is the reservation of a job; a verdict is what is done with a job after it was processed: delete, release or
bury it. A slot is a process of a worker that does the same as `QueueManager.get` and `process` do here.
"""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from pydantic_core import to_json

from tubeherd.events import DEFAULT_BATCH_SIZE
from tubeherd.executors import Executor, ExecutorError, registry
from tubeherd.formats.durations import parse_duration
from tubeherd.formats.tubes import check_tube
from tubeherd.policy import MAX_DELAY, Policy, check_priority
from tubeherd.processing.attempt import Processed
from tubeherd.processing.batch import Batch
from tubeherd.processing.processor import Processor
from tubeherd.processing.reporting import Reporter
from tubeherd.processing.settling import Settler
from tubeherd.queue.answers import LeaseGone, Reserved
from tubeherd.queue.connection import DEFAULT_PRIORITY, DEFAULT_TTR, Connection, connect
from tubeherd.queue.server import DEFAULT_SERVER

_PAUSE_SECONDS: Final = 0.1


class QueueManager:
    """One connection to beanstalkd, for a producer, a script or a shell.

    Its methods raise QueueUnavailable if beanstalkd cannot be reached, and RefusedError if it refuses a command
    (JOB_TOO_BIG, DRAINING, …). After QueueUnavailable make a new manager.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        tubes: Sequence[str] | None = None,
        executors: Mapping[str, Executor] = registry,
        policy: Policy | None = None,
    ) -> None:
        """Connect to `server`, which is `host:port`.

        `get` reserves jobs from `tubes`; if that is None, from all tubes that have an executor, which is the function
        that does a tube's jobs. `process` calls these executors, and the policy decides on the verdicts.
        """
        self._connection: Connection = connect(server)
        self._executors = executors
        self._tubes = tubes
        self._watching = False
        self._processor = Processor(executors, policy or Policy())
        self._batch = Batch(DEFAULT_BATCH_SIZE)
        self._settler = Settler(Reporter())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Publish `worker.flush` for the processed jobs and close the connection; reserved jobs are ready again."""
        try:
            self._batch.send("end")
        finally:
            self._connection.abandon()
            self._processor.close()

    def put(
        self,
        tube: str,
        payload: Any,
        *,
        delay: str | float | timedelta | datetime = 0,
        priority: int = DEFAULT_PRIORITY,
        ttr: str | float | timedelta = DEFAULT_TTR,
    ) -> int:
        """Put a job into a tube and return its id.

        A payload of bytes is put as it is, and any other (a pydantic model, dataclass, dict, …) as JSON. `delay` is how
        long the job waits before it is ready ("10 minutes", seconds, timedelta), or a datetime until which it waits.
        Priority 0 is the most urgent. `ttr` is how long a worker may hold the job without a touch. Raises ValueError
        for a value out of range.
        """
        body = payload if isinstance(payload, bytes) else to_json(payload)
        return self._connection.put(
            check_tube(tube),
            body,
            priority=check_priority(priority),
            delay=_seconds(delay),
            ttr=max(1, _seconds(ttr)),
        )

    def get(self, timeout: float = 0) -> Reserved | None:
        """Reserve a job and return it, or None if no job came within `timeout` seconds.

        The lease ends after the job's TTR, because nothing here touches the job as a worker does.
        """
        if not self._watching:
            self._connection.watch_only(self._watched())
            self._watching = True
        deadline = time.monotonic() + timeout
        while True:
            # Several short reserves, because the connection does not wait long for an answer.
            asked = time.monotonic()
            wait = max(0, min(5, math.ceil(deadline - asked)))
            self._connection.ask_reserve(wait)
            with suppress(LeaseGone):
                if reserved := self._connection.take_reserved():
                    return reserved
            now = time.monotonic()
            if now >= deadline:
                return None
            # In the last second of a lease on this connection, beanstalkd answers a reserve at once: DEADLINE_SOON.
            if now < asked + wait:
                time.sleep(min(_PAUSE_SECONDS, deadline - now))

    def process(self, job: Reserved) -> Processed:
        """Execute a reserved job, carry out its verdict, and return the job with its verdict and result.

        The same events are published as in a slot.

        Raises ExecutorError if its tube has no executor (the job stays reserved), and what a listener of `worker.flush`
        raises. Raises KeyboardInterrupt if Ctrl-C stopped the executor; that counts as a failure of the job.
        """
        if job.stats.tube not in self._executors:
            raise ExecutorError(f"tube {job.stats.tube!r} has no executor in this process: import its module first")
        processed = self._processor.process(job)
        self._settler.settle_and_report(self._connection, processed)
        if self._batch.add():
            self._batch.send("batch")
        if isinstance(processed.error, KeyboardInterrupt):
            raise processed.error
        return processed

    def _watched(self) -> Sequence[str]:
        tubes = [check_tube(tube) for tube in (self._executors if self._tubes is None else self._tubes)]
        if not tubes:
            raise ExecutorError("no tube to take jobs from: name tubes, or import the module of an executor first")
        return tubes


def _seconds(value: str | float | timedelta | datetime) -> int:
    match value:
        case datetime():
            seconds = max(0.0, value.timestamp() - time.time())
        case timedelta():
            seconds = value.total_seconds()
        case _:
            seconds = parse_duration(value)
    if not 0 <= seconds <= MAX_DELAY:
        raise ValueError(f"a time is from 0 to {MAX_DELAY} seconds, not {seconds:g}")
    return math.ceil(seconds)
