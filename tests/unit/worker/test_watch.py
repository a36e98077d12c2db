"""One look at a slot: what is done about it, and what is left alone."""

import os
import signal
import socket
import threading
import time

import pytest

from tubeherd.formats.memory_share import MIB
from tubeherd.policy import BurialKind, Failed, Interrupted
from tubeherd.queue.connection import Connection
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.page import Lease, Page, Phase
from tubeherd.shared_memory.slot_page import Request
from tubeherd.supervisor.lane_handle import LaneHandle, SigtermSent, Unchanged
from tubeherd.supervisor.memory import used_above
from tubeherd.supervisor.slot_handle import Death
from tubeherd.supervisor.watch import Watch


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    """A clock that stands still: no limit passes because the machine is busy."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)


def watch(**settings):
    return Watch(WorkerSettings(**settings))


def ended_by(child):
    """Return the signal that has ended the slot, or None where it lives."""
    ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return ended and ended.si_status


def wait_until_ended(child):
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT).si_status


def late(child, number, seconds=6):
    """Have the lane's execution be one that got SIGTERM so many seconds ago."""
    lane = child.lanes[number]
    lane.sigterm_sent = SigtermSent(lane.page.read().last_begun, time.monotonic() - seconds, 1.0)
    child.page.clear_loop_holder()
    child.page.write_loop_holder(0)
    return lane


def test_slot_within_all_limits_is_left_alone(child, locked):
    watch(job_timeout="50s").look(child, None)
    assert (child.death, ended_by(child), locked(), child.page.request) == (None, None, [], Request.NOTHING)


def test_job_past_its_deadline_gets_sigterm_once_and_its_lock_back(child, locked):
    guard = watch(job_timeout="30s")
    guard.look(child, None)
    assert wait_until_ended(child) == signal.SIGTERM
    first, second = child.lanes[0].sigterm_sent, child.lanes[1].sigterm_sent
    guard.look(child, None)
    assert (child.lanes[0].sigterm_sent, child.lanes[1].sigterm_sent) == (first, second)
    assert None not in (first, second)
    assert (child.death, locked()) == (None, [])


def test_timeout_of_the_executor_counts_instead_of_the_workers(child):
    now = time.monotonic()
    child.lanes[0].page.write_job_and_unlock(1, now - 40, 60, 1, 50.0)
    child.lanes[1].page.write_job_and_unlock(2, now - 10, 60, 2, 5.0)
    watch(job_timeout="20s").look(child, None)
    assert wait_until_ended(child) == signal.SIGTERM
    assert child.lanes[0].sigterm_sent is None
    assert child.lanes[1].sigterm_sent.timeout == 5.0


def test_job_that_has_left_something_was_late_though_its_slot_has_ended_before_the_next_look(child):
    """Its deadline may not have passed: a job that holds the loop past the deadline of another is stopped too."""
    child.lanes[1].page.write_left_behind()
    watch(job_timeout="50s").note_left_behind(child)
    noted = [lane.sigterm_sent for lane in child.lanes]
    assert (noted[0], noted[1].lease, noted[1].timeout) == (None, child.lanes[1].page.read().last_begun, 50.0)
    assert noted[2:] == [None] * len(noted[2:])


def begin_to_wait_for_lock(page):
    """Wait for the lock in a thread of a slot, which is a copy of the process that holds it."""
    page._locked = False
    threading.Thread(target=lambda: (page.lock_for_command(), page.write_phase_and_unlock()), daemon=True).start()
    while not page.is_held_up:
        os.sched_yield()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("hold_up", ["listeners", "command", "lock"])
def test_deadline_does_not_count_while_the_slot_is_held_up(child, fork, hold_up):
    if hold_up == "listeners":
        child.page.listening_since = time.monotonic()
    elif hold_up == "lock":
        # The job of the second lane has ended, but the supervisor holds the lock until beanstalkd answers a touch.
        page = child.lanes[1].page
        assert page.try_lock()
        fork(lambda: begin_to_wait_for_lock(page))
    else:
        child.lanes[2].page.lock_for_command()
    late(child, 0)
    watch(job_timeout="30s").look(child, None)
    assert (child.death, ended_by(child), child.lanes[1].sigterm_sent) == (None, None, None)
    if hold_up == "lock":
        child.lanes[1].unlock()
        while child.lanes[1].page.phase is not Phase.RESTING:
            os.sched_yield()
        assert not child.lanes[1].page.is_held_up


def test_slot_is_killed_for_the_job_that_does_not_heed_sigterm(child, locked):
    lane = late(child, 1)
    watch(job_timeout="30s").look(child, None)
    reason = (
        "the job ran longer than its timeout of 30 s (set by @executor(timeout=...), otherwise by --job-timeout, "
        "otherwise by its TTR) and did not end on SIGTERM"
    )
    assert child.death == Death(Failed(reason, BurialKind.DEADLINE), lane.page.read().last_begun)
    assert wait_until_ended(child) == signal.SIGKILL
    assert locked() == [0, 1]


def test_slot_gets_five_seconds_from_sigterm_to_sigkill(child):
    late(child, 1, seconds=3)
    watch(job_timeout="39s").look(child, None)
    assert child.death is None


def test_slot_is_killed_for_the_job_that_holds_the_loop(child):
    late(child, 1)
    child.page.write_loop_holder(1)
    watch(job_timeout="30s").look(child, None)
    assert child.death is not None
    assert child.death.culprit == child.lanes[0].page.read().last_begun
    assert "held the event loop" in child.death.outcome.reason
    assert child.death.outcome.kind is BurialKind.DEADLINE


def test_all_are_to_blame_where_nobody_answered_who_holds_the_loop(child):
    late(child, 1)
    child.page.clear_loop_holder()
    watch(job_timeout="30s").look(child, None)
    assert child.death is not None
    assert child.death.culprit is None
    assert "past the deadline of job 2" in child.death.outcome.reason
    assert child.death.outcome.kind is BurialKind.DEADLINE


def test_next_job_is_not_killed_for_the_one_before(child):
    late(child, 1)
    child.lanes[1].page.write_job_and_unlock(9, time.monotonic(), 60, 9)
    watch(job_timeout="39s").look(child, None)
    assert child.death is None


def test_slot_that_is_just_beginning_a_command_is_not_killed_before_the_next_look(child, fork, locked):
    late(child, 1)
    page = child.lanes[0].page
    commanding = fork(lambda: (signal.signal(signal.SIGUSR1, lambda *_: page.unlock()), page.try_lock()))
    guard = watch(job_timeout="39s")
    guard.look(child, None)
    assert (child.death, ended_by(child), locked()) == (None, None, [0])
    os.kill(commanding, signal.SIGUSR1)
    with page._lock:  # waits for it
        pass
    guard.look(child, None)
    assert wait_until_ended(child) == signal.SIGKILL


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, 600),
        ({"job_timeout": "20 minutes"}, 1200),
        ({"listener_timeout": "20s"}, 20),
        ({"listener_timeout": "20s", "job_timeout": "20 minutes"}, 20),
        ({"listener_timeout": "1h"}, 3600),
        ({"listener_timeout": "0"}, 600),
    ],
)
def test_listeners_have_ten_minutes_or_as_long_as_jobs_or_what_the_setting_says(child, settings, seconds):
    child.page.listening_since = time.monotonic() - seconds + 10
    watch(**settings).look(child, None)
    assert child.death is None
    child.page.listening_since = time.monotonic() - seconds - 1
    watch(**settings).look(child, None)
    reason = f"listeners of worker.flush, worker.job.failed or worker.job.buried took longer than {seconds} s"
    assert child.death == Death(Failed(reason, BurialKind.DEADLINE))


def test_slot_that_still_starts_is_killed_when_the_worker_stops(child):
    child.lanes[0].page.write_phase_and_unlock(Phase.STARTING)
    watch().look(child, time.monotonic())
    assert child.death == Death(Interrupted("the worker stopped before the executors were imported"))


def test_jobs_have_the_grace_period_when_the_worker_stops(child):
    guard = watch(grace_period="30s")
    guard.look(child, time.monotonic() - 20)
    assert child.death is None
    guard.look(child, time.monotonic() - 31)
    assert child.death == Death(Interrupted("the worker had to stop before the job was done"))


@pytest.fixture
def large(child, fork):
    """The slot, with a process that uses much; and the limit of a worker whose slots may use a part of that."""
    held = []
    child.pid = fork(lambda: held.append(b"x" * 40 * MIB))
    used = used_above(child.pid, 0)
    return child, lambda part: f"{int((used * part + 16 * MIB) / 0.95)}"


@pytest.mark.parametrize(
    ("part", "request_", "killed"),
    [(2, Request.NOTHING, False), (1.1, Request.RECYCLE, False), (0.9, Request.NOTHING, True)],
)
def test_slot_is_recycled_above_the_soft_limit_and_killed_above_its_share(large, part, request_, killed):
    child, limit = large
    watch(max_memory=limit(part)).look(child, None)
    assert (child.page.request, child.death is not None) == (request_, killed)
    if killed:
        assert child.death.culprit is None
        assert child.death.outcome.reason.startswith(
            "memory limit passed: the slot and the processes of its jobs used "
        )
        assert child.death.outcome.kind is BurialKind.MEMORY


def test_slot_above_its_share_is_not_killed_in_the_middle_of_a_command(large):
    child, limit = large
    for lane in child.lanes:
        lane.page.lock_for_command()
    guard = watch(max_memory=limit(0.9))
    guard.look(child, None)
    assert (child.page.request, child.death) == (Request.RECYCLE, None)
    child.lanes[1].page.write_job_and_unlock(7, time.monotonic(), 60, 7)
    guard.look(child, None)
    assert child.death is not None


def test_connection_under_a_command_is_closed_where_the_worker_stops_and_beanstalkd_is_silent(child):
    here, beanstalkd = socket.socketpair()
    lane = child.lanes[2]
    lane.connection = Connection(here)
    lane.page.lock_for_command()
    guard = watch()
    guard.look(child, None)
    assert lane.unchanged is None
    guard.look(child, time.monotonic())
    state, since = lane.unchanged
    lane.unchanged = Unchanged(state, since - 0.9)
    guard.look(child, time.monotonic())
    assert lane.connection is not None
    lane.unchanged = Unchanged(state, since - 1.1)
    guard.look(child, time.monotonic())
    assert lane.connection is None
    assert beanstalkd.recv(10) == b""
    beanstalkd.close()


@pytest.fixture
def settling(child):
    """A lane under a command, on which two jobs wait for a flush, before a beanstalkd that is silent."""
    here, beanstalkd = socket.socketpair()
    lane = LaneHandle(Page(deferred_most=2), Connection(here))
    child.lanes = [lane]
    lane.page.lock_for_command()
    for job in (1, 2):
        lane.page.add_deferred(Lease(job, time.monotonic(), 60))
    yield lane
    lane.close_connection()
    beanstalkd.close()


def look_after_more_than_a_second(child, lane):
    lane.unchanged = lane.unchanged._replace(since=lane.unchanged.since - 1.1)
    watch().look(child, time.monotonic())


def test_connection_is_not_closed_while_answers_for_deferred_jobs_come(child, settling):
    watch().look(child, time.monotonic())
    settling.page.remove_first_deferred()
    look_after_more_than_a_second(child, settling)
    assert settling.connection is not None
    look_after_more_than_a_second(child, settling)
    assert settling.connection is None


def test_time_of_an_earlier_command_does_not_count_for_the_next(child, settling):
    """As at the end of a burst: a reserve that brings no job, a long flush, and then the deletion of the same jobs."""
    watch().look(child, time.monotonic())
    first = settling.unchanged
    settling.unchanged = first._replace(since=first.since - 1.1)
    settling.page.write_phase_and_unlock()
    watch().look(child, time.monotonic())
    settling.page.lock_for_command()
    watch().look(child, time.monotonic())
    assert settling.unchanged == first
    assert settling.connection is not None
