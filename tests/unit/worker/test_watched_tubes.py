"""Which tubes a slot watches as those of the server come and go."""

from types import SimpleNamespace

import pytest

from tubeherd.processing.tube_choice import TUBES_MOST, TubeChoice
from tubeherd.queue.answers import TubeCounters
from tubeherd.slot.watched import WatchedTubes


class Server:
    """The tubes of a server as a connection shows them, and a clock."""

    def __init__(self):
        self.now = 1000.0
        self.counters = {}
        self.counted = 0

    def put(self, *tubes, **counters):
        for tube in tubes:
            self.counters[tube] = TubeCounters(tube, **counters)

    def tube_names(self):
        return list(self.counters)

    def tubes(self, names):
        for name in names:
            self.counted += 1
            yield self.counters.get(name, TubeCounters(name))


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def remarks():
    return []


@pytest.fixture
def watched(server, remarks):
    def made(*names, include=()):
        executors = {name: SimpleNamespace(name=name, timeout=30.0 if "*" in name else None) for name in names}
        return WatchedTubes(TubeChoice(executors, include), remarks.append, clock=lambda: server.now)

    return made


def looks(watched, server, seconds):
    """Let the time pass with a look every five seconds."""
    for _ in range(0, seconds, 5):
        server.now += 5
        watched.look(server)


def test_without_globs_nobody_looks(watched):
    tubes = watched("mail")
    assert not tubes.due
    assert not tubes.looks
    assert tubes.seconds_to_wait(30) == 30


def test_new_tube_is_found_and_has_the_timeout_of_its_executor(watched, server):
    tubes = watched("mail", "reports.*")
    assert tubes.due
    assert not tubes.look(server)
    assert list(tubes.tubes) == ["mail"]
    assert not tubes.due
    assert tubes.seconds_to_wait(30) == 5
    server.put("reports.a", ready=1)
    server.now += 5
    assert tubes.due
    assert tubes.look(server)
    assert list(tubes.tubes) == ["mail", "reports.a"]
    assert tubes.timeouts == {"reports.a": 30}
    assert not tubes.look(server)


def test_tube_that_is_gone_is_dropped(watched, server):
    tubes = watched("reports.*")
    server.put("reports.a", "reports.b", ready=1)
    tubes.look(server)
    del server.counters["reports.a"]
    assert tubes.look(server)
    assert list(tubes.tubes) == ["reports.b"]


@pytest.mark.parametrize(
    "counters", [{"ready": 1}, {"delayed": 1}, {"buried": 1}, {"reserved": 1}, {"using": 1}], ids=str
)
def test_tube_in_use_stays_watched(watched, server, counters):
    tubes = watched("reports.*")
    server.put("reports.a", **counters)
    looks(tubes, server, 600)
    assert list(tubes.tubes) == ["reports.a"]


def test_tube_that_nobody_has_used_for_a_minute_is_left_until_it_is_used_again(watched, server):
    tubes = watched("reports.*")
    server.put("reports.a", total_jobs=5)
    looks(tubes, server, 60)
    assert list(tubes.tubes) == ["reports.a"]
    looks(tubes, server, 10)
    assert list(tubes.tubes) == []
    server.put("reports.a", total_jobs=6, ready=1)
    looks(tubes, server, 5)
    assert list(tubes.tubes) == ["reports.a"]


def test_tube_whose_jobs_are_done_at_once_is_in_use(watched, server):
    tubes = watched("reports.*")
    for jobs in range(100):
        server.put("reports.a", total_jobs=jobs)
        looks(tubes, server, 30)
        assert list(tubes.tubes) == ["reports.a"]


def test_a_look_counts_few_of_many_tubes_and_all_in_turn(watched, server):
    tubes = watched("reports.*")
    server.put(*[f"reports.{number}" for number in range(1000)])
    looks(tubes, server, 5)
    assert server.counted == 50
    looks(tubes, server, 300)
    assert not tubes.tubes


def test_what_matches_nothing_or_too_much_or_has_no_executor_is_remarked(watched, server, remarks):
    tubes = watched("reports.*", "mail", include=["*"])
    tubes.look(server)
    server.put("reports.a", "other", *[f"other{number:03}" for number in range(100)])
    tubes.look(server)
    server.put(*[f"reports.{number}" for number in range(TUBES_MOST)])
    tubes.look(server)
    said = {remark.about: remark for remark in remarks}
    assert len(said) == 22
    assert said["none"].event.startswith("no tube matches * yet")
    assert not said["none"].is_warning
    assert said["beyond"].event.startswith("2002 tubes match, and a worker takes jobs from 2000 at most")
    assert said["lacking other"].event.startswith("tube other matches, and no executor does its jobs")


def test_slot_names_few_of_the_tubes_without_an_executor_that_come_and_go(watched, server, remarks):
    tubes = watched("mail", include=["*"])
    for number in range(100):
        server.counters = {}
        server.put(f"reply.{number}", ready=1)
        looks(tubes, server, 5)
    assert [remark.about for remark in remarks] == [f"lacking reply.{number}" for number in range(20)]
