"""What the supervisor does about the jobs of a slot that has died, and how their burials reach the listeners."""

import json

import pytest

DYING = """
import os
from traces import FOLDER, note, wait_for
from tubeherd import events, executor
if (FOLDER / "harm").exists():
    (FOLDER / "harm").unlink()
    os._exit(7)

@executor("mail")
def mail(payload):
    note(f"begun {payload}")
    if payload == "die":
        wait_for("go")
        os._exit(9)

@events.job_buried.connect
def buried(job, error, reason, attempts):
    note(f"buried {job.id}")
    if job.priority == 8:
        os._exit(8)
"""


@pytest.fixture
def put(beanstalkd):
    client = beanstalkd.client()
    return lambda payload, priority=5: client.put_in(
        "mail", json.dumps(payload).encode(), priority=priority, delay=0, ttr=60
    )


def test_burial_is_told_though_the_next_slot_dies_at_its_start(beanstalkd, run_worker, put):
    job = put("die")
    worker = run_worker(beanstalkd.server, DYING, "--retry-delays", "none")
    worker.wait_for_notes("begun die")
    worker.allow("harm")
    worker.allow("go")
    worker.wait_for_line("the slot died: exit code 7", phase="starting")
    worker.wait_for_notes(f"buried {job}")
    assert worker.lines("buried", job=job, reason="the slot died: exit code 9")
    assert worker.stop() == 0


def test_listener_of_a_burial_that_ends_its_slot_hears_of_it_once(beanstalkd, run_worker, put):
    job = put("die", priority=8)
    worker = run_worker(beanstalkd.server, DYING, "--retry-delays", "none")
    worker.allow("go")
    worker.wait_for_notes(f"buried {job}")
    worker.wait_for_line("the slot died: exit code 8", phase="starting")
    worker.wait_for_line("deleted", job=put("another"))
    assert worker.notes().count(f"buried {job}") == 1
    assert worker.stop() == 0
