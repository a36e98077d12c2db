"""What the supervisor does about the jobs of a slot that has died, and how their burials reach the listeners."""

import signal
import socket
import time

import pytest

from tests.support.executors import WAITING_ASYNC
from tubeherd.policy import BurialKind, Delete, Failed, Policy
from tubeherd.processing.reporting import Reporter
from tubeherd.processing.settling import Settler
from tubeherd.shared_memory.page import Lease, Page
from tubeherd.shared_memory.slot_page import SlotPage
from tubeherd.shared_memory.tally import Incident, Tally
from tubeherd.supervisor import takeover
from tubeherd.supervisor.lane_handle import LaneHandle
from tubeherd.supervisor.slot_handle import Death, SlotHandle
from tubeherd.supervisor.takeover import TakeOver

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


def test_burial_is_told_though_the_next_slot_dies_at_its_start(beanstalkd, run_worker, put_mail):
    job = put_mail("die")
    worker = run_worker(beanstalkd.server, DYING, "--retry-delays", "none")
    worker.wait_for_notes("begun die")
    worker.allow("harm")
    worker.allow("go")
    worker.wait_for_line("the slot died: exit code 7", phase="starting")
    worker.wait_for_notes(f"buried {job}")
    assert worker.lines("buried", job=job, reason="the slot died: exit code 9")
    assert worker.stop() == 0


def test_listener_of_a_burial_that_ends_its_slot_hears_of_it_once(beanstalkd, run_worker, put_mail):
    job = put_mail("die", priority=8)
    worker = run_worker(beanstalkd.server, DYING, "--retry-delays", "none")
    worker.allow("go")
    worker.wait_for_notes(f"buried {job}")
    worker.wait_for_line("the slot died: exit code 8", phase="starting")
    worker.wait_for_line("deleted", job=put_mail("another"))
    assert worker.notes().count(f"buried {job}") == 1
    assert worker.stop() == 0


# Whose fault it was


@pytest.fixture
def dead(beanstalkd, put_mail):
    """A dead slot of two lanes, which execute a job each, while a job of the first waits for a flush."""
    control, theirs = socket.socketpair()
    theirs.close()
    lanes = [LaneHandle(Page(deferred_most=1), beanstalkd.connection("mail")) for _ in range(2)]

    def lease(lane, payload):
        job = put_mail(payload)
        lane.connection.ask_reserve(0)
        assert lane.connection.take_reserved().stats.id == job
        return job

    kept = lease(lanes[0], "kept")
    lanes[0].page.lock_for_command()
    lanes[0].page.add_deferred(Lease(kept, time.monotonic(), 60))
    for lane in lanes:
        lane.page.write_job_and_unlock(lease(lane, "executing"), time.monotonic(), 60, 1)
    child = SlotHandle(0, control, SlotPage(), lanes, [])
    yield child
    for lane in lanes:
        lane.close_connection()
    child.close()


@pytest.fixture
def tally():
    tally = Tally()
    tally.begin(["mail"])
    yield tally
    tally.close()


@pytest.fixture
def verdicts(beanstalkd, dead):
    """Take a slot's jobs over and return what became of them: the executing ones', then the kept one's."""

    def take_over(death):
        leases = [lane.page.read().last_begun for lane in dead.lanes]
        leases += dead.lanes[0].page.read().deferred
        notices = TakeOver(Policy(), Settler(Reporter())).take_over(dead, death)
        # A failed attempt waits for the schedule's delay; what nobody is to blame for is ready at once.
        states = {lease.job: beanstalkd.stats_job(lease.job)["state"] for lease in leases}
        failed = [job for job, state in states.items() if state == "delayed"]
        assert [(notice.job.id, notice.failed, notice.buried) for notice in notices] == [
            (job, True, False) for job in failed
        ]
        return list(states.values())

    return take_over


@pytest.mark.parametrize(
    ("code", "kernel_kills", "kind"),
    [
        (-signal.SIGKILL, 0, BurialKind.KILLED),
        (-signal.SIGSEGV, 1, BurialKind.KILLED),
        (9, 1, BurialKind.KILLED),
        (-signal.SIGKILL, 1, BurialKind.MEMORY),
    ],
)
def test_death_by_the_kernel_for_memory_is_told_apart(monkeypatch, dead, code, kernel_kills, kind):
    counts = iter([3, 3 + kernel_kills])
    monkeypatch.setattr(takeover, "kernel_kills", lambda: next(counts))
    assert TakeOver(Policy(), Settler(Reporter())).death_of(dead, code).outcome.kind is kind


def kinds_of_deaths(takeover, dead, number):
    return [takeover.death_of(dead, -signal.SIGKILL).outcome.kind for _ in range(number)]


def test_each_kill_by_the_kernel_explains_one_death(monkeypatch, dead):
    kills = [3]
    monkeypatch.setattr(takeover, "kernel_kills", lambda: kills[0])
    dying = TakeOver(Policy(), Settler(Reporter()))
    kills[0] += 2
    assert kinds_of_deaths(dying, dead, 3) == [BurialKind.MEMORY, BurialKind.MEMORY, BurialKind.KILLED]


@pytest.mark.parametrize(("looks", "kind"), [((0, 1), BurialKind.MEMORY), ((0, 10), BurialKind.KILLED)])
def test_old_kill_by_the_kernel_explains_no_death(monkeypatch, dead, looks, kind):
    kills = [3]
    monkeypatch.setattr(takeover, "kernel_kills", lambda: kills[0])
    dying = TakeOver(Policy(), Settler(Reporter()))
    kills[0] += 1  # of a child process of a job
    for now in looks:
        dying.forget_old_kills(float(now))
    assert kinds_of_deaths(dying, dead, 1) == [kind]
    kills[0] += 1
    assert kinds_of_deaths(dying, dead, 2) == [BurialKind.MEMORY, BurialKind.KILLED]


def test_death_is_a_failed_attempt_of_all_that_executed(dead, verdicts):
    assert verdicts(Death(Failed("died"))) == ["delayed", "delayed", "ready"]


def test_death_for_one_job_is_a_failed_attempt_of_that_one(dead, verdicts):
    culprit = dead.lanes[1].page.read().last_begun
    assert verdicts(Death(Failed("late"), culprit)) == ["ready", "delayed", "ready"]


@pytest.mark.parametrize(("to_flush", "kept"), [(True, "delayed"), (False, "ready")])
def test_death_among_listeners_of_a_flush_is_a_failed_attempt_of_the_jobs_that_waited_for_them(
    dead, verdicts, to_flush, kept
):
    with dead.page.listening(to_flush=to_flush):
        assert verdicts(Death(Failed("died"))) == ["ready", "ready", kept]


@pytest.mark.parametrize("lost", ["connection", "job", "answer"])
def test_failure_is_counted_whatever_is_lost(beanstalkd, dead, lost, tally):
    lane = dead.lanes[1]
    dead.lanes = [lane]
    if lost == "connection":
        lane.close_connection()
    elif lost == "job":
        lane.connection.settle(lane.page.read().last_begun.job, Delete())
    else:
        lane.connection.socket.shutdown(socket.SHUT_RDWR)
    TakeOver(Policy(), Settler(Reporter(tally))).take_over(dead, Death(Failed("died", BurialKind.MEMORY)))
    assert tally.incidents()[Incident.MEMORY] == 1


def test_lane_that_was_in_the_middle_of_a_command_is_left_to_beanstalkd(dead, verdicts):
    dead.lanes[1].page.lock_for_command()
    assert verdicts(Death(Failed("died"))) == ["delayed", "ready", "ready"]
    assert dead.lanes[0].connection is not None
    assert dead.lanes[1].connection is None


# A beanstalkd that says nothing


@pytest.mark.slow
def test_dead_slot_whose_touches_are_not_answered_holds_nobody_up(beanstalkd, run_worker):
    """Each of its leases has a connection of its own, and beanstalkd says nothing on any."""
    lanes = 60  # to wait for the answers in turn would take a minute
    beanstalkd.put_numbers("mail", lanes, ttr=6)
    worker = run_worker(
        beanstalkd.server,
        WAITING_ASYNC,
        "--async-concurrency",
        str(lanes),
        "--job-timeout",
        "60s",
        "--grace-period",
        "0s",
    )
    worker.wait_for(lambda: len(worker.notes()) == lanes, "all jobs run")
    with beanstalkd.stopped():
        signal.sigtimedwait([], 3.5)  # half of each lease goes by: all are touched
        worker.kill_slot()
        told = "no connection for the verdict on a dead slot's job"
        worker.wait_for_lines(told, lanes)
        worker.stop()
