"""A feed's account of what was put, whatever beanstalkd answers and whenever the connection breaks."""

from hypothesis import given
from hypothesis import strategies as st

from tubeherd.by_hand.putting.feeding import Feed, Item
from tubeherd.queue.answers import BuriedError, DrainingError, OutOfMemoryError, QueueUnavailable, RefusedError

ANSWERS = {"put": None, "memory": OutOfMemoryError, "draining": DrainingError, "buried": BuriedError}


class FakeConnection:
    """Puts what is sent until it breaks, after so many bytes out or answers in."""

    def __init__(self, answers: list[str], writes: int, reads: int) -> None:
        self.exist: list[int] = []
        """The jobs that exist, as the positions that their bodies hold."""
        self._answers = iter(answers)
        self._writes, self._reads = writes, reads
        self._replies: list[RefusedError | int] = []

    def max_job_size(self) -> int:
        return 9

    def ask_puts(self, bodies, **options) -> None:
        bodies = list(bodies)
        taken = bodies[: self._writes]
        self._writes -= len(taken)
        for body in taken:
            kind = next(self._answers, "put")
            if kind in ("put", "buried"):
                self.exist.append(int(body))
            self._replies.append(int(body) if kind == "put" else ANSWERS[kind]())
        if len(taken) < len(bodies):
            raise QueueUnavailable("broke")

    def take_put(self) -> int:
        if not self._replies or not self._reads:
            raise QueueUnavailable("broke")
        self._reads -= 1
        reply = self._replies.pop(0)
        if isinstance(reply, RefusedError):
            raise reply
        return reply


rare = st.integers(0, 40).map(
    lambda number: ["memory", "draining", "buried", "memory"][number] if number < 4 else "put"
)


@given(
    count=st.integers(0, 1200),
    answers=st.lists(rare, max_size=1200),
    writes=st.just(10**6) | st.integers(0, 1200),
    reads=st.just(10**6) | st.integers(0, 1200),
    nones=st.sets(st.integers(1, 1200), max_size=5),
    big=st.just(0) | st.integers(1, 1200),
)
def test_account_is_exact_whatever_happens(count, answers, writes, reads, nones, big):
    connection = FakeConnection(answers, writes, reads)
    ids = []
    feed = Feed(connection, priority=1, delay=lambda: 0, ttr=1, note=ids.append)

    def items():
        for position in range(1, count + 1):
            if position in nones:
                yield None
            yield Item(position, b"x" * 10 if position == big else b"%d" % position)

    broke = False
    try:
        assert feed.run(items()) is None
    except QueueUnavailable:
        broke = True
    exist = set(connection.exist)
    refused = {each.position: each.error for each in feed.refused}
    buried = {position for position, error in refused.items() if isinstance(error, BuriedError)}
    assert feed.put <= len(exist) <= feed.at_most
    assert exist <= set(range(1, feed.last_sent + 1))
    unknown = set(range(feed.last_sent - (feed.at_most - feed.put) + 1, feed.last_sent + 1))
    assert set(range(1, feed.last_sent + 1)) - set(refused) - exist <= unknown
    assert set(ids) | buried <= exist
    assert len(ids) + len(buried) == feed.put
    if not broke:
        assert feed.put == feed.at_most == len(exist)
        assert refused or len(exist) == count


def test_answers_that_came_before_a_write_failed_are_counted():
    feed = Feed(FakeConnection([], writes=600, reads=10**6), priority=1, delay=lambda: 0, ttr=1)
    try:
        feed.run(Item(position, b"1") for position in range(1, 1000))
    except QueueUnavailable:
        assert (feed.put, feed.at_most, feed.last_sent) == (600, 750, 750)
    else:
        raise AssertionError("the connection did not break")


def test_source_that_raises_is_returned_when_all_is_answered():
    feed = Feed(FakeConnection([], 10**6, 10**6), priority=1, delay=lambda: 0, ttr=1)

    def items():
        yield from (Item(position, b"1") for position in range(1, 301))
        raise KeyboardInterrupt

    assert isinstance(feed.run(items()), KeyboardInterrupt)
    assert (feed.put, feed.at_most, feed.last_put) == (300, 300, 300)
