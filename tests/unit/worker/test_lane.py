"""The connections of a lane, and the pauses between them."""

import socket
import time
from itertools import pairwise

import pytest

from tubeherd.queue.answers import QueueUnavailable
from tubeherd.queue.connection import Connection
from tubeherd.shared_memory.page import Page
from tubeherd.slot.lane import PAUSE_FIRST, Lane
from tubeherd.slot.slot import PendingReserve


def test_pauses_are_longer_each_time_until_a_connection_was_of_use():
    lanes = [Lane(number, Page(), None) for number in range(2)]
    bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    pauses = [lanes[0].next_pause() for _ in bounds]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    assert all(earlier != later for earlier, later in pairwise(pauses)), "no two workers are to come back together"
    assert lanes[1].next_pause() <= PAUSE_FIRST, "lanes that lose the same server do not slow each other down"
    for has_settled, most in [(False, 5.0), (True, PAUSE_FIRST)]:
        here, there = socket.socketpair()
        lanes[0].connection = Connection(here)
        lanes[0].connection.has_settled = has_settled
        lanes[0].drop()
        assert most / 2 <= lanes[0].next_pause() <= most
        there.close()


def test_connection_is_closed_that_a_dead_supervisor_cannot_keep():
    lane = Lane(0, Page(), None)
    here, there = socket.socketpair()
    control, supervisor = socket.socketpair()
    supervisor.close()
    with pytest.raises(QueueUnavailable, match="the supervisor has ended"):
        lane.open(Connection(here), control)
    assert lane.connection is None
    assert there.recv(1) == b"", "beanstalkd sees that it is closed"
    for end in (there, control):
        end.close()


@pytest.mark.parametrize(
    ("timeout", "seconds", "too_early"),
    [(30, 28, True), (30, 29.5, False), (1, 0.3, True), (1, 0.9, False), (0, 0, False)],
)
def test_reserve_that_is_answered_too_early_without_a_job(timeout, seconds, too_early):
    assert PendingReserve(time.monotonic() - seconds, timeout, alone=True).is_too_early() is too_early
