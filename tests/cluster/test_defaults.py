"""What the operator adds to a pool's spec: upgrades that restart nothing, evictions, quotas."""

import json
from types import SimpleNamespace

from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.decisions.defaults import DEFAULTS_ANNOTATION, Defaults
from tubeherd_operator.decisions.deployment import build_deployment
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.executors import Executors

POOL = "tubeherd.io/pool=mail"
IDLE = {"server": "beanstalkd.nowhere:11300", "replicas": 0}


def container(namespace, pool="mail"):
    return namespace.get("deployment", pool)["spec"]["template"]["spec"]["containers"][0]


def budgets(namespace):
    return {found["metadata"]["name"] for found in namespace.find("poddisruptionbudgets")}


def budget(namespace, name, selector):
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace.name},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": selector}},
    }


def as_an_earlier_operator(namespace, image):
    """Make the Deployment of the pool `mail` as an operator has that noted no defaults, and wait for its pods."""
    pool = namespace.get("workerpool", "mail")
    spec = WorkerPoolSpec.model_validate(pool["spec"])
    found = namespace.get("configmap", "executors")
    cluster = SimpleNamespace(config_map=lambda *_: found)
    digest = Executors(Cache(lambda _: None, lambda _: None), cluster).digest(Key(namespace.name, "executors"))
    made = build_deployment(pool, spec, spec.server, digest, Defaults(1, image))
    del made["metadata"]["annotations"][DEFAULTS_ANNOTATION]
    namespace.kubectl("apply", "--server-side", "--field-manager=tubeherd-operator", "-f", "-", stdin=made)
    namespace.kubectl("rollout", "status", "deployment/mail", "--timeout=60s")


def running(namespace):
    """Return the ReplicaSets of the pool `mail`, and how often the workers of its pods were restarted."""
    pods = {
        pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in namespace.find("pods", POOL)
        if "deletionTimestamp" not in pod["metadata"]
    }
    return {found["metadata"]["name"] for found in namespace.find("replicasets", POOL)}, pods


def test_upgrade_restarts_no_pod_and_a_change_of_the_spec_brings_the_newest_defaults(
    release, operator, kubectl, namespace, image, eventually
):
    dev, following = image("worker"), image("worker").rpartition(":")[0] + ":next"
    operator.stop()
    try:
        namespace.make_pool("mail", ["ok"], replicas=2)
        as_an_earlier_operator(namespace, dev)
        before = running(namespace)
        release.install("--set", "worker.image.tag=next")
        operator.start()
        outdated = eventually(lambda: namespace.condition("mail", "Outdated"), "the condition says so", 20)
        assert outdated["message"].startswith(f"the pods run image {dev}, and the installation's is {following} by now")
        namespace.wait_ready("mail")
        assert running(namespace) == before
        assert [event for reason in ("Updated", "Repaired") for event in namespace.events(reason)] == []
        namespace.kubectl("scale", "workerpool", "mail", "--replicas=1")
        namespace.wait_ready("mail")
        replica_sets, pods = running(namespace)
        assert replica_sets == before[0]
        assert pods.items() <= before[1].items()
        assert "mail" not in budgets(namespace)

        namespace.make_pool("mail", ["ok"], replicas=1, env=[{"name": "A", "value": "b"}])
        eventually(lambda: container(namespace)["image"] == following, "the new image comes with the change")
        assert container(namespace)["resources"] == {"requests": {"cpu": "20m", "memory": "64Mi"}}
        eventually(lambda: "mail" in budgets(namespace), "the budget comes with the change")
    finally:
        release.install()
        operator.start()
    eventually(lambda: following in namespace.condition("mail", "Outdated")["message"], "it is outdated again", 20)
    newest = ("tubeherd.io/defaults=newest", "--overwrite", "--all-namespaces")
    kubectl("annotate", "deployments", "-l", "tubeherd.io/pool", *newest)
    eventually(lambda: container(namespace)["image"] == dev, "the pods take the newest image")
    namespace.wait_ready("mail")
    assert "Outdated" not in {condition["type"] for condition in namespace.status("mail")["conditions"]}


def test_one_pod_is_evicted_at_a_time(namespace, kubectl, eventually):
    namespace.make_pool("mail", ["ok"], replicas=2)
    namespace.wait_ready("mail")
    allowed = eventually(
        lambda: namespace.get("poddisruptionbudget", "mail")["status"]["disruptionsAllowed"], "it counts"
    )
    assert allowed == 1

    def evict(pod):
        name = pod["metadata"]["name"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace.name},
        }
        path = f"/api/v1/namespaces/{namespace.name}/pods/{name}/eviction"
        return kubectl("create", "--raw", path, "-f", "-", stdin=eviction, check=False)

    first, second = map(evict, namespace.find("pods", POOL))
    assert first.returncode == 0, first.stderr
    assert second.returncode != 0
    assert "violate the pod's disruption budget" in second.stderr


def test_budget_is_repaired_yields_to_that_of_a_user_and_goes_with_its_pool(namespace, eventually):
    namespace.make_pool("mail", ["ok"], **IDLE)
    eventually(lambda: "mail" in budgets(namespace), "the pool has a budget")
    change = json.dumps({"metadata": {"labels": {"tubeherd.io/pool": None}}, "spec": {"maxUnavailable": 0}})
    namespace.kubectl("patch", "poddisruptionbudget", "mail", "--type=merge", "-p", change)

    def is_repaired():
        found = namespace.get("poddisruptionbudget", "mail")
        return found["spec"]["maxUnavailable"] == 1 and found["metadata"]["labels"]["tubeherd.io/pool"] == "mail"

    eventually(is_repaired, "it is as before")
    namespace.apply(budget(namespace, "theirs", {"app.kubernetes.io/name": "tubeherd-worker"}))
    eventually(lambda: budgets(namespace) == {"theirs"}, "no pod has two")
    eventually(lambda: namespace.events("BudgetRemoved"), "an Event reports it")
    namespace.kubectl("delete", "poddisruptionbudget", "theirs")
    eventually(lambda: budgets(namespace) == {"mail"}, "the pool has its own again")

    namespace.apply(budget(namespace, "sms", {"app": "another"}))
    namespace.make_pool("sms", ["ok"], **IDLE)
    shown = eventually(lambda: namespace.condition("sms", "Unprotected"), "the condition says so")
    assert "is left alone" in shown["message"]
    assert "minAvailable" in namespace.get("poddisruptionbudget", "sms")["spec"]

    namespace.kubectl("delete", "workerpool", "mail", "--wait=true")
    eventually(lambda: budgets(namespace) == {"sms"}, "it goes with its pool", 20)


def test_namespace_that_demands_requests_and_sets_limits_admits_the_pods(namespace, eventually):
    memory = {"requests.memory": "1Gi", "limits.memory": "1Gi"}
    hard = {**memory, "requests.cpu": "1", "count/poddisruptionbudgets.policy": "0"}
    limits = [{"type": "Container", "default": {"memory": "256Mi"}, "defaultRequest": {"memory": "200Mi"}}]
    for kind, spec in (("ResourceQuota", {"hard": hard}), ("LimitRange", {"limits": limits})):
        metadata = {"name": "of-the-team", "namespace": namespace.name}
        namespace.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})
    namespace.make_pool("mail", ["ok"], replicas=1)
    namespace.wait_ready("mail")
    (pod,) = namespace.find("pods", POOL)
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"memory": "256Mi"}, "requests": {"cpu": "20m", "memory": "64Mi"}}
    assert "Overridden" not in {condition["type"] for condition in namespace.status("mail")["conditions"]}
    assert "exceeded quota" in namespace.condition("mail", "Unprotected")["message"]
