"""What a pass does when the API server or beanstalkd fails in the middle of it."""

from datetime import UTC, datetime

import pytest

from tubeherd_operator.cluster.client import ClusterError
from tubeherd_operator.decisions.counts import Counts, Kicked
from tubeherd_operator.decisions.retries import Served
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.reconcile import Reconciler
from tubeherd_operator.settings import OperatorSettings

KEY = Key("shop", "mail")
SERVER = "beanstalkd.queue.svc:11300"


class Cluster:
    """Remembers one pool and its Deployment; fails if a test wants it. It is its own cache, which is never behind."""

    def __init__(self, pools, **metadata):
        self.held = pools.pool(**metadata)
        self.all = [self.held]
        self.live = pools.live(self.held)
        self.fail = {}
        self.writes = []

    def pool(self, *_):
        return self.held

    def put(self, _kind, item):
        assert item is self.held

    def pools(self):
        return self.all

    def deployment(self, *_):
        return self.live

    def pods(self, *_):
        return []

    def replica_sets(self, *_):
        return []

    def apply_deployment(self, deployment, manager="tubeherd-operator"):
        self._call("apply", deployment)
        if manager != "tubeherd-operator":
            return self.live
        generation = self.live["metadata"]["generation"] + 1 if self.live else 1
        metadata = deployment["metadata"] | {"generation": generation}
        status = self.live["status"] if self.live else {}
        self.live = deployment | {"metadata": metadata, "status": status}
        return self.live

    def patch_deployment(self, _namespace, _name, patch):
        self._call("patch", patch)

    def write_status(self, _namespace, _name, patch):
        self._call("status", patch)
        merged = self.held.get("status", {}) | patch
        self.held = self.held | {"status": {key: value for key, value in merged.items() if value is not None}}

    def remove_annotation(self, _namespace, _name, key, value):
        self._call("remove", value)
        if self.held["metadata"].get("annotations", {}).get(key) != value:
            return False
        self.annotate(None)
        return True

    def write_event(self, event):
        self._call("event", event["reason"])

    def annotate(self, value):
        annotations = {} if value is None else {"kick": value}
        self.held = self.held | {"metadata": self.held["metadata"] | {"annotations": annotations}}

    def condition(self, type_):
        return next(entry for entry in self.held["status"]["conditions"] if entry["type"] == type_)

    def _call(self, what, value):
        if what in self.fail:
            raise self.fail[what]
        self.writes.append((what, value))


class Servers:
    """Answers a kick with what a test put in line."""

    def __init__(self, pools):
        self.answers = []
        self.asked = []
        self.counted = pools.counts()
        self.watched = {}
        self.beside = {}

    def watch(self, key, server, served):
        self.watched[key] = (server, served)

    def forget(self, key):
        self.watched.pop(key, None)

    def others(self, *_):
        return self.beside

    def counts(self, *_):
        return self.counted

    def kick(self, _server, tubes, most):
        self.asked.append((tubes, most))
        return self.answers.pop(0)


@pytest.fixture
def cluster(pools):
    return Cluster(pools, annotations={"kick": "5"})


@pytest.fixture
def servers(pools):
    return Servers(pools)


@pytest.fixture
def reconciler(cluster, servers):
    settings = OperatorSettings(default_image="tubeherd-worker:1", default_server=SERVER)
    return Reconciler(cluster, cluster, servers, settings, lambda: datetime(2026, 11, 25, 12, tzinfo=UTC))


def test_kick_is_done_reported_and_its_annotation_removed(reconciler, cluster, servers):
    servers.answers = [Kicked({"mail": 2, "sms": 3})]
    reconciler.reconcile(KEY)
    assert cluster.held["status"]["lastKick"] == {
        "value": "5",
        "time": "2026-11-25T12:00:00Z",
        "kicked": 5,
        "tubes": [{"name": "mail", "kicked": 2}, {"name": "sms", "kicked": 3}],
    }
    assert cluster.condition("KickAccepted")["status"] == "True"
    assert cluster.held["metadata"]["annotations"] == {}
    assert [what for what, _ in cluster.writes] == ["event", "status", "remove"]
    reconciler.reconcile(KEY)
    assert len(cluster.writes) == 3, "the next pass has nothing to do"


def test_same_value_set_again_at_once_is_another_kick(reconciler, cluster, servers):
    servers.answers = [Kicked({"mail": 2, "sms": 3}), Kicked({"mail": 1, "sms": 0})]
    reconciler.reconcile(KEY)
    cluster.annotate("5")
    reconciler.reconcile(KEY)
    assert cluster.held["status"]["lastKick"]["kicked"] == 1


@pytest.mark.parametrize("what", ["status", "remove"])
def test_kick_is_done_once_though_the_api_server_fails_after_it(reconciler, cluster, servers, what):
    servers.answers = [Kicked({"mail": 2, "sms": 0})]
    cluster.fail = {what: ClusterError(503, "down")}
    for _ in range(2):
        with pytest.raises(ClusterError):
            reconciler.reconcile(KEY)
    servers.counted = Counts(error="away meanwhile")
    cluster.fail = {}
    reconciler.reconcile(KEY)
    assert len(servers.asked) == 1
    assert cluster.held["status"]["lastKick"]["kicked"] == 2
    assert cluster.condition("KickAccepted")["status"] == "True"
    assert cluster.held["metadata"]["annotations"] == {}
    assert [value for what, value in cluster.writes if what == "event"].count("Kicked") == 1


def test_same_value_set_again_after_a_failure_is_another_kick(reconciler, cluster, servers):
    servers.answers = [Kicked({"mail": 2, "sms": 0}), Kicked({"mail": 1, "sms": 0})]
    cluster.fail = {"status": ClusterError(503, "down")}
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)
    cluster.fail = {}
    cluster.annotate(None)
    reconciler.reconcile(KEY)
    cluster.annotate("5")
    reconciler.reconcile(KEY)
    assert cluster.held["status"]["lastKick"]["kicked"] == 1


def test_kick_that_broke_off_goes_on_with_the_rest(reconciler, cluster, servers):
    servers.answers = [Kicked({"mail": 2}, "connection lost"), Kicked({"mail": 0, "sms": 3})]
    again = reconciler.reconcile(KEY)
    assert again is not None
    assert cluster.condition("KickAccepted")["reason"] == "Waiting"
    assert cluster.held["metadata"]["annotations"] == {"kick": "5"}
    reconciler.reconcile(KEY)
    assert [most for _, most in servers.asked] == [5, 3]
    assert cluster.held["status"]["lastKick"]["kicked"] == 5
    assert cluster.held["metadata"]["annotations"] == {}


def test_value_changed_meanwhile_is_left_for_the_next_pass(reconciler, cluster, servers):
    servers.answers = [Kicked({"mail": 1, "sms": 0}), Kicked({"mail": 7, "sms": 0})]
    remove = cluster.remove_annotation

    def changed_first(*arguments):
        cluster.annotate("7")
        cluster.remove_annotation = remove
        return remove(*arguments)

    cluster.remove_annotation = changed_first
    reconciler.reconcile(KEY)
    assert cluster.held["metadata"]["annotations"] == {"kick": "7"}
    reconciler.reconcile(KEY)
    assert cluster.held["status"]["lastKick"]["value"] == "7"


def test_pool_is_not_ready_before_the_rollout_that_its_change_begins(reconciler, cluster):
    cluster.annotate(None)
    reconciler.reconcile(KEY)
    assert cluster.condition("Ready")["status"] == "True"
    cluster.held["metadata"]["generation"] += 1
    cluster.held["spec"]["image"] = "shop/mail:7"
    reconciler.reconcile(KEY)
    ready = cluster.condition("Ready")
    assert (ready["status"], ready["reason"], ready["observedGeneration"]) == ("False", "Starting", 3)
    cluster.live["status"]["observedGeneration"] += 1
    reconciler.reconcile(KEY)
    assert cluster.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("status", [400, 403, 422, 500])
def test_refused_deployment_is_reported_once_and_tried_again(reconciler, cluster, status):
    cluster.annotate(None)
    cluster.live = None
    cluster.fail = {"apply": ClusterError(status, "containers[0].env: duplicate entries")}
    for _ in range(2):
        with pytest.raises(ClusterError):
            reconciler.reconcile(KEY)
    assert cluster.condition("Ready")["reason"] == "DeploymentRefused"
    assert "duplicate entries" in cluster.condition("Ready")["message"]
    assert [what for what, _ in cluster.writes] == ["status", "event"]


@pytest.mark.parametrize("status", [0, 409, 429, 503])
def test_api_server_in_trouble_is_no_fault_of_the_spec(reconciler, cluster, status):
    cluster.live = None
    cluster.fail = {"apply": ClusterError(status, "try again")}
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)
    assert cluster.writes == []


def test_event_that_cannot_be_written_stops_nothing(reconciler, cluster, servers):
    servers.answers = [Kicked({"mail": 1, "sms": 0})]
    cluster.fail = {"event": ClusterError(403, "namespace is terminating")}
    reconciler.reconcile(KEY)
    assert cluster.held["status"]["lastKick"]["kicked"] == 1


@pytest.mark.parametrize("pool", [None, {"metadata": {"deletionTimestamp": "now"}}])
def test_pool_that_is_gone_or_going_is_left_alone(reconciler, cluster, pool):
    cluster.held = pool
    assert reconciler.reconcile(KEY) is None
    assert cluster.writes == []


def test_annotation_that_cannot_be_removed_does_not_kick_again(reconciler, cluster, servers):
    servers.answers = [Kicked({"mail": 1, "sms": 0})]
    cluster.remove_annotation = lambda *_: False
    for _ in range(3):
        assert reconciler.reconcile(KEY) is not None
    assert len(servers.asked) == 1


def test_bad_kick_is_reported_also_while_the_deployment_is_refused(reconciler, cluster):
    cluster.annotate("everything")
    cluster.live = None
    cluster.fail = {"apply": ClusterError(422, "no")}
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)
    assert [value for what, value in cluster.writes if what == "event"] == ["BadKick", "DeploymentRefused"]


def test_pools_that_differ_in_their_retries_are_reported_until_they_agree(reconciler, cluster, servers):
    cluster.annotate(None)
    servers.beside = {Key("other", "bulk"): Served(("mail",), 3)}
    for _ in range(2):
        reconciler.reconcile(KEY)
    assert "other/bulk" in cluster.condition("RetriesDiffer")["message"]
    assert cluster.condition("Ready")["status"] == "True", "the pool works"
    assert [value for what, value in cluster.writes if what == "event"] == ["RetriesDiffer"]
    servers.beside = {Key("other", "bulk"): Served(("mail",), 1)}
    reconciler.reconcile(KEY)
    assert "RetriesDiffer" not in {entry["type"] for entry in cluster.held["status"]["conditions"]}


def test_what_every_pool_serves_is_known_before_the_first_pass(reconciler, cluster, servers, pools):
    cluster.all = [
        pools.pool(),
        pools.pool({"tubes": ["mail"], "retry": {"delays": []}, "server": "b:1"}, name="own-server"),
        pools.pool(name="going", deletionTimestamp="now"),
        pools.pool({"tubes": ["tubeherd.burials"]}, name="not-valid"),
        {"metadata": {"namespace": "shop", "name": "no-spec"}},
        pools.pool({"tubes": ["sms"]}, name="last"),
    ]
    reconciler.note_pools()
    assert servers.watched == {
        KEY: (SERVER, Served(("mail", "sms"), 1)),
        Key("shop", "own-server"): ("b:1", Served(("mail",), 0)),
        Key("shop", "last"): (SERVER, Served(("sms",), 1)),
    }
    assert cluster.writes == []


def test_stored_pool_that_is_not_valid_says_so_and_is_neither_counted_nor_kicked(reconciler, cluster, servers, pools):
    servers.watched[KEY] = (SERVER, Served(("mail",), 1))
    cluster.held = pools.pool({"tubes": ["mail", "tubeherd.burials"]}, annotations={"kick": "all"})
    for _ in range(2):
        assert reconciler.reconcile(KEY) is None
    ready = cluster.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "spec.tubes[1]: 'tubeherd.burials' is reserved" in ready["message"]
    assert (servers.watched, servers.asked) == ({}, [])
    assert [what for what, _ in cluster.writes] == ["event", "status"]


def test_stored_pool_that_is_not_valid_has_an_event_though_the_api_server_refuses_its_status(
    reconciler, cluster, pools
):
    cluster.held = pools.pool({"tubes": ["mail"], "concurrency": "four"})
    cluster.fail = {"status": ClusterError(422, "spec.concurrency: must be an integer")}
    assert reconciler.reconcile(KEY) is None
    assert cluster.writes == [("event", "InvalidSpec")]
    cluster.fail = {"status": ClusterError(503, "down")}
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)


def lose_owner(cluster):
    cluster.annotate(None)
    cluster.live["metadata"]["ownerReferences"] = []


def test_deployment_without_an_owner_is_adopted(reconciler, cluster):
    lose_owner(cluster)
    reconciler.reconcile(KEY)
    assert cluster.live["metadata"]["ownerReferences"][0]["uid"] == cluster.held["metadata"]["uid"]
    assert [value for what, value in cluster.writes if what == "event"] == ["Adopted"]


@pytest.mark.parametrize("stored", [None, {"deletionTimestamp": "now"}, {"uid": "another"}])
def test_deployment_is_not_adopted_by_a_pool_that_is_deleted_without_it(reconciler, cluster, stored):
    lose_owner(cluster)
    first = cluster.pool

    def deleted_then():
        cluster.pool = lambda *_: None if stored is None else {"metadata": cluster.held["metadata"] | stored}

    cluster.pool = lambda *_: (first(), deleted_then())[0]
    reconciler.reconcile(KEY)
    assert "apply" not in [what for what, _ in cluster.writes]
    assert cluster.condition("Conflict")["status"] == "True"


def test_replicas_are_kept_before_they_are_given_up(reconciler, cluster, pools):
    cluster.annotate(None)
    del cluster.held["spec"]["replicas"]
    cluster.live["spec"]["replicas"] = 3
    reconciler.reconcile(KEY)
    applied = [value["spec"] for what, value in cluster.writes if what == "apply"]
    assert applied[0] == {"replicas": 3}
    assert "replicas" not in applied[1]


def test_setting_added_by_hand_is_removed(reconciler, cluster):
    cluster.annotate(None)
    cluster.live["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "TUBEHERD_X", "value": "1"})
    reconciler.reconcile(KEY)
    assert [what for what, _ in cluster.writes][:2] == ["patch", "apply"]


class Behind:
    """A cache that has a pool as it was, until it is given a newer one."""

    def __init__(self, cluster):
        self._held = cluster.held
        self.pods = self.replica_sets = lambda *_: []
        self.deployment = cluster.deployment

    def pool(self, *_):
        return self._held

    def put(self, _kind, item):
        self._held = item


def test_after_a_write_whose_answer_was_lost_the_pool_is_asked_for_anew(cluster, servers):
    cluster.annotate(None)
    settings = OperatorSettings(default_image="tubeherd-worker:1", default_server=SERVER)
    reconciler = Reconciler(Behind(cluster), cluster, servers, settings, lambda: datetime(2026, 11, 25, 12, tzinfo=UTC))
    write_status = cluster.write_status

    def answer_is_lost(*arguments):
        write_status(*arguments)
        raise ClusterError(0, "timed out")

    cluster.write_status = answer_is_lost
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)
    cluster.write_status = write_status
    reconciler.reconcile(KEY)
    assert [what for what, _ in cluster.writes] == ["status"], "the second pass saw what the first had written"


def test_pass_over_a_pool_at_rest_asks_the_api_server_for_nothing(reconciler, cluster, servers):
    cluster.annotate(None)
    reconciler.reconcile(KEY)
    settings = OperatorSettings(default_image="tubeherd-worker:1", default_server=SERVER)
    nobody = object()
    assert Reconciler(cluster, nobody, servers, settings).reconcile(KEY) is None
