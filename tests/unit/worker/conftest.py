"""Properties are about values, never about time: a busy machine must not fail them.

A slot for the modules of its supervisor: a process that does nothing, with pages that a test writes.
"""

import os
import signal
import socket
import time

import pytest
from hypothesis import HealthCheck, settings

from tubeherd.shared_memory.page import Page
from tubeherd.shared_memory.slot_page import SlotPage
from tubeherd.supervisor.lane_handle import LaneHandle
from tubeherd.supervisor.slot_handle import SlotHandle

settings.register_profile("busy-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy-machine")


@pytest.fixture
def fork():
    """Fork processes that run a function and then wait; all are killed after the test."""
    pids = []

    def start(function):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                function()
                os.write(writer, b"x")
                while True:  # signal.pause() would wait for ever if a signal came just before
                    time.sleep(0.02)
            finally:  # whatever it raised, it must not go on with the tests
                os._exit(1)
        pids.append(pid)
        os.close(writer)
        assert os.read(reader, 1) == b"x"
        os.close(reader)
        return pid

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def control():
    """Both ends of a control socket: the supervisor's, which does not wait, and the slot's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    yield ours, theirs
    theirs.close()


@pytest.fixture
def child(control, fork):
    """A slot of three lanes: two have executed for 40 s, one waits for a job."""
    lanes = [LaneHandle(Page(), None) for _ in range(3)]
    for number, lane in enumerate(lanes[:2], start=1):
        lane.page.write_job_and_unlock(number, time.monotonic() - 40, 60, number)
    lanes[2].page.write_waiting()
    child = SlotHandle(fork(lambda: None), control[0], SlotPage(), lanes, [])
    yield child
    child.close()


@pytest.fixture
def locked(child, is_locked):
    """Tell which lanes are locked."""
    return lambda: [number for number, lane in enumerate(child.lanes) if is_locked(lane.page)]
