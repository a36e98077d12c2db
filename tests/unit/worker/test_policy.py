"""Each row of the verdict table, as a pure function; then what must hold for every schedule and every history."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.processing import FRESH
from tubeherd.job import JobStats
from tubeherd.policy import (
    Aborted,
    BurialKind,
    Bury,
    Failed,
    Interrupted,
    Invalid,
    Policy,
    Rejected,
    Release,
    Rescheduled,
    RetrySchedule,
)

RETRIED = FRESH._replace(reserves=2, releases=1, delay=601)
RESCHEDULED = FRESH._replace(reserves=2, releases=1, delay=10)
RETRIED_BY_TWO = FRESH._replace(reserves=2, releases=1, delay=10)
TWO = Policy(RetrySchedule((10, 600)))
EXCEPTION = BurialKind.EXCEPTION
KILLED = BurialKind.KILLED
TOO_LATE = "the job asked to be delayed by 4294967295 s, with its retry delays at most by 4294967294"

TABLE = [
    ("first failure", Policy(), Failed("boom"), FRESH, Release(601, 5, "boom", failure=EXCEPTION)),
    ("second failure", Policy(), Failed("boom"), RETRIED, Bury(5, "boom", EXCEPTION)),
    (
        "failure after a reschedule",
        Policy(),
        Failed("boom"),
        RESCHEDULED,
        Release(601, 5, "boom", failure=EXCEPTION),
    ),
    ("failure of another kind", Policy(), Failed("boom", KILLED), RETRIED, Bury(5, "boom", KILLED)),
    ("first failure of another kind", Policy(), Failed("boom", KILLED), FRESH, Release(601, 5, "boom", failure=KILLED)),
    (
        "failure of a job put with a delay",
        Policy(),
        Failed("x"),
        FRESH._replace(delay=601),
        Release(601, 5, "x", failure=EXCEPTION),
    ),
    ("second of three attempts", TWO, Failed("x"), RETRIED_BY_TWO, Release(602, 5, "x", failure=EXCEPTION)),
    ("third of three attempts", TWO, Failed("x"), RETRIED._replace(delay=602), Bury(5, "x", EXCEPTION)),
    ("failure without any retry", Policy(RetrySchedule(())), Failed("x"), FRESH, Bury(5, "x", EXCEPTION)),
    ("rescheduled", Policy(), Rescheduled(10), FRESH, Release(10, 5)),
    ("rescheduled with a priority", Policy(), Rescheduled(10, 0, "later"), FRESH, Release(10, 0, "later")),
    ("rescheduled by a delay that shows a failure", Policy(), Rescheduled(601), FRESH, Release(602, 5)),
    ("rescheduled after a failure", Policy(), Rescheduled(10), RETRIED, Release(11, 5)),
    ("rescheduled after one of two failures", TWO, Rescheduled(11), RETRIED_BY_TWO, Release(13, 5)),
    ("rescheduled as late as can be", Policy(), Rescheduled(2**32 - 2), FRESH, Release(2**32 - 2, 5)),
    (
        "rescheduled too late",
        Policy(),
        Rescheduled(2**32 - 1),
        FRESH,
        Release(601, 5, TOO_LATE, failure=EXCEPTION),
    ),
    ("rescheduled too late after a failure", Policy(), Rescheduled(2**32 - 1), RETRIED, Bury(5, TOO_LATE, EXCEPTION)),
    ("invalid payload", Policy(), Invalid("no JSON"), FRESH, Bury(5, "no JSON", BurialKind.INVALID)),
    ("rejected", Policy(), Rejected("no such customer"), FRESH, Bury(5, "no such customer", BurialKind.REJECTED)),
    ("aborted", Policy(), Aborted("stop"), FRESH, Release(60, 5, "stop", stop=True)),
    ("aborted after a failure", Policy(), Aborted("s"), RETRIED, Release(61, 5, "s", stop=True)),
    ("interrupted", Policy(), Interrupted("stop"), FRESH, Release(0, 5, "stop")),
    ("interrupted after a failure", Policy(), Interrupted("stop"), RETRIED, Release(1, 5, "stop")),
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
        ((0.2, 0), (1, 0)),
        ((5, 5, 5), (5, 5, 5)),
        ((10, 3), (10, 3)),
        ((1.5, 2), (2, 2)),
        ((2.0**32 - 2,), (2**32 - 2,)),
        ((), ()),
    ],
)
def test_delays_become_whole_seconds(delays, schedule):
    assert RetrySchedule.of(delays).delays == schedule


@pytest.mark.parametrize("delay", [-1, -0.5, 2**32 - 1, 2.0**32, math.inf, math.nan, 10**400])
def test_delay_that_beanstalkd_cannot_hold_is_refused(delay):
    with pytest.raises(ValueError, match="a retry delay is from 0 to"):
        RetrySchedule.of((delay,))


@pytest.mark.parametrize("delay", [-1, 1.5, 2**32 - 1, "10", None])
def test_schedule_holds_only_whole_seconds(delay):
    with pytest.raises(ValueError, match="a retry delay is from 0 to"):
        RetrySchedule((delay,))


def test_executor_is_told_its_attempt():
    told = Policy().job(RETRIED._replace(age=42))
    assert (told.id, told.tube, told.attempt, told.priority, told.age, told.lost_deliveries) == (7, "mail", 2, 5, 42, 0)


schedules = st.lists(st.floats(0, 10_000), max_size=20).map(RetrySchedule.of)
any_delays = st.integers(0, 2**32 - 21) | st.integers(0, 100)


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


unspent = st.just(Interrupted("x")) | st.just(Aborted("x")) | st.builds(Rescheduled, any_delays)


@given(schedules, st.integers(0, 2**32 - 1), st.lists(st.just(Failed("x")) | unspent, max_size=40))
def test_spent_stays_spent_and_nothing_else_spends(schedule, put_delay, outcomes):
    """In any history of failures and other releases a job fails n + 1 times before it is buried, no more, no less."""
    policy, broker, failures = Policy(schedule, 0), Broker(put_delay), 0
    for outcome in outcomes:
        assert policy.job(broker.reserve()).attempt == failures + 1
        broker.settle(policy.decide(outcome, broker.stats))
        failures += isinstance(outcome, Failed)
        if failures > len(schedule.delays):
            assert broker.state == "buried"
            return
        assert broker.state == "ready"
    assert fail_until_buried(policy, broker) == len(schedule.delays) + 1 - failures


@given(schedules, st.lists(st.just("fail") | st.just("kick") | unspent, max_size=20))
def test_kicked_job_keeps_what_it_has_spent(schedule, steps):
    policy, broker, failures = Policy(schedule, 0), Broker(), 0
    for step in steps:
        assert policy.job(broker.reserve()).attempt == failures + 1
        if step == "kick":  # buried for another reason than a failure
            broker.settle(policy.decide(Rejected("x"), broker.stats))
            broker.kick()
        elif step == "fail":
            broker.settle(policy.decide(Failed("x"), broker.stats))
            failures = min(failures + 1, len(schedule.delays))
            if broker.state == "buried":
                broker.kick()
        else:
            broker.settle(policy.decide(step, broker.stats))


@given(schedules, any_delays, any_delays, st.sampled_from(["another client", "another schedule"]), schedules)
def test_after_a_release_by_others_a_job_has_one_to_n_plus_one_attempts(schedule, delay, asked, by, other):
    policy, broker = Policy(schedule), Broker()
    broker.reserve()
    if by == "another schedule":
        broker.settle(Policy(other).decide(Rescheduled(delay), broker.stats))
    else:
        broker.settle(Release(delay, 5))
    broker.settle(policy.decide(Rescheduled(asked), broker.reserve()))
    guessed = schedule.failures(broker.stats)
    assert 0 <= guessed <= len(schedule.delays)
    assert fail_until_buried(policy, broker) == len(schedule.delays) + 1 - guessed


@given(schedules, any_delays, any_delays)
def test_release_waits_at_least_as_long_as_asked_and_at_most_n_seconds_more(schedule, delay, last):
    policy, stats, most = Policy(schedule), FRESH._replace(releases=1, delay=last), len(schedule.delays)
    assert delay <= policy.decide(Rescheduled(delay), stats).delay <= delay + most
    assert 60 <= policy.decide(Aborted("x"), stats).delay <= 60 + most
    assert 0 <= policy.decide(Interrupted("x"), stats).delay <= most
    failed = policy.decide(Failed("x"), stats)
    if (failures := schedule.failures(stats)) < most:
        assert schedule.delays[failures] <= failed.delay <= schedule.delays[failures] + most


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
