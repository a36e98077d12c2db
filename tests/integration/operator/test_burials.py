"""The operator finds out from the burial records of a real beanstalkd why jobs are buried."""

import threading
from collections import Counter

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import RECORDS, count_records, put_record
from tests.support.proxies import Proxy
from tests.support.waiting import wait_for
from tubeherd.burials import parking
from tubeherd.burials.parking import ParkingReader
from tubeherd.burials.reader import Clock, read_burials
from tubeherd_operator.decisions.errands import Done, Errand, Step
from tubeherd_operator.decisions.retries import Served
from tubeherd_operator.decisions.tubes import PoolTubes
from tubeherd_operator.objects import Key
from tubeherd_operator.queues.burials import BurialWatch
from tubeherd_operator.queues.servers import Servers

MAIL = Key("shop", "mail")
SMS = Key("shop", "sms")


class JumpingClock(Clock):
    """A clock that goes only while a test waits, and fast."""

    def __init__(self):
        self.minutes = 0

    def now(self):
        return self.minutes * 60.0

    def wait_for(self, condition, what):
        """Let a minute pass before each look."""

        def after_a_minute():
            self.minutes += 1
            return condition()

        wait_for(after_a_minute, what)


@pytest.fixture
def clock():
    return JumpingClock()


@pytest.fixture
def changed():
    """The pools that were given other burials, in order."""
    return []


@pytest.fixture
def watch(beanstalkd, clock, changed, pollers):
    watching = BurialWatch(beanstalkd.server, 0.05, changed.append, clock)
    yield watching
    for key in (MAIL, SMS):
        watching.forget(key)


@pytest.fixture
def bury(beanstalkd):
    """Bury jobs with their records, and return their ids."""

    def bury(count, tube="mail", **fields):
        bury.put[tube] += count
        jobs = beanstalkd.bury_many(tube, count)
        for job in jobs:
            put_record(beanstalkd, job, tube=tube, **fields)
        return jobs

    bury.put = Counter()
    return bury


def groups(watch, key):
    found = watch.burials(key)
    return {(group.tube, group.error, group.place): group.count for group in found.groups} if found else None


def given(bury, watch, clock, *keys):
    """Have pools watch a tube of their own name, and wait until they have all that was buried there."""

    def count(key):
        return sum((groups(watch, key) or {}).values())

    for key in keys:
        watch.watch(key, PoolTubes((key.name,)))
    clock.wait_for(lambda: all(count(key) == bury.put[key.name] for key in keys), "the burials are given")


def test_records_are_read_and_parked_and_each_pool_is_given_those_of_its_tubes(beanstalkd, bury, watch, clock):
    bury(3)
    jobs = bury(2, error="ValueError", time="2026-11-28T13:00:00Z")
    bury(1, "sms")
    bury(1, "of-nobody")
    assert watch.burials(MAIL) is None, "not watched yet"
    given(bury, watch, clock, MAIL, SMS)
    assert groups(watch, MAIL) == {("mail", "KeyError", "mail.py:3"): 3, ("mail", "ValueError", "mail.py:3"): 2}
    assert groups(watch, SMS) == {("sms", "KeyError", "mail.py:3"): 1}
    assert {found.job for found in watch.burials(MAIL).recent[:2]} == {*jobs}
    clock.wait_for(lambda: beanstalkd.count(RECORDS) == NOTHING | {"delayed": 7}, "all are parked")


def test_new_burials_are_given_only_to_the_pool_concerned_and_when_the_reader_may_ask_again(
    bury, watch, changed, clock
):
    bury(1)
    bury(1, "sms")
    given(bury, watch, clock, MAIL, SMS)
    before = changed.count(SMS)
    bury(2, error="ValueError")
    both = {("mail", "KeyError", "mail.py:3"): 1, ("mail", "ValueError", "mail.py:3"): 2}
    clock.wait_for(lambda: groups(watch, MAIL) == both, "the new burials are given")
    wait_for(lambda: changed[-1:] == [MAIL], "the pool is looked at")
    assert changed.count(SMS) <= max(before, 1)


def test_jobs_that_were_kicked_are_shown_no_longer_and_their_records_go(beanstalkd, bury, watch, clock):
    jobs = bury(3)
    given(bury, watch, clock, MAIL)
    for job in jobs[1:]:
        beanstalkd.kick_job(job)
    clock.wait_for(lambda: groups(watch, MAIL) == {("mail", "KeyError", "mail.py:3"): 1}, "the other one is given")
    assert count_records(beanstalkd) == 1


def test_reading_by_hand_is_no_news(beanstalkd, bury, watch, clock):
    """It makes all records ready again; the operator parks them once more."""
    jobs = bury(3)
    given(bury, watch, clock, MAIL)
    clock.wait_for(lambda: beanstalkd.count(RECORDS)["delayed"] == 3, "the records are parked")
    before = watch.burials(MAIL)
    assert len(read_burials(beanstalkd.server).records) == len(jobs)
    clock.wait_for(lambda: beanstalkd.count(RECORDS)["delayed"] == 3, "the records are parked again")
    assert watch.burials(MAIL) is before, "nothing else was given"


def test_pool_whose_tubes_change_is_given_at_once_what_is_known(bury, watch, clock):
    bury(1)
    bury(1, "sms")
    given(bury, watch, clock, MAIL, SMS)
    watch.watch(MAIL, PoolTubes(("mail", "sms")))
    assert {tube for tube, _, _ in groups(watch, MAIL)} == {"mail", "sms"}


# Among all servers


@pytest.fixture
def seen():
    """The pools that are to be looked at, in order."""
    return []


@pytest.fixture
def servers(seen, pollers):
    made = Servers(0.05, seen.append)
    yield made
    for key in (MAIL, SMS):
        made.forget(key)


def read(servers, key):
    return wait_for(lambda: servers.burials(key), "the records are read")


def test_one_reader_a_server_and_none_without_a_pool_that_keeps_records(beanstalkd, bury, servers, pollers):
    bury(1)
    servers.watch(MAIL, beanstalkd.server, Served(PoolTubes(("mail",)), 1, records=False))
    wait_for(lambda: servers.counts(MAIL), "the tubes are counted")
    assert (servers.burials(MAIL), pollers("burials ")) == (None, [])
    assert beanstalkd.count(RECORDS) == NOTHING | {"ready": 1}
    servers.watch(MAIL, beanstalkd.server, Served(PoolTubes(("mail",)), 1))
    servers.watch(SMS, beanstalkd.server, Served(PoolTubes(("sms",)), 1))
    assert len(read(servers, MAIL).groups) == 1
    assert pollers("burials ") == [f"burials {beanstalkd.server}"]
    servers.watch(MAIL, beanstalkd.server, Served(PoolTubes(("mail",)), 1, records=False))
    assert servers.burials(MAIL) is None
    servers.forget(SMS)
    wait_for(lambda: not pollers("burials "), "the reader has ended")
    assert pollers(), "the tubes are still counted"
    servers.watch(MAIL, beanstalkd.server, Served(PoolTubes(("mail",)), 1))
    assert len(read(servers, MAIL).groups) == 1


def test_reasons_are_read_as_soon_as_more_jobs_are_buried(beanstalkd, bury, servers, monkeypatch):
    monkeypatch.setattr(parking, "_LOOK_SECONDS", 3600.0)  # until then only a burial has the reader ask
    bury(1)
    servers.watch(MAIL, beanstalkd.server, Served(PoolTubes(("mail",)), 1))
    assert [group.count for group in read(servers, MAIL).groups] == [1]
    bury(2)
    beanstalkd.bury("mail")  # once more, after the records of the others were put
    wait_for(lambda: [group.count for group in read(servers, MAIL).groups] == [3], "the reasons are given")


def test_reading_that_takes_long_holds_up_neither_counts_nor_kicks_of_the_same_server(beanstalkd, servers, monkeypatch):
    reading, go_on = threading.Event(), threading.Event()
    read_records = ParkingReader.read

    def slowly(reader):
        reading.set()
        go_on.wait()
        return read_records(reader)

    monkeypatch.setattr(ParkingReader, "read", slowly)
    servers.watch(MAIL, beanstalkd.server, Served(PoolTubes(("mail",)), 1))
    try:
        wait_for(reading.is_set, "the reading has begun")
        beanstalkd.bury("mail", 2)
        wait_for(lambda: (found := servers.counts(MAIL)) and found.tubes["mail"].buried == 2, "the jobs are counted")
        servers.give(MAIL, Errand("1", Step("kick", {"mail": 1})))
        assert wait_for(lambda: servers.errand(MAIL).answer, "the kick is answered") == Done({"mail": 1})
        assert servers.burials(MAIL) is None
    finally:
        go_on.set()


def test_server_that_freezes_holds_up_the_reading_of_no_other(beanstalkd, bury, servers):
    bury(2)
    proxy = Proxy(beanstalkd.port)
    proxy.silent |= {*range(1, 1000)}
    try:
        servers.watch(SMS, proxy.server, Served(PoolTubes(("mail",)), 1))
        wait_for(lambda: proxy.connections >= 2, "both the poller and the reader wait for the frozen one")
        servers.watch(MAIL, beanstalkd.server, Served(PoolTubes(("mail",)), 1))
        assert [group.count for group in read(servers, MAIL).groups] == [2]
        assert servers.burials(SMS) is None
    finally:
        servers.forget(SMS)
        proxy.close()


@pytest.mark.slow
def test_burials_stand_while_the_server_is_away_and_are_read_again_when_it_is_back(beanstalkd, bury, watch, clock):
    jobs = bury(2)
    given(bury, watch, clock, MAIL)
    beanstalkd.kill()
    clock.minutes += 1
    assert groups(watch, MAIL) == {("mail", "KeyError", "mail.py:3"): 2}
    beanstalkd.start()
    beanstalkd.kick_job(jobs[0])
    clock.wait_for(lambda: groups(watch, MAIL) == {("mail", "KeyError", "mail.py:3"): 1}, "the records are read again")
