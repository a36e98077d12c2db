"""The page and the lock that two processes share."""

import os
import re
import signal
from types import SimpleNamespace

import pytest

from tubeherd.shared_memory.page import Lease, Page, Phase, State

LEASE = Lease(2**40, 12.5, 60)


@pytest.fixture
def page():
    page = Page()
    yield page
    page.close()


def test_new_page_is_starting(page):
    assert page.read() == State(Phase.STARTING, Lease(0, 0.0, 0))


def test_other_process_sees_what_is_written(page, fork):
    fork(lambda: page.write_job_and_unlock(*LEASE, 1))
    assert page.read() == State(Phase.EXECUTING, LEASE)


def test_timeout_is_that_of_the_last_job(page, fork):
    fork(lambda: page.write_job_and_unlock(*LEASE, 1, 2.5))
    assert page.read() == State(Phase.EXECUTING, LEASE, timeout=2.5)
    fork(lambda: page.write_job_and_unlock(*LEASE, 2))
    assert page.read() == State(Phase.EXECUTING, LEASE)


def test_number_of_jobs_begun_stays_while_none_runs(page, fork):
    assert page.jobs_begun == 0
    fork(lambda: page.write_job_and_unlock(*LEASE, 7))
    page.write_phase_and_unlock()
    assert page.jobs_begun == 7


def test_job_is_late_until_the_next_one_begins(page, fork):
    fork(lambda: page.write_job_and_unlock(*LEASE, 1))
    assert not page.late
    page.write_late()
    fork(page.write_phase_and_unlock)
    assert page.late
    fork(lambda: page.write_job_and_unlock(*LEASE, 2))
    assert not page.late
    assert page.jobs_begun == 2


def test_phase_without_a_job_leaves_what_the_last_execution_wrote(page):
    """A slot that is killed while it writes must not leave half a state: only one byte changes."""
    page.write_job_and_unlock(*LEASE, 1)
    for phase in (Phase.RESTING, Phase.CONNECTING, Phase.DONE):
        page.write_phase_and_unlock(phase)
        assert page.read() == State(phase, LEASE)


def test_kept_leases_are_held_whatever_executes(fork):
    page = Page(deferred_most=3)
    kept = tuple(Lease(number, float(number), 60) for number in (1, 2, 3))

    def keep_and_execute():
        for lease in kept:
            page.add_deferred(lease)
        page.write_job_and_unlock(*LEASE, 1)

    fork(keep_and_execute)
    assert page.read() == State(Phase.EXECUTING, LEASE, kept)
    assert page.read().leases == (LEASE, *kept)
    page.write_phase_and_unlock()
    assert page.read().leases == kept
    fork(page.remove_first_deferred)
    assert page.read().leases == kept[1:]
    page.clear_deferred()
    assert page.read().leases == ()
    page.add_deferred(LEASE)
    assert page.read().leases == (LEASE,)
    page.close()


def test_lock_is_held_while_a_command_is_in_flight(page, fork):
    fork(page.lock_for_command)
    assert page.phase is Phase.COMMAND
    assert not page.try_lock()


@pytest.fixture
def slot_that_waits(fork):
    """A supervisor that has the lock, with a slot that waits for the lock, and what they write.

    The slot writes a dot for each try to take the lock, then "locked". On SIGUSR1 the supervisor writes the phase and
    gives the lock back.
    """
    reader, writer = os.pipe()
    begin, begin_write = os.pipe()

    def supervise():
        page = Page(parent_check_seconds=0.01)
        signal.signal(signal.SIGUSR1, lambda *_: (os.write(writer, page.phase.name.encode()), page.unlock()))
        if os.fork() == 0:
            acquire = page._lock.acquire
            page._lock = SimpleNamespace(acquire=lambda *how: (os.write(writer, b"."), acquire(*how))[1])
            os.read(begin, 1)
            page.lock_for_command()
            os.write(writer, b"locked")
            os._exit(0)
        page.try_lock()
        os.write(begin_write, b"x")

    with open(reader, "rb", buffering=0) as written:
        yield fork(supervise), written
    for end in (writer, begin, begin_write):
        os.close(end)


def read_until(written, end):
    found = b""
    while not found.endswith(end):
        found += written.read(1)
    return found


def test_slot_waits_for_the_lock_while_its_supervisor_lives(slot_that_waits):
    supervisor, written = slot_that_waits
    assert written.read(1) + written.read(1) + written.read(1) == b"...", "it does not wait for the lock"
    os.kill(supervisor, signal.SIGUSR1)
    assert re.fullmatch(rb"\.*STARTING\.*locked", read_until(written, b"locked"))


def test_slot_is_held_up_while_it_sends_a_command(page):
    page.write_job_and_unlock(*LEASE, 1)
    assert not page.is_held_up
    page.lock_for_command()
    assert page.is_held_up
    page.write_job_and_unlock(*LEASE, 2)
    assert not page.is_held_up


def test_slot_goes_on_where_its_supervisor_died_with_the_lock(slot_that_waits):
    supervisor, written = slot_that_waits
    assert written.read(1) == b"."
    os.kill(supervisor, signal.SIGKILL)
    assert re.fullmatch(rb"\.*locked", read_until(written, b"locked"))


@pytest.mark.timeout(30)
def test_orphan_does_not_wait_for_a_lock_that_its_supervisor_died_with(fork):
    """It may have hundreds of them."""
    page = Page(parent_check_seconds=3600)
    fork(page.try_lock)
    page._maker = 0
    page.lock_for_command()
    assert page.phase is Phase.COMMAND


@pytest.mark.parametrize(
    ("write", "phase"),
    [
        (lambda page: page.write_phase_and_unlock(), Phase.RESTING),
        (lambda page: page.write_job_and_unlock(*LEASE, 1), Phase.EXECUTING),
    ],
)
def test_lock_is_given_back_after_the_phase_was_written(page, write, phase):
    seen = []
    page.lock_for_command()
    page._lock = SimpleNamespace(release=lambda: seen.append(page.phase))
    write(page)
    assert seen == [phase]


def test_lock_can_be_taken_and_given_back_twice(page, is_locked):
    page.lock_for_command()
    page.lock_for_command()
    assert is_locked(page)
    page.write_phase_and_unlock()
    page.write_phase_and_unlock()
    assert not is_locked(page)
    page.lock_for_command()
    assert is_locked(page)


def test_process_that_does_not_hold_the_lock_cannot_give_it_back(page, fork, is_locked):
    fork(page.write_phase_and_unlock)
    page.lock_for_command()
    fork(page.close)
    assert is_locked(page)


def test_lock_is_free_while_a_job_executes_or_none_does(page, fork):
    fork(lambda: (page.lock_for_command(), page.write_job_and_unlock(*LEASE, 1)))
    assert page.try_lock()
    page.unlock()
    fork(lambda: (page.lock_for_command(), page.write_phase_and_unlock()))
    assert page.try_lock()
