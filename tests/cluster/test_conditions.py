"""What a pool's conditions say of real pods: dead ones, paused Deployments, servers out of reach, updates that fail."""

import json
from contextlib import contextmanager

import pytest

from tests.support.kubernetes import OPERATOR_NAMESPACE

SELECTOR = "tubeherd.io/pool=mail"
MISSING = "localhost/no-such-image:1"


def is_condition(namespace, type_, status, reason, pool="mail"):
    """Return whether a condition is so; raises AssertionError with the condition if not."""
    found = namespace.condition(pool, type_)
    assert (found["status"], found["reason"]) == (status, reason), found
    return found


def copy_for_debugging(namespace, image):
    """Return a pod with the labels of a pool's pods that ends at once, and begins again."""
    container = {
        "name": "worker",
        "image": image,
        "command": ["false"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "debug", "namespace": namespace.name, "labels": {"tubeherd.io/pool": "mail"}},
        "spec": {"containers": [container], "securityContext": security},
    }


@contextmanager
def service_in(kubectl, namespace, name, server):
    """Have a beanstalkd known by a name without a dot that resolves in one namespace alone."""
    host, _, port = server.rpartition(":")
    metadata = {"name": name, "namespace": namespace}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"ports": [{"port": 11300, "targetPort": int(port)}]},
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata | {"labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host]}],
        "ports": [{"port": int(port)}],
    }
    try:
        kubectl("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": [service, endpoints]})
        yield
    finally:
        kubectl("--namespace", namespace, "delete", "service,endpointslice", name, "--ignore-not-found")


def test_dead_pods_and_copies_do_not_keep_a_pool_from_being_ready(namespace, image, eventually):
    namespace.make_pool("mail", ["nobody"], replicas=1)
    eventually(lambda: is_condition(namespace, "Ready", "False", "CrashLoop"), "the worker finds no executor")
    (pod,) = namespace.find("pods", SELECTOR)
    name = pod["metadata"]["name"]
    namespace.kubectl("patch", "pod", name, "-p", json.dumps({"spec": {"activeDeadlineSeconds": 1}}))
    eventually(lambda: namespace.get("pod", name)["status"]["phase"] == "Failed", "the kubelet has failed the pod")
    namespace.apply(copy_for_debugging(namespace, image("worker")))

    def is_dead():
        (status,) = namespace.get("pod", "debug")["status"]["containerStatuses"]
        return (status["state"].get("terminated") or status["lastState"]["terminated"])["exitCode"] == 1

    eventually(is_dead, "the copy has ended")
    namespace.make_pool("mail", ["ok"], replicas=1)
    namespace.wait_ready("mail")
    assert namespace.get("pod", name)["status"]["phase"] == "Failed", "it is still there"


def test_bad_update_is_not_ready_and_still_available(namespace, eventually):
    namespace.make_pool("mail", ["ok"], replicas=1)
    namespace.wait_ready("mail")
    for _ in range(3):
        namespace.make_pool("mail", ["ok"], replicas=1, image=MISSING)
        waited = namespace.kubectl("wait", "--for=condition=Ready", "workerpool/mail", "--timeout=1s", check=False)
        assert waited.returncode != 0, "the rollout of the present spec is not done"
        eventually(lambda: is_condition(namespace, "Ready", "False", "ImagePull"), "the image cannot be pulled")
        is_condition(namespace, "Available", "True", "PodsReady")
        is_condition(namespace, "Progressing", "False", "Stalled")
        namespace.make_pool("mail", ["ok"], replicas=1)
        namespace.wait_ready("mail")
    is_condition(namespace, "Progressing", "False", "RolledOut")
    shown = namespace.kubectl("get", "wp", "mail").stdout.split("\n")
    assert shown[0].split() == ["NAME", "STATUS", "PODS", "WAITING", "RUNNING", "DELAYED", "BURIED", "AGE"]
    assert shown[1].split()[:3] == ["mail", "Running", "1/1"]


def test_paused_deployment_says_so(namespace, eventually):
    namespace.make_pool("mail", ["ok"], replicas=1)
    namespace.wait_ready("mail")
    namespace.kubectl("rollout", "pause", "deployment/mail")
    namespace.make_pool("mail", ["ok"], replicas=1, maxJobs=7)
    found = eventually(lambda: is_condition(namespace, "Ready", "False", "Paused"), "the condition says so")
    assert "kubectl rollout resume deployment mail" in found["message"]
    namespace.kubectl("rollout", "resume", "deployment/mail")
    namespace.wait_ready("mail")


@pytest.mark.home_node("the test's beanstalkd has an address that a Service may point to")
def test_server_that_only_the_operator_resolves_is_said(namespace, kubectl, queue, eventually):
    name = f"only-{namespace.name}"
    with service_in(kubectl, OPERATOR_NAMESPACE, name, queue.server):
        namespace.make_pool("mail", ["ok"], replicas=1, server=name)
        eventually(lambda: is_condition(namespace, "ServerReachable", "True", "Reachable"), "the operator reaches it")
        found = eventually(lambda: is_condition(namespace, "Ready", "False", "NotConnected"), "the workers do not", 90)
    assert f"beanstalkd at {name}" in found["message"]


@pytest.mark.home_node("the test's beanstalkd has an address that a Service may point to")
def test_pool_is_ready_if_only_its_workers_reach_beanstalkd(namespace, kubectl, queue, eventually):
    name = f"only-{namespace.name}"
    with service_in(kubectl, namespace.name, name, queue.server):
        namespace.make_pool("mail", ["ok"], replicas=1, server=name)
        namespace.wait_ready("mail")
        eventually(lambda: is_condition(namespace, "ServerReachable", "False", "Unreachable"), "the operator does not")
        is_condition(namespace, "Ready", "True", "Running")


def test_counts_of_another_server_are_shown_no_longer(namespace, queue, eventually):
    queue.bury("ok", 2)
    namespace.make_pool("mail", ["ok"], replicas=0)
    eventually(lambda: namespace.status("mail")["buried"] == 2, "the jobs are counted")
    namespace.make_pool("mail", ["ok"], replicas=0, server="beanstalkd.nowhere:11300")
    found = eventually(lambda: is_condition(namespace, "ServerReachable", "False", "Unreachable"), "it is away")
    assert "last known" not in found["message"]
    status = namespace.status("mail")
    assert status["server"] == "beanstalkd.nowhere:11300"
    assert {"buried", "tubes"} & status.keys() == set()
