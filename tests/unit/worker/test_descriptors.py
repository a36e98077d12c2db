"""Descriptors of ours have numbers from 10 on, also where 0, 1 and 2 are free, and none is left open by mistake."""

import os
import socket
import subprocess
import sys

import pytest

from tubeherd.descriptors import LEAST, low_numbers_taken, moved, moved_socket
from tubeherd.processing.coroutines import new_runner
from tubeherd.shared_memory.tally import Tally


def descriptors():
    return set(os.listdir("/proc/self/fd"))


def test_moved_descriptor_is_the_same_file_and_not_inherited():
    end, other = os.pipe()
    end = moved(end)
    os.write(other, b"x")
    assert end >= LEAST
    assert os.read(end, 1) == b"x"
    assert not os.get_inheritable(end)
    for fd in (end, other):
        os.close(fd)


def test_descriptor_that_cannot_be_moved_is_closed():
    fd = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        moved(fd, least=1 << 30)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_moved_socket_is_the_same_socket():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.settimeout(7)
    with moved_socket(one) as high, other:
        other.send(b"x")
        assert high.fileno() >= LEAST
        assert one.fileno() == -1
        assert (high.recv(9), high.gettimeout()) == (b"x", 7)
        assert (high.family, high.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET)


def test_nothing_stays_open_after_the_low_numbers_were_taken():
    before = descriptors()
    with low_numbers_taken():
        fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    assert fd >= LEAST
    assert descriptors() <= before


CLOSED = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
server = "127.0.0.1:%d" % listener.getsockname()[1]
low = set(os.listdir("/proc/self/fd"))
from tubeherd.metrics import Metrics
from tubeherd.processing.coroutines import new_runner
from tubeherd.queue.connection import connect
from tubeherd.shared_memory.tally import Tally
metrics = Metrics()
from prometheus_client import Counter
result = os.dup(1)
os.closerange(0, 3)
opened = [connect(server), new_runner(), Tally()]
opened[2].begin(["mail"])
counter = Counter("mails", "Mails", ["to"])
for number in range(20_000):  # until the file has to grow
    counter.labels(number).inc()
new = {int(fd) for fd in os.listdir("/proc/self/fd")} - {*map(int, low), result}
metrics.files.remove()
# `listdir` itself has the lowest number.
os.write(result, repr(sorted(fd for fd in new if fd)).encode())
os._exit(0)
"""


def test_what_is_opened_after_0_1_and_2_were_closed_has_other_numbers():
    """A connection, the files of an event loop, of a tally and of prometheus_client's metrics."""
    done = subprocess.run([sys.executable, "-c", CLOSED], capture_output=True, check=True)
    numbers = eval(done.stdout)  # noqa: S307
    assert len(numbers) >= 1 + 3 + 2 + 2
    assert min(numbers) >= LEAST


def test_runner_has_its_event_loop_at_once():
    before = descriptors()
    with new_runner() as runner:
        assert all(int(fd) >= LEAST for fd in descriptors() - before)
        assert runner.run(_seven()) == 7


async def _seven():
    return 7


def test_tally_is_closed_as_a_whole():
    before = descriptors()
    tally = Tally()
    tally.begin(["mail"])
    tally.close()
    del tally
    assert descriptors() <= before
