"""The events of a worker, heard by listeners in the executors' module."""

import pytest

from tests.support.beanstalkd import NOTHING

LISTENERS = """
from tubeherd import Job, events, executor
from traces import note, wait_for
import os, time

@executor("mail")
def mail(payload: str, job: Job):
    if payload == "die":
        os._exit(9)
    if payload == "wait":
        note("waits")
        wait_for("go")
    note(f"executed {payload}")
    if payload == "fail":
        raise RuntimeError("boom")
    return payload.upper()

def hears(signal):
    def connect(listener):
        signal.connect(listener, weak=False)
        return listener
    return connect

@hears(events.flush)
def flush(reason, count):
    note(f"flush {reason} {count}")
    if os.path.exists(os.environ["FOLDER"] + "/spoil"):
        raise RuntimeError("disk full")

@hears(events.job_execute)
def execute(job):
    note(f"execute {job.attempt}")
    if job.priority == 1:
        raise RuntimeError("of execute")

@hears(events.execute_pre)
def pre(action):
    if action.payload == "rename":
        action.payload = "renamed"
    if action.payload == "spoil":
        action.payload = {"s3cret": 1}
    if action.payload == "pre":
        raise RuntimeError("of pre")

@hears(events.execute_post)
def post(action):
    note(f"post {action.job.tube} {action.payload} {action.result}")
    if action.payload == "post":
        raise RuntimeError("of post")

@hears(events.job_buried)
def buried(job, error, reason, attempts):
    note(f"buried {type(error).__name__} {attempts} {reason}")
    if job.priority == 9:
        raise SystemExit("of buried")
    if job.priority == 8:
        wait_for("go")
"""


def flushes(worker):
    return [note for note in worker.notes() if note.startswith("flush")]


def test_flush_after_each_batch_and_when_idle(beanstalkd, run_worker, put_mail):
    for number in range(7):
        put_mail(f"{number}")
    worker = run_worker(beanstalkd.server, LISTENERS, "--batch-size", "3")
    worker.wait_for_notes("flush idle 1")
    assert flushes(worker) == ["flush batch 3", "flush batch 3", "flush idle 1"]
    put_mail("another")
    worker.wait_for(lambda: len(flushes(worker)) == 4, "a flush when idle again")
    assert flushes(worker)[-1] == "flush idle 1"


def test_burial_cuts_no_batch_short(beanstalkd, run_worker, put_mail):
    for payload in ("0", 1, "2", "3", "4", 5, "6"):  # a number is no text: buried
        put_mail(payload)
    worker = run_worker(beanstalkd.server, LISTENERS, "--batch-size", "3")
    worker.wait_for_notes("flush idle 1")
    assert flushes(worker) == ["flush batch 3", "flush batch 3", "flush idle 1"]
    assert beanstalkd.count("mail") == NOTHING | {"buried": 2}


def test_flush_at_the_end(beanstalkd, run_worker, put_mail):
    put_mail("wait")
    worker = run_worker(beanstalkd.server, LISTENERS)
    worker.wait_for_notes("waits")
    worker.process.terminate()
    worker.wait_for_line("SIGTERM")
    worker.allow("go")
    assert worker.exit_code() == 0
    assert flushes(worker) == ["flush end 1"]


def test_flush_at_recycling(beanstalkd, run_worker, put_mail):
    for number in range(4):
        put_mail(f"{number}")
    worker = run_worker(beanstalkd.server, LISTENERS, "--max-jobs", "2")
    worker.wait_for(lambda: flushes(worker) == ["flush end 2"] * 2, "a flush for each slot")


def test_sigterm_between_jobs_breaks_nothing_off(beanstalkd, run_worker, put_mail):
    """The supervisor sends it for a job that is late, which may have ended by then."""
    late = (
        LISTENERS
        + "import signal\nevents.flush.connect(lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM), weak=False)\n"
    )
    put_mail("one")
    worker = run_worker(beanstalkd.server, late)
    worker.wait_for_notes("flush idle 1")
    put_mail("two")
    worker.wait_for_lines("deleted", 2)
    assert not worker.lines("slot recycled")
    assert worker.stop() == 0


def test_raising_flush_stops_the_worker_with_exit_code_1(beanstalkd, run_worker, put_mail):
    put_mail("one")
    worker = run_worker(beanstalkd.server, LISTENERS, "--concurrency", "2")
    worker.allow("spoil")
    assert worker.exit_code() == 1
    line = worker.wait_for_line("a listener of worker.flush raised")
    assert "RuntimeError: disk full" in line["event"]
    assert beanstalkd.count("mail") == NOTHING


def test_execute_then_pre_then_the_executor_then_post(beanstalkd, run_worker, put_mail):
    put_mail("rename")
    worker = run_worker(beanstalkd.server, LISTENERS)
    worker.wait_for_notes("flush idle 1")
    assert worker.notes() == ["execute 1", "executed renamed", "post mail renamed RENAMED", "flush idle 1"]


@pytest.mark.parametrize(
    ("payload", "priority", "reason", "executed"),
    [
        ("mail", 1, "RuntimeError: of execute", False),
        ("pre", 5, "RuntimeError: of pre", False),
        ("post", 5, "RuntimeError: of post", True),
    ],
)
def test_raising_listener_around_a_job_is_a_failed_attempt(
    beanstalkd, run_worker, put_mail, payload, priority, reason, executed
):
    job = put_mail(payload, priority)
    worker = run_worker(beanstalkd.server, LISTENERS)
    worker.wait_for_line("failed, retry later", job=job, attempt=1, reason=reason)
    assert (f"executed {payload}" in worker.notes()) == executed
    assert beanstalkd.count("mail")["delayed"] == 1


def test_payload_that_pre_made_invalid_is_buried_with_a_reason_without_its_content(beanstalkd, run_worker, put_mail):
    job = put_mail("spoil")
    worker = run_worker(beanstalkd.server, LISTENERS)
    worker.wait_for_line("buried", job=job, reason="payload is not valid: payload: Input should be a valid string")
    assert "s3cret" not in worker.output()
    assert "executed spoil" not in worker.notes()


def test_burial_of_an_invalid_payload_is_told(beanstalkd, run_worker, put_mail):
    put_mail(5)
    worker = run_worker(beanstalkd.server, LISTENERS)
    worker.wait_for_notes("buried InvalidPayload 1 payload is not valid: payload: Input should be a valid string")


def test_burial_of_a_poison_job_is_told(beanstalkd, run_worker, put_mail):
    job = put_mail("poison")
    beanstalkd.lose(job)
    worker = run_worker(beanstalkd.server, LISTENERS, "--max-lost-deliveries", "1")
    worker.wait_for_notes(
        "buried NoneType 1 lost 1 times: its worker or its connection died, or its TTR of 60 s passed"
    )
    assert "execute 1" not in worker.notes()


def test_raising_listener_of_a_burial_is_logged_and_the_slot_goes_on(beanstalkd, run_worker, put_mail):
    job = put_mail("fail", priority=9)
    worker = run_worker(beanstalkd.server, LISTENERS, "--retry-delays", "none")
    worker.wait_for_line("a listener of worker.job.buried raised", job=job, reason="SystemExit: of buried")
    slots = worker.slots()
    worker.wait_for_line("deleted", job=put_mail("another"))
    assert worker.slots() == slots


def test_burial_in_the_slot_is_told_with_its_exception(beanstalkd, run_worker, put_mail):
    put_mail("fail")
    worker = run_worker(beanstalkd.server, LISTENERS, "--retry-delays", "none")
    worker.wait_for_notes("buried RuntimeError 1 RuntimeError: boom")


def test_burial_by_the_supervisor_is_told_in_the_next_slot(beanstalkd, run_worker, put_mail):
    put_mail("die")
    worker = run_worker(beanstalkd.server, LISTENERS, "--retry-delays", "none")
    worker.wait_for_notes("buried NoneType 1 the slot died: exit code 9")
    worker.wait_for_line("buried", reason="the slot died: exit code 9")


def test_no_job_is_leased_while_the_burial_of_another_is_told(beanstalkd, run_worker, put_mail):
    put_mail({}, priority=8)
    put_mail("next", priority=9)
    worker = run_worker(beanstalkd.server, LISTENERS)
    worker.wait_for_line("buried")
    worker.wait_for(lambda: any(note.startswith("buried") for note in worker.notes()), "the listener is told")
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1, "buried": 1}
    worker.allow("go")
    worker.wait_for_notes("executed next")
