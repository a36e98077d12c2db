"""Counting tubes: rates, tubes without a worker, and the limit in time."""

import time

import pytest

from tubeherd.by_hand.looking.counting import Rate, count_tubes, rates
from tubeherd.by_hand.looking.looked import Stats
from tubeherd.queue.answers import ServerCounters, TubeCounters

SERVER = ServerCounters(0, 1, 3, 0, 0, 0, 0)
MAIL = TubeCounters("mail", total_jobs=100, deleted=50)


def stats(*tubes, at=0.0, server=SERVER):
    return Stats(at, tubes, 0, server)


class Counter:
    """A connection to a server with many tubes, on which each tube takes a second."""

    def __init__(self, tubes):
        self.names = [f"tube{number:04}" for number in range(tubes)]
        self.now = 0.0

    def tube_names(self):
        return self.names

    def tubes(self, names):
        self.now += len(names)
        return [TubeCounters(name, ready=1) for name in names]

    def server(self):
        return SERVER


def test_rates_are_jobs_a_second():
    later = MAIL._replace(total_jobs=130, deleted=55)
    assert rates(stats(MAIL), stats(later, at=2.0)) == {"mail": Rate(15.0, 2.5)}


@pytest.mark.parametrize("later", [MAIL._replace(total_jobs=1, deleted=0), MAIL._replace(name="news")])
def test_tube_that_began_anew_or_is_new_has_no_rate(later):
    assert rates(stats(MAIL), stats(later, at=2.0)) == {}


@pytest.mark.parametrize(
    ("tube", "workers", "lacks"),
    [
        (TubeCounters("mail", ready=1), 3, True),
        (TubeCounters("mail", delayed=1), 3, True),
        (TubeCounters("mail", buried=1), 3, False),
        (TubeCounters("tubeherd.burials", ready=1), 3, False),
        (TubeCounters("mail", ready=1, watching=1), 0, False),
        (TubeCounters("default", ready=1, watching=9), 0, True),
        (TubeCounters("default", ready=1, watching=9), 1, False),
    ],
)
def test_tube_lacks_a_worker_if_jobs_wait_and_nobody_takes_them(tube, workers, lacks):
    assert stats(server=SERVER._replace(workers=workers)).lacks_worker(tube) is lacks


def test_slow_server_is_counted_as_far_as_the_time_goes():
    connection = Counter(1000)
    counted = count_tubes(connection, (), 250.0, lambda: connection.now)
    assert (len(counted.tubes), counted.uncounted) == (300, 700)


def test_without_a_limit_all_tubes_are_counted():
    connection = Counter(1000)
    counted = count_tubes(connection, (), None, lambda: connection.now)
    assert (len(counted.tubes), counted.uncounted) == (1000, 0)


def test_no_pattern_takes_long():
    connection = Counter(0)
    connection.names = ["t" * 200]
    began = time.process_time()
    assert not count_tubes(connection, [f"{'*t' * 99}*-"]).tubes
    assert time.process_time() < began + 5
