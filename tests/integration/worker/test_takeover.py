"""What the supervisor does about the jobs of a slot that has died, and how their burials reach the listeners."""

import json
import os
import signal

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


HOLDING = """
import asyncio
from traces import note
from tubeherd import executor
@executor("mail")
async def mail(payload):
    note("begun")
    await asyncio.sleep(1000)
"""


def test_dead_slot_whose_touches_are_not_answered_holds_nobody_up(beanstalkd, run_worker):
    """Each of its leases has a connection of its own, and beanstalkd says nothing on any."""
    lanes = 15
    client = beanstalkd.client()
    for _ in range(lanes):
        client.put_in("mail", b"1", priority=1, delay=0, ttr=2)
    worker = run_worker(
        beanstalkd.server, HOLDING, "--async-concurrency", str(lanes), "--job-timeout", "60s", "--grace-period", "0s"
    )
    worker.wait_for(lambda: len(worker.notes()) == lanes, "all jobs run")
    with beanstalkd.stopped():
        signal.sigtimedwait([], 1.5)  # half of each lease goes by: all are touched
        os.kill(worker.slots()[0], signal.SIGKILL)
        told = "no connection for the verdict on a dead slot's job"
        worker.wait_for(lambda: len(worker.lines(told)) == lanes, "all leases are given up", seconds=6)
        worker.stop(seconds=6)
