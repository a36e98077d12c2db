"""The operator discards buried jobs of a real beanstalkd, and no others."""

from shutil import rmtree

import pytest

from tests.support.beanstalkd import Beanstalkd
from tests.support.burials import RECORDS, count_records, put_record
from tests.support.servers import MAIL, ask, find, serving
from tests.support.waiting import wait_for
from tubeherd.burials.reader import read_burials
from tubeherd.queue.bulk import connect_to_tube
from tubeherd_operator.decisions.errands import Done, Found, Step
from tubeherd_operator.queues import running


@pytest.fixture
def pool(beanstalkd, servers, changed):
    """Watch a pool with the tubes mail and sms, whose beanstalkd has jobs of all kinds in tubes near them."""
    beanstalkd.put("mail", b"{}", delay=600)
    beanstalkd.bury("other", 1)
    beanstalkd.bury("tubeherd.burials", 1)
    servers.watch(MAIL, beanstalkd.server, serving("mail", "sms"))
    changed.wait(MAIL)
    return servers


@pytest.fixture
def reserved(beanstalkd):
    """A job of the tube mail that a worker has reserved."""
    job = beanstalkd.put("mail", b"{}", priority=0, ttr=600)
    client = beanstalkd.client()
    client.watch("mail")
    assert client.reserve(timeout=0).id == job
    yield job
    client.close()


def others(beanstalkd):
    """Return how many jobs there are that no discard may touch."""
    mail = beanstalkd.count("mail")
    own = [beanstalkd.count(tube)["buried"] for tube in ("other", "tubeherd.burials")]
    return [mail["ready"], mail["reserved"], mail["delayed"], *own]


@pytest.mark.parametrize("in_order", [True, False])
def test_buried_jobs_of_the_pool_are_deleted_and_no_others(beanstalkd, reserved, pool, in_order):
    first = beanstalkd.bury_many("mail", 20)
    beanstalkd.bury("other", 1)
    last = beanstalkd.bury_many("mail", 20)
    beanstalkd.bury("sms", 5)
    beanstalkd.put("mail", b"{}")
    before = others(beanstalkd)
    assert before == [1, 1, 1, 2, 1]
    assert find(pool, "all", deed="discard") == Found({"mail": 40, "sms": 5})
    step = Step("discard", {"mail": 30, "sms": 1}, in_order=in_order)
    assert ask(pool, MAIL, step) == Done({"mail": 30, "sms": 1})
    assert (beanstalkd.count("mail")["buried"], beanstalkd.count("sms")["buried"]) == (10, 4)
    if in_order:
        assert [job for job in first + last if beanstalkd.exists(job)] == last[10:], "those that were buried first go"
    step = Step("discard", {"mail": 1000, "sms": 1000}, in_order=in_order)
    assert ask(pool, MAIL, step) == Done({"mail": 10, "sms": 4})
    assert ask(pool, MAIL, Step("discard", {"mail": 9, "sms": 9}, in_order=in_order)) == Done({"mail": 0, "sms": 0})
    assert others(beanstalkd) == before


def test_job_that_is_to_be_deleted_is_looked_at_just_before(beanstalkd, failed, reserved, pool):
    (other,) = beanstalkd.bury_many("other", 1)
    ready, job = failed[:2]
    assert find(pool, f"job/{job}", deed="discard") == Found({"mail": 1})
    assert find(pool, f"job/{reserved}", deed="discard").refused == "it is reserved: somebody works on it"
    assert "the job is in tube other" in find(pool, f"job/{other}", deed="discard").refused
    beanstalkd.kick_job(ready)
    for gone in (ready, reserved, other):
        assert ask(pool, MAIL, Step("discard", {"mail": 1}, job=gone)) == Done({"mail": 0})
        assert beanstalkd.exists(gone)
    assert ask(pool, MAIL, Step("discard", {"mail": 1}, job=job)) == Done({"mail": 1})
    assert not beanstalkd.exists(job)


@pytest.mark.parametrize("slowly", [False, True])
def test_jobs_with_an_error_are_deleted_as_far_as_they_are_buried_still(beanstalkd, failed, pool, slowly):
    assert find(pool, "error/KeyError", deed="discard") == Found({"mail": 5, "sms": 1})
    beanstalkd.kick_job(failed[0])
    step = Step("discard", {"mail": 5, "sms": 1}, error="KeyError", slowly=slowly)
    assert ask(pool, MAIL, step) == Done({"mail": 4, "sms": 1})
    assert [beanstalkd.exists(job) for job in failed] == [True, False, False, False, False]
    assert beanstalkd.count("mail")["buried"] == 1, "the ValueError"
    assert {record.error for record in read_burials(beanstalkd.server).records} == {"ValueError"}
    assert count_records(beanstalkd) == 2, "the records of jobs that are gone are removed; one was buried above"


def test_ids_that_a_restarted_server_gives_anew_are_not_those_that_were_found_before(tmp_path, servers, changed):
    beanstalkd = Beanstalkd(tmp_path / "binlog")
    jobs = beanstalkd.bury_many("mail", 2)
    for job in jobs:
        put_record(beanstalkd, job)
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    assert find(servers, "error/KeyError", "mail", deed="discard") == Found({"mail": 2})
    beanstalkd.kill()
    rmtree(tmp_path / "binlog")
    wait_for(lambda: servers.counts(MAIL).error, "the loss is noticed")
    beanstalkd.start()
    assert beanstalkd.bury_many("mail", 2) == jobs
    for job in jobs:
        put_record(beanstalkd, job, error="ValueError")
    wait_for(lambda: not servers.counts(MAIL).error, "the server is found again")
    assert ask(servers, MAIL, Step("discard", {"mail": 2}, error="KeyError")) == Done({"mail": 0})
    assert beanstalkd.count("mail")["buried"] == 2
    servers.forget(MAIL)
    beanstalkd.close()


def test_discard_that_is_not_answered_may_have_been_done(beanstalkd, losing, servers, changed):
    jobs = beanstalkd.bury_many("mail", 2)
    put_record(beanstalkd, jobs[0])
    losing.loses_answer_to = "delete"
    servers.watch(MAIL, losing.server, serving("mail"))
    changed.wait(MAIL)
    done = ask(servers, MAIL, Step("discard", {"mail": 2}, in_order=True))
    assert (done.tubes, done.lost) == ({}, "mail")
    assert beanstalkd.count("mail")["buried"] == 1


def test_discard_that_was_not_sent_was_not_done(beanstalkd, losing, servers, changed):
    beanstalkd.bury("mail", 2)
    losing.loses_answer_to = "peek-buried"
    servers.watch(MAIL, losing.server, serving("mail"))
    changed.wait(MAIL)
    done = ask(servers, MAIL, Step("discard", {"mail": 2}))
    assert (done.tubes, done.lost) == ({}, None)
    assert "closed the connection" in done.error
    assert beanstalkd.count("mail")["buried"] == 2


@pytest.mark.slow
def test_records_that_others_are_reading_are_waited_for(beanstalkd, failed, pool, monkeypatch):
    """Such as those that the operator itself reads at its start: a request is about all jobs with its error."""
    other = connect_to_tube(beanstalkd.server, RECORDS, 5)
    held = len(other.take(4))
    readings = []

    def read(*arguments, **options):
        readings.append(read_burials(*arguments, **options))
        if readings[-1].read_elsewhere:
            other.abandon()
            wait_for(lambda: beanstalkd.count(RECORDS)["reserved"] == 0, "the other gives its records back")
        return readings[-1]

    monkeypatch.setattr(running, "read_burials", read)
    assert find(pool, "error/KeyError", deed="discard") == Found({"mail": 5, "sms": 1})
    assert [reading.read_elsewhere for reading in readings] == [held, 0]
