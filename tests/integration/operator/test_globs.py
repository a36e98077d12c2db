"""Pools whose tubes are globs, on a real beanstalkd: what is counted and kicked, and what very many tubes cost."""

import resource
import time

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.servers import MAIL, SMS, ask, find, serving
from tests.support.waiting import wait_for
from tubeherd_operator.decisions.errands import Done, Step
from tubeherd_operator.decisions.tubes import COUNTED_MOST


@pytest.fixture
def fill(beanstalkd):
    """Put a job into each of so many tubes, in few writes."""

    def put(count, name="reports.{:06}"):
        client = beanstalkd.client()
        sock, reader = client._sock, client._reader
        for start in range(0, count, 200):
            names = [name.format(number).encode() for number in range(start, min(start + 200, count))]
            sock.sendall(b"".join([b"use %b\r\nput 1 0 60 2\r\n{}\r\n" % tube for tube in names]))
            for _ in range(2 * len(names)):
                reader.readline()

    return put


def test_tubes_that_match_are_counted_and_new_ones_are_found(beanstalkd, servers, changed):
    beanstalkd.bury("reports.a", 2)
    beanstalkd.bury("reports.test", 1)
    beanstalkd.bury("other", 1)
    servers.watch(MAIL, beanstalkd.server, serving("mail", "reports.*", excluded=("*.test",)))
    servers.watch(SMS, beanstalkd.server, serving("sms"))
    changed.wait(MAIL)
    counts = servers.counts(MAIL)
    assert (list(counts.tubes), counts.matching) == (["mail", "reports.a"], 2)
    beanstalkd.bury("reports.b", 3)
    changed.wait(MAIL, 2)
    assert {name: stats.buried for name, stats in servers.counts(MAIL).tubes.items()} == {
        "mail": 0,
        "reports.a": 2,
        "reports.b": 3,
    }
    assert list(servers.counts(SMS).tubes) == ["sms"]


@pytest.mark.parametrize("in_order", [True, False])
def test_tube_that_a_discard_has_emptied_vanishes(beanstalkd, servers, changed, in_order):
    beanstalkd.bury_many("reports.a", 1)
    servers.watch(MAIL, beanstalkd.server, serving("reports.*"))
    changed.wait(MAIL)
    step = Step("discard", {"reports.a": 1}, in_order=in_order)
    assert ask(servers, MAIL, step) == Done({"reports.a": 1})
    client = beanstalkd.client()
    wait_for(lambda: client.tubes() == ["default"], "nobody uses the tube any more")
    wait_for(lambda: not servers.counts(MAIL).tubes, "the pool has no tube")


def test_tubes_of_the_server_are_asked_for_only_if_a_pool_has_globs(beanstalkd, servers, changed):
    servers.watch(MAIL, beanstalkd.server, serving("mail"))
    changed.wait(MAIL)
    for number in range(2, 5):
        beanstalkd.bury("mail", 1)
        changed.wait(MAIL, number)
    assert beanstalkd.stats()["cmd-list-tubes"] == 0
    servers.watch(SMS, beanstalkd.server, serving("s*"))
    changed.wait(SMS)
    assert beanstalkd.stats()["cmd-list-tubes"] > 0


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("all", {"reports.a": 2, "reports.b": 1}),
        ("reports.b:all", {"reports.b": 1}),
        ("reports.*:all", {"reports.a": 2, "reports.b": 1}),
        ("*.a:all", {"reports.a": 2}),
        ("*.test:all", {}),
    ],
)
def test_kick_is_about_the_tubes_that_match(beanstalkd, servers, value, found):
    for tube, count in {"reports.a": 2, "reports.b": 1, "reports.test": 1, "other": 1}.items():
        beanstalkd.bury(tube, count)
    served = serving("mail", "reports.*", excluded=("*.test",))
    servers.watch(MAIL, beanstalkd.server, served)
    answer = find(servers, value, tubes=served.tubes)
    assert {tube: count for tube, count in answer.tubes.items() if count} == found
    assert answer.refused is None
    if found:
        done = ask(servers, MAIL, Step("kick", found))
        assert done.tubes == found
        assert beanstalkd.count("reports.test") == NOTHING | {"buried": 1}


def test_job_is_kicked_by_its_id_only_in_a_tube_that_matches_and_is_not_excluded(beanstalkd, servers):
    served = serving("reports.*", excluded=("*.test",))
    servers.watch(MAIL, beanstalkd.server, served)
    (job,) = beanstalkd.bury_many("reports.a", 1)
    assert find(servers, f"job/{job}", tubes=served.tubes).tubes == {"reports.a": 1}
    for tube in ("reports.test", "other", "tubeherd.burials"):
        (job,) = beanstalkd.bury_many(tube, 1)
        refused = find(servers, f"job/{job}", tubes=served.tubes).refused
        assert refused == f"the job is in tube {tube}, not in reports.* without *.test"


def test_2000_of_2100_tubes_are_counted(beanstalkd, servers, changed, fill):
    fill(2100)
    servers.watch(MAIL, beanstalkd.server, serving("reports.*"))
    changed.wait(MAIL)
    counts = servers.counts(MAIL)
    assert (len(counts.tubes), counts.matching) == (COUNTED_MOST, 2100)
    assert sum(stats.ready for stats in counts.tubes.values()) == COUNTED_MOST
    assert "reports.001999" in counts.tubes
    assert "reports.002000" not in counts.tubes


@pytest.mark.slow
def test_server_with_very_many_tubes_is_asked_rarely_and_costs_little_memory(beanstalkd, servers, changed, fill):
    fill(20_000)  # to make 100,000 takes beanstalkd a quarter of an hour
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    servers.watch(SMS, beanstalkd.server, serving("reports.*"))
    changed.wait(SMS)
    worked, began = _cpu(beanstalkd), time.monotonic()
    servers.watch(MAIL, beanstalkd.server, serving("reports.*", excluded=("*7",)))
    changed.wait(MAIL)
    counts = servers.counts(MAIL)
    assert (len(counts.tubes), counts.matching) == (COUNTED_MOST, 18_000)

    def looks_while_something_happens():
        beanstalkd.put("other", b"0")
        return beanstalkd.stats()["cmd-list-tubes"]

    # Rarely, because to find the tube of a put takes beanstalkd long too.
    wait_for(lambda: looks_while_something_happens() >= 4, "it is counted again and again", 200, pause=0.2)
    looks = looks_while_something_happens()
    wait_for(lambda: looks_while_something_happens() >= looks + 2, "and rests in between", 200, pause=0.2)
    assert _cpu(beanstalkd) - worked < (time.monotonic() - began) * 0.4, "beanstalkd has time for others"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "in KiB"


def _cpu(beanstalkd):
    """Return how many seconds of a processor beanstalkd has used."""
    stats = beanstalkd.stats()
    return float(stats["rusage-utime"]) + float(stats["rusage-stime"])


def test_pools_with_globs_that_may_overlap_look_again_when_the_other_changes(beanstalkd, servers, changed):
    servers.watch(MAIL, beanstalkd.server, serving("reports.*", retries=1))
    servers.watch(SMS, beanstalkd.server, serving("*.weekly", retries=2))
    changed.wait(MAIL, 2)  # its counts, and the other pool
    seen = changed.keys.count(MAIL)
    servers.forget(SMS)
    changed.wait(MAIL, seen + 1)
