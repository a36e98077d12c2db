"""The events of a worker, heard by listeners in the executors' module."""

import pytest

LISTENERS = """
from tubeherd import Job, events, executor
from traces import note, wait_for
import os, time

@executor("mail")
def mail(payload, job: Job):
    if payload == "die":
        os._exit(9)
    if payload == "wait":
        note("waits")
        wait_for("go")
    note(f"executed {payload}")
    if payload == "fail":
        raise RuntimeError("boom")

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

@hears(events.execute_pre)
def pre(action):
    if action.payload == "rename":
        action.payload = "renamed"

@hears(events.job_buried)
def buried(job, error, reason, attempts):
    note(f"buried {type(error).__name__} {attempts} {reason}")
"""


@pytest.fixture
def put(beanstalkd):
    client = beanstalkd.client()
    return lambda payload: client.put_in("mail", b'"%b"' % payload.encode(), priority=5, delay=0, ttr=60)


def flushes(worker):
    return [note for note in worker.notes() if note.startswith("flush")]


def test_flush_after_each_batch_and_when_idle(beanstalkd, run_worker, put):
    for number in range(7):
        put(f"{number}")
    worker = run_worker(beanstalkd.server, LISTENERS, "--batch-size", "3")
    worker.wait_for_notes("flush idle 1")
    assert flushes(worker) == ["flush batch 3", "flush batch 3", "flush idle 1"]
    put("another")
    worker.wait_for(lambda: len(flushes(worker)) == 4, "a flush when idle again")
    assert flushes(worker)[-1] == "flush idle 1"


def test_flush_at_the_end(beanstalkd, run_worker, put):
    put("wait")
    worker = run_worker(beanstalkd.server, LISTENERS)
    worker.wait_for_notes("waits")
    worker.process.terminate()
    worker.wait_for_line("SIGTERM")
    worker.allow("go")
    assert worker.process.wait(15) == 0
    assert flushes(worker) == ["flush end 1"]


def test_flush_at_recycling(beanstalkd, run_worker, put):
    for number in range(4):
        put(f"{number}")
    worker = run_worker(beanstalkd.server, LISTENERS, "--max-jobs", "2")
    worker.wait_for(lambda: flushes(worker) == ["flush end 2"] * 2, "a flush for each slot")


def test_raising_flush_stops_the_worker_with_exit_code_1(beanstalkd, run_worker, put):
    put("one")
    worker = run_worker(beanstalkd.server, LISTENERS, "--concurrency", "2")
    worker.allow("spoil")
    assert worker.process.wait(15) == 1
    line = worker.wait_for_line("a listener of worker.flush raised")
    assert "RuntimeError: disk full" in line["event"]
    assert beanstalkd.count("mail") == {"ready": 0, "reserved": 0, "delayed": 0, "buried": 0}


def test_execute_and_pre(beanstalkd, run_worker, put):
    put("rename")
    worker = run_worker(beanstalkd.server, LISTENERS)
    worker.wait_for_notes("flush idle 1")
    assert worker.notes() == ["execute 1", "executed renamed", "flush idle 1"]


def test_burial_in_the_slot_is_told_with_its_exception(beanstalkd, run_worker, put):
    put("fail")
    worker = run_worker(beanstalkd.server, LISTENERS, "--retry-delays", "none")
    worker.wait_for_notes("buried RuntimeError 1 RuntimeError: boom")


def test_burial_by_the_supervisor_is_told_in_the_next_slot(beanstalkd, run_worker, put):
    put("die")
    worker = run_worker(beanstalkd.server, LISTENERS, "--retry-delays", "none")
    worker.wait_for_notes("buried NoneType 1 the slot died: exit code 9")
    worker.wait_for_line("buried", reason="the slot died: exit code 9")
