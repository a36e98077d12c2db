"""What the operator sees of the cluster: its own resource that comes and goes, and what others change."""

import copy
import json

import pytest

CRD = "workerpools.tubeherd.io"
IDLE = {"server": "beanstalkd.nowhere:11300", "replicas": 0}


@pytest.fixture
def crd(kubectl, operator):
    """The CustomResourceDefinition, as it can be created again; it is there again after the test."""
    stored = json.loads(kubectl("get", "crd", CRD, "-o", "json").stdout)
    kept = ("name", "labels", "annotations")
    thing = stored | {"metadata": {name: stored["metadata"][name] for name in kept if name in stored["metadata"]}}
    yield thing
    create(kubectl, thing)
    operator.start()


def create(kubectl, crd):
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=crd | {"status": None})
    kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=60s")


def test_operator_outlives_its_crd_and_starts_before_it(namespace, operator, kubectl, crd, queue, eventually):
    def is_served(name):
        namespace.make_pool(name, ["ok"], replicas=0)
        eventually(lambda: namespace.get("deployment", name), "the Deployment exists", 30)
        namespace.kubectl("annotate", "workerpool", name, "kick=all")
        eventually(lambda: namespace.status(name)["lastKick"], "the kick is done", 30)

    is_served("before")
    eventually(lambda: len(operator.pods()) == 1, "those of earlier tests are gone")
    (pod,) = operator.pods()
    kubectl("delete", "crd", CRD)
    eventually(lambda: not operator.is_ready(), "the operator is not ready without its resource")
    create(kubectl, crd)
    is_served("again")
    eventually(operator.is_ready, "the operator is ready again")
    assert operator.pods() == [pod], "it is the same one"
    assert operator.restarts() == 0
    operator.stop()
    kubectl("delete", "crd", CRD)
    operator.start(wait=False)
    eventually(lambda: "does not exist: create it" in operator.log(), "the operator says what it lacks")
    assert not operator.is_ready()
    create(kubectl, crd)
    is_served("late")
    eventually(operator.is_ready, "the operator is ready")
    assert operator.restarts() == 0


def test_what_others_change_is_repaired_at_once(namespace, queue, eventually):
    namespace.apply(namespace.pool_object("mail", {"tubes": ["ok"], "server": queue.server, "replicas": 0}))
    queue.bury("ok", 1)
    eventually(lambda: namespace.status("mail")["buried"] == 1, "the job is counted", 30)
    before = namespace.get("deployment", "mail")
    change = {
        "metadata": {"labels": {"tubeherd.io/pool": None}},
        "spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "localhost/other:1"}]}}},
    }
    namespace.kubectl("patch", "deployment", "mail", "--type=strategic", "-p", json.dumps(change))

    def repaired():
        now = namespace.get("deployment", "mail")
        return now["spec"] == before["spec"] and now["metadata"]["labels"] == before["metadata"]["labels"]

    eventually(repaired, "the Deployment is as before", 30)
    for field, value in {"buried": 77, "selector": "none", "conditions": []}.items():
        overwritten = json.dumps({"status": {field: value}})
        namespace.kubectl("patch", "workerpool", "mail", "--subresource=status", "--type=merge", "-p", overwritten)
        eventually(lambda field=field, value=value: namespace.status("mail")[field] != value, f"{field} is true", 30)
    assert namespace.status("mail")["buried"] == 1


def test_stored_pool_that_is_not_valid_says_so(namespace, kubectl, crd, eventually):
    lax = copy.deepcopy(crd)
    (version,) = lax["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec.pop("x-kubernetes-validations", None)
    spec["properties"]["concurrency"] = {"x-kubernetes-preserve-unknown-fields": True}
    invalid = namespace.pool_object("mail", {"tubes": ["ok"], "concurrency": "four", **IDLE})

    def is_taken():
        return namespace.kubectl("apply", "--dry-run=server", "-f", "-", stdin=invalid, check=False).returncode == 0

    def is_reported():
        ready = namespace.condition("mail", "Ready")
        generation = namespace.get("workerpool", "mail")["metadata"]["generation"]
        assert (ready["reason"], ready["observedGeneration"]) == ("InvalidSpec", generation), ready
        return "spec.concurrency: Input should be a valid integer" in ready["message"]

    create(kubectl, lax)
    eventually(is_taken, "the lax schema is in force")
    namespace.apply(invalid)
    eventually(is_reported, "the condition names the field")
    eventually(lambda: namespace.events("InvalidSpec"), "an Event reports it")
    create(kubectl, crd)
    invalid["spec"]["concurrency"] = "five"
    eventually(lambda: not is_taken(), "the strict schema is in force")
    namespace.kubectl("patch", "workerpool", "mail", "--type=merge", "-p", '{"spec": {"replicas": 1}}')
    eventually(is_reported, "the condition is about the present spec, though the object is not valid")
    namespace.kubectl("patch", "workerpool", "mail", "--type=merge", "-p", '{"spec": {"concurrency": 4}}')
    eventually(lambda: namespace.condition("mail", "Ready")["reason"] != "InvalidSpec", "the condition is gone")
    eventually(lambda: namespace.get("deployment", "mail"), "the pool is served")


def test_config_map_that_changes_rolls_its_pool_out_watched_or_not(namespace, operator, release, eventually):
    def rolls_out(value, within):
        before = namespace.get("deployment", "mail")["metadata"]["generation"]
        namespace.kubectl("patch", "configmap", "executors", "--type=merge", "-p", json.dumps({"data": {"n": value}}))
        eventually(
            lambda: namespace.get("deployment", "mail")["metadata"]["generation"] > before, "pods are replaced", within
        )

    namespace.make_pool("mail", ["ok"], replicas=0)
    eventually(lambda: namespace.get("deployment", "mail"), "the Deployment exists")
    rolls_out("watched", 50)
    try:
        release.install("--set", "operator.watchConfigMaps=false")
        rolls_out("asked for", 180)
        assert "cannot be watched" not in operator.log()
    finally:
        release.install()


def test_config_map_that_goes_and_comes_again_rolls_nothing_out(namespace, eventually):
    namespace.make_pool("mail", ["ok"], replicas=1)
    namespace.wait_ready("mail")

    def running():
        pods = [pod["metadata"]["uid"] for pod in namespace.find("pods", "tubeherd.io/pool=mail")]
        return namespace.get("deployment", "mail")["metadata"]["generation"], pods

    before = running()
    namespace.kubectl("delete", "configmap", "executors")
    eventually(lambda: namespace.condition("mail", "Ready")["reason"] == "ExecutorsMissing", "the condition says so")
    assert running() == before
    namespace.executors()
    namespace.wait_ready("mail")
    assert running() == before
