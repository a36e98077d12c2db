"""The operator's poller against a real beanstalkd."""

import threading

import pytest

from tests.support.waiting import wait_for
from tubeherd_operator.decisions.retries import Served
from tubeherd_operator.objects import Key
from tubeherd_operator.queues.servers import Servers

MAIL = Key("shop", "mail")
SMS = Key("shop", "sms")


def serving(*tubes, retries=1):
    return Served(tubes, retries)


class Changed:
    """Remembers which pools are to be looked at."""

    def __init__(self):
        self.keys = []

    def __call__(self, key):
        self.keys.append(key)

    def wait(self, key, count=1):
        given = self.keys.count
        wait_for(lambda: given(key) >= count, lambda: f"{key} was given {given(key)} counts, not {count}")


@pytest.fixture
def changed():
    return Changed()


@pytest.fixture
def servers(changed, pollers):
    made = Servers(0.05, changed)
    yield made
    for key in (MAIL, SMS):
        made.forget(key)


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


def test_server_that_goes_and_comes_back_is_reported(beanstalkd, servers, changed):
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    beanstalkd.kill()
    changed.wait(MAIL, 2)
    assert beanstalkd.server in servers.counts(MAIL).error
    beanstalkd.start()
    wait_for(lambda: servers.counts(MAIL).error is None, "the server is reached again")
    changed.wait(MAIL, 3)


def test_kick_takes_buried_jobs_in_the_order_of_the_tubes(beanstalkd, servers, changed):
    beanstalkd.bury("mail", 2)
    beanstalkd.bury("sms", 2)
    beanstalkd.put("mail", b"{}", delay=600)
    servers.watch(MAIL, beanstalkd.server, serving("mail", "sms"))
    changed.wait(MAIL)
    assert servers.kick(MAIL, ["mail", "sms"], 3).tubes == {"mail": 2, "sms": 1}
    assert servers.kick(MAIL, ["mail", "sms"], None).tubes == {"mail": 0, "sms": 1}
    assert servers.kick(MAIL, ["mail", "sms"], None).tubes == {"mail": 0, "sms": 0}
    assert beanstalkd.count("mail") == {"ready": 2, "reserved": 0, "delayed": 1, "buried": 0}
    changed.wait(MAIL, 2)


def test_kick_of_a_server_that_is_gone_is_an_error(beanstalkd, servers, changed):
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    beanstalkd.kill()
    kicked = servers.kick(MAIL, ["mail"], None)
    assert kicked.tubes == {}
    assert kicked.error
    beanstalkd.start()


def test_tubes_of_tubeherd_itself_are_neither_counted_nor_kicked(beanstalkd, servers, changed):
    beanstalkd.bury("mail", 1)
    beanstalkd.bury("tubeherd.burials", 3)
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    assert {name: stats.buried for name, stats in servers.counts(MAIL).tubes.items()} == {"mail": 1}
    assert servers.kick(MAIL, ["mail"], None).tubes == {"mail": 1}
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
