"""How many replicas an autoscaled pool has, from look to look at its tubes."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd.pool import WorkerPoolSpec
from tubeherd.queue.answers import TubeStats
from tubeherd_operator.decisions.autoscale import Demand, Moment, Pace, Rule, Scale, begin, demand_of, rule_of
from tubeherd_operator.decisions.autoscale_report import why

BY_JOBS = Rule(least=0, most=10, at_a_time=1, delay=300.0, jobs_per_replica=40)
BY_WAIT = Rule(least=0, most=50, at_a_time=2, delay=300.0, target_wait=60.0)
AWAY = None
"""What a look finds if beanstalkd does not answer."""


def tubes(**mail):
    return {"mail": TubeStats("mail", **mail)}


def looks(scaling, *found):
    """Return the scaling after looks at these times, by the clock, that found this."""
    for clock, counts in found:
        scaling = scaling.after(counts, Moment(clock, 1_000_000 + clock))
    return scaling


def numbers(scaling, *found):
    """Return the number of replicas after each look."""
    after = []
    for look in found:
        scaling = looks(scaling, look)
        after.append(scaling.replicas)
    return after


def start(rule, replicas=0):
    return begin(rule, replicas, Moment(0, 1_000_000))


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ({"maxReplicas": 3, "jobsPerReplica": 5}, Rule(0, 3, 1, 300.0, jobs_per_replica=5)),
        (
            {"minReplicas": 2, "maxReplicas": 3, "targetWait": "1m30s", "scaleDownDelay": "10 s"},
            Rule(2, 3, 1, 10.0, target_wait=90.0),
        ),
        ({"maxReplicas": 3, "jobsPerReplica": 5, "scaleDownDelay": "999999999w"}, Rule(0, 3, 1, 86400.0, 5)),
    ],
)
def test_rule_of_a_spec(spec, rule):
    assert rule_of(WorkerPoolSpec.model_validate({"tubes": ["mail"], "autoscale": spec})) == rule


def test_replica_executes_as_many_jobs_at_a_time_as_its_slots_have_lanes():
    spec = {"tubes": ["mail"], "concurrency": 4, "asyncConcurrency": 8}
    rule = rule_of(WorkerPoolSpec.model_validate(spec | {"autoscale": {"maxReplicas": 3, "targetWait": "1m"}}))
    assert rule.at_a_time == 32
    assert rule_of(WorkerPoolSpec.model_validate(spec)) is None


@pytest.mark.parametrize(
    ("counts", "replicas"),
    [
        ({}, 0),
        ({"ready": 1}, 1),
        ({"reserved": 1}, 1),
        ({"ready": 39, "reserved": 1}, 1),
        ({"ready": 40, "reserved": 1}, 2),
        ({"delayed": 5000, "buried": 5000, "put": 9000, "deleted": 7}, 0),
    ],
)
def test_jobs_that_are_ready_or_reserved_want_replicas_and_no_others(counts, replicas):
    assert demand_of(BY_JOBS, tubes(**counts), {}).replicas == replicas
    two = {"mail": TubeStats("mail", **counts), "sms": TubeStats("sms")}
    assert demand_of(BY_JOBS, two, {}).replicas == replicas


@pytest.mark.parametrize(
    ("seconds", "counts", "replicas"),
    [
        (2.0, {}, 0),
        (2.0, {"ready": 1}, 1),
        (2.0, {"ready": 600}, 10),  # 600 jobs of 2 s within 60 s: 20 at a time
        (2.0, {"ready": 580, "reserved": 20}, 10),
        (2.0, {"ready": 0, "reserved": 30}, 15),  # no fewer than execute jobs already
        (600.0, {"ready": 7, "reserved": 3}, 5),  # longer than the wait: each needs a place of its own, and no more
        (0.0, {"ready": 5000}, 1),  # it is not known how long they take: the first will show it
        (0.0, {"ready": 5000, "reserved": 4}, 2),
    ],
)
def test_jobs_want_as_many_places_as_let_each_begin_within_the_wait(seconds, counts, replicas):
    paces = {"mail": Pace(seconds * 10, 10)} if seconds else {}
    assert demand_of(BY_WAIT, tubes(**counts), paces).replicas == replicas


def test_each_tube_has_its_own_pace():
    counts = {"mail": TubeStats("mail", ready=600), "film": TubeStats("film", ready=2)}
    assert demand_of(BY_WAIT, counts, {"mail": Pace(2, 1), "film": Pace(600, 1)}) == Demand(11, 602, 0, 2400 / 602)


def pace(*looks):
    """Return the pace after such looks, one a second."""
    found, stats = Pace(), [TubeStats("mail", **counts) for counts in looks]
    for before, now in pairwise(stats):
        found = found.after(before, now, 1.0, 1e9)
    return found.seconds


@pytest.mark.parametrize(
    ("looks", "seconds"),
    [
        ([{"ready": 9}, {"ready": 9}], 0),
        ([{"reserved": 4, "deleted": 8 * second} for second in range(1001)], 0.5),
        ([{"reserved": 4}] * 31, 60),
        ([{"reserved": 2, "buried": second} for second in range(1001)], 2),
        ([{"reserved": 2, "delayed": second} for second in range(1001)], 2),
        ([{"reserved": 1, "delayed": second, "put": second} for second in range(9)], 16),
        ([{"reserved": 2, "deleted": 5}, {"reserved": 2, "deleted": 6}, {"reserved": 2, "deleted": 0}], 2),
        ([{"reserved": 2, "deleted": 3 * second, "buried": 9000 - 2 * second} for second in range(1001)], 2),
    ],
    ids=["idle", "done", "hang", "buried", "retried", "put with a delay", "server restarted", "discarded"],
)
def test_pace_is_the_time_of_all_executions_by_those_that_ended(looks, seconds):
    assert pace(*looks) == pytest.approx(seconds, rel=0.01)


def test_idle_tube_forgets_nothing_of_its_pace():
    idle = TubeStats("mail")
    assert Pace(100, 50, 2).after(idle, idle, 1e6, 60) == Pace(100, 50, 2)


def test_first_replica_shows_how_long_jobs_take_and_then_all_that_are_wanted_come_at_once():
    def counts(second):
        done = max(0, second - 3) // 2 * 2
        return second, tubes(ready=998 - done, reserved=2 if second >= 3 else 0, deleted=done)

    after = numbers(start(BY_WAIT), *map(counts, range(1, 12)))
    assert after[:2] == [1, 1]
    assert 17 <= after[-1] <= 17 * 1.5


def test_jobs_that_all_hang_get_a_place_each_and_no_more_than_the_bound():
    hanging = [(second, tubes(ready=40, reserved=10)) for second in range(1, 600)]
    assert numbers(start(BY_WAIT), *hanging)[-1] == 25
    assert numbers(start(replace(BY_WAIT, target_wait=300.0)), *hanging)[-1] == 25
    assert numbers(start(replace(BY_WAIT, target_wait=86400.0)), *hanging)[-1] == 5
    assert numbers(start(replace(BY_WAIT, most=7)), *hanging)[-1] == 7


def test_number_rises_at_once_and_falls_to_the_highest_that_was_wanted_within_the_delay():
    found = [(1, 400), (2, 0), (100, 120), (101, 40), (300, 40), (301, 0), (399, 0), (400, 0), (599, 0), (600, 0)]
    assert numbers(start(BY_JOBS), *((clock, tubes(ready=jobs)) for clock, jobs in found)) == [
        *(10, 10, 10, 10, 10),
        *(3, 3, 1, 1, 0),
    ]


def test_number_falls_a_few_times_within_a_delay_while_the_jobs_get_fewer_bit_by_bit():
    draining = [(second, tubes(ready=max(0, 400 - second))) for second in range(1, 1000)]
    after = numbers(start(BY_JOBS), *draining)
    falls = [clock for clock, (one, other) in enumerate(pairwise(after)) if other < one]
    assert after[-1] == 0
    assert all(later - fall >= 30 for fall, later in pairwise(falls))


def test_nothing_falls_while_the_jobs_are_not_known_nor_within_the_delay_after():
    scaling = looks(start(BY_JOBS), (1, tubes(ready=400)), (2, tubes()), (3, AWAY), (3000, AWAY), (3001, tubes()))
    assert scaling.replicas == 10
    assert looks(start(BY_JOBS, 3), (1, AWAY)).scale == Scale(3)
    assert looks(scaling, (3299, tubes())).replicas == 10
    assert looks(scaling, (3300, tubes())).replicas == 0


def test_operator_that_is_restarted_keeps_the_number_for_the_delay():
    scaling = start(BY_JOBS, 7)
    assert numbers(scaling, (1, tubes()), (299, tubes()), (300, tubes())) == [7, 7, 0]


@pytest.mark.parametrize(("has", "keeps"), [(0, 2), (3, 3), (99, 10)])
def test_number_is_within_the_bounds_at_once(has, keeps):
    assert start(replace(BY_JOBS, least=2), has).replicas == keeps


def test_fall_that_comes_is_announced_with_its_time():
    scaling = looks(start(BY_JOBS), (1, tubes(ready=400)), (2, tubes(ready=120)), (3, tubes()), (50, tubes()))
    assert scaling.scale == Scale(10, Demand(0, 0, 0), falls_to=3, falls_at=1_000_301)
    fallen = looks(scaling, (301, tubes()))
    assert fallen.scale == Scale(3, Demand(0, 0, 0), falls_to=0, falls_at=1_000_302)
    rests = looks(fallen, (303, tubes()))
    assert rests.scale == Scale(3, Demand(0, 0, 0), falls_to=0, falls_at=1_000_331), "falls are 30 s apart"


COUNTS = st.builds(
    lambda ready, reserved, delayed, buried, put, deleted: tubes(
        ready=ready, reserved=reserved, delayed=delayed, buried=buried, put=put, deleted=deleted
    ),
    *[st.integers(0, 500)] * 6,
)
RULES = st.builds(
    lambda least, more, at_a_time, delay, measure: Rule(least, least + more, at_a_time, delay, **measure),
    st.integers(0, 5),
    st.integers(1, 50),
    st.integers(1, 8),
    st.floats(0.001, 100),
    st.one_of(
        st.fixed_dictionaries({"jobs_per_replica": st.integers(1, 100)}),
        st.fixed_dictionaries({"target_wait": st.floats(0.001, 1e6)}),
    ),
)


@given(RULES, st.integers(0, 100), st.lists(st.tuples(st.floats(0.01, 60), st.none() | COUNTS), max_size=40))
def test_whatever_is_found_the_number_keeps_its_promises(rule, replicas, found):
    scaling, clock, wanted = start(rule, replicas), 0.0, []
    wanted.append((clock, scaling.replicas))
    for seconds, counts in found:
        clock += seconds
        before, scaling = scaling.replicas, looks(scaling, (clock, counts))
        assert rule.least <= scaling.replicas <= rule.most
        if counts is None:
            assert scaling.replicas >= before
            number = before
        else:
            number = rule.bounded(scaling.demand.replicas)
            assert scaling.replicas >= number, "up at once"
            jobs = counts["mail"].ready + counts["mail"].reserved
            assert (scaling.demand.replicas > 0) == (jobs > 0)
            assert scaling.demand.replicas <= max(jobs, 1)
            assert scaling.replicas > 0 or jobs == 0, "to zero only if nothing is ready or reserved"
        wanted.append((clock, number))
        within = [number for at, number in wanted if clock - at < rule.delay]
        assert scaling.replicas >= max(within), "never down before the delay"
        assert scaling.replicas == before or scaling.replicas in (number, *within)


@pytest.mark.parametrize(
    ("rule", "demand", "words"),
    [
        (BY_JOBS, Demand(3, 100, 20), "100 jobs wait and 20 run, 40 per replica"),
        (BY_JOBS, Demand(1, 1, 1), "1 job waits and 1 runs, 40 per replica"),
        (BY_JOBS, Demand(0, 0, 0), "0 jobs wait and 0 run, 40 per replica"),
        (
            BY_JOBS,
            Demand(126, 5000, 40),
            "5,000 jobs wait and 40 run, 40 per replica; that would be 126, but maxReplicas is 10",
        ),
        (
            replace(BY_JOBS, least=2),
            Demand(0, 0, 0),
            "0 jobs wait and 0 run, 40 per replica; that would be 0, but minReplicas is 2",
        ),
        (
            BY_WAIT,
            Demand(17, 998, 2, 2.04),
            "998 jobs wait and 2 run, to wait at most 1m; they take about 2s each, 2 at a time in a replica",
        ),
        (
            BY_WAIT,
            Demand(17, 998, 2, 0.0123),
            "998 jobs wait and 2 run, to wait at most 1m; they take about 12ms each, 2 at a time in a replica",
        ),
        (
            BY_WAIT,
            Demand(1, 998, 0),
            "998 jobs wait and 0 run, to wait at most 1m; how long they take is not known yet",
        ),
        (BY_JOBS, None, "how many jobs there are is not known, see the condition ServerReachable"),
    ],
)
def test_why_in_words(rule, demand, words):
    assert why(rule, Scale(3, demand)) == words
