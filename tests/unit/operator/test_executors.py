"""The digest of a ConfigMap with executors, which is asked for only when it has changed."""

import pytest

from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.kinds import CONFIG_MAPS
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.executors import Executors

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
    return Cache(lambda _: None)


@pytest.fixture
def executors(cache, cluster):
    return Executors(cache, cluster)


def test_it_is_asked_for_once_a_version(executors, cluster, cache):
    cluster.write("3", {"jobs.py": "one"})
    cache.put(CONFIG_MAPS, cluster.stored)
    first = executors.digest(JOBS)
    assert executors.digest(JOBS) == first
    cluster.write("4", {"jobs.py": "two"})
    cache.put(CONFIG_MAPS, cluster.stored)
    assert executors.digest(JOBS) != first
    assert cluster.asked == 2


def test_the_same_content_has_the_same_digest_after_a_deletion(executors, cluster, cache):
    cluster.write("3", {"jobs.py": "one"})
    cache.put(CONFIG_MAPS, cluster.stored)
    first = executors.digest(JOBS)
    cache.drop(CONFIG_MAPS, cluster.stored)
    cluster.stored = None
    assert executors.digest(JOBS) is None
    cluster.write("9", {"jobs.py": "one"})
    assert executors.digest(JOBS) == first, "also before a watch has brought it"
