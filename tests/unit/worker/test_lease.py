"""The page and the lock that two processes share."""

import os
import signal

import pytest

from tubeherd.lease import Lease, Page, Phase, Request, State

LEASE = Lease(2**40, 12.5, 60)


@pytest.fixture
def page():
    page = Page()
    yield page
    page.close()


def test_new_page_is_starting(page):
    assert page.read() == State(Phase.STARTING, Lease(0, 0.0, 0))
    assert page.request == Request.NOTHING


def test_other_process_sees_what_is_written(page, fork):
    fork(lambda: page.execute(*LEASE, 1))
    assert page.read() == State(Phase.EXECUTING, LEASE)


def test_number_of_jobs_begun_stays_while_none_runs(page, fork):
    assert page.begun == 0
    fork(lambda: page.execute(*LEASE, 7))
    page.leave()
    assert page.begun == 7


def test_request_and_state_do_not_touch_each_other(page):
    page.request = Request.STOP
    page.command()
    assert (page.request, page.phase) == (Request.STOP, Phase.COMMAND)


def test_phase_without_a_job_leaves_what_the_last_execution_wrote(page):
    """A slot that is killed while it writes must not leave half a state: only one byte changes."""
    page.execute(*LEASE, 1)
    for phase in (Phase.RESTING, Phase.CONNECTING, Phase.DONE):
        page.leave(phase)
        assert page.read() == State(phase, LEASE)


def test_kept_leases_are_held_whatever_executes(fork):
    page = Page(held_back_most=3)
    kept = tuple(Lease(number, float(number), 60) for number in (1, 2, 3))

    def keep_and_execute():
        for lease in kept:
            page.hold_back(lease)
        page.execute(*LEASE, 1)

    fork(keep_and_execute)
    assert page.read() == State(Phase.EXECUTING, LEASE, kept)
    assert page.read().leases == (LEASE, *kept)
    page.leave()
    assert page.read().leases == kept
    page.drop_held_back()
    assert page.read().leases == ()
    page.close()


def test_lock_is_held_while_a_command_is_in_flight_and_free_when_its_holder_is_killed(page, fork):
    pid = fork(page.command)
    assert page.phase is Phase.COMMAND
    assert not page.try_lock()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert page.try_lock()


def test_lock_is_free_while_a_job_executes_or_none_does(page, fork):
    fork(lambda: (page.command(), page.execute(*LEASE, 1)))
    assert page.try_lock()
    page.unlock()
    fork(lambda: (page.command(), page.leave()))
    assert page.try_lock()
