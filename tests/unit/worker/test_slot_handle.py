"""A slot is killed only while none of its jobs' connections is in the middle of a command."""

import os
import resource
import signal
import socket
import time
from contextlib import suppress

import pytest

from tubeherd.policy import Failed, RetrySchedule
from tubeherd.queue.connection import Connection
from tubeherd.shared_memory.control import Remark, encode_delays, encode_lane, encode_remark
from tubeherd.shared_memory.page import Phase
from tubeherd.supervisor.slot_handle import Death


def test_executions_are_locked_for_the_decision_and_no_longer(child, locked):
    with child.executions_locked() as at_rest:
        assert at_rest
        assert locked() == [0, 1]
    assert locked() == []


def test_locks_are_kept_where_the_slot_was_killed(child, locked):
    death = Death(Failed("as asked"))
    with child.executions_locked():
        child.kill(death)
    assert locked() == [0, 1]
    assert child.death is death
    ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert (ended.si_code, ended.si_status) == (os.CLD_KILLED, signal.SIGKILL)


def test_slot_that_begins_a_command_is_not_at_rest_and_gets_its_other_locks_back(child, fork, locked):
    fork(child.lanes[1].page.try_lock)  # as a slot does before it says so
    with child.executions_locked() as at_rest:
        assert not at_rest
    assert locked() == [1]


def test_lock_of_a_touch_that_is_not_answered_counts_as_ours_and_is_kept(child, locked):
    here, beanstalkd = socket.socketpair()
    child.lanes[0].connection = Connection(here)
    child.lanes[0].touch(child.lanes[0].page.read(), now=time.monotonic())
    with child.executions_locked() as at_rest:
        assert at_rest
    assert locked() == [0]
    child.lanes[0].close_connection()
    beanstalkd.close()


def test_stop_is_asked_for_on_page_and_socket_whether_the_slot_lives_or_not(child, control):
    child.ask_to_stop()
    assert control[1].recv(10) == b"s"
    control[1].shutdown(socket.SHUT_RDWR)
    child.ask_to_stop()


def test_each_lane_gets_the_connection_that_the_slot_opened_for_it(child, control):
    for number in (2, 0):
        ours, theirs = socket.socketpair()
        socket.send_fds(control[1], [encode_lane(number)], [ours.fileno()])
        ours.close()
        theirs.sendall(b"TOUCHED\r\n%d" % number)
        theirs.close()
    assert child.receive_messages()
    assert child.lanes[1].connection is None
    for number in (0, 2):
        connection = child.lanes[number].connection
        assert connection is not None
        assert connection.socket.recv(100) == b"TOUCHED\r\n%d" % number
        assert not connection.socket.get_inheritable()
        child.lanes[number].close_connection()
    control[1].shutdown(socket.SHUT_RDWR)
    assert not child.receive_messages()


@pytest.mark.parametrize(("lane", "spare"), [(0, 0), (1, 1)], ids=["not received", "not moved"])
def test_connection_that_cannot_be_copied_is_told_and_the_one_before_is_not_used(child, control, capfd, lane, spare):
    """The kernel drops the descriptor of a message if the receiver is at its limit; to move one takes another."""
    before, there = socket.socketpair()
    child.lanes[0].connection = Connection(before)
    socket.send_fds(control[1], [encode_lane(lane)], [there.fileno()])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limits[0]), limits[1]))
        with suppress(OSError):  # there are no more
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(spare):
            os.close(taken.pop())
        assert child.receive_messages()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)
    assert child.schedules == {}
    assert child.lanes[lane].connection is None
    child.lanes[0].close_connection()
    assert "the supervisor can open no more files" in capfd.readouterr().err
    there.close()


@pytest.mark.parametrize("delays", [None, (), (10, 600), (2**32 - 21,) * 20])
def test_schedules_come_in_between_connections(child, control, delays):
    tube = "x" * 200
    here, there = socket.socketpair()
    control[1].send(encode_delays("7", (1,)))
    socket.send_fds(control[1], [encode_lane(0)], [here.fileno()])
    control[1].send(encode_delays(tube, delays))
    assert child.receive_messages()
    assert child.schedules == {"7": RetrySchedule((1,)), tube: None if delays is None else RetrySchedule(delays)}
    assert child.lanes[0].connection is not None
    child.lanes[0].close_connection()
    here.close()
    there.close()


def test_schedule_is_that_of_the_name_or_the_longest_glob(child, control):
    for name, delays in {"*": (1,), "reports.*": None, "reports.week*": (2, 3), "reports.weekly": ()}.items():
        control[1].send(encode_delays(name, delays))
    child.receive_messages()
    found = {tube: child.schedule_for(tube) for tube in ("mail", "reports.a", "reports.weeks", "reports.weekly")}
    schedules = [RetrySchedule((1,)), None, RetrySchedule((2, 3)), RetrySchedule(())]
    assert found == dict(zip(found, schedules, strict=True))


def test_remark_is_logged_once(child, control, capfd):
    for about in ("a", "b", "a"):
        control[1].send(encode_remark(Remark(about, f"about {about}")))
    child.receive_messages()
    assert capfd.readouterr().err.count("about a") == 1


def test_begun_is_told_of_the_slot_and_not_of_a_lane(child):
    assert child.jobs_begun == 2
    child.lanes[0].page.write_job_and_unlock(7, 10.0, 60, 5)
    assert child.jobs_begun == 5
    assert child.phase is Phase.EXECUTING


def test_lane_is_locked_only_while_it_is_in_the_state_that_was_seen(child, fork):
    lane = child.lanes[0]
    seen = lane.page.read()
    with lane.locked_if_still(seen) as same:
        assert same
    lane.page.write_job_and_unlock(9, 2.0, 60, 9)
    with lane.locked_if_still(seen) as same:
        assert not same
    fork(lane.page.lock_for_command)  # the lock was given back, or this would wait for ever
    with lane.locked_if_still(lane.page.read()) as same:
        assert not same
