"""How the supervisor keeps a lease: it holds the page's lock from the touch to the answer, however late that comes."""

import time

import pytest

from tubeherd.shared_memory.page import Page
from tubeherd.supervisor.lane_handle import LaneHandle


@pytest.fixture
def lane(beanstalkd):
    """A lane whose job has run for more than half of its lease."""
    job = beanstalkd.put("mail", b"1")
    connection = beanstalkd.connection("mail")
    connection.ask_reserve(0)
    connection.take_reserved()
    page = Page()
    page.write_job_and_unlock(job, time.monotonic() - 50, 60, 1)
    lane = LaneHandle(page, connection)
    yield lane
    lane.close_connection()
    page.close()


def touch(lane):
    lane.touch(lane.page.read(), time.monotonic())


def test_lock_is_held_until_the_answer_to_a_touch(beanstalkd, lane, logged, is_locked):
    with beanstalkd.stopped():
        touch(lane)
        assert is_locked(lane.page)
        lane.take_answers(0)
        assert is_locked(lane.page)
        lane.unlock()
        assert is_locked(lane.page)
    lane.take_answers(5)
    assert not is_locked(lane.page)
    assert lane.connection is not None
    assert logged() == []


def test_lease_is_touched_once_until_half_of_it_is_gone_again(lane, is_locked):
    touch(lane)
    lane.take_answers(5)
    assert not is_locked(lane.page)
    lane.connection.abandon()  # another touch would meet a broken connection
    touch(lane)
    assert lane.connection is not None


def test_nothing_is_touched_once_the_slot_has_gone_on(lane, is_locked):
    state = lane.page.read()
    lane.page.write_phase_and_unlock()
    lane.connection.abandon()
    lane.touch(state, time.monotonic())
    assert not is_locked(lane.page)
    assert lane.connection is not None


def test_lease_that_cannot_be_kept_is_told_with_the_cause(beanstalkd, lane, logged, is_locked):
    with beanstalkd.stopped():
        touch(lane)
        lane.close_connection()
        lane.take_answers(0)
    (line,) = logged()
    assert line["event"].startswith("cannot keep the lease: the connection to beanstalkd was closed;")
    assert not is_locked(lane.page)


def test_beanstalkd_has_ten_seconds_for_the_answer(beanstalkd, lane, logged, is_locked):
    for seconds in (3, 11):
        with beanstalkd.stopped():
            lane.touch(lane.page.read(), time.monotonic() - seconds)
            lane.take_answers(0)
            assert is_locked(lane.page) == (seconds == 3)
        lane.take_answers(5)
        assert (lane.connection is None) == (seconds == 11)
        lane.page.write_job_and_unlock(lane.page.read().last_begun.job, time.monotonic() - 50, 60, 1)
    (line,) = logged()
    assert line["event"].startswith("cannot keep the lease: beanstalkd gave no answer within 10 s;")


def test_answers_that_do_not_come_cost_the_connection(beanstalkd, lane):
    with beanstalkd.stopped():
        touch(lane)
        assert not lane.finish_touches(0.01)
    assert lane.connection is None
    assert lane.finish_touches(0.01)
