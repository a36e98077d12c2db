"""Puts many jobs into one tube, and knows what was put when that is broken off.

Many puts are sent before the answer to the first one is read, because a round trip for each job would take longer than
all else. A feed is one such run of puts.
"""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from tubeherd.queue.answers import (
    BuriedError,
    DrainingError,
    JobTooBigError,
    OutOfMemoryError,
    QueueUnavailable,
    RefusedError,
)
from tubeherd.queue.connection import Connection

_BATCH_MOST: Final = 250
"""The most puts of one write. Two writes may be unanswered, so this is half of PIPELINE_MOST."""
_BATCH_BYTES: Final = 1 << 16


class Item(NamedTuple):
    """A job to be put."""

    position: int
    """Where the job stands in its source: the number of its line, or its index. Positions grow."""
    body: bytes


class Refused(NamedTuple):
    """A job that was refused: it was not put or, if the error is a BuriedError, it was put and is buried."""

    position: int
    error: RefusedError


class Feed:
    """Puts jobs into the tube for which `Connection.begin_puts` was called.

    If anything stops it, `put`, `at_most` and `refused` are exact. Only one thing can stay unknown: if the connection
    breaks, beanstalkd may have put any of the jobs whose puts were sent and not answered.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        priority: int,
        delay: Callable[[], int],
        ttr: int,
        note: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Ask how large jobs may be; raises QueueUnavailable.

        `delay` is called for each write and returns the delay of its jobs, in seconds. `note` is called with the id of
        each job that was put.
        """
        self.max_job_size: Final = connection.max_job_size()
        """How many bytes a job may have."""
        self.refused: list[Refused] = []
        """The jobs that were refused, in the order of their positions; after the first one no further job is sent."""
        self.last_put = 0
        """The position of the last job that was put. Each job before it was put, unless it is in `refused`."""
        self._connection = connection
        self._priority = priority
        self._delay = delay
        self._ttr = ttr
        self._note = note
        self._batch: list[Item] = []
        self._bytes = 0
        self._unanswered: deque[int] = deque()
        """The positions of the jobs whose puts were sent, or partly sent, and not answered."""
        self._sent = 0
        self._not_put = 0

    @property
    def put(self) -> int:
        """How many jobs were put, as beanstalkd has answered."""
        return max(0, self.at_most - len(self._unanswered))

    @property
    def at_most(self) -> int:
        """How many jobs may have been put."""
        return self._sent - self._not_put

    @property
    def last_sent(self) -> int:
        """The position of the last job that may have been put."""
        return max(self.last_put, self._unanswered[-1] if self._unanswered else 0)

    def run(self, items: Iterable[Item | None]) -> BaseException | None:
        """Put each job, and at each None send what there is; return what `items` has raised, or None.

        All answers are read before this returns. Raises QueueUnavailable if the connection breaks.
        """
        source = iter(items)
        raised = None
        while not self.refused:
            try:
                item = next(source)
            except StopIteration:
                break
            except BaseException as error:  # also Ctrl-C: the answers to what was sent are read first
                raised = error
                break
            self._add(item)
        self._add(None)
        return raised

    def _add(self, item: Item | None) -> None:
        if item is None:
            self._send()
            self._take_answers(0)
        elif len(item.body) > self.max_job_size:  # refused here, because the jobs behind it are sent before an answer
            self._add(None)
            if not self.refused:
                self.refused.append(Refused(item.position, JobTooBigError("JOB_TOO_BIG")))
        else:
            self._batch.append(item)
            self._bytes += len(item.body)
            if len(self._batch) >= _BATCH_MOST or self._bytes >= _BATCH_BYTES:
                self._take_answers(self._send())

    def _send(self) -> int:
        """Send the batch, unless a job was refused; return how many jobs it had."""
        batch, self._batch, self._bytes = self._batch, [], 0
        if not batch or self.refused:
            return 0
        delay = self._delay()
        # In this order the numbers hold if the next lines are interrupted: nothing is put before the write.
        self._unanswered.extend([item.position for item in batch])
        self._sent += len(batch)
        bodies = [item.body for item in batch]
        try:
            self._connection.ask_puts(bodies, priority=self._priority, delay=delay, ttr=self._ttr)
        except QueueUnavailable:
            with suppress(QueueUnavailable):  # answers that came before it broke
                self._take_answers(0)
            raise
        return len(batch)

    def _take_answers(self, leave: int) -> None:
        """Take the answers to all puts but the last `leave`; to all if a job was refused."""
        take, note, unanswered = self._connection.take_put, self._note, self._unanswered
        while len(unanswered) > (0 if self.refused else leave):
            try:
                job_id = take()
            except RefusedError as error:
                self._refuse(error)
            else:
                self.last_put = unanswered.popleft()
                note(job_id)

    def _refuse(self, error: RefusedError) -> None:
        position = self._unanswered[0]
        if isinstance(error, BuriedError):
            self.last_put = position
        else:
            self._not_put += 1
        self.refused.append(Refused(position, error))
        self._unanswered.popleft()


def put_in_words(feed: Feed) -> str:
    """Return how many jobs were put, as a part of a sentence."""
    if feed.put < feed.at_most:
        return f"at least {feed.put} and at most {feed.at_most} jobs were put"
    return "1 job was put" if feed.put == 1 else f"{feed.put or 'no'} jobs were put"


def refusal_in_words(error: RefusedError, max_job_size: int) -> str:
    """Return why beanstalkd refuses a job, and what to do."""
    match error:
        case JobTooBigError():
            return f"it is larger than the {max_job_size} bytes that this beanstalkd takes (JOB_TOO_BIG; see its -z)"
        case DrainingError():
            return "this beanstalkd takes no more jobs, because it is to be emptied (DRAINING): put into another one"
        case OutOfMemoryError():
            return "beanstalkd has no memory or no room on its disk (OUT_OF_MEMORY): have workers do jobs first"
        case BuriedError():
            return "it was put, but is buried, because beanstalkd has no memory: kick it later"
        case _:
            return f"beanstalkd answered {error}"
