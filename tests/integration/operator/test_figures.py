"""What the metrics show of a real beanstalkd, and what it costs to find out for how long jobs have been ready."""

import itertools

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.prometheus import promtool
from tests.support.servers import MAIL, SMS, serving
from tests.support.waiting import wait_for
from tubeherd.queue.changing import connect_to_change
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.kinds import POOLS
from tubeherd_operator.counted import Counted
from tubeherd_operator.health import Health
from tubeherd_operator.metric_table import SERVER_FIGURES
from tubeherd_operator.metrics.exposition import Exposition
from tubeherd_operator.passes.work_queue import WorkQueue
from tubeherd_operator.queues import ready_ages
from tubeherd_operator.queues.ready_ages import ReadyAges

LONG = 1000


class Clock:
    """The time, in seconds."""

    now = 5000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def look(beanstalkd, clock):
    """Look at these tubes so many seconds later; return for how long their next jobs have been ready."""
    ages, connection = ReadyAges(clock), connect_to_change(beanstalkd.server)

    def look_at(*tubes, later=LONG, rests=False):
        clock.now += later
        ages.look(connection, connection.stats_tubes(tubes), rests=rests)
        return ages.ready_for()

    yield look_at
    connection.close()


def about(seconds):
    """Return what is equal to so many seconds, also if the test has been slow; beanstalkd counts whole ones."""
    return pytest.approx(seconds, abs=LONG / 4)


def peeks(beanstalkd):
    return beanstalkd.stats()["cmd-peek-ready"]


def test_jobs_grow_older_without_a_command_while_nothing_happens(beanstalkd, look):
    beanstalkd.put("mail")
    assert look("mail", "empty") == {"mail": about(0)}
    assert look("mail", "empty", rests=True) == {"mail": about(LONG)}
    assert look("mail", "empty", rests=True) == {"mail": about(2 * LONG)}
    assert peeks(beanstalkd) == 1


def test_job_that_came_back_unseen_is_noticed_though_the_counts_are_the_same(beanstalkd, look):
    job = beanstalkd.put("mail")
    assert look("mail") == {"mail": about(0)}
    beanstalkd.lose(job)
    look("mail", later=30)
    assert peeks(beanstalkd) == 1
    assert look("mail", rests=True) == {"mail": about(0)}
    assert look("mail", rests=True) == {"mail": about(LONG)}
    assert peeks(beanstalkd) == 2


def test_tubes_that_nobody_watches_are_asked_about_first(beanstalkd, look, monkeypatch):
    monkeypatch.setattr(ready_ages, "_TUBES_MOST", 1)
    watching = beanstalkd.client()
    watching.watch("mail")
    for tube in ("mail", "mail", "sms"):
        beanstalkd.put(tube)
    assert set(look("mail", "sms")) == {"sms"}
    watching.close()


def test_job_that_was_taken_and_came_back_is_younger_than_its_put(beanstalkd, look):
    first, second = beanstalkd.put("mail"), beanstalkd.put("mail", priority=9)
    look("mail")
    assert look("mail", rests=True) == {"mail": about(LONG)}
    beanstalkd.lose(first)
    beanstalkd.put("mail", priority=9)  # so that something has changed
    assert look("mail") == {"mail": about(0)}, "since when it is back is not known"
    beanstalkd.put("mail", priority=9)
    assert look("mail") == {"mail": about(LONG)}, "but since the last look it was"
    assert second > first


def test_kicked_job_is_as_old_as_its_kick(beanstalkd, look):
    beanstalkd.bury("mail")
    assert look("mail") == {}
    assert peeks(beanstalkd) == 0
    client = beanstalkd.client()
    client.use("mail")
    client.kick(1)
    assert look("mail") == {"mail": about(0)}


def test_tubes_are_asked_at_a_slow_pace_and_those_with_the_most_jobs_first(beanstalkd, look, monkeypatch):
    monkeypatch.setattr(ready_ages, "_TUBES_MOST", 1)
    beanstalkd.put("sms")
    assert set(look("mail", "sms")) == {"sms"}
    for _ in range(2):
        beanstalkd.put("mail")
    assert look("mail", "sms", later=1) == {}, "sms is not one of those with the most any more"
    assert set(look("mail", "sms", later=15)) == {"mail"}
    assert peeks(beanstalkd) == 2


def test_no_tube_is_kept_in_being(beanstalkd, look):
    def using():
        return beanstalkd.client().stats_tube("mail")["current-using"]

    beanstalkd.put("mail")
    before = using()
    assert look("mail")
    assert using() == before


def test_tubes_of_pools_have_figures_and_so_has_the_server(beanstalkd, servers):
    beanstalkd.bury("mail", 2)
    beanstalkd.put("mail", priority=9)
    beanstalkd.put("of-nobody")
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    servers.watch(SMS, beanstalkd.server, serving("sms", "mail"))

    def figures():
        (found,) = servers.figures()
        return found if found.ready_for and all(found.pools.values()) else None

    seen = wait_for(figures, "figures")
    assert (seen.server, seen.is_up) == (beanstalkd.server, True)
    assert seen.pools == {MAIL: ("mail",), SMS: ("sms", "mail")}
    assert seen.tubes.keys() == {"mail", "sms"}
    mail = seen.tubes["mail"]
    assert (mail.ready, mail.urgent, mail.buried, mail.put, mail.watching, mail.pause_left) == (1, 1, 2, 3, 0, 0)
    assert beanstalkd.count("of-nobody") == NOTHING | {"ready": 1}
    assert seen.stats.keys() >= SERVER_FIGURES.keys()
    assert (seen.stats["current-jobs-ready"], seen.stats["current-jobs-buried"]) == (2, 2)
    assert seen.stats["binlog-current-index"] >= seen.stats["binlog-oldest-index"] >= 1
    assert seen.stats["draining"] == 0
    assert seen.ready_for == {"mail": about(0)}


def test_tubes_of_a_pool_that_is_forgotten_are_not_shown_while_the_server_rests(beanstalkd, servers, monkeypatch):
    monkeypatch.setattr(ready_ages, "_PAUSE_SECONDS", 0.0)
    beanstalkd.put("mail")
    beanstalkd.put("sms")
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    servers.watch(SMS, beanstalkd.server, serving("sms"))
    wait_for(lambda: servers.figures()[0].ready_for.keys() == {"mail", "sms"}, "figures of both")
    servers.forget(SMS)
    (seen,) = servers.figures()
    assert (seen.pools, seen.tubes.keys(), seen.ready_for.keys()) == ({MAIL: ("mail",)}, {"mail"}, {"mail"})


def test_server_that_rests_is_asked_for_its_marks_alone(beanstalkd, servers):
    beanstalkd.put("mail")
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    wait_for(lambda: servers.figures()[0].ready_for, "the age of the job")
    connection = connect_to_change(beanstalkd.server)
    own = itertools.count(1)

    def counted():
        """Return how often the server was looked at, and how often it was sent any of the other commands."""
        figures = connection.server_stats().figures
        others = ("cmd-use", "cmd-peek-ready", "cmd-stats-job", "cmd-stats-tube")
        return figures["cmd-stats"] - next(own), [figures[name] for name in others]

    looks, _ = counted()
    wait_for(lambda: counted()[0] > looks + 5, "it is at rest")
    looks, before = counted()
    wait_for(lambda: counted()[0] > looks + 10, "it is looked at again and again")
    assert counted()[1] == before
    connection.close()


def test_end_of_a_pause_shows_though_nothing_else_happens(beanstalkd, servers):
    beanstalkd.put("mail")
    servers.watch(MAIL, beanstalkd.server, serving("mail"))

    def pause():
        return servers.figures()[0].tubes["mail"].pause

    wait_for(lambda: servers.figures()[0].ready_for, "the age of the job")
    beanstalkd.client().pause_tube("mail", 2)
    wait_for(lambda: pause() > 0, "the pause")
    wait_for(lambda: pause() == 0, "its end")
    assert servers.figures()[0].tubes["mail"].pause_left == 0


def test_job_that_came_just_after_others_were_asked_about_is_not_forgotten(beanstalkd, servers, monkeypatch):
    monkeypatch.setattr(ready_ages, "_PAUSE_SECONDS", 1.0)
    beanstalkd.put("mail")
    servers.watch(MAIL, beanstalkd.server, serving("mail", "sms"))
    wait_for(lambda: servers.figures()[0].ready_for, "the age of the first job")
    beanstalkd.put("sms")
    wait_for(
        lambda: servers.figures()[0].ready_for.keys() == {"mail", "sms"}, "the ages of both, as nothing else happens"
    )


def test_server_that_is_away_has_no_figures_but_is_known(beanstalkd, servers):
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    wait_for(lambda: servers.figures()[0].is_up, "figures")
    beanstalkd.kill()
    wait_for(lambda: servers.figures()[0].is_up is False, "it is away")
    (seen,) = servers.figures()
    assert (seen.pools, seen.stats, seen.tubes, seen.ready_for) == ({MAIL: None}, {}, {}, {})


def test_promtool_finds_nothing_to_blame_but_the_names_of_the_exporter(beanstalkd, servers):
    beanstalkd.put("mail")
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    wait_for(lambda: servers.figures()[0].ready_for, "figures")
    cache = Cache(lambda _: None, lambda _: None)
    cache.put(POOLS, {"metadata": {"namespace": MAIL.namespace, "name": MAIL.name, "resourceVersion": "1"}})
    exposition = Exposition(Counted(), Health(["pods"]), WorkQueue(), cache, servers, lambda: True)
    text = b"".join(exposition.text()).decode()
    assert "process_cpu_seconds_total" in text
    assert f'beanstalkd_tube_current_jobs_ready_count{{server="{beanstalkd.server}",tube="mail"}} 1.0' in text
    promtool("check", "metrics", stdin="".join(line for line in text.splitlines(True) if "beanstalkd_" not in line))
