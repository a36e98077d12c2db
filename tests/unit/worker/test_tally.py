"""What a slot counts, as its supervisor reads it."""

import os
import signal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd.tally import BUCKETS, VERDICTS, Tally, add_counts, add_job

TUBES = ["mail", "a-tube;with+$igns", "x" * 200]


@pytest.fixture
def tally():
    tally = Tally()
    yield tally
    tally.close()


def counted(tally, jobs):
    def count():
        tally.begin(TUBES)
        for job in jobs:
            tally.count(*job)

    return count


def test_nothing_is_counted_before_the_slot_has_begun(tally, fork):
    assert tally.read() == {}
    fork(counted(tally, []))
    assert tally.read() == {}


def test_supervisor_reads_what_a_slot_counted_that_was_killed(tally, fork):
    pid = fork(counted(tally, [("mail", "deleted", 0.5), ("mail", "deleted", 0.25), ("mail", "buried", 700.0)]))
    os.kill(pid, signal.SIGKILL)
    assert tally.read() == {
        ("mail", "deleted"): [0.75, 0, 0, 0, 2, 0, 0, 0, 0],
        ("mail", "buried"): [700.0, 0, 0, 0, 0, 0, 0, 0, 1],
    }


def test_job_of_a_tube_that_was_not_asked_for_is_not_counted(tally, fork):
    fork(counted(tally, [("another", "deleted", 1.0), (TUBES[2], "retried", 1.0)]))
    assert list(tally.read()) == [(TUBES[2], "retried")]


@pytest.mark.parametrize(("below", "bucket"), [*pairwise(BUCKETS)])
def test_bucket_holds_times_up_to_its_limit(below, bucket):
    counts = {}
    add_job(counts, "mail", "deleted", bucket)
    add_job(counts, "mail", "deleted", (below + bucket) / 2)
    assert counts["mail", "deleted"][2 + BUCKETS.index(below)] == 2


@given(
    st.lists(
        st.tuples(st.sampled_from(TUBES), st.sampled_from(VERDICTS), st.integers(0, 4000).map(lambda n: n / 4)),
        max_size=30,
    )
)
def test_tally_holds_what_a_plain_dictionary_would(jobs):
    expected, tally = {}, Tally()
    tally.begin(TUBES)
    for job in jobs:
        add_job(expected, *job)
        tally.count(*job)
    assert tally.read() == expected
    twice = {}
    add_counts(twice, expected)
    add_counts(twice, expected)
    assert twice == {key: [2 * number for number in row] for key, row in expected.items()}
    tally.close()
