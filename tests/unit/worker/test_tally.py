"""What a slot counts, as its supervisor reads it."""

import os
import signal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import values

from tubeherd.job import Job
from tubeherd.metrics import Metrics, Slots
from tubeherd.policy import BurialKind, Bury, Delete, Release
from tubeherd.processing.processor import Processed
from tubeherd.processing.reporting import Reporter
from tubeherd.queue.answers import Settled
from tubeherd.shared_memory.tally import BUCKETS, Incident, Tally, VerdictLabel, add_counts, add_job

SLOTS = Slots(jobs_running=1, wanted=2, running=2, connected=1, memory={0: 30_000_000, 1: 8_000_000}, memory_limit=None)
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


def test_slot_may_have_no_tube_to_count(tally, fork):
    """Its globs match none that has an executor yet."""

    def reject():
        tally.begin([])
        tally.count_incident(Incident.REJECTED)

    fork(reject)
    assert (tally.read(), tally.names(), tally.incidents()[Incident.REJECTED]) == ({}, [], 1)


def test_nothing_is_counted_before_the_slot_has_begun(tally, fork):
    assert tally.read() == {}
    fork(counted(tally, []))
    assert tally.read() == {}


def test_supervisor_reads_what_a_slot_counted_that_was_killed(tally, fork):
    jobs = [(VerdictLabel.DELETED, 0.5), (VerdictLabel.DELETED, 0.25), (VerdictLabel.BURIED, 700.0)]
    pid = fork(counted(tally, [("mail", *job) for job in jobs]))
    os.kill(pid, signal.SIGKILL)
    assert tally.read() == {
        ("mail", "deleted"): [750_000, 0, 0, 0, 2, 0, 0, 0, 0],
        ("mail", "buried"): [700_000_000, 0, 0, 0, 0, 0, 0, 0, 1],
    }


def test_supervisor_reads_which_incidents_a_slot_counted(tally, fork):
    def lose_two():
        tally.begin(TUBES)
        tally.count_incident(Incident.LOST_RECORD)
        tally.count_incident(Incident.LOST_RECORD)
        tally.count_incident(Incident.REJECTED)
        tally.count("mail", VerdictLabel.BURIED, 0.5)

    none = dict.fromkeys(Incident, 0)
    assert tally.incidents() == none
    fork(lose_two)
    assert tally.incidents() == none | {"lost_record": 2, "rejected": 1}
    assert tally.read() == {("mail", "buried"): [500_000, 0, 0, 0, 1, 0, 0, 0, 0]}


def test_job_of_a_tube_that_was_not_asked_for_is_not_counted(tally, fork):
    fork(counted(tally, [("another", VerdictLabel.DELETED, 1.0), (TUBES[2], VerdictLabel.RETRIED, 1.0)]))
    assert list(tally.read()) == [(TUBES[2], "retried")]


@pytest.mark.parametrize(("below", "bucket"), [*pairwise(BUCKETS)])
def test_bucket_holds_times_up_to_its_limit(below, bucket):
    counts = {}
    add_job(counts, "mail", VerdictLabel.DELETED, bucket)
    add_job(counts, "mail", VerdictLabel.DELETED, (below + bucket) / 2)
    assert counts["mail", "deleted"][2 + BUCKETS.index(below)] == 2


@given(
    st.lists(
        st.tuples(st.sampled_from(TUBES), st.sampled_from(VerdictLabel), st.floats(0, 1000)),
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


def test_every_word_of_a_report_has_its_row(tally, logged):
    tally.begin(TUBES)
    reporter = Reporter(tally)
    job = Job(1, "mail", 1, 5, 0, 0)
    for verdict, settled in [
        (Delete(), Settled.DONE),
        (Release(5, 5, "why", failure=BurialKind.EXCEPTION), Settled.DONE),
        (Release(5, 5), Settled.DONE),
        (Bury(5, "why", BurialKind.EXCEPTION), Settled.DONE),
        (Delete(), Settled.LEASE_GONE),
    ]:
        reporter.report(Processed(job, verdict, 1.0), settled)
    reporter.report_lost(Processed(job, Release(5, 5, "why", failure=BurialKind.DEADLINE), 1.0))
    failures = {incident: count for incident, count in tally.incidents().items() if count}
    assert failures == {"exception": 2, "deadline": 1}
    words = ["deleted", "retried", "released", "buried", "lease_gone"]
    assert {key: row[0] for key, row in tally.read().items()} == {("mail", word): 1_000_000 for word in words}


@pytest.mark.parametrize("number", [1, 4, 2**40, 2**64 - 1])
def test_damaged_tally_is_told_and_left_out(monkeypatch, logged, number):
    """A job has written another number of tubes over it."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "restored afterwards")
    monkeypatch.setattr(values, "ValueClass", None)
    metrics = Metrics()
    try:
        metrics.count("mail", VerdictLabel.DELETED, 0.5)
        tally = metrics.open_tally()
        tally.begin(["mail", "post"])
        tally.count("mail", VerdictLabel.DELETED, 0.5)
        tally._numbers[0] = number
        assert b'tubeherd_job_seconds_count{tube="mail",verdict="deleted"} 1.0' in metrics.text(SLOTS)
        metrics.keep(tally)
        tally.close()
        assert b'tubeherd_job_seconds_count{tube="mail",verdict="deleted"} 1.0' in metrics.text(SLOTS)
    finally:
        metrics.files.remove()
    assert any("damaged" in line["event"] for line in logged())
