"""What others do to a pool's Deployment: it is repaired, within bounds, kept or adopted. No pool here has pods."""

import json
from functools import partial

import pytest

from tests.support.webhook import webhook


@pytest.fixture
def deployment(namespace, eventually):
    """Return a function that makes a pool `mail` and returns its Deployment, as soon as that shows the spec."""

    def make(**spec):
        namespace.make_pool("mail", ["ok"], **spec)
        return eventually(partial(_applied, namespace), "the Deployment is as the spec says", 15)

    return make


@pytest.fixture
def no_pods(namespace):
    """Let no pod be made, so that a Deployment with replicas costs nothing."""
    quota = {"metadata": {"name": "none", "namespace": namespace.name}, "spec": {"hard": {"pods": "0"}}}
    namespace.apply({"apiVersion": "v1", "kind": "ResourceQuota", **quota})


def _applied(namespace):
    """Return the Deployment when the operator has looked at the present spec."""
    pool = namespace.get("workerpool", "mail")
    assert pool["status"]["observedGeneration"] == pool["metadata"]["generation"]
    return namespace.get("deployment", "mail")


def replicas(namespace):
    return namespace.get("deployment", "mail")["spec"]["replicas"]


def look_again(namespace, eventually, times=5):
    """Have the operator look at the pool several times."""
    for number in range(times):
        namespace.kubectl("annotate", "workerpool", "mail", f"kick=bad-{number}")
        eventually(lambda: "kick" not in annotations(namespace), "the operator has looked", 15)


def annotations(namespace):
    return namespace.get("workerpool", "mail")["metadata"]["annotations"]


# A webhook


def other_image(thing, manager):
    if thing["metadata"]["name"] != "mail":
        return []
    path = "/spec/template/spec/containers/0/image"
    return [{"op": "replace", "path": path, "value": "mirror.example.com/worker:1"}]


def no_replicas(thing, manager):
    return [] if thing["metadata"]["name"] != "mail" else [{"op": "add", "path": "/spec/replicas", "value": 0}]


def one_more_variable(thing, manager):
    if thing["metadata"]["name"] != "mail":
        return []
    path = "/spec/template/spec/containers/0/env/-"
    return [{"op": "add", "path": path, "value": {"name": "TUBEHERD_MAX_JOBS", "value": "1"}}]


class Varying:
    """Changes what the operator writes, each time in another way."""

    def __init__(self):
        self.count = 0

    def __call__(self, thing, manager):
        if not manager.startswith("tubeherd-operator"):
            return []
        self.count += 1
        path = "/spec/template/spec/containers/0/image"
        return [{"op": "replace", "path": path, "value": f"mirror.example.com/worker:{self.count}"}]


@pytest.mark.home_node("the API server calls a webhook of the test")
@pytest.mark.parametrize(
    ("change", "spec", "ready"),
    [
        (other_image, {"replicas": 0}, "Running"),
        (Varying(), {"replicas": 0}, "Running"),
        (no_replicas, {"replicas": 2}, "Overridden"),
        (one_more_variable, {"replicas": 0}, "Running"),
    ],
    ids=["other image", "another image each time", "replicas forced to 0", "a variable that overrides the spec"],
)
def test_webhook_is_reported_once_and_not_fought(namespace, kubectl, queue, tmp_path, eventually, change, spec, ready):
    with webhook(kubectl, namespace, queue.server.rpartition(":")[0], tmp_path, change) as calls:
        namespace.make_pool("mail", ["ok"], **spec)
        found = eventually(lambda: namespace.condition("mail", "Overridden"), "the condition says so", 20)
        assert found["status"] == "True"
        eventually(lambda: namespace.condition("mail", "Ready")["reason"] == ready, "the condition says so", 20)
        before = namespace.get("deployment", "mail")
        calls.clear()
        look_again(namespace, eventually)
        assert calls == [], "nothing was written"
        assert namespace.get("deployment", "mail")["metadata"]["generation"] == before["metadata"]["generation"]
        assert namespace.event_objects("Repaired") == []
        (event,) = namespace.event_objects("RepairIsNoUse")
        assert event.get("count") == 1


# What is written in another way than it was sent


def test_quantity_that_the_api_server_rewrites_is_no_drift(namespace, deployment, eventually):
    divisor = {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1000m"}}
    env = [{"name": "LIMIT", "valueFrom": divisor}]
    before = deployment(replicas=0, memoryLimit="1.5Gi", env=env)
    assert "1000m" not in json.dumps(before["spec"]), "the API server has rewritten it"
    look_again(namespace, eventually, 2)
    assert namespace.event_objects("Repaired") == []
    assert namespace.get("deployment", "mail")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


# Repairs


def test_same_repair_again_is_one_event_with_a_count(namespace, deployment, eventually):
    before = deployment(replicas=0)
    for _ in range(2):
        namespace.kubectl("set", "image", "deployment/mail", "worker=localhost/other:1")
        eventually(lambda: namespace.get("deployment", "mail")["spec"] == before["spec"], "it is repaired", 15)
    (event,) = eventually(lambda: [e for e in namespace.event_objects("Repaired") if e["count"] == 2], "it counts", 10)
    assert "changed by somebody else" in event["message"]


def test_field_that_is_set_otherwise_again_and_again_is_repaired_three_times(namespace, deployment, eventually):
    before = deployment(replicas=0)
    for number in range(3):
        namespace.kubectl("set", "image", "deployment/mail", f"worker=localhost/other:{number}")
        eventually(lambda: namespace.get("deployment", "mail")["spec"] == before["spec"], "it is repaired", 15)
    namespace.kubectl("set", "image", "deployment/mail", "worker=localhost/other:3")
    found = eventually(lambda: namespace.condition("mail", "Overridden"), "the condition says so", 15)
    assert "spec.template.spec.containers[worker].image" in found["message"]
    look_again(namespace, eventually, 1)
    after = namespace.get("deployment", "mail")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert after == "localhost/other:3"
    (event,) = namespace.event_objects("RepairIsNoUse")
    assert event["count"] == 1


def test_settings_and_limits_that_were_added_by_hand_are_removed(namespace, deployment, eventually):
    before = deployment(replicas=0)
    namespace.kubectl("set", "env", "deployment/mail", "TUBEHERD_CONCURRENCY=8", "MINE=1")
    namespace.kubectl("set", "resources", "deployment/mail", "--limits=memory=64Mi,cpu=1")

    def container():
        (found,) = namespace.get("deployment", "mail")["spec"]["template"]["spec"]["containers"]
        return found

    def is_removed():
        names = {entry["name"] for entry in container()["env"]}
        return "TUBEHERD_CONCURRENCY" not in names and container()["resources"]["limits"] == {"cpu": "1"}

    eventually(is_removed, "what overrides the spec is gone", 15)
    assert "MINE" in {entry["name"] for entry in container()["env"]}, "other things are left to others"
    assert before["spec"]["replicas"] == 0
    eventually(lambda: namespace.event_objects("Repaired"), "an Event reports it", 10)


# Replicas


def test_replicas_that_are_declared_no_longer_stay(namespace, no_pods, deployment, eventually):
    assert deployment(replicas=3)["spec"]["replicas"] == 3
    assert deployment()["spec"]["replicas"] == 3
    namespace.kubectl("scale", "deployment", "mail", "--replicas=2")
    assert deployment(concurrency=2)["spec"]["replicas"] == 2
    assert deployment(concurrency=2, replicas=1)["spec"]["replicas"] == 1


def test_suspended_pool_is_resumed_with_the_replicas_that_it_had(namespace, no_pods, deployment, eventually):
    deployment()
    namespace.kubectl("scale", "deployment", "mail", "--replicas=3")
    assert deployment(suspend=True)["spec"]["replicas"] == 0
    assert deployment()["spec"]["replicas"] == 3
    assert deployment(suspend=True)["spec"]["replicas"] == 0
    assert deployment(replicas=2)["spec"]["replicas"] == 2


# Owners


def owner(namespace):
    (found,) = namespace.get("deployment", "mail")["metadata"]["ownerReferences"]
    return found["uid"]


def test_owner_that_was_removed_by_hand_comes_back(namespace, deployment, eventually):
    before = deployment(replicas=0)["metadata"]["ownerReferences"]
    change = {"metadata": {"ownerReferences": None}}
    namespace.kubectl("patch", "deployment", "mail", "--type=strategic", "-p", json.dumps(change))
    eventually(lambda: owner(namespace) == before[0]["uid"], "the pool owns it again", 15)
    eventually(lambda: namespace.event_objects("Adopted"), "an Event reports it", 10)
    assert "Conflict" not in {condition["type"] for condition in namespace.status("mail")["conditions"]}


def test_deployment_that_a_pool_left_behind_is_adopted_by_one_that_says_the_same(namespace, deployment, eventually):
    before = deployment(replicas=0)
    namespace.kubectl("delete", "workerpool", "mail", "--cascade=orphan")
    assert "ownerReferences" not in namespace.get("deployment", "mail")["metadata"]
    namespace.make_pool("mail", ["ok", "other"], replicas=0)
    found = eventually(lambda: namespace.condition("mail", "Conflict"), "another spec is a conflict", 15)
    assert "would adopt it" in found["message"]
    namespace.make_pool("mail", ["ok"], replicas=0)
    eventually(lambda: owner(namespace) == namespace.get("workerpool", "mail")["metadata"]["uid"], "it is adopted", 15)
    after = namespace.get("deployment", "mail")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["template"] == before["spec"]["template"], "no pod is replaced"
