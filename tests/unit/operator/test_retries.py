"""When two pools differ in their number of retry delays, and what is reported of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd.pool import WorkerPoolSpec
from tubeherd.settings import WorkerSettings
from tubeherd_operator.decisions.conditions import conditions
from tubeherd_operator.decisions.conditions.retries_differ import judge_retries
from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.retries import Served, served_by, tubes_that_differ
from tubeherd_operator.decisions.tubes import PoolTubes
from tubeherd_operator.objects import Key

BULK = Key("other", "bulk")
serving = st.builds(Served, st.lists(st.sampled_from("abc"), unique=True).map(tuple).map(PoolTubes), st.integers(0, 2))


@pytest.mark.parametrize(
    ("fields", "retries"),
    [
        ({}, 1),
        ({"retry": None}, 1),
        ({"retry": {}}, 1),
        ({"retry": {"delays": None}}, 1),
        ({"retry": {"delays": []}}, 0),
        ({"retry": {"delays": ["5s"]}}, 1),
        ({"retry": {"delays": ["10s", "10m", "1h"]}}, 3),
        ({"suspend": True, "replicas": 0}, 1),
    ],
)
def test_number_of_retry_delays_of_a_spec(fields, retries):
    assert served_by(WorkerPoolSpec(tubes=["mail", "sms"], **fields)) == Served(PoolTubes(("mail", "sms")), retries)


def test_spec_without_retry_has_as_many_delays_as_its_workers():
    workers = WorkerSettings.model_fields["retry_delays"].default
    assert served_by(WorkerPoolSpec(tubes=["mail"])).retries == len(workers)


@given(serving, serving)
def test_pools_differ_in_the_tubes_that_both_serve_with_different_numbers(one, other):
    differing = tubes_that_differ(one, other)
    assert differing == tubes_that_differ(other, one)
    expected = {tube for tube in "abc" if tube in one.tubes and tube in other.tubes and one.retries != other.retries}
    assert set(differing) == expected


def test_condition_names_the_tube_the_other_pool_and_what_to_do():
    found = judge_retries(
        Served(PoolTubes(("mail", "sms")), 1),
        {BULK: Served(PoolTubes(("push", "sms")), 3), Key("shop", "a"): Served(PoolTubes(()), 2)},
    )
    assert found == Finding(
        "RetriesDiffer",
        "True",
        "RetriesDiffer",
        "pool other/bulk serves tube sms with 3 retry delays; this pool has 1 retry delay: give all pools that "
        "serve a tube the same number in spec.retry.delays, otherwise its jobs may get more or fewer attempts than any "
        "pool says",
        event="Warning",
    )


@pytest.mark.parametrize(
    "others",
    [{}, {BULK: Served(PoolTubes(("mail",)), 1)}, {BULK: Served(PoolTubes(("push",)), 3)}],
    ids=["no other pool", "same number", "other tubes"],
)
def test_no_condition_where_no_pool_differs(others):
    assert judge_retries(Served(PoolTubes(("mail", "sms")), 1), others) is None


def test_longest_message_fits_into_a_condition_whatever_the_order_of_the_pools():
    names = tuple(f"{number:02}{'x' * 198}" for number in range(64))
    tubes, reverse = PoolTubes(names), PoolTubes(names[::-1])
    others = {Key("n" * 63, f"{number:03}{'p' * 60}"): Served(tubes, 20) for number in range(300)}
    found = judge_retries(Served(tubes, 19), others)
    assert len(found.message) <= 1000
    assert "and 63 more" in found.message
    assert "298 more pools differ" in found.message
    assert judge_retries(Served(reverse, 19), dict(reversed(others.items()))) == found


def test_pool_is_ready_though_another_differs(pools):
    found = {
        entry.type: entry.status for entry in conditions(pools.seen(others={BULK: Served(PoolTubes(("mail",)), 2)}))
    }
    assert found == {
        "Ready": "True",
        "Available": "True",
        "Progressing": "False",
        "ServerReachable": "True",
        "RetriesDiffer": "True",
    }
