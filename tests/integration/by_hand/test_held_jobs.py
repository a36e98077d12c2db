"""What is done by hand with a job that `QueueManager.get` returned."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import burial_records
from tests.support.waiting import wait_for
from tubeherd import BurialKind, QueueManager, Settled


@pytest.fixture
def queue(beanstalkd):
    with QueueManager(beanstalkd.server, "mail", retry_delays=[0, 0]) as queue:
        yield queue


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_release_and_reschedule_spend_no_retry_and_give_none_back(beanstalkd, queue, failures):
    job_id = beanstalkd.put("mail", priority=7)
    client = beanstalkd.client()
    client.watch("mail")
    for delay in (0, failures):  # what the last release says counts, whoever sent it
        client.release(client.reserve_job(job_id), priority=7, delay=delay)
    client.kick_job(job_id) if failures else None
    job = queue.get()
    assert queue.reschedule(job, "1h", priority=3) is Settled.DONE
    stats = beanstalkd.stats_job(job_id)
    assert (stats["state"], stats["pri"]) == ("delayed", 3)
    assert 3600 <= stats["delay"] <= 3602
    assert stats["delay"] % 3 == failures
    beanstalkd.kick_job(job_id)
    assert queue.release(queue.get()) is Settled.DONE
    stats = beanstalkd.stats_job(job_id)
    assert (stats["delay"], stats["pri"]) == (failures, 3)


def test_reschedule_takes_a_moment(beanstalkd, queue):
    beanstalkd.put("mail")
    queue.reschedule(queue.get(), datetime.now(UTC) + timedelta(hours=1))
    assert 3540 <= beanstalkd.stats_job(1)["delay"] <= 3602


@pytest.mark.parametrize("delay", [-1, "soon", 2**32 - 2, float("nan"), timedelta(days=99999)])
def test_reschedule_refuses_a_delay_that_beanstalkd_cannot_hold_and_keeps_the_lease(beanstalkd, queue, delay):
    beanstalkd.put("mail")
    job = queue.get()
    with pytest.raises(ValueError, match=r"a d|is no d|can be delayed at most"):
        queue.reschedule(job, delay)
    with pytest.raises(ValueError, match="a priority"):
        queue.release(job, priority=-1)
    assert beanstalkd.count("mail")["reserved"] == 1


def test_bury_keeps_the_reason_as_a_record(beanstalkd, queue, logged):
    job_id = beanstalkd.put("mail", priority=7)
    assert queue.bury(queue.get(), "no such address") is Settled.DONE
    stats = beanstalkd.stats_job(job_id)
    assert (stats["state"], stats["pri"]) == ("buried", 7)
    (record,) = burial_records(beanstalkd)
    assert (record["job"], record["kind"], record["message"]) == (job_id, BurialKind.REJECTED, "no such address")
    (line,) = logged()
    assert (line["event"], line["reason"]) == ("buried", "no such address")


@pytest.mark.parametrize("reason", [ValueError("no such address"), None, b"no such address"])
def test_reason_that_is_no_text_is_refused_and_the_job_stays_reserved(beanstalkd, queue, reason):
    """Such a reason could not be kept, so nobody would know why the job is buried."""
    beanstalkd.put("mail")
    job = queue.get()
    with pytest.raises(ValueError, match=r"a reason is a text, such as str\(error\), not "):
        queue.bury(job, reason)
    assert beanstalkd.count("mail") == NOTHING | {"reserved": 1}
    assert queue.bury(job, "no such address") is Settled.DONE


def test_delete_of_a_held_job(beanstalkd, queue):
    beanstalkd.put("mail")
    assert queue.delete(queue.get()) is Settled.DONE
    assert beanstalkd.count("mail") == NOTHING


@pytest.mark.parametrize("verdict", ["release", "delete", "bury", "reschedule"])
def test_a_job_has_one_verdict_and_one_that_somebody_deleted_has_none(beanstalkd, queue, verdict):
    arguments = {"bury": ["why"], "reschedule": [1]}.get(verdict, [])
    beanstalkd.put("mail")
    job = queue.get()
    assert getattr(queue, verdict)(job, *arguments) is Settled.DONE
    with pytest.raises(ValueError, match="is not reserved by this QueueManager"):
        getattr(queue, verdict)(job, *arguments)


def test_verdict_on_a_job_whose_lease_has_ended(beanstalkd, queue):
    job_id = beanstalkd.put("mail", ttr=1)
    job = queue.get()
    # beanstalkd may notice that a lease has ended only when its connection sends a command.
    wait_for(lambda: queue.put("sms", {}) and beanstalkd.stats_job(job_id)["state"] == "ready", "the lease has ended")
    assert queue.release(job) is Settled.LEASE_GONE
    assert beanstalkd.count("mail")["ready"] == 1
