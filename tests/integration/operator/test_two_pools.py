"""Passes over two pools that serve the same tube: the real queue of passes and a poller, without an API server."""

import threading

import pytest

from tests.support.waiting import wait_for
from tubeherd_operator.counted import Counted
from tubeherd_operator.main import _start_passes
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.reconcile import Reconciler
from tubeherd_operator.passes.work_queue import WorkQueue
from tubeherd_operator.queues.servers import Servers
from tubeherd_operator.settings import OperatorSettings

ONE, TWO = Key("shop", "one"), Key("mail", "two")


class Cluster:
    """Stores pools and their statuses; counts what is asked for and what is written, by pool. It is its own cache."""

    def __init__(self):
        self.stored = {}
        self.events = []
        self.passes = []
        self.deployments = {}
        self.writes = []
        self._lock = threading.Lock()

    def make(self, key, **spec):
        metadata = {"namespace": key.namespace, "name": key.name, "uid": str(key), "generation": 1}
        spec = {"tubes": ["mail"], "suspend": True, "burialRecords": False, **spec}
        with self._lock:
            status = self.stored.get(key, {}).get("status", {})
            self.stored[key] = {"metadata": metadata, "spec": spec, "status": status}

    def pools(self):
        return [*self.stored.values()]

    def pool(self, key):
        self.passes.append(key)
        return self.stored.get(key)

    def deployment(self, *key):
        return self.deployments.get(key[0] if len(key) == 1 else Key(*key))

    def replica_sets(self, *_):
        return []

    def pods(self, *_):
        return []

    def budgets(self, *_):
        return []

    def apply_budget(self, budget):
        return budget

    def apply_deployment(self, deployment):
        metadata = deployment["metadata"] | {"generation": 1}
        key = Key(metadata["namespace"], metadata["name"])
        self.deployments[key] = deployment | {"metadata": metadata}
        return self.deployments[key]

    def write_status(self, namespace, name, patch, _version=None):
        key = Key(namespace, name)
        self.writes.append(key)
        with self._lock:
            self.stored[key] = self.stored[key] | {"status": self.stored[key]["status"] | patch}
            return self.stored[key]

    def note_event(self, pool, event, _now):
        self.events.append((pool["metadata"]["namespace"], event.reason))

    def message(self, key, type_="RetriesDiffer"):
        conditions = self.stored[key]["status"].get("conditions", [])
        return next((entry["message"] for entry in conditions if entry["type"] == type_), "")

    def settled(self):
        """Return whether the tubes of both pools were counted, and each of the two has the condition and its Event."""
        shown = [self.message(key) and "answers" in self.message(key, "ServerReachable") for key in (ONE, TWO)]
        return all(shown) and {("shop", "RetriesDiffer"), ("mail", "RetriesDiffer")} <= {*self.events}


class Passes(Reconciler):
    """Passes that can be stopped, as those of a process that ends."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._running = []
        self._stopped = False
        self._lock = threading.Lock()

    def reconcile(self, key):
        with self._lock:
            if self._stopped:
                return None
            self._running.append(key)
        try:
            return super().reconcile(key)
        finally:
            self._running.remove(key)

    def stop(self):
        """Begin no pass any more, and wait for those that run."""
        with self._lock:
            self._stopped = True
        wait_for(lambda: not self._running, lambda: f"the end of the passes over {self._running}")


class Operator:
    """The operator without its watches: a test names the pools that changed."""

    def __init__(self, cluster, default_server):
        self.queue = WorkQueue()
        self.servers = Servers(0.05, self.queue.add)
        settings = OperatorSettings(default_image="worker:1", default_server=default_server)
        self._passes = Passes(cluster, cluster, self.servers, settings, cluster.note_event)
        _start_passes(None, self.queue, self._passes, Counted(), threading.Event())

    def look_at(self, cluster, key):
        """Run a whole pass over a pool: when the second begins, the first has ended."""
        cluster.passes.clear()
        for count in (1, 2):
            self.queue.add(key)
            wait_for(lambda count=count: cluster.passes.count(key) >= count, f"pass {count} over {key}")

    def stop(self):
        self._passes.stop()
        for key in (ONE, TWO):
            self.servers.forget(key)


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def start(cluster, beanstalkd, pollers):
    started = []

    def start():
        started.append(Operator(cluster, beanstalkd.server))
        return started[-1]

    yield start
    for operator in started:
        operator.stop()


def test_both_pools_are_warned_and_both_conditions_go_when_one_changes_or_goes(cluster, start, beanstalkd):
    operator = start()
    cluster.make(ONE)
    cluster.make(TWO, server=beanstalkd.server, retry={"delays": ["1s", "2s"]})
    for key in (ONE, TWO):
        operator.queue.add(key)
    wait_for(cluster.settled, "both pools are warned")
    assert "pool mail/two serves tube mail with 2 retry delays; this pool has 1 retry delay" in cluster.message(ONE)
    assert "pool shop/one serves tube mail with 1 retry delay; this pool has 2 retry delays" in cluster.message(TWO)
    cluster.make(TWO, retry={"delays": ["5s"]})
    operator.queue.add(TWO)
    wait_for(lambda: not cluster.message(ONE) and not cluster.message(TWO), "both conditions are gone")
    cluster.events.clear()
    cluster.make(ONE, retry={"delays": []})
    operator.queue.add(ONE)
    wait_for(cluster.settled, "both pools are warned again")
    del cluster.stored[ONE]
    operator.queue.add(ONE)
    wait_for(lambda: not cluster.message(TWO), "the condition of the other pool is gone")


def test_restart_neither_takes_the_condition_away_nor_reports_it_again(cluster, start):
    first = start()
    cluster.make(ONE)
    cluster.make(TWO, retry={"delays": ["1s", "2s"]})
    for key in (ONE, TWO):
        first.queue.add(key)
    wait_for(cluster.settled, "both pools are warned")
    first.stop()
    cluster.writes.clear()
    cluster.events.clear()
    second = start()
    second.queue.add(ONE)
    wait_for(lambda: second.servers.counts(ONE), "the tubes are counted")
    for key in (ONE, TWO):
        second.look_at(cluster, key)
    assert (cluster.writes, cluster.message(ONE) != "", cluster.message(TWO) != "") == ([], True, True)
    assert ("shop", "RetriesDiffer") not in cluster.events
    assert ("mail", "RetriesDiffer") not in cluster.events
