"""The event `worker.job.failed`, which is published for each failed attempt."""

import pytest

from tubeherd import Policy, QueueManager, QueueUnavailable, RetrySchedule, events, executor
from tubeherd.executors import registry

LISTENING = """
import gc, os, signal, time
from traces import note, wait_for
from tubeherd import Delete, Job, Reject, Reschedule, events, executor
from tubeherd.queue.connection import Connection

@events.job_failed.connect
def failed(job, error, reason, attempts):
    note(f"failed {attempts} {type(error).__name__} {error} ({reason})")
    if "listener" in reason:
        raise SystemExit("of the listener")
    if "slow" in reason:
        wait_for("go")

@events.job_buried.connect
def buried(job, error, reason, attempts):
    note(f"buried {type(error).__name__}")

@executor("mail")
def mail(kind: str, job: Job):
    if kind == "die":
        os._exit(9)
    if kind == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    if kind == "late":
        time.sleep(60)
    if kind == "later":
        raise Reschedule(300)
    if kind == "reject":
        raise Reject("no address")
    if kind == "gone":
        # Takes the job away under the slot, as beanstalkd does when a lease runs out.
        (connection,) = [thing for thing in gc.get_objects() if isinstance(thing, Connection)]
        connection.settle(job.id, Delete())
    if kind == "wait":
        note("begun")
        wait_for("go")
    if kind != "well":
        raise ValueError(kind)
    note("well")
"""
ERROR = "ValueError boom (ValueError: boom)"


def test_each_failed_attempt_is_published_and_then_the_burial(beanstalkd, run_worker, put_mail):
    put_mail("boom")
    worker = run_worker(beanstalkd.server, LISTENING, "--retry-delays", "1s")
    worker.wait_for_notes("buried ValueError")
    assert worker.notes() == [f"failed 1 {ERROR}", f"failed 2 {ERROR}", "buried ValueError"]


def test_neither_reschedules_nor_poison_nor_success_are_failures(beanstalkd, run_worker, put_mail):
    beanstalkd.lose(put_mail("poison"))
    worker = run_worker(beanstalkd.server, LISTENING, "--max-lost-deliveries", "1")
    worker.wait_for_notes("buried NoneType")
    put_mail("later")
    worker.wait_for_line("released")
    put_mail("well")
    worker.wait_for_notes("well")
    assert worker.notes() == ["buried NoneType", "well"]


@pytest.mark.parametrize(
    ("kind", "options", "note"),
    [
        ("reject", (), "failed 1 Reject no address (no address)"),
        ("late", ("--job-timeout", "1s"), "failed 1 DeadlinePassed the job ran longer than its timeout of 1 s"),
        ("die", (), "failed 1 SlotDied the slot died: exit code 9 (the slot died: exit code 9)"),
        ("hang", ("--job-timeout", "1s"), "failed 1 SlotDied the job ran longer than its timeout of 1 s"),
    ],
)
def test_every_kind_of_failure_is_published(beanstalkd, run_worker, put_mail, kind, options, note):
    put_mail(kind)
    worker = run_worker(beanstalkd.server, LISTENING, *options)
    worker.wait_for(lambda: worker.notes() and worker.notes()[0].startswith(note), "the listener is called")


def test_invalid_payload_is_a_failure_with_an_exception_that_does_not_quote_it(beanstalkd, run_worker, put_mail):
    put_mail(["s3cret"])
    worker = run_worker(beanstalkd.server, LISTENING)
    worker.wait_for_notes("buried InvalidPayload")
    assert worker.notes()[0].startswith("failed 1 InvalidPayload payload is not valid")
    assert "s3cret" not in worker.notes()[0]


def test_failure_by_a_death_while_the_worker_stops_is_published(beanstalkd, run_worker, put_mail):
    executors = LISTENING.replace("os._exit(9)", "note('begun'); wait_for('go'); os._exit(9)")
    put_mail("die")
    worker = run_worker(beanstalkd.server, executors)
    worker.wait_for_notes("begun")
    worker.ask_to_stop()
    worker.allow("go")
    assert worker.exit_code() == 0
    assert worker.notes()[1:] == ["failed 1 SlotDied the slot died: exit code 9 (the slot died: exit code 9)"]


def test_failure_whose_lease_is_gone_is_published_and_logged(beanstalkd, run_worker, put_mail):
    job = put_mail("gone")
    worker = run_worker(beanstalkd.server, LISTENING)
    line = worker.wait_for_line("lease was gone", job=job, reason="ValueError: gone")
    assert "raise ValueError(kind)" in line["traceback"]
    worker.wait_for_notes("failed 1 ValueError gone (ValueError: gone)")


@pytest.mark.parametrize("options", [(), ("--async-concurrency", "2")])
def test_failure_whose_verdict_was_lost_is_published_and_logged(beanstalkd, run_worker, put_mail, options):
    put_mail("wait")
    worker = run_worker(beanstalkd.server, LISTENING, *options)
    worker.wait_for_notes("begun")
    beanstalkd.kill()
    worker.allow("go")
    assert "raise ValueError(kind)" in worker.wait_for_line("executed, but its verdict was lost")["traceback"]
    worker.wait_for_notes("failed 1 ValueError wait (ValueError: wait)")
    beanstalkd.start()


def test_raising_listener_is_logged_and_changes_no_verdict(beanstalkd, run_worker, put_mail):
    job = put_mail("of listener")
    worker = run_worker(beanstalkd.server, LISTENING, "--retry-delays", "none")
    line = worker.wait_for_line("a listener of worker.job.failed raised", job=job, reason="SystemExit: of the listener")
    assert "in failed" in line["traceback"]
    worker.wait_for_notes("buried ValueError")
    put_mail("well")
    worker.wait_for_notes("well")


@pytest.mark.parametrize("options", [(), ("--async-concurrency", "2")])
def test_no_job_is_leased_while_listeners_of_a_failure_run(beanstalkd, run_worker, options):
    beanstalkd.put_json("mail", "slow", priority=1)
    beanstalkd.put_json("mail", "well", priority=9)
    worker = run_worker(beanstalkd.server, LISTENING, *options)
    worker.wait_for_notes("failed 1 ValueError slow (ValueError: slow)")
    if not options:
        assert beanstalkd.count("mail")["ready"] == 1
    worker.allow("go")
    worker.wait_for_notes("well")


def test_jobs_that_a_raising_flush_fails_are_published(beanstalkd, run_worker, put_mail):
    executors = (
        LISTENING
        + """
@events.flush.connect
def flush(reason, count): raise OSError("disk full")
"""
    )
    put_mail("well")
    put_mail("well")
    worker = run_worker(beanstalkd.server, executors, "--ack-after-flush", "--batch-size", "2")
    assert worker.exit_code() == 1
    reason = "a listener of worker.flush raised OSError: disk full"
    assert worker.notes() == ["well", "well", *[f"failed 1 FlushFailed {reason} ({reason})"] * 2]


@pytest.fixture
def failures():
    """What listeners in this process are called with."""
    found = []

    def listener(job, **given):
        found.append((job.id, given))

    with events.job_failed.connected_to(listener):
        yield found


@pytest.fixture
def mail():
    error = ValueError("boom")

    @executor("mail")
    def mail(payload):
        raise error

    yield error
    del registry["mail"]


def test_failure_by_hand_is_published(beanstalkd, failures, mail):
    with QueueManager(beanstalkd.server, policy=Policy(RetrySchedule.of((10,)))) as queue:
        job = queue.put("mail", 1)
        queue.process(queue.get(1))
    assert failures == [(job, {"error": mail, "reason": "ValueError: boom", "attempts": 1})]


def test_failure_whose_verdict_was_lost_is_published(beanstalkd, failures, mail):
    queue = QueueManager(beanstalkd.server)
    job = queue.put("mail", 1)
    reserved = queue.get(1)
    beanstalkd.kill()
    with pytest.raises(QueueUnavailable):
        queue.process(reserved)
    assert [failed for failed, _ in failures] == [job]
