"""The digest of a ConfigMap with executors, which is asked for only when it has changed."""

import pytest

from tests.support.api_server import Errands, Tubes
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.kinds import CONFIG_MAPS, POOLS
from tubeherd_operator.decisions.observation import read_pool
from tubeherd_operator.decisions.request import Known
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.executors import Executors
from tubeherd_operator.passes.observe import observe

JOBS = Key("shop", "jobs")


class Cluster:
    """Has one ConfigMap, or none, and counts how often it is asked for."""

    stored = None
    asked = 0

    def config_map(self, *_):
        self.asked += 1
        return self.stored

    def write(self, version, data):
        self.stored = {"metadata": {"namespace": "shop", "name": "jobs", "resourceVersion": version}, "data": data}


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def cache():
    return Cache(lambda _: None, lambda _: None)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def executors(cache, cluster, clock):
    return Executors(cache, cluster, clock)


def test_it_is_asked_for_once_a_version(executors, cluster, cache):
    cluster.write("3", {"jobs.py": "one"})
    cache.cover(JOBS, [cluster.stored])
    first = executors.digest(JOBS)
    assert executors.digest(JOBS) == first
    cluster.write("4", {"jobs.py": "two"})
    cache.put(CONFIG_MAPS, cluster.stored)
    assert executors.digest(JOBS) != first
    assert cluster.asked == 2


def test_what_no_pool_names_any_more_is_forgotten(executors, cluster, cache):
    cluster.write("3", {"jobs.py": "one"})
    pool = {"metadata": {"namespace": "shop", "name": "mail", "resourceVersion": "1"}}
    for version, name in enumerate(["jobs", "jobs-2", "jobs"], start=1):
        pool["metadata"]["resourceVersion"] = str(version)
        cache.put(POOLS, pool | {"spec": {"executors": {"configMap": name}}})
        executors.digest(Key("shop", name))
        executors.digest(Key("shop", name))
    assert cluster.asked == 3


def test_the_same_content_has_the_same_digest_after_a_deletion(executors, cluster, cache):
    cluster.write("3", {"jobs.py": "one"})
    cache.cover(JOBS, [cluster.stored])
    first = executors.digest(JOBS)
    cache.drop(CONFIG_MAPS, cluster.stored)
    assert executors.digest(JOBS) is None
    assert cluster.asked == 1, "the watch has reported that there is none"
    cluster.write("9", {"jobs.py": "one"})
    cache.put(CONFIG_MAPS, cluster.stored)
    assert executors.digest(JOBS) == first


def test_if_it_cannot_be_watched_it_is_asked_for_once_a_minute(executors, cluster, cache, clock):
    cluster.write("3", {"jobs.py": "one"})
    first = executors.digest(JOBS)
    cluster.write("4", {"jobs.py": "two"})
    clock.now = 59.0
    assert executors.digest(JOBS) == first
    clock.now = 60.0
    second = executors.digest(JOBS)
    assert second not in (None, first)
    cluster.stored = None
    clock.now = 119.0
    assert executors.digest(JOBS) == second
    clock.now = 120.0
    assert [executors.digest(JOBS), executors.digest(JOBS)] == [None, None]
    assert cluster.asked == 3, "also whether it exists"


def test_when_it_can_be_watched_again_only_a_change_is_asked_for(executors, cluster, cache, clock):
    cluster.write("3", {"jobs.py": "one"})
    executors.digest(JOBS)
    cache.cover(Key("shop", ""), [cluster.stored])
    executors.digest(JOBS)
    assert cluster.asked == 1
    cache.uncover(Key("shop", ""))
    cluster.write("4", {"jobs.py": "two"})
    clock.now = 3600.0
    changed = executors.digest(JOBS)
    cache.cover(Key("shop", ""), [cluster.stored])
    assert executors.digest(JOBS) == changed
    assert cluster.asked == 2


def test_config_map_whose_watch_begins_while_a_pass_reads_it_counts_as_not_watched_in_that_pass(
    cache, cluster, executors, pools
):
    def deleted_and_watched():
        cache.cover(JOBS, [])
        return read(*JOBS)

    cluster.write("3", {"jobs.py": "one"})
    read, cluster.config_map = cluster.config_map, lambda *_: deleted_and_watched()
    cluster.deployment = lambda *_: None
    stored = pools.pool({"tubes": ["mail"], "executors": {"configMap": "jobs"}})
    pool = read_pool(stored, "worker:1", "beanstalkd:11300")
    seen = observe(pool, cache, cluster, executors, Errands(Tubes(), None), Known())
    assert seen.executors_digest is not None
    assert not seen.executors_watched, "another pass follows"
