"""Each row of the verdict table, seen from outside: a real worker and a real beanstalkd."""

import json
from functools import partial

import pytest

from tests.support.beanstalkd import NOTHING

EXECUTORS = """
import gc, sys
from datetime import datetime, timedelta, timezone
from typing import TypedDict
from pydantic import BaseModel
from tubeherd import Abort, Job, Reschedule, executor
from tubeherd.policy import Delete
from tubeherd.queue.connection import Connection
from traces import note, wait_for

class Mail(BaseModel):
    to: str
    copies: int = 1

@executor("mail")
def mail(mail: Mail, job: Job):
    note(f"{mail.to} {job.attempt}")
    return False

@executor("fail")
def fail(payload, job: Job):
    note(f"attempt {job.attempt}")
    raise RuntimeError("no such\\ncustomer")

@executor("later")
def later(payload):
    raise Reschedule("10 seconds", message="not yet")

@executor("urgent")
def urgent(payload):
    raise Reschedule(at=datetime.now(timezone.utc) + timedelta(seconds=100), priority=3)

@executor("like-a-retry")
def like_a_retry(payload):
    raise Reschedule(in_=1)

@executor("abort")
def abort(payload):
    raise Abort("out of paper")

@executor("slow")
def slow(payload):
    note("slow began")
    wait_for("go")
    note("slow ended")

@executor("exit")
def leave(payload):
    sys.exit(4)

@executor("raw")
def raw(body: bytes):
    note(f"raw {len(body)}")

@executor("plain")
def plain(payload):
    note(f"plain {payload!r}"[:60])

@executor("many")
def many(numbers: list[int]):
    note(f"sum {sum(numbers)}")

@executor("gone")
def gone(payload, job: Job):
    # Takes the job away under the slot, as beanstalkd does when a lease runs out.
    (connection,) = [thing for thing in gc.get_objects() if isinstance(thing, Connection)]
    connection.settle(job.id, Delete())

def decorated(function):
    return lambda payload: function(payload)

@executor("hidden")
@decorated
async def hidden(payload):
    note("hidden coroutine")

@executor("coroutine")
async def coroutine(payload: dict):
    note(f"coroutine {payload}")
"""


@pytest.fixture
def put(beanstalkd):
    return partial(beanstalkd.put, priority=5)


def test_job_that_returned_is_deleted_whatever_the_value(beanstalkd, run_worker, put):
    job = put("mail", b'{"to": "ann"}')
    worker = run_worker(beanstalkd.server, EXECUTORS)
    line = worker.wait_for_line("deleted", job=job, tube="mail")
    assert line["seconds"] >= 0
    assert worker.notes() == ["ann 1"]
    assert beanstalkd.count("mail") == NOTHING
    assert worker.stop() == 0


def test_failed_job_is_tried_again_and_buried_at_the_second_failure(beanstalkd, run_worker, put):
    job = put("fail")
    worker = run_worker(beanstalkd.server, EXECUTORS, "--retry-delays", "1s")
    failed = worker.wait_for_line("failed, retry later", job=job, attempt=1, delay=1)
    assert failed["reason"] == "RuntimeError: no such customer"
    assert failed["at"].startswith("executors_under_test.py:")
    worker.wait_for_line("buried", job=job, attempt=2, reason="RuntimeError: no such customer")
    assert worker.notes() == ["attempt 1", "attempt 2"]
    assert beanstalkd.count("fail") == NOTHING | {"buried": 1}
    after = beanstalkd.stats_job(job)
    assert (after["pri"], after["reserves"], after["releases"], after["buries"]) == (5, 2, 1, 1)


def test_default_is_one_retry_after_ten_minutes(beanstalkd, run_worker, put):
    job = put("fail")
    worker = run_worker(beanstalkd.server, EXECUTORS)
    worker.wait_for_line("failed, retry later", job=job)
    after = beanstalkd.stats_job(job)
    assert (after["delay"], after["pri"], after["tube"]) == (601, 5, "fail")
    assert beanstalkd.count("fail") == NOTHING | {"delayed": 1}


def test_kicked_job_has_one_attempt_then_is_buried_again(beanstalkd, run_worker, put):
    job = put("fail")
    worker = run_worker(beanstalkd.server, EXECUTORS, "--retry-delays", "1s")
    worker.wait_for_line("buried", job=job)
    beanstalkd.kick_job(job)
    worker.wait_for_lines("buried", 2, job=job)
    assert len(worker.notes()) == 3
    assert beanstalkd.count("fail") == NOTHING | {"buried": 1}


def test_rescheduled_job_keeps_its_id_and_spends_no_retry(beanstalkd, run_worker, put):
    worker = run_worker(beanstalkd.server, EXECUTORS, "--retry-delays", "1s")
    for tube, delay, priority in [
        ("later", 10, 5),  # in_
        ("urgent", 100, 3),  # at, with a priority
        ("like-a-retry", 2, 5),  # by a delay that shows a failure
    ]:
        job = put(tube)
        worker.wait_for_line("released", job=job, attempt=1)
        after = beanstalkd.stats_job(job)
        assert (after["delay"], after["pri"], after["releases"], after["buries"]) == (delay, priority, 1, 0)
        assert beanstalkd.count(tube) == NOTHING | {"delayed": 1}


def test_job_that_ends_the_interpreter_is_a_failed_attempt(beanstalkd, run_worker, put):
    job = put("exit")
    worker = run_worker(beanstalkd.server, EXECUTORS)
    worker.wait_for_line("failed, retry later", job=job, reason="SystemExit: 4")
    assert beanstalkd.count("exit") == NOTHING | {"delayed": 1}


def test_abort_releases_the_job_for_a_minute_and_stops_the_worker(beanstalkd, run_worker, put):
    put("slow")
    worker = run_worker(beanstalkd.server, EXECUTORS, "--concurrency", "2")
    worker.wait_for_notes("slow began")
    job = put("abort")
    line = worker.wait_for_line("released because of an Abort, which stops a worker", job=job, tube="abort")
    assert (line["level"], line["reason"]) == ("warning", "out of paper")
    after = beanstalkd.stats_job(job)
    assert (after["delay"], after["pri"], after["buries"]) == (60, 5, 0)
    worker.allow("go")
    assert worker.exit_code() == 1
    assert "slow ended" in worker.notes()
    assert beanstalkd.count("slow") == NOTHING


INVALID = [
    ("mail", b"", "payload is not valid: payload: Invalid JSON"),
    ("mail", b"{not json", "payload is not valid: payload: Invalid JSON"),
    ("mail", b"\xff\xfe{}", "payload is not valid: payload: Invalid JSON"),
    ("mail", b'{"to": "\xff"}', "payload is not valid: payload: Invalid JSON"),
    ("mail", b'{"copies": 1}', "payload is not valid: to: Field required"),
    ("mail", b'{"to": "s3cret", "copies": "s3cret"}', "payload is not valid: copies: Input should be a valid int"),
    ("mail", b'"s3cret"', "payload is not valid: payload: Input should be an object"),
    ("mail", b"[" * 60_000, "payload is not valid: payload: Invalid JSON"),
    ("plain", b"[" * 60_000, "payload is not valid: payload: Invalid JSON"),
    ("many", b'[1, "s3cret"]', "payload is not valid: 1: Input should be a valid integer"),
    ("many", b"[1e999]", "payload is not valid: 0: Input should be"),
    ("many", b"[NaN]", "payload is not valid: 0: Input should be a finite number"),
    ("plain", b"9" * 5_000, "payload is not valid: payload: Invalid JSON: number out of range"),
    ("plain", b"{} {}", "payload is not valid: payload: Invalid JSON: trailing characters"),
    ("plain", b'{"to": "s3cret', "payload is not valid: payload: Invalid JSON: EOF while parsing a string"),
    ("mail", b'{"to": "' + b"s3cret" * 10_900 + b'", "copies": []}', "payload is not valid: copies: Input should"),
]
"""The tube of a job, its body, and how the reason begins for which it is buried."""


def test_invalid_payload_is_buried_at_once_with_a_reason_without_its_content(beanstalkd, run_worker, put):
    jobs = {put(tube, body): (body, reason) for tube, body, reason in INVALID}
    good = put("mail", b'{"to": "bob"}')
    worker = run_worker(beanstalkd.server, EXECUTORS)
    for job, (body, reason) in jobs.items():
        line = worker.wait_for_line("buried", job=job, attempt=1)
        assert line["reason"].startswith(reason), body[:80]
        assert beanstalkd.stats_job(job)["pri"] == 5
        assert beanstalkd.client().peek(job).body == body
    worker.wait_for_line("deleted", job=good)
    assert "s3cret" not in worker.output()


VALID = [
    ("raw", b"\xff" * 65_535, "raw 65535"),
    ("raw", b"", "raw 0"),
    ("hidden", b"1", "hidden coroutine"),
    ("plain", b'{"a": [1, null]}', "plain {'a': [1, None]}"),
    ("plain", b"1" * 4_000, "plain 1"),
    ("many", b"[1, 2]", "sum 3"),
    ("coroutine", b'{"a": 1}', "coroutine {'a': 1}"),
]
"""The tube of a job, its body, and how what the executor notes begins."""


def test_annotation_decides_what_the_executor_gets(beanstalkd, run_worker, put):
    worker = run_worker(beanstalkd.server, EXECUTORS)
    for tube, body, note in VALID:
        worker.wait_for_line("deleted", job=put(tube, body))
        assert worker.notes()[-1].startswith(note), body[:80]
    assert len(worker.notes()) == len(VALID)


def test_poison_job_is_buried_without_being_executed(beanstalkd, run_worker, put):
    job = put("mail", b'{"to": "ann"}')
    for _ in range(2):
        beanstalkd.lose(job)
    worker = run_worker(beanstalkd.server, EXECUTORS, "--max-lost-deliveries", "2")
    line = worker.wait_for_line("buried", job=job)
    assert line["reason"].startswith("lost 2 times")
    assert worker.notes() == []
    assert beanstalkd.stats_job(job)["pri"] == 5


def test_lease_that_is_gone_is_warned_of_and_the_worker_goes_on(beanstalkd, run_worker, put):
    job = put("gone")
    good = put("mail", b'{"to": "ann"}')
    worker = run_worker(beanstalkd.server, EXECUTORS)
    worker.wait_for_line("lease was gone", job=job, tube="gone", level="warning")
    worker.wait_for_line("deleted", job=good)


def test_log_lines_are_json_with_the_facts_of_each_verdict(beanstalkd, run_worker, put):
    put("mail", b'{"to": "ann"}')
    put("fail")
    worker = run_worker(beanstalkd.server, EXECUTORS)
    worker.wait_for_line("deleted")
    worker.wait_for_line("failed, retry later")
    for text in worker.output().splitlines():
        line = json.loads(text)
        assert {"event", "level", "timestamp"} <= line.keys()
