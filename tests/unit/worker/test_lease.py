"""The page and the lock that two processes share."""

import os
import signal

import pytest

from tubeherd.lease import Page, Phase, Request, State


@pytest.fixture
def page():
    page = Page()
    yield page
    page.close()


@pytest.fixture
def child():
    """Fork children that run a function and then wait; all are killed after the test."""
    pids = []

    def fork(function):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            function()
            os.write(writer, b"x")
            signal.pause()
        pids.append(pid)
        os.close(writer)
        assert os.read(reader, 1) == b"x"
        os.close(reader)
        return pid

    yield fork
    for pid in pids:
        kill(pid)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # the test did it


def test_new_page_is_starting(page):
    assert page.read() == State(Phase.STARTING, 0, 0.0, 0)
    assert page.request == Request.NOTHING


def test_other_process_sees_what_is_written(page, child):
    child(lambda: page.write(Phase.EXECUTING, 2**40, 12.5, 60))
    assert page.read() == State(Phase.EXECUTING, 2**40, 12.5, 60)


def test_request_and_state_do_not_touch_each_other(page):
    page.request = Request.STOP
    page.write(Phase.COMMAND)
    assert (page.request, page.read().phase) == (Request.STOP, Phase.COMMAND)


def test_phase_without_a_job_leaves_what_the_last_execution_wrote(page):
    """A slot that is killed while it writes must not leave half a state: only one byte changes."""
    page.write(Phase.EXECUTING, 7, 12.5, 60)
    for phase in (Phase.COMMAND, Phase.LISTENING, Phase.DONE):
        page.write(phase)
        assert page.read() == State(phase, 7, 12.5, 60)


def test_lock_of_another_process_is_free_when_it_is_killed(page, child):
    pid = child(page.lock)
    assert not page.try_lock()
    kill(pid)
    assert page.try_lock()


def test_locked_while_tells_whether_the_state_is_still_that(page, child):
    page.write(Phase.EXECUTING, 7, 1.0, 60)
    state = page.read()
    with page.locked_while(state) as same:
        assert same
    page.write(Phase.EXECUTING, 7, 2.0, 60)
    with page.locked_while(state) as same:
        assert not same
    child(page.lock)
    with page.locked_while(page.read()) as same:
        assert not same


def test_locked_while_gives_the_lock_back(page, child):
    with page.locked_while(page.read()):
        pass
    child(page.lock)
