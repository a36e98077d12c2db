"""From a WorkerPool to running pods: rollout, repair, conflict, deletion, restart of the operator."""

import json

import pytest

IDLE = {"server": "beanstalkd.nowhere:11300", "replicas": 0}


def container(namespace, pool):
    return namespace.get("deployment", pool)["spec"]["template"]["spec"]["containers"][0]


def variable(namespace, pool, name):
    return {entry["name"]: entry.get("value") for entry in container(namespace, pool)["env"]}.get(name)


def resource_version(namespace, pool):
    return namespace.get("deployment", pool)["metadata"]["resourceVersion"]


def test_pool_runs_jobs_in_restricted_non_root_pods(namespace, queue, eventually):
    namespace.make_pool("mail", ["ok"], replicas=1, memoryLimit="256Mi")
    namespace.wait_ready("mail")
    queue.put("ok", 20)
    eventually(lambda: queue.count("ok") == (0, 0, 0, 0), "the jobs ran")
    (pod,) = namespace.find("pods", "tubeherd.io/pool=mail")
    worker = pod["spec"]["containers"][0]
    assert namespace.kubectl("exec", pod["metadata"]["name"], "--", "id", "-u").stdout.strip() == "65532"
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert worker["securityContext"]["readOnlyRootFilesystem"] is True
    assert worker["resources"] == {"limits": {"memory": "256Mi"}, "requests": {"cpu": "20m", "memory": "256Mi"}}
    status = namespace.status("mail")
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert namespace.condition("mail", "ServerReachable")["status"] == "True"


def test_change_of_image_tubes_and_limits_rolls_out(namespace, eventually):
    namespace.make_pool("mail", ["ok"], replicas=1)
    namespace.wait_ready("mail")
    (before,) = namespace.find("pods", "tubeherd.io/pool=mail")
    namespace.make_pool("mail", ["ok", "other"], replicas=1, maxJobs=7, memoryLimit="192Mi", jobTimeout="30s")
    namespace.wait_ready("mail")
    assert variable(namespace, "mail", "TUBEHERD_INCLUDE") == "ok,other"
    assert variable(namespace, "mail", "TUBEHERD_MAX_JOBS") == "7"
    assert container(namespace, "mail")["resources"]["limits"] == {"memory": "192Mi"}
    template = namespace.get("deployment", "mail")["spec"]["template"]["spec"]
    assert template["terminationGracePeriodSeconds"] == 45
    pods = namespace.find("pods", "tubeherd.io/pool=mail")
    assert before["metadata"]["uid"] not in {
        pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]
    }
    namespace.make_pool("mail", ["ok"], replicas=1, image="localhost/no-such-image:1")
    eventually(
        lambda: container(namespace, "mail")["image"] == "localhost/no-such-image:1", "the image is the new one", 10
    )


def test_image_that_cannot_be_pulled_is_said_in_the_condition(namespace, eventually):
    namespace.make_pool("mail", ["ok"], replicas=1, image="localhost/no-such-image:1")

    def told():
        ready = namespace.condition("mail", "Ready")
        return ready["status"] == "False" and "localhost/no-such-image:1" in ready["message"]

    eventually(told, "the condition names the image")


def test_tube_without_executor_is_said_in_the_workers_words(namespace, eventually):
    namespace.make_pool("mail", ["nobody"], replicas=1)

    def told():
        message = namespace.condition("mail", "Ready")["message"]
        return "nobody" in message and "hog" in message

    eventually(told, "the condition names the tube and the executors there are")


def test_quota_is_said_in_the_condition(namespace, eventually):
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": namespace.name},
            "spec": {"hard": {"pods": "0"}},
        }
    )
    namespace.make_pool("mail", ["ok"], replicas=1)
    eventually(lambda: "quota" in namespace.condition("mail", "Ready")["message"], "the condition names the quota")


def test_pools_of_a_tube_with_different_numbers_of_retry_delays_warn_of_each_other(namespace, eventually):
    tube = f"differ-{namespace.name}"

    def differ():
        found = [condition["type"] for name in ("one", "two") for condition in namespace.status(name)["conditions"]]
        return found.count("RetriesDiffer")

    namespace.make_pool("one", [tube], **IDLE)
    namespace.make_pool("two", [tube], **IDLE, retry={"delays": ["1s", "2s"]})
    eventually(lambda: differ() == 2, "both pools have the condition", 20)
    message = namespace.condition("one", "RetriesDiffer")["message"]
    assert f"pool {namespace.name}/two serves tube {tube} with 2 retry delays" in message
    eventually(lambda: len(namespace.events("RetriesDiffer")) == 2, "an Event of each pool reports it", 10)
    namespace.kubectl("delete", "workerpool", "two")
    eventually(lambda: "RetriesDiffer" not in str(namespace.status("one")["conditions"]), "the condition is gone", 10)


def test_executors_that_change_roll_out(namespace, eventually):
    namespace.executors("from tubeherd import executor\n@executor('ok')\ndef ok(payload): raise ValueError('old')\n")
    namespace.make_pool("mail", ["ok"], replicas=1)
    namespace.wait_ready("mail")
    (before,) = namespace.find("pods", "tubeherd.io/pool=mail")
    namespace.executors()

    def replaced():
        pods = namespace.find("pods", "tubeherd.io/pool=mail")
        return before["metadata"]["uid"] not in {pod["metadata"]["uid"] for pod in pods}

    eventually(replaced, "the pod was replaced", 90)


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
        {"spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "localhost/other:1"}]}}}},
        {"metadata": {"labels": {"tubeherd.io/pool": "stolen"}}},
        {"spec": {"replicas": 3}},
    ],
    ids=["grace period", "image", "label", "replicas"],
)
def test_manual_change_of_the_deployment_is_repaired(namespace, eventually, change):
    namespace.make_pool("mail", ["ok"], **IDLE)
    before = eventually(lambda: namespace.get("deployment", "mail"), "the Deployment exists", 10)
    namespace.kubectl("patch", "deployment", "mail", "--type=strategic", "-p", json.dumps(change))

    def repaired():
        now = namespace.get("deployment", "mail")
        return now["spec"] == before["spec"] and now["metadata"]["labels"] == before["metadata"]["labels"]

    eventually(repaired, "the Deployment is as before", 30)
    eventually(lambda: namespace.events("Repaired"), "an event reports it", 10)


def test_spec_that_makes_no_pod_is_said_in_the_condition(namespace, eventually):
    namespace.make_pool("mail", ["ok"], **IDLE, env=[{"name": "A", "valueFrom": {"nonsense": {}}}])
    eventually(lambda: "nonsense" in namespace.condition("mail", "Ready")["message"], "the condition says so", 10)
    assert namespace.condition("mail", "Ready")["reason"] == "DeploymentRefused"
    namespace.make_pool("mail", ["ok"], **IDLE)
    eventually(lambda: namespace.get("deployment", "mail"), "the Deployment is made from the corrected spec", 10)


def test_tube_named_like_a_variable_reaches_the_worker_as_it_is(namespace, queue, eventually):
    tube = "$(TUBEHERD_SERVER)"
    namespace.executors(f"from tubeherd import executor\n@executor({tube!r})\ndef run(payload): pass\n")
    namespace.make_pool("mail", [tube], replicas=1)
    namespace.wait_ready("mail")
    queue.put(tube)
    eventually(lambda: queue.count(tube) == (0, 0, 0, 0), "the job ran")


def test_deployment_deleted_by_hand_comes_back(namespace, eventually):
    namespace.make_pool("mail", ["ok"], **IDLE)
    before = eventually(lambda: namespace.get("deployment", "mail"), "the Deployment exists", 10)
    namespace.kubectl("delete", "deployment", "mail")
    eventually(
        lambda: namespace.get("deployment", "mail")["metadata"]["uid"] != before["metadata"]["uid"], "it is back", 10
    )


def test_replicas_not_declared_are_left_to_others(namespace, eventually):
    namespace.make_pool("mail", ["ok"], server="beanstalkd.nowhere:11300")
    eventually(lambda: namespace.get("deployment", "mail"), "the Deployment exists", 10)
    namespace.kubectl("scale", "deployment", "mail", "--replicas=0")
    namespace.make_pool("mail", ["ok", "other"], server="beanstalkd.nowhere:11300")
    eventually(lambda: variable(namespace, "mail", "TUBEHERD_INCLUDE") == "ok,other", "the change was applied", 10)
    assert namespace.get("deployment", "mail")["spec"]["replicas"] == 0


def test_scale_and_suspend(namespace, eventually):
    namespace.make_pool("mail", ["ok"], **IDLE)
    namespace.kubectl("scale", "workerpool", "mail", "--replicas=2")
    eventually(lambda: namespace.get("deployment", "mail")["spec"]["replicas"] == 2, "two replicas", 10)
    namespace.kubectl("patch", "workerpool", "mail", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    eventually(lambda: namespace.get("deployment", "mail")["spec"]["replicas"] == 0, "no replicas", 10)
    eventually(lambda: namespace.condition("mail", "Ready")["reason"] == "Suspended", "the condition says so", 10)


def test_foreign_deployment_is_left_alone(namespace, eventually):
    foreign = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "mail", "namespace": namespace.name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "mine"}},
            "template": {
                "metadata": {"labels": {"app": "mine"}},
                "spec": {"containers": [{"name": "mine", "image": "localhost/mine:1"}]},
            },
        },
    }
    namespace.apply(foreign)
    before = namespace.get("deployment", "mail")
    namespace.make_pool("mail", ["ok"], replicas=1)
    conflict = eventually(lambda: namespace.condition("mail", "Conflict"), "the condition says so", 10)
    assert conflict["status"] == "True"
    assert "mail" in conflict["message"]
    assert namespace.condition("mail", "Ready")["status"] == "False"
    after = namespace.get("deployment", "mail")
    assert after["spec"] == before["spec"]
    assert "ownerReferences" not in after["metadata"]
    namespace.kubectl("delete", "deployment", "mail")
    namespace.wait_ready("mail", 90)


def test_deletion_with_the_operator_stopped_does_not_hang(namespace, operator, eventually):
    namespace.make_pool("mail", ["ok"], replicas=1)
    namespace.wait_ready("mail")
    operator.stop()
    try:
        namespace.kubectl("delete", "workerpool", "mail", "--timeout=10s")
        eventually(lambda: namespace.get("deployment", "mail") is None, "the Deployment is gone", 30)
        eventually(lambda: not namespace.find("pods", "tubeherd.io/pool=mail"), "the pods are gone", 90)
    finally:
        operator.start()


def test_restart_of_the_operator_changes_nothing(namespace, operator, queue, eventually):
    pools = {
        "small": {},
        "full": {
            "memoryLimit": "1024Mi",
            "jobTimeout": "2m",
            "maxTime": "1h",
            "retry": {"delays": ["1s", "2s"]},
            "env": [{"name": "A", "value": "b"}],
            "envFrom": [{"configMapRef": {"name": "missing", "optional": True}}],
        },
    }
    for name, spec in pools.items():
        namespace.make_pool(name, ["ok"], replicas=0, **spec)
        eventually(lambda name=name: namespace.condition(name, "Ready")["status"] == "True", f"{name} is ready", 20)
    for name in pools:
        eventually(lambda name=name: namespace.condition(name, "RetriesDiffer"), f"{name} differs from the other", 20)
    queue.bury("other", 1)

    def versions():
        found = [namespace.get(kind, name) for kind in ("deployment", "workerpool") for name in pools]
        return [thing["metadata"]["resourceVersion"] for thing in found]

    operator.stop()
    before = versions()
    operator.start()
    # A third pool is dealt with after the two that were there before it: when it is there, they were looked at.
    namespace.make_pool("later", ["other"], replicas=0)
    eventually(lambda: namespace.status("later")["buried"] == 1, "the operator works again", 30)
    assert versions() == before


def test_idle_pool_costs_no_write(namespace, queue, eventually):
    for name in ("mail", "probe"):
        namespace.make_pool(name, [f"ok-{name}"], replicas=0)
        namespace.wait_ready(name)
        eventually(lambda name=name: "buried" in namespace.status(name), "the tubes are counted", 20)
    before = namespace.get("workerpool", "mail")["metadata"]["resourceVersion"]
    # Each time the neighbour's status shows a further buried job, the poller has counted all tubes once more.
    for count in range(1, 6):
        queue.bury("ok-probe", 1)
        eventually(lambda count=count: namespace.status("probe")["buried"] == count, "the tubes are counted", 10)
    assert namespace.get("workerpool", "mail")["metadata"]["resourceVersion"] == before
