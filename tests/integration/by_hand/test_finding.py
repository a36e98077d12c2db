"""The jobs of a tube in one state are found, and nothing about them changes."""

from contextlib import closing

import pytest

from tests.support.burials import put_record
from tubeherd.burials.reader import read_burials
from tubeherd.by_hand.looking.finding import STATES, WALK_MOST, Search
from tubeherd.queue.looking import connect_to_look


def in_each_state(beanstalkd, tube="mail"):
    """Leave two jobs in each state of a tube, and return their ids by state; they stay until the client is closed."""
    client = beanstalkd.client()
    client.watch(tube)
    client.ignore("default")
    ids = {}
    for state in ("buried", "reserved"):
        ids[state] = [beanstalkd.put(tube), beanstalkd.put(tube)]
        for _ in range(2):
            job = client.reserve(timeout=1)
            if state == "buried":
                client.bury(job)
    ids["delayed"] = [beanstalkd.put(tube, delay=1000), beanstalkd.put(tube, delay=500)]
    ids["ready"] = [beanstalkd.put(tube, priority=9), beanstalkd.put(tube, priority=3)]
    return ids


def search(beanstalkd, state, tube="mail", walk=WALK_MOST):
    """Search to the end; return the search and what it has found."""
    with closing(connect_to_look(beanstalkd.server)) as connection:
        burials = read_burials(beanstalkd.server, tube) if state == "buried" else None
        searched = Search(connection, tube, state, burials, walk)
        return searched, list(searched)


def found(beanstalkd, state, tube="mail"):
    return sorted(job.counters.id for job in search(beanstalkd, state, tube)[1])


@pytest.mark.parametrize("state", STATES)
def test_jobs_without_records_are_found_in_each_state(beanstalkd, state):
    beanstalkd.put_numbers("other", 700)
    expected = in_each_state(beanstalkd)
    in_each_state(beanstalkd, "news")
    beanstalkd.put_numbers("other", 700)
    assert found(beanstalkd, state) == sorted(expected[state])


def test_buried_jobs_with_records_need_no_walk_and_the_newest_burial_comes_first(beanstalkd):
    beanstalkd.bury("mail", 3)
    for job in (1, 2, 3):
        put_record(beanstalkd, job, time=f"2026-11-28T12:00:0{job}Z", message=f"reason {job}")
    searched, jobs = search(beanstalkd, "buried")
    assert [(job.counters.id, job.record.message) for job in jobs] == [
        (3, "reason 3"), (2, "reason 2"), (1, "reason 1"),
    ]  # fmt: skip
    assert (searched.walked, searched.counted, searched.found) == (0, 3, 3)


def test_buried_jobs_of_which_one_has_a_record(beanstalkd):
    beanstalkd.bury("mail", 3)
    put_record(beanstalkd, 2)
    searched, jobs = search(beanstalkd, "buried")
    assert [(job.counters.id, job.record is not None) for job in jobs] == [(2, True), (1, False), (3, False)]
    assert searched.counted == 3


def test_walk_ends_at_its_bound_and_reports_what_it_missed(beanstalkd):
    first = beanstalkd.put("mail")
    beanstalkd.put_numbers("other", 1500)
    beanstalkd.put("mail")
    searched, jobs = search(beanstalkd, "ready", walk=1000)
    assert [job.counters.id for job in jobs] == [first]
    assert (searched.walked, searched.counted, searched.found) == (1000, 2, 1)
    assert search(beanstalkd, "ready", walk=2000)[0].found == 2


def test_walk_ends_when_no_id_is_left(beanstalkd):
    client = beanstalkd.client()
    beanstalkd.put("mail")
    client.watch("mail")
    with closing(connect_to_look(beanstalkd.server)) as connection:
        searched = Search(connection, "mail", "ready", None)
        client.reserve(timeout=1)  # between the count and the walk
        assert list(searched) == []
    assert searched.walked < 5000


def test_jobs_are_found_after_a_restart_with_the_binlog(beanstalkd):
    for job in beanstalkd.put_numbers("other", 3000):
        beanstalkd.delete(job)
    ids = [beanstalkd.put("mail"), beanstalkd.put("mail", priority=0)]
    beanstalkd.kill()
    beanstalkd.start()
    assert found(beanstalkd, "ready") == ids


def test_tube_that_does_not_exist_has_no_jobs(beanstalkd):
    assert found(beanstalkd, "ready", "nothing") == []


@pytest.mark.parametrize(("tube", "state"), [("two words", "ready"), ("tubeherd.burials", "ready"), ("mail", "done")])
def test_wrong_names_are_refused(beanstalkd, tube, state):
    with pytest.raises(ValueError, match=r"is no tube name|is reserved|is no state of a job"):
        search(beanstalkd, state, tube)


def test_looking_changes_no_counter_of_a_job_or_tube_and_no_order(beanstalkd):
    in_each_state(beanstalkd)
    put_record(beanstalkd, 2)
    observer = beanstalkd.client()
    before = snapshot(observer)
    for state in STATES:
        found(beanstalkd, state)
    assert snapshot(observer) == before
    order = []
    observer.use("mail")
    for _ in range(2):
        order.append(observer.peek_buried().id)
        observer.delete(order[-1])
    assert order == [1, 2]


def snapshot(observer):
    """Return all that beanstalkd counts of the jobs and of the tube, but for what the time changes."""
    passing = ("age", "time-left")
    jobs = {}
    for job in range(1, 9):
        jobs[job] = {name: value for name, value in observer.stats_job(job).items() if name not in passing}
    server = {
        name: value
        for name, value in observer.stats().items()
        if name.startswith("current-jobs") or name in ("total-jobs", "job-timeouts")
    }
    return jobs, observer.stats_tube("mail"), server
