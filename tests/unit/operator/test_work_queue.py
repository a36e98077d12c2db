"""The queue of pools: each once, one pass at a time, with back-off."""

import threading

import pytest

from tests.support.waiting import PATIENCE
from tubeherd_operator.decisions.rank import Rank, rank_of
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.work_queue import Depth, WorkQueue

MAIL = Key("shop", "mail")
SMS = Key("shop", "sms")
NEWS = Key("shop", "news")


@pytest.fixture
def queue():
    return WorkQueue()


class Taker:
    """A thread that takes one pool from the queue."""

    def __init__(self, queue, last=Rank.OTHER):
        self._found = []
        self._thread = threading.Thread(target=lambda: self._found.append(queue.get(last)), daemon=True)
        self._thread.start()

    def found(self, seconds=PATIENCE):
        """Return what it took, or None if there was nothing in time."""
        self._thread.join(seconds)
        return self._found[0] if self._found else None


def test_a_pool_is_in_it_once(queue):
    queue.add(MAIL)
    queue.add(MAIL)
    queue.add(SMS)
    assert [queue.get(), queue.get()] == [MAIL, SMS]
    assert Taker(queue).found(0.1) is None


def test_what_changes_during_a_pass_is_looked_at_after_it(queue):
    queue.add(MAIL)
    assert queue.get() == MAIL
    queue.add(MAIL)
    other = Taker(queue)
    assert other.found(0.1) is None, "two passes at a time"
    queue.done(MAIL)
    assert other.found() == MAIL


def test_pools_for_which_somebody_waits_come_first_and_then_those_without_a_deployment():
    ranks = {}
    queue = WorkQueue(lambda key: ranks.get(key, Rank.OTHER))
    queue.add(NEWS)
    queue.add(SMS)
    queue.add(MAIL)
    ranks[MAIL] = Rank.NEW
    queue.add(MAIL)
    ranks[SMS] = Rank.REQUEST
    queue.add(SMS, delay=3600)
    assert [queue.get(), queue.get()] == [SMS, MAIL], "they were in the queue already"
    assert queue.get() == NEWS
    queue.add(NEWS)
    queue.done(MAIL, again_after=0.0)
    ranks[NEWS] = Rank.REQUEST
    queue.done(NEWS)
    assert [queue.get(), queue.get()] == [NEWS, MAIL], "it has changed during its pass"
    queue.done(SMS, again_after=0.0)
    assert queue.get() == SMS
    queue.done(SMS)
    assert Taker(queue).found(0.1) is None, "each was handed out once"


def test_pool_that_the_operator_has_changed_is_looked_at_a_little_later(queue):
    assert comes_between(queue, lambda: queue.add_written(MAIL), 0.99, 1.01)


@pytest.mark.parametrize(("again_after", "seconds"), [(None, 1.0), (3600, 1.0), (0.2, 0.2)])
def test_pool_that_its_pass_has_changed_is_looked_at_after_a_second_or_sooner_if_wanted(queue, again_after, seconds):
    def give_back():
        queue.add_written(MAIL)
        queue.done(MAIL, again_after)

    queue.add(MAIL)
    queue.get()
    assert comes_between(queue, give_back, seconds - 0.01, seconds + 0.01)


def test_pool_that_others_have_changed_too_is_looked_at_at_once(queue):
    def give_back():
        queue.add_written(MAIL)
        queue.add(MAIL)
        queue.done(MAIL)

    queue.add(MAIL)
    queue.get()
    queue.add(SMS, delay=0.9)
    give_back()
    assert [queue.get(), queue.get()] == [MAIL, SMS]


def test_pool_for_which_somebody_waits_is_looked_at_at_once_after_the_operator_has_changed_it():
    queue = WorkQueue(lambda key: Rank.REQUEST if key == MAIL else Rank.OTHER)
    queue.add(MAIL)
    queue.get()
    queue.add_written(MAIL)
    queue.done(MAIL)
    queue.add(SMS)
    assert [queue.get(), queue.get()] == [MAIL, SMS]
    queue.done(MAIL)
    queue.add_written(MAIL)
    queue.add(NEWS)
    assert [queue.get(), queue.get()] == [MAIL, NEWS]


def test_pool_that_the_operator_has_changed_before_its_pass_failed_waits(queue):
    def give_back():
        queue.add_written(MAIL)
        queue.failed(MAIL)

    queue.add(MAIL)
    queue.get()
    assert comes_between(queue, give_back, 0.24, 0.51)


def test_pool_may_fail_any_number_of_times(queue):
    for _ in range(1100):  # 2.0**1024 is too large for a float
        queue.failed(MAIL)
    assert queue.depth() == Depth(due=0, later=1, in_pass=0)


def test_pool_whose_pass_failed_comes_sooner_if_the_rest_of_it_is_to_go_on(queue):
    for _ in range(9):
        queue.failed(MAIL)
    queue.failed(MAIL, again_after=0.0)
    assert queue.get() == MAIL
    queue.failed(MAIL, again_after=3600)
    assert queue.depth() == Depth(due=0, later=1, in_pass=0)


def test_pool_whose_pass_failed_comes_after_the_back_off_if_the_rest_has_time(queue):
    queue.add(MAIL)
    queue.get()
    assert comes_between(queue, lambda: queue.failed(MAIL, again_after=3600), 0.24, 0.51)


def test_pool_whose_request_is_done_comes_no_longer_before_others():
    ranks = {MAIL: Rank.REQUEST}
    queue = WorkQueue(lambda key: ranks.get(key, Rank.OTHER))
    queue.add(MAIL)
    ranks.clear()
    queue.add(NEWS)
    queue.add(MAIL)
    ranks[SMS] = Rank.REQUEST
    queue.add(SMS)
    assert [queue.get(), queue.get(), queue.get()] == [SMS, MAIL, NEWS]


def test_thread_that_is_kept_for_requests_takes_nothing_else():
    queue = WorkQueue(lambda key: Rank.REQUEST if key == SMS else Rank.OTHER)
    kept = Taker(queue, Rank.REQUEST)
    queue.add(MAIL)
    assert kept.found(0.1) is None
    queue.add(SMS)
    assert kept.found() == SMS
    assert queue.get() == MAIL


@pytest.mark.parametrize(
    ("annotations", "deployment", "rank"),
    [
        ({"kick": "all"}, None, Rank.REQUEST),
        ({"discard": "job/1"}, {}, Rank.REQUEST),
        ({"other": "kick"}, {}, Rank.OTHER),
        ({}, None, Rank.NEW),
    ],
)
def test_rank_of_a_pool(pools, annotations, deployment, rank):
    assert rank_of(pools.pool(annotations=annotations), deployment) == rank
    assert rank_of(None, deployment) == Rank.OTHER
    assert rank_of(pools.pool(status={"request": {"id": "1"}}), deployment) == Rank.REQUEST


def comes_between(queue, give_back, least, most):
    """Return whether MAIL, when it is given back, comes after the one and before the other of these times in seconds.

    That is seen from the order of three pools, which is the same however long the machine takes.
    """
    queue.add(SMS, delay=least)
    give_back()
    queue.add(NEWS, delay=most)
    order = [queue.get() for _ in range(3)]
    queue.done(SMS)
    queue.done(NEWS)
    return order == [SMS, MAIL, NEWS]


def test_pool_comes_again_after_the_time_asked_for(queue):
    queue.add(MAIL)
    queue.get()
    assert comes_between(queue, lambda: queue.done(MAIL, again_after=0.2), 0.19, 0.21)


def test_an_event_is_earlier_than_the_time_asked_for(queue):
    queue.add(MAIL, delay=60)
    queue.add(MAIL)
    assert Taker(queue).found() == MAIL


def test_failures_back_off_and_a_success_forgets_them(queue):
    def fail():
        queue.failed(MAIL)

    queue.add(MAIL)
    queue.get()
    assert comes_between(queue, fail, 0.24, 0.51)
    assert comes_between(queue, fail, 0.49, 1.01)
    queue.done(MAIL)
    queue.add(MAIL)
    queue.get()
    assert comes_between(queue, fail, 0.24, 0.51)


def test_no_pool_is_handed_out_after_the_end_which_waits_for_the_passes_that_run(queue):
    queue.add(MAIL)
    queue.add(SMS)
    running = queue.get()
    assert queue.close(0) is False, "a pass still runs"
    ending = threading.Thread(target=lambda: queue.done(running))
    ending.start()
    assert queue.close(PATIENCE) is True
    ending.join()
    assert Taker(queue).found(0.1) is None, "though a pool waits"


def test_depth_tells_what_is_due_from_what_comes_later_and_from_what_is_in_a_pass(queue):
    assert queue.depth() == (0, 0, 0)
    queue.add(MAIL)
    queue.add(SMS)
    queue.add(NEWS, 3600)
    assert queue.depth() == (2, 1, 0)
    queue.get()
    queue.add(MAIL)
    assert queue.depth() == (1, 1, 1)
    queue.done(MAIL)
    assert queue.depth() == (2, 1, 0)
