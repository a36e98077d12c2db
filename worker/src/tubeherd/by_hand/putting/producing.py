"""The methods of `QueueManager` that put jobs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tubeherd.by_hand.putting.putting import Putter, put_options
from tubeherd.executors import Executor
from tubeherd.queue.connection import DEFAULT_PRIORITY, DEFAULT_TTR
from tubeherd.queue.connections import Connections


class PutsByHand:
    """Puts jobs, one or many."""

    def __init__(self, connections: Connections, executors: Mapping[str, Executor]) -> None:
        """Take the connections, and the executors by whose annotations payloads are checked."""
        self._putter = Putter(connections, executors)

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

        A payload of bytes, bytearray or memoryview is put as it is, and any other (a pydantic model, dataclass, dict,
        …) as JSON. `delay` is how long the job waits before it is ready ("10 minutes", seconds, timedelta), or a
        datetime until which it waits; a datetime without a time zone is local time, and one that is past means no
        delay. Priority 0 is the most urgent. `ttr` is how long a worker may hold the job without a touch.

        Nothing is put if one of these is raised: ValueError for a value out of range and for a payload that cannot be
        written as JSON, such as NaN; InvalidPayload, which is a ValueError, if the executor of the tube was imported in
        this process and could not take the payload; RefusedError if beanstalkd refuses the job; and QueueUnavailable if
        beanstalkd cannot be reached. If the connection breaks before the job is sent, it is tried once more on another
        one. If it breaks after that, AnswerLost is raised, a QueueUnavailable: the job may have been put or not, and is
        not sent again. Any of that is raised within 30 seconds.
        """
        return self._putter.put(tube, payload, put_options(delay, priority, ttr))

    def put_many(
        self,
        tube: str,
        payloads: Iterable[Any],
        *,
        delay: str | float | timedelta | datetime = 0,
        priority: int = DEFAULT_PRIORITY,
        ttr: str | float | timedelta = DEFAULT_TTR,
    ) -> Sequence[int]:
        """Put a job for each payload, much faster than `put` does, and return the ids of the jobs in their order.

        `payloads` may be a generator; what it has yielded is sent when there is enough of it, or if it takes long. The
        other arguments are those of `put` and hold for each job.

        Raises PutManyStopped if not all jobs were put, because a payload is not valid, `payloads` raises, beanstalkd
        refuses a job, or the connection breaks. The error has the ids of those that were put, and says how to go on
        without a job put twice. If Ctrl-C or the like stops it, a note at that exception says how many were put. Raises
        ValueError, RefusedError or QueueUnavailable if nothing was put.
        """
        return self._putter.put_many(tube, payloads, put_options(delay, priority, ttr))

    def put_for(
        self,
        value: object,
        *,
        tube: str | None = None,
        delay: str | float | timedelta | datetime = 0,
        priority: int = DEFAULT_PRIORITY,
        ttr: str | float | timedelta = DEFAULT_TTR,
    ) -> int:
        """Put a job for an object and return its id.

        The payload is what the `payload_of` of an executor returns for the object, and the tube is the executor's. Give
        `tube` if several executors have a `payload_of` for such objects, if its parameter is not annotated, or if the
        executor's name is a glob.

        Raises ExecutorError if there is not exactly one such executor in this process; what its `payload_of` raises;
        and what `put` raises.
        """
        tube, payload = self._putter.payload_for(value, tube)
        return self.put(tube, payload, delay=delay, priority=priority, ttr=ttr)
