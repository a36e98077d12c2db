"""The operator's poller against a real beanstalkd."""

import threading
import time
from dataclasses import replace

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import put_record
from tests.support.proxies import Proxy
from tests.support.servers import MAIL, SMS, ask, find, serving
from tests.support.waiting import PATIENCE, wait_for
from tubeherd.queue import wire
from tubeherd.queue.changing import connect_to_change
from tubeherd_operator.decisions.autoscale import Rule
from tubeherd_operator.decisions.errands import Done, Errand, Find, Found, Request, Step
from tubeherd_operator.decisions.request_value import Wanted
from tubeherd_operator.decisions.tubes import PoolTubes
from tubeherd_operator.objects import Key
from tubeherd_operator.queues.running import Runner
from tubeherd_operator.queues.servers import Servers


def test_counts_of_a_pools_tubes(beanstalkd, servers, changed):
    beanstalkd.bury("mail", 2)
    beanstalkd.put("mail", b"{}", delay=60)
    assert servers.counts(MAIL) is None, "not watched yet"
    servers.watch(MAIL, beanstalkd.server, serving("mail", "new"))
    changed.wait(MAIL)
    counts = servers.counts(MAIL)
    assert counts.error is None
    assert (counts.tubes["mail"].buried, counts.tubes["mail"].delayed, counts.tubes["new"].buried) == (2, 1, 0)


def test_pool_whose_tubes_change_is_given_what_is_known_of_them(beanstalkd, servers, changed):
    servers.watch(MAIL, beanstalkd.server, serving("mail", "new"))
    servers.watch(SMS, beanstalkd.server, serving("sms"))
    changed.wait(MAIL)
    changed.wait(SMS)
    servers.watch(MAIL, beanstalkd.server, serving("new"))
    assert servers.counts(MAIL).tubes.keys() == {"new"}
    with beanstalkd.stopped():
        servers.watch(MAIL, beanstalkd.server, serving("new", "unknown"))
        assert servers.counts(MAIL) is None, "not answered yet"
    changed.wait(MAIL, 2)
    assert servers.counts(MAIL).tubes.keys() == {"new", "unknown"}


def test_buried_job_is_reported_to_its_pool_alone_and_once(beanstalkd, servers, changed):
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    servers.watch(SMS, beanstalkd.server, serving("sms"))
    changed.wait(MAIL)
    changed.wait(SMS)
    beanstalkd.bury("mail", 1)
    changed.wait(MAIL, 2)
    beanstalkd.put("mail", b"{}")
    beanstalkd.bury("sms", 1)
    changed.wait(SMS, 2)
    assert changed.keys.count(MAIL) == 2, "ready jobs alone are no news within half a minute"
    assert servers.counts(MAIL).tubes["mail"].ready == 0, "no pass sees other counts than those that it was given"


@pytest.mark.parametrize("refused", ["poller", "burials"])
def test_pool_is_watched_at_the_next_pass_if_a_thread_could_not_be_started(
    beanstalkd, servers, changed, pollers, monkeypatch, refused
):
    served, start = replace(serving("mail"), records=True), threading.Thread.start

    def refuse(thread):
        if thread.name.startswith(refused):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            servers.watch(MAIL, beanstalkd.server, served)
    assert servers.figures() == []
    wait_for(lambda: not pollers(), "nothing is asked for no pool")
    servers.watch(MAIL, beanstalkd.server, served)
    changed.wait(MAIL)
    assert servers.counts(MAIL).tubes.keys() == {"mail"}
    wait_for(lambda: servers.burials(MAIL) is not None, "the records have been read")


def test_slow_connecting_does_not_have_a_server_be_asked_more_rarely(beanstalkd, servers, changed, monkeypatch):
    def connect(server):
        time.sleep(3)  # as a resolver of names does that gets no answer
        return connect_to_change(server)

    monkeypatch.setattr("tubeherd_operator.queues.poller.connect_to_change", connect)
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    beanstalkd.kill()
    wait_for(lambda: servers.counts(MAIL).error, "the end of the server")
    beanstalkd.start()
    wait_for(lambda: not servers.counts(MAIL).error, "the server is asked again")
    beanstalkd.bury("mail", 1)
    wait_for(lambda: servers.counts(MAIL).tubes["mail"].buried == 1, "a look before four times as long", 8)


def test_jobs_of_a_pool_that_is_gone_are_left_alone_though_its_errand_waited(beanstalkd, pollers):
    def changed(key):
        """Have two errands wait, and forget the pool of the second when the first is answered."""
        if (key, servers.errand(MAIL)) == (MAIL, None):
            for pool in (MAIL, SMS):
                servers.give(pool, Errand(f"{pool}", Step("discard", {pool.name: 1})))
        elif key == MAIL:
            servers.forget(SMS)
            forgotten.set()

    servers, forgotten = Servers(0.05, changed), threading.Event()
    beanstalkd.bury("mail", 1)
    beanstalkd.bury("sms", 1)
    servers.watch(SMS, beanstalkd.server, serving("sms"))
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    assert forgotten.wait(PATIENCE)
    wait_for(lambda: servers.counts(MAIL).tubes["mail"].buried == 0, "the look after the errands")
    assert (beanstalkd.count("mail")["buried"], beanstalkd.count("sms")["buried"]) == (0, 1)
    servers.forget(MAIL)


# A server is asked for its tubes only if anything has happened


@pytest.fixture
def all_counts(monkeypatch):
    """Have pools be given all new counts at once, and not only those of buried jobs."""
    monkeypatch.setattr("tubeherd_operator.decisions.counts.COUNTS_SECONDS", 0.0)


def stands_still(beanstalkd):
    """Return whether the poller looks three times, and asks for no tube."""
    before, own = beanstalkd.stats(), 0

    def looked():
        nonlocal own
        own += 1
        return beanstalkd.stats()["cmd-stats"] - before["cmd-stats"] >= own + 3

    wait_for(looked, "the poller has looked")
    return beanstalkd.stats()["cmd-stats-tube"] == before["cmd-stats-tube"]


def kick(beanstalkd):
    beanstalkd.client().kick_job(beanstalkd.bury_many("reports.a", 1)[0])


def give_back(beanstalkd):
    beanstalkd.lose(beanstalkd.put("reports.a"))


@pytest.mark.parametrize(
    ("happens", "counted"),
    [
        (lambda it: it.put("reports.a"), {"reports.a": {"ready": 1}}),
        (lambda it: it.bury("reports.a"), {"reports.a": {"buried": 1}}),
        (kick, {"reports.a": {"ready": 1}}),
        (lambda it: it.put("reports.a", delay=1), {"reports.a": {"ready": 1}}),
        (give_back, {"reports.a": {"ready": 1}}),
        (lambda it: it.put("reports.unknown"), {"reports.a": {}, "reports.unknown": {"ready": 1}}),
        (lambda it: it.connection("reports.watched"), {"reports.a": {}, "reports.watched": {}}),
    ],
    ids=["put", "bury", "kick", "delay", "lost", "tube", "watch"],
)
def test_server_on_which_nothing_happens_is_asked_for_no_tubes_and_nothing_that_happens_is_missed(
    beanstalkd, servers, changed, all_counts, happens, counted
):
    beanstalkd.connection("reports.a")
    servers.watch(MAIL, beanstalkd.server, serving("reports.*"))
    servers.watch(SMS, beanstalkd.server, serving("sms"))
    wait_for(lambda: servers.counts(MAIL) and servers.counts(SMS), "both pools have counts")
    wait_for(lambda: stands_still(beanstalkd), "nothing happens any more")
    happens(beanstalkd)
    wanted = {tube: NOTHING | states for tube, states in counted.items()}

    def found():
        return {
            name: {state: getattr(stats, state) for state in NOTHING}
            for name, stats in servers.counts(MAIL).tubes.items()
        }

    wait_for(lambda: found() == wanted, lambda: f"{wanted}, not {found()}")
    wait_for(lambda: stands_still(beanstalkd), "nothing happens any more")


def test_of_a_server_on_which_nothing_happens_only_the_tubes_of_a_new_pool_are_asked_for(
    beanstalkd, servers, changed, all_counts
):
    beanstalkd.put("mail")
    beanstalkd.bury("sms")
    servers.watch(MAIL, beanstalkd.server, serving("mail", "letters"))
    wait_for(lambda: servers.counts(MAIL), "the pool has counts")
    wait_for(lambda: stands_still(beanstalkd), "nothing happens any more")
    before = beanstalkd.stats()["cmd-stats-tube"]
    servers.watch(SMS, beanstalkd.server, serving("mail", "sms", "s*"))
    wait_for(lambda: servers.counts(SMS), "the new pool has counts")
    wait_for(lambda: stands_still(beanstalkd), "nothing happens any more")
    assert beanstalkd.stats()["cmd-stats-tube"] - before == 1, "mail has been counted already"
    assert [(tube, each.ready, each.buried) for tube, each in servers.counts(SMS).tubes.items()] == [
        ("mail", 1, 0),
        ("sms", 0, 1),
    ]


def test_counts_that_were_held_back_are_given_later_though_nothing_happens_any_more(
    beanstalkd, servers, changed, monkeypatch
):
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    beanstalkd.put("mail")
    wait_for(lambda: stands_still(beanstalkd), "nothing happens any more")
    assert servers.counts(MAIL).tubes["mail"].ready == 0
    monkeypatch.setattr("tubeherd_operator.decisions.counts.COUNTS_SECONDS", 0.0)
    changed.wait(MAIL, 2)
    assert servers.counts(MAIL).tubes["mail"].ready == 1


def autoscaled(tube, **rule):
    """Return what a pool serves that has a replica for each two jobs."""
    rule = {"least": 0, "most": 5, "at_a_time": 1, "delay": 3600.0, "jobs_per_replica": 2, **rule}
    return replace(serving(tube), autoscale=Rule(**rule))


def test_pool_is_given_counts_as_soon_as_they_want_another_number_of_replicas(beanstalkd, servers, changed):
    servers.watch(MAIL, beanstalkd.server, autoscaled("mail"), 0)
    changed.wait(MAIL)
    assert servers.counts(MAIL).scale.replicas == 0
    beanstalkd.put("mail", b"{}")
    changed.wait(MAIL, 2)
    assert servers.counts(MAIL).scale.replicas == 1
    beanstalkd.put("mail", b"{}")
    beanstalkd.put("mail", b"{}")
    changed.wait(MAIL, 3)
    assert (servers.counts(MAIL).scale.replicas, servers.counts(MAIL).scale.demand.ready) == (2, 3)


def test_number_of_replicas_falls_by_itself_after_the_delay_and_not_while_the_server_is_away(
    beanstalkd, servers, changed
):
    jobs = [beanstalkd.put("mail", b"{}") for _ in range(8)]
    servers.watch(MAIL, beanstalkd.server, autoscaled("mail", delay=0.001))
    wait_for(lambda: (counts := servers.counts(MAIL)) and counts.scale.replicas == 4, "the number has risen")
    beanstalkd.kill()
    wait_for(lambda: servers.counts(MAIL).error, "the server is away")
    assert servers.counts(MAIL).scale.replicas == 4
    beanstalkd.start()
    wait_for(lambda: servers.counts(MAIL).error is None, "the server is back")
    for job in jobs:
        beanstalkd.delete(job)
    wait_for(lambda: servers.counts(MAIL).scale.replicas == 0, "the number has fallen")


def test_pool_whose_rule_changes_begins_anew_with_what_it_has(beanstalkd, servers, changed):
    servers.watch(MAIL, beanstalkd.server, autoscaled("mail"), 4)
    changed.wait(MAIL)
    servers.watch(MAIL, beanstalkd.server, autoscaled("mail"), 2)
    assert servers.counts(MAIL).scale.replicas == 4, "it has begun already"
    servers.watch(MAIL, beanstalkd.server, autoscaled("mail", most=3), 4)
    assert servers.counts(MAIL).scale.replicas == 3
    servers.watch(MAIL, beanstalkd.server, serving("mail"), 3)
    assert servers.counts(MAIL).scale is None


def test_pool_that_each_pass_watches_again_is_no_news(beanstalkd, servers, changed):
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    servers.watch(SMS, beanstalkd.server, serving("sms"))
    changed.wait(SMS)
    assert changed.keys == [MAIL, SMS]


def test_one_poller_a_server_and_none_without_a_pool(beanstalkd, servers, changed, pollers):
    for key in (MAIL, SMS):
        servers.watch(key, beanstalkd.server, serving(key.name))
        changed.wait(key)
    assert pollers() == [f"poller {beanstalkd.server}"]
    servers.forget(MAIL)
    servers.forget(SMS)
    wait_for(lambda: not pollers(), "the poller has ended")


def test_poller_that_is_to_end_just_before_it_looks_what_there_is_to_do_ends(beanstalkd, pollers, monkeypatch):
    class Wake(threading.Event):
        def clear(self):
            made.forget(MAIL)
            super().clear()

    monkeypatch.setattr(threading, "Event", Wake)
    made = Servers(3600, lambda _: None)
    made.watch(MAIL, beanstalkd.server, serving("mail"))
    wait_for(lambda: not pollers(), "the poller has ended")


def test_server_that_goes_and_comes_back_is_reported(beanstalkd, servers, changed):
    beanstalkd.bury("mail", 2)
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    beanstalkd.kill()
    changed.wait(MAIL, 2)
    assert beanstalkd.server in servers.counts(MAIL).error
    assert servers.counts(MAIL).tubes["mail"].buried == 2, "as they were before"
    servers.watch(MAIL, beanstalkd.server, serving("mail", "new"))
    assert servers.counts(MAIL).tubes == {}, "not all of its tubes were counted"
    beanstalkd.start()
    wait_for(lambda: servers.counts(MAIL).error is None, "the server is reached again")
    changed.wait(MAIL, 3)


def test_errands_count_and_kick_buried_jobs_and_no_delayed_one(beanstalkd, servers, changed):
    beanstalkd.bury("mail", 2)
    beanstalkd.bury("sms", 2)
    beanstalkd.put("mail", b"{}", delay=600)
    servers.watch(MAIL, beanstalkd.server, serving("mail", "sms"))
    changed.wait(MAIL)
    find = Find(Request("uid", "kick", "all"), Wanted(PoolTubes(("mail", "sms")), None))
    assert ask(servers, MAIL, find) == Found({"mail": 2, "sms": 2})
    assert ask(servers, MAIL, Step("kick", {"mail": 2, "sms": 1})) == Done({"mail": 2, "sms": 1})
    assert ask(servers, MAIL, Step("kick", {"mail": 9, "sms": 9})) == Done({"mail": 0, "sms": 1})
    assert beanstalkd.count("mail") == {"ready": 2, "reserved": 0, "delayed": 1, "buried": 0}
    changed.wait(MAIL, 4)


def test_kick_of_a_server_that_is_gone_is_an_error(beanstalkd, servers, changed):
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    beanstalkd.kill()
    kicked = ask(servers, MAIL, Step("kick", {"mail": 1}))
    assert (kicked.tubes, kicked.lost) == ({}, None)
    assert kicked.error
    beanstalkd.start()


def test_kick_whose_answer_is_lost_may_have_been_done(beanstalkd, losing, servers, changed):
    beanstalkd.bury("mail", 4)
    beanstalkd.bury("sms", 4)
    servers.watch(MAIL, losing.server, serving("mail", "sms"))
    changed.wait(MAIL)
    kicked = ask(servers, MAIL, Step("kick", {"mail": 3, "sms": 4}))
    assert (kicked.tubes, kicked.lost) == ({}, "mail")
    assert "closed the connection" in kicked.error
    assert beanstalkd.count("mail")["buried"] == 1
    assert beanstalkd.count("sms")["buried"] == 4, "nothing is sent after that"


def test_errand_that_breaks_off_may_have_been_done_and_holds_up_no_other(beanstalkd, servers, changed, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such case")

    beanstalkd.bury("mail", 2)
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    why = f"{beanstalkd.server}: no such case"
    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", fail)
        patch.setattr(Runner, "find", fail)
        assert find(servers, "all", "mail") == Found({}, why)
        assert ask(servers, MAIL, Step("kick", {"mail": 1})) == Done({}, lost="*", error=why)
    assert ask(servers, MAIL, Step("kick", {"mail": 2})) == Done({"mail": 2})


def test_pool_that_goes_takes_its_errand_along(beanstalkd, servers, changed):
    for key in (MAIL, SMS):
        servers.watch(key, beanstalkd.server, serving(key.name))
        changed.wait(key)
    with beanstalkd.stopped():
        servers.give(MAIL, Errand("1", Step("kick", {"mail": 1})))
        servers.forget(MAIL)
        assert servers.errand(MAIL) is None
        servers.watch(MAIL, beanstalkd.server, serving("mail"))
        assert servers.errand(MAIL) is None


def test_one_job_is_kicked_by_its_id_if_it_is_buried_in_a_tube_of_the_pool(beanstalkd, servers, changed):
    first, second = beanstalkd.bury_many("mail", 2)
    (other,) = beanstalkd.bury_many("other", 1)
    ready = beanstalkd.put("mail", b"{}")
    servers.watch(MAIL, beanstalkd.server, serving("mail", "sms"))
    changed.wait(MAIL)
    assert find(servers, f"job/{second}") == Found({"mail": 1})
    assert find(servers, f"job/{other}").refused == "the job is in tube other, not in mail or sms"
    assert find(servers, f"job/{ready}").refused == "it is ready, not buried"
    assert find(servers, "job/999999").refused == "there is no such job"
    assert ask(servers, MAIL, Step("kick", {"mail": 1}, job=second)) == Done({"mail": 1})
    assert ask(servers, MAIL, Step("kick", {"mail": 1}, job=second)) == Done({"mail": 0})
    assert ask(servers, MAIL, Step("kick", {"mail": 1}, job=other)) == Done({"mail": 0})
    assert (beanstalkd.stats_job(first)["state"], beanstalkd.stats_job(second)["state"]) == ("buried", "ready")


def test_jobs_with_an_error_are_kicked_and_no_others(beanstalkd, failed, servers, changed):
    servers.watch(MAIL, beanstalkd.server, serving("mail", "sms"))
    changed.wait(MAIL)
    assert find(servers, "error/OSError").refused == "no buried job has this error; known errors: ValueError, KeyError"
    assert find(servers, "mail:error/KeyError") == Found({"mail": 5})
    assert find(servers, "error/KeyError") == Found({"mail": 5, "sms": 1})
    beanstalkd.delete(failed[0])
    assert ask(servers, MAIL, Step("kick", {"mail": 3, "sms": 1}, error="KeyError")) == Done({"mail": 2, "sms": 1})
    assert [beanstalkd.exists(job) and beanstalkd.stats_job(job)["state"] for job in failed] == [
        False,
        "ready",
        "ready",
        "buried",
        "buried",
    ]
    assert ask(servers, MAIL, Step("kick", {"mail": 2}, error="KeyError")) == Done({"mail": 2})
    assert beanstalkd.count("mail")["buried"] == 1, "the ValueError"


def test_tubes_that_come_later_in_a_kick_of_an_error_are_found_after_another_operator_has_begun_it(
    beanstalkd, failed, servers, changed
):
    servers.watch(MAIL, beanstalkd.server, serving("mail", "sms"))
    changed.wait(MAIL)
    assert ask(servers, MAIL, Step("kick", {"mail": 2}, error="KeyError")) == Done({"mail": 2})
    assert ask(servers, MAIL, Step("kick", {"mail": 3, "sms": 1}, error="KeyError")) == Done({"mail": 3, "sms": 1})


def test_kick_of_an_error_that_another_operator_has_begun_goes_on(beanstalkd, failed, servers, changed):
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    assert ask(servers, MAIL, Step("kick", {"mail": 4}, error="KeyError")) == Done({"mail": 4})
    assert beanstalkd.count("mail")["buried"] == 2


@pytest.mark.parametrize("chosen", [None, "KeyError"], ids=["all", "by error"])
def test_slow_kick_is_stopped_when_most_of_its_jobs_are_buried_again(beanstalkd, servers, changed, chosen):
    jobs = beanstalkd.bury_many("mail", 20)
    for job in jobs:
        put_record(beanstalkd, job)
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    slowly = Step("kick", {"mail": 12}, error=chosen, slowly=True)
    assert ask(servers, MAIL, slowly) == Done({"mail": 12})
    states = [beanstalkd.stats_job(job)["state"] for job in jobs]
    assert states == ["ready"] * 12 + ["buried"] * 8, "those that were buried first"
    client = beanstalkd.client()
    client.watch("mail")
    for _ in range(12):
        client.bury(client.reserve(timeout=0))
    client.close()
    stopped = ask(servers, MAIL, Step("kick", {"mail": 8}, error=chosen, slowly=True))
    assert stopped == Done({"mail": 0}, stopped="12 of the jobs were buried again, and 0 were done")
    assert beanstalkd.count("mail")["buried"] == 20


def test_slow_kick_puts_no_job_back_twice(beanstalkd, servers, changed):
    beanstalkd.bury_many("mail", 4)
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    assert ask(servers, MAIL, Step("kick", {"mail": 4}, slowly=True)) == Done({"mail": 4})
    client = beanstalkd.client()
    client.watch("mail")
    client.bury(client.reserve(timeout=0))
    client.close()
    assert ask(servers, MAIL, Step("kick", {"mail": 1}, slowly=True)) == Done({"mail": 0})


@pytest.mark.parametrize("work", [{"job": 1}, {"error": "KeyError"}, {"slowly": True}])
def test_kick_by_id_whose_answer_is_lost_may_have_been_done(beanstalkd, failed, losing, servers, changed, work):
    losing.loses_answer_to = "kick-job"
    servers.watch(MAIL, losing.server, serving("mail"))
    changed.wait(MAIL)
    kicked = ask(servers, MAIL, Step("kick", {"mail": 1}, **work))
    assert (kicked.tubes, kicked.lost) == ({}, "mail")
    assert beanstalkd.count("mail")["buried"] == 5


FROZEN = [Key("shop", f"frozen-{number}") for number in range(6)]


@pytest.fixture
def freezing(beanstalkd, servers):
    """A proxy that can stop to answer; six pools may be behind it."""
    proxy = Proxy(beanstalkd.port)
    yield proxy
    for key in FROZEN:
        servers.forget(key)
    proxy.close()


def freeze(freezing, beanstalkd, servers, changed):
    """Have the proxy answer no more, and have a kick asked for by each of the pools behind it."""
    beanstalkd.bury("mail", 6)
    for key in FROZEN:
        servers.watch(key, freezing.server, serving("mail"))
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    for key in (FROZEN[0], MAIL):
        changed.wait(key)
    freezing.silent |= {*range(1, 1000)}
    for key in FROZEN:
        servers.give(key, Errand("kick", Step("kick", {"mail": 1})))


def test_frozen_server_holds_up_nothing_of_another(beanstalkd, freezing, servers, changed, monkeypatch):
    monkeypatch.setattr(wire, "REPLY_SECONDS", 3600)  # longer than this test: the frozen server is waited for meanwhile
    freeze(freezing, beanstalkd, servers, changed)
    for _ in range(3):
        assert ask(servers, MAIL, Step("kick", {"mail": 1})) == Done({"mail": 1})
    assert [servers.errand(key).answer for key in FROZEN] == [None] * 6


@pytest.mark.slow
def test_frozen_server_is_waited_for_no_longer_than_the_limit(beanstalkd, freezing, servers, changed):
    freeze(freezing, beanstalkd, servers, changed)
    answers = [wait_for(lambda key=key: servers.errand(key).answer, "the wait has a limit") for key in FROZEN]
    assert [(answer.tubes, answer.lost) for answer in answers] == [({}, None)] * 6
    assert all("no answer within" in answer.error for answer in answers)
    assert beanstalkd.count("mail")["buried"] == 6, "the frozen one was sent no kick"


def test_tubes_of_tubeherd_itself_are_neither_counted_nor_kicked(beanstalkd, servers, changed):
    beanstalkd.bury("mail", 1)
    beanstalkd.bury("tubeherd.burials", 3)
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    assert {name: stats.buried for name, stats in servers.counts(MAIL).tubes.items()} == {"mail": 1}
    assert ask(servers, MAIL, Step("kick", {"mail": 9})).tubes == {"mail": 1}
    assert beanstalkd.count("tubeherd.burials")["buried"] == 3


NOWHERE = "127.0.0.1"
"""Pools are compared whether or not their beanstalkd answers."""


@pytest.fixture
def told():
    """The pools that are to be looked at because another one was changed or forgotten, and not for their counts."""
    return []


@pytest.fixture
def compared(told, pollers):
    made = Servers(
        3600, lambda key: told.append(key) if threading.current_thread() is threading.main_thread() else None
    )
    yield made
    for key in (MAIL, SMS):
        made.forget(key)


def test_pool_is_looked_at_when_another_begins_or_ceases_to_differ(compared, told):
    def after(change, *arguments):
        told.clear()
        change(*arguments)
        return told

    watch = compared.watch
    assert after(watch, MAIL, NOWHERE, serving("mail", "news")) == []
    assert after(watch, SMS, NOWHERE, serving("sms", "news")) == [], "the same number"
    assert after(watch, SMS, NOWHERE, serving("sms", "news", retries=2)) == [MAIL]
    assert after(watch, SMS, NOWHERE, serving("sms", "news", retries=2)) == [], "as it was"
    assert after(watch, MAIL, NOWHERE, serving("mail", "news", retries=2)) == [SMS]
    assert after(watch, MAIL, NOWHERE, serving("mail", "news", retries=0)) == [SMS]
    assert after(watch, SMS, NOWHERE, serving("sms", "news", retries=3)) == [MAIL], "another number"
    assert after(watch, SMS, NOWHERE, serving("mail", "news", retries=3)) == [MAIL], "another tube"
    assert after(watch, SMS, NOWHERE, serving("news", "mail", retries=3)) == [], "the same tubes in another order"
    assert after(watch, SMS, NOWHERE, serving("sms", retries=3)) == [MAIL], "no tube of both is left"
    assert after(watch, SMS, NOWHERE, serving("news", retries=3)) == [MAIL]
    assert after(watch, SMS, "127.0.0.2", serving("news", retries=3)) == [MAIL], "another beanstalkd"
    assert after(watch, SMS, NOWHERE, serving("news", retries=3)) == [MAIL]
    assert after(compared.forget, SMS) == [MAIL]
    assert after(compared.forget, SMS) == []


def test_others_are_the_pools_of_the_same_beanstalkd_however_it_is_written(compared, pollers):
    assert compared.others(MAIL) == {}
    compared.watch(MAIL, NOWHERE, serving("mail"))
    compared.watch(SMS, f"{NOWHERE}:11300", serving("mail", retries=2))
    assert compared.others(MAIL) == {SMS: serving("mail", retries=2)}
    assert compared.others(SMS) == {MAIL: serving("mail")}
    assert pollers() == [f"poller {NOWHERE}"]
    compared.watch(SMS, f"{NOWHERE}:11301", serving("mail", retries=2))
    assert (compared.others(MAIL), compared.others(SMS)) == ({}, {})
