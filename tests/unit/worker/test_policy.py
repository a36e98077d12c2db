"""Each row of the verdict table, as a pure function; then what must hold for every schedule and every history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.processing import FRESH
from tubeherd.job import JobStats
from tubeherd.policy import (
    Aborted,
    BurialKind,
    Bury,
    Delete,
    Failed,
    Interrupted,
    Invalid,
    Policy,
    Release,
    Rescheduled,
    RetrySchedule,
    Returned,
)

RETRIED = FRESH._replace(reserves=2, releases=1, delay=600)
RESCHEDULED = FRESH._replace(reserves=2, releases=1, delay=10)
TWO = Policy(RetrySchedule((10, 600)))
EXCEPTION = BurialKind.EXCEPTION
KILLED = BurialKind.KILLED

TABLE = [
    ("returned", Policy(), Returned(), FRESH, Delete()),
    ("first failure", Policy(), Failed("boom"), FRESH, Release(600, 5, "boom", failure=True)),
    ("second failure", Policy(), Failed("boom"), RETRIED, Bury(5, "boom", EXCEPTION)),
    ("failure after a reschedule", Policy(), Failed("boom"), RESCHEDULED, Release(600, 5, "boom", failure=True)),
    ("failure of another kind", Policy(), Failed("boom", KILLED), RETRIED, Bury(5, "boom", KILLED)),
    ("failure of a job put with a delay", Policy(), Failed("x"), FRESH._replace(delay=600), Release(600, 5, "x", True)),
    ("second of three attempts", TWO, Failed("x"), RESCHEDULED, Release(600, 5, "x", failure=True)),
    ("third of three attempts", TWO, Failed("x"), RETRIED, Bury(5, "x", EXCEPTION)),
    ("failure without any retry", Policy(RetrySchedule(())), Failed("x"), FRESH, Bury(5, "x", EXCEPTION)),
    ("rescheduled", Policy(), Rescheduled(10), FRESH, Release(10, 5)),
    ("rescheduled with a priority", Policy(), Rescheduled(10, 0, "later"), FRESH, Release(10, 0, "later")),
    ("rescheduled like a retry", Policy(), Rescheduled(600), FRESH, Release(601, 5)),
    ("rescheduled like the first of two", Policy(RetrySchedule((10, 11))), Rescheduled(10), FRESH, Release(12, 5)),
    ("invalid payload", Policy(), Invalid("no JSON"), FRESH, Bury(5, "no JSON", BurialKind.INVALID)),
    ("aborted", Policy(), Aborted("stop"), FRESH, Release(60, 5, "stop", stop=True)),
    ("aborted like a retry", Policy(RetrySchedule((60,))), Aborted("s"), FRESH, Release(61, 5, "s", stop=True)),
    ("interrupted", Policy(), Interrupted("stop"), FRESH, Release(0, 5, "stop")),
]


@pytest.mark.parametrize(
    ("policy", "outcome", "stats", "verdict"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_verdict(policy, outcome, stats, verdict):
    assert policy.decide(outcome, stats) == verdict


@pytest.mark.parametrize(
    ("counters", "lost"),
    [
        ({"reserves": 1}, 0),
        ({"reserves": 2}, 1),
        ({"reserves": 3, "releases": 2}, 0),
        ({"reserves": 4, "releases": 1, "buries": 1}, 1),
        # A binlog restart may count a bury too many (beanstalkd#668): the figure only understates.
        ({"reserves": 1, "buries": 1}, 0),
    ],
)
def test_lost_deliveries(counters, lost):
    assert FRESH._replace(**counters).lost_deliveries == lost


@pytest.mark.parametrize(
    ("most", "lost", "kicks", "buried"),
    [(3, 2, 0, False), (3, 3, 0, True), (3, 5, 1, False), (3, 6, 1, True), (1, 1, 0, True), (0, 99, 0, False)],
)
def test_poison_job_is_buried_unexecuted(most, lost, kicks, buried):
    verdict = Policy(max_lost_deliveries=most).guard(FRESH._replace(reserves=1 + lost, kicks=kicks))
    assert isinstance(verdict, Bury) == buried
    if verdict:
        assert verdict.priority == FRESH.priority
        assert verdict.kind is BurialKind.POISON
        assert f"lost {lost} times" in verdict.reason


@pytest.mark.parametrize(
    ("delays", "schedule"),
    [
        ((600.0,), (600,)),
        ((0.2, 0), (1, 2)),
        ((5, 5, 5), (5, 6, 7)),
        ((10, 3), (10, 11)),
        ((1.5, 2), (2, 3)),
        ((), ()),
    ],
)
def test_delays_become_distinct_and_increasing(delays, schedule):
    assert RetrySchedule.of(delays).delays == schedule


def test_delay_that_beanstalkd_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="a retry delay is at most"):
        RetrySchedule.of((2.0**32,))


def test_executor_is_told_its_attempt():
    told = Policy().job(RETRIED._replace(age=42))
    assert (told.id, told.tube, told.attempt, told.priority, told.age, told.lost_deliveries) == (7, "mail", 2, 5, 42, 0)


schedules = st.lists(st.floats(0, 10_000), max_size=6).map(lambda delays: RetrySchedule.of(tuple(delays)))


class Broker:
    """A small model of what beanstalkd counts of one job."""

    def __init__(self, put_delay: int = 0) -> None:
        self.stats = FRESH._replace(delay=put_delay, reserves=0)
        self.state = "ready"

    def reserve(self) -> JobStats:
        self.stats = self.stats._replace(reserves=self.stats.reserves + 1)
        return self.stats

    def settle(self, verdict: object) -> None:
        match verdict:
            case Release(delay, priority):
                self.state = "ready"
                self.stats = self.stats._replace(releases=self.stats.releases + 1, delay=delay, priority=priority)
            case Bury(priority):
                self.state = "buried"
                self.stats = self.stats._replace(buries=self.stats.buries + 1, priority=priority)
            case _:
                self.state = "deleted"

    def kick(self) -> None:
        self.state = "ready"
        self.stats = self.stats._replace(kicks=self.stats.kicks + 1)


def fail_until_buried(policy: Policy, broker: Broker) -> int:
    attempts = 0
    while broker.state == "ready":
        attempts += 1
        broker.settle(policy.decide(Failed("x"), broker.reserve()))
    return attempts


@given(schedules, st.integers(0, 10_000))
def test_failing_job_has_one_attempt_more_than_there_are_delays(schedule, put_delay):
    policy, broker = Policy(schedule), Broker(put_delay)
    assert fail_until_buried(policy, broker) == len(schedule.delays) + 1
    assert broker.stats.priority == FRESH.priority


@given(schedules, st.lists(st.integers(0, 10_000), max_size=5))
def test_reschedules_and_interruptions_never_spend_a_retry(schedule, delays):
    policy, broker = Policy(schedule), Broker()
    for delay in delays:
        broker.settle(policy.decide(Rescheduled(delay), broker.reserve()))
        broker.settle(policy.decide(Interrupted("x"), broker.reserve()))
        assert schedule.failures(broker.stats) == 0
    assert fail_until_buried(policy, broker) == len(schedule.delays) + 1


@given(schedules, st.integers(0, 20_000))
def test_reschedule_waits_at_least_as_long_as_asked_and_little_more(schedule, delay):
    verdict = Policy(schedule).decide(Rescheduled(delay), FRESH)
    assert delay <= verdict.delay <= delay + len(schedule.delays)


@given(schedules, st.integers(1, 5))
def test_kicked_job_has_one_attempt_each_time(schedule, kicks):
    policy, broker = Policy(schedule), Broker()
    fail_until_buried(policy, broker)
    for _ in range(kicks):
        broker.kick()
        assert fail_until_buried(policy, broker) == 1


@given(schedules, st.integers(1, 9), st.integers(0, 3))
def test_crashes_alone_bury_a_job_after_the_allowed_number(schedule, most, kicks):
    policy, broker = Policy(schedule, most), Broker()
    broker.stats = broker.stats._replace(kicks=kicks)
    crashes = 0
    while policy.guard(broker.reserve()) is None:
        crashes += 1
    assert crashes == most * (kicks + 1)
