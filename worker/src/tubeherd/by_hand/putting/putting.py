"""Puts jobs for `QueueManager`: makes the body from a payload, checks it, and puts one job or many."""

import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from tubeherd.by_hand.putting.feeding import Feed, Item, put_in_words, refusal_in_words
from tubeherd.executors import Executor, ExecutorError, executor_for
from tubeherd.formats.globs import is_glob
from tubeherd.formats.text import shortened, some_of
from tubeherd.formats.tubes import check_tube
from tubeherd.job_options import check_priority, parse_delay, parse_ttr
from tubeherd.processing.payload import check_body
from tubeherd.processing.reasons import describe
from tubeherd.queue.answers import AnswerLost, BuriedError, QueueUnavailable, RefusedError
from tubeherd.queue.connections import Connections

_IDLE_SECONDS: Final = 0.05
"""If a source of payloads takes longer than this for one of them, the payloads before it are sent at once."""
Result = TypeVar("Result")


class PutOptions(NamedTuple):
    """With what jobs are put; made by `put_options`."""

    priority: int
    delay: str | float | timedelta | datetime
    ttr: int


class PutManyStopped(Exception):
    """`QueueManager.put_many` was stopped before all jobs were put, by the error that is its `__cause__`.

    To go on, with no job put twice and none left out, put the payloads from the index `go_on` on and, of those before
    it, the ones in `refused`. Only if the connection broke, `put` and `at_most` differ: then nobody knows which of the
    last `at_most - put` jobs before `go_on` were put.
    """

    def __init__(self, words: str, ids: Sequence[int], feed: Feed) -> None:
        """Take the message, the ids of the jobs that were put, and what has put them."""
        super().__init__(words)
        self.ids: Final = ids
        """The ids of the jobs that were put, in their order."""
        self.put: Final = feed.put
        """How many jobs were put, as beanstalkd has answered."""
        self.at_most: Final = feed.at_most
        """How many jobs may have been put."""
        self.go_on: Final = feed.last_sent
        """The index, from 0, of the first payload that was not put for sure, and behind which none was."""
        self.refused: Final[Mapping[int, RefusedError]] = {
            each.position - 1: each.error for each in feed.refused if not isinstance(each.error, BuriedError)
        }
        """Why jobs were refused, by the indexes of their payloads."""


def put_options(delay: str | float | timedelta | datetime, priority: int, ttr: str | float | timedelta) -> PutOptions:
    """Return the options of a put; raises ValueError for one out of range."""
    parse_delay(delay, time.time())
    return PutOptions(check_priority(priority), delay, parse_ttr(ttr))


class Putter:
    """Puts jobs by the connections of one manager."""

    def __init__(self, connections: Connections, executors: Mapping[str, Executor]) -> None:
        """Take the connections, and the executors by whose annotations payloads are checked."""
        self._connections = connections
        self._executors = executors

    def put(self, tube: str, payload: Any, options: PutOptions) -> int:
        """Put one job and return its id; see `QueueManager.put`."""
        tube, body = check_tube(tube), self._body(tube, payload)

        def put() -> int:
            delay = parse_delay(options.delay, time.time())
            with self._connections.any() as connection:
                return connection.put(tube, body, priority=options.priority, delay=delay, ttr=options.ttr)

        return _again_if_broken(put)

    def put_many(self, tube: str, payloads: Iterable[Any], options: PutOptions) -> Sequence[int]:
        """Put a job for each payload and return their ids; see `QueueManager.put_many`."""
        tube = check_tube(tube)
        if isinstance(payloads, str | bytes | bytearray | memoryview | Mapping | BaseModel):
            raise ValueError(f"put_many takes several payloads, such as a list, and not one {type(payloads).__name__}")
        return _again_if_broken(lambda: self._put_many(tube, payloads, options))

    def payload_for(self, value: object, tube: str | None) -> tuple[str, Any]:
        """Return the tube and the payload for an object; see `QueueManager.put_for`."""
        mapping = {each.name: each for each in self._executors.values() if each.payload_of is not None}
        if tube is None:
            found = [each for each in mapping.values() if each.maps(value)]
        else:
            found = [each for each in [executor_for(self._executors, tube)] if each and each.name in mapping]
        if len(found) == 1 and found[0].payload_of is not None:
            name = tube or found[0].name
            if is_glob(name):
                raise ExecutorError(f"{name!r} stands for several tubes: name one of them, as in put_for(…, tube=…)")
            return name, found[0].payload_of(value)
        kind = shortened(type(value).__qualname__, 60)
        if found:
            raise ExecutorError(
                f"several executors have a payload_of for {kind}: name one of their tubes, as in put_for(…, "
                f"tube={found[0].name!r}): {some_of([each.name for each in found])}"
            )
        known = some_of(sorted(mapping)) or "none"
        what = f"whose parameter is annotated with {kind}" if tube is None else f"and does the jobs of {tube!r}"
        raise ExecutorError(f"no executor in this process has a payload_of {what}; those with a payload_of: {known}")

    def _put_many(self, tube: str, payloads: Iterable[Any], options: PutOptions) -> Sequence[int]:
        ids = array("Q")
        feed: Feed | None = None
        try:
            with self._connections.without_lease() as connection:
                connection.begin_puts(tube)
                feed = Feed(
                    connection,
                    priority=options.priority,
                    delay=lambda: parse_delay(options.delay, time.time()),
                    ttr=options.ttr,
                    note=ids.append,
                )
                raised = feed.run(self._items(tube, payloads))
        except BaseException as error:
            if feed is None:
                raise  # nothing was put
            raised = error
        return _ids_or_error(feed, ids, raised)

    def _items(self, tube: str, payloads: Iterable[Any]) -> Iterator[Item | None]:
        before = time.monotonic()
        for index, payload in enumerate(payloads, 1):
            if time.monotonic() > before + _IDLE_SECONDS:
                yield None
            yield Item(index, self._body(tube, payload))
            before = time.monotonic()

    def _body(self, tube: str, payload: Any) -> bytes:
        body = body_of(payload)
        if (executor := executor_for(self._executors, tube)) is not None:
            check_body(executor, body)
        return body


def body_of(payload: Any) -> bytes:
    """Return the body of a job with this payload; raises ValueError if it cannot be written as JSON."""
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload)
    body = to_json(payload)
    if b"NaN" in body or b"Infinity" in body:  # also words in a text
        try:
            from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise ValueError(f"the payload holds NaN or an infinite number, which JSON cannot: {error}") from error
    return body


def _ids_or_error(feed: Feed, ids: Sequence[int], raised: BaseException | None) -> Sequence[int]:
    """Return the ids of all jobs, or raise what says that not all were put."""
    if feed.refused:
        position, error = feed.refused[0]
        words = f"the payload of index {position - 1} was refused: {refusal_in_words(error, feed.max_job_size)}"
        raise PutManyStopped(f"{words}; {put_in_words(feed)}", ids, feed) from error
    if isinstance(raised, Exception):
        raise PutManyStopped(f"put_many was stopped by {describe(raised)}; {put_in_words(feed)}", ids, feed) from raised
    if raised is not None:  # such as Ctrl-C
        raised.add_note(f"When put_many was stopped, {put_in_words(feed)}.")
        raise raised
    return ids


def _again_if_broken(put: Callable[[], Result]) -> Result:
    """Put, and once more on another connection if the connection broke before anything was put.

    A connection that nobody has used for a while is found broken only when it is used, such as after a restart of
    beanstalkd.
    """
    try:
        return put()
    except AnswerLost:
        raise
    except QueueUnavailable:
        return put()
