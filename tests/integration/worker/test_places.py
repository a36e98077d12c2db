"""Places whose slots die at their start, or cannot be forked: they are tried again, ever later."""

import os
import subprocess
import sys
from datetime import datetime
from itertools import pairwise

import pytest

LISTENING = """
from tubeherd import events, executor
@executor("mail")
def mail(payload): pass
@events.job_buried.connect
def buried(job, error, reason, attempts):
    print(f"heard of {job.id}: {reason}\\n", end="")  # in one write, because two processes print
"""

WITHOUT_PROCESSES = """
import errno, os, sys
from tubeherd.job import Job
from tubeherd.metrics import Metrics, Slots
from tubeherd.supervisor.places import Places
from tubeherd.supervisor.reactor import Reactor
from tubeherd.settings import WorkerSettings
from tubeherd.processing.reporting import Notice

def fail():
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

def files():
    return len(os.listdir("/proc/self/fd"))

reactor, metrics = Reactor(), Metrics()
places = Places(WorkerSettings(server=sys.argv[1], executors=["listening"]), metrics, reactor)
places.pass_on([Notice(Job(77, "mail", 1, 5, 0, 0), "as said", failed=False, buried=True)])
before = files()
fork, os.fork = os.fork, fail
places.add(2)
print(f"{files() - before} files, {len(places.slots)} slots", flush=True)
os.fork = fork
while not places.slots:
    reactor.wait(0.1)
    places.fill()
print(f"{len(places.slots)} slots later", flush=True)
places.stop()
while not places.empty:
    reactor.wait(0.1)
    for reaped in places.reap():
        places.remove(reaped)
print(f"{files() - before} files at the end", flush=True)
metrics.text(Slots(0, 0, 0, 0, {}, None))
metrics.files.remove()
"""


FEW_FILES = """
import resource
from tubeherd.metrics import Metrics
from tubeherd.supervisor.places import Places
from tubeherd.supervisor.reactor import Reactor
from tubeherd.settings import WorkerSettings
resource.setrlimit(resource.RLIMIT_NOFILE, (150, 400))
for lanes in (50, 51):
    Places(WorkerSettings(executors=["listening"], async_concurrency=lanes), None, Reactor())
    print(lanes, resource.getrlimit(resource.RLIMIT_NOFILE), flush=True)
"""


def test_limit_of_open_files_is_raised_and_told_if_it_is_too_low():
    ran = subprocess.run([sys.executable, "-c", FEW_FILES], capture_output=True, text=True, check=True)
    assert ran.stdout == "50 (400, 400)\n51 (400, 400)\n"
    (line,) = ran.stderr.splitlines()
    assert "at most 400 files may be open, and for so many jobs at a time up to 406 are needed" in line


DYING_AT_WORK = """
import os, sys
from tubeherd.supervisor.places import Places
from tubeherd.supervisor.reactor import Reactor
from tubeherd.settings import WorkerSettings

places = Places(WorkerSettings(server=sys.argv[1], executors=["executing"]), None, Reactor())
places.add(1)
(slot,) = places.slots
os.waitid(os.P_PID, slot.pid, os.WEXITED | os.WNOWAIT)
assert slot.lanes[0].connection is None
(reaped,) = places.reap()
assert reaped.slot is slot
print(reaped.code, reaped.slot.lanes[0].connection is not None)
places.remove(reaped)
"""

DYING_BEFORE_MAX_TIME = """
import os, sys
from tubeherd.supervisor.places import Places
from tubeherd.supervisor.reactor import Reactor
from tubeherd.settings import WorkerSettings

places = Places(WorkerSettings(server=sys.argv[1], executors=["executing"], max_time="1h"), None, Reactor())
places.add(1)
(slot,) = places.slots
os.waitid(os.P_PID, slot.pid, os.WEXITED | os.WNOWAIT)
(reaped,) = places.reap()
ends = reaped.place.progress.ends
places.refill(reaped)
print(reaped.place.progress.ends == ends)
os.kill(places.slots[0].pid, 9)
"""

EXECUTING = """
import os
from tubeherd import executor
@executor("mail")
def mail(payload): os._exit(9)
"""


def run(script, folder, *arguments):
    """Run a supervisor of the test's own, with modules of executors from that folder."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    command, env = [sys.executable, "-c", script, *arguments], os.environ | {"PYTHONPATH": path}
    ended = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended


def test_connection_that_a_slot_opened_just_before_its_death_is_taken_over(beanstalkd, tmp_path):
    """The supervisor has had no time to take it while the slot lived."""
    (tmp_path / "executing.py").write_text(EXECUTING)
    beanstalkd.put("mail")
    assert run(DYING_AT_WORK, tmp_path, beanstalkd.server).stdout == "9 True\n"


def test_time_until_max_time_goes_on_after_a_slot_that_died(beanstalkd, tmp_path):
    (tmp_path / "executing.py").write_text(EXECUTING)
    beanstalkd.put("mail")
    assert run(DYING_BEFORE_MAX_TIME, tmp_path, beanstalkd.server).stdout == "True\n"


@pytest.mark.slow
def test_slot_that_cannot_be_forked_leaves_nothing_open_and_is_tried_again(beanstalkd, tmp_path):
    (tmp_path / "listening.py").write_text(LISTENING)
    ended = run(WITHOUT_PROCESSES, tmp_path, beanstalkd.server)
    first, *between, last = ended.stdout.splitlines()
    assert (first, last) == ("0 files, 0 slots", "0 files at the end")
    assert sorted(between) == ["2 slots later", "heard of 77: as said"]  # by two processes
    assert ended.stderr.count("a slot could not be started (Resource temporarily unavailable); trying again") == 2


DYING = """
import os
os._exit(7)
"""


def test_slots_that_die_at_their_start_are_replaced_ever_later_until_the_worker_gives_up(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, DYING, "--concurrency", "2")
    assert worker.exit_code() == 3
    died = worker.lines("the slot died: exit code 7", phase="starting")
    times = [datetime.fromisoformat(line["timestamp"]) for line in died]
    pauses = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert len(pauses) == 4  # of one slot: no other is started before the first has imported the executors
    assert all(pause >= least for pause, least in zip(pauses, (0.0, 0.2, 0.4, 0.8), strict=True))
    assert worker.lines("the slot died: exit code 7 while it imported the executors, 5 times in a row")
