"""How fast jobs are kicked, and when a slow kick is stopped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd.by_hand.changing.pace import Clock, Comebacks, Pace
from tubeherd.queue.answers import JobCounters
from tubeherd.queue.tubes import PIPELINE_MOST


class FakeClock(Clock):
    def __init__(self):
        self.time = 1000.0
        self.longest = 0.0

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.longest = max(self.longest, seconds)
        self.time += seconds


@pytest.fixture
def clock():
    return FakeClock()


def never():
    return False


@given(
    rate=st.floats(5, 100_000),
    steps=st.lists(st.tuples(st.floats(0, 20), st.integers(0, PIPELINE_MOST)), max_size=20),
)
def test_no_more_jobs_than_the_rate_allows_and_a_tenth_of_a_second_at_once(rate, steps):
    clock = FakeClock()
    pace = Pace(rate, clock)
    began, done = clock.now(), 0
    for busy, wanted in steps:
        changed = min(wanted, pace.wait(never))
        pace.spend(changed)
        done += changed
        assert done <= (clock.now() - began) * rate + max(1, rate / 10) + 1e-3
        clock.time += busy


def test_jobs_come_at_the_rate(clock):
    pace = Pace(50, clock)
    done = 0
    while clock.now() < 1010:
        changed = pace.wait(never)
        pace.spend(changed)
        done += changed
    assert 495 <= done <= 505


def test_a_slow_pace_is_stopped_within_a_twentieth_of_a_second(clock):
    pace = Pace(1 / 3600, clock)
    assert pace.wait(never) == 1
    pace.spend(1)
    assert pace.wait(lambda: clock.now() > 1003) == 0
    assert clock.now() < 1003.1


def test_without_a_rate_nothing_waits(clock):
    pace = Pace(None, clock)
    assert pace.wait(never) == PIPELINE_MOST
    assert pace.wait(lambda: True) == 0
    assert clock.now() == 1000


def counters(job_id, state):
    return JobCounters(job_id, "mail", state, 0, 0, 0, 60, 0, 1, 0, 0, 1, 1)


def looked_at(clock, states):
    """Return the comebacks after each of these jobs was kicked and then found in its state; None if it is gone."""
    comebacks = Comebacks(clock)
    for job_id in range(len(states)):
        comebacks.note(job_id)
    comebacks.look(lambda ids: [states[job_id] and counters(job_id, states[job_id]) for job_id in ids])
    return comebacks


@pytest.mark.parametrize(
    ("states", "are_most"),
    [
        ([], False),
        (["buried"] * 9, False),
        (["buried"] * 10, True),
        (["buried"] * 10 + [None] * 10, False),
        (["buried"] * 11 + [None] * 10, True),
        (["buried"] * 10 + ["ready", "reserved", "delayed"] * 50, True),
        (["ready", "reserved", "delayed"] * 50, False),
    ],
)
def test_most_are_buried_again(clock, states, are_most):
    assert looked_at(clock, states).are_most is are_most


def test_a_job_is_counted_once(clock):
    comebacks = looked_at(clock, ["buried", None, "ready"])
    comebacks.look(lambda ids: [counters(job_id, "buried") for job_id in ids])
    assert (comebacks.buried_again, comebacks.done) == (2, 1)


def test_only_the_newest_are_remembered(clock):
    comebacks = Comebacks(clock)
    for job_id in range(10 * PIPELINE_MOST):
        comebacks.note(job_id)
    asked = []
    comebacks.look(lambda ids: asked.extend(ids) or [None] * len(ids))
    assert asked == list(range(9 * PIPELINE_MOST, 10 * PIPELINE_MOST))
    assert comebacks.has(10 * PIPELINE_MOST - 1)
    assert not comebacks.has(0)
