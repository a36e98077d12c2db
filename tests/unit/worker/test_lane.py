"""The pauses between the connections of a lane."""

import socket
from itertools import pairwise

from tubeherd.queue.connection import Connection
from tubeherd.shared_memory.page import Page
from tubeherd.slot.lane import PAUSE_FIRST, Lane


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
