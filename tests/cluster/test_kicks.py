"""Kicks while something fails: a beanstalkd that hangs, a lost answer, a policy that says no, a second operator."""

import os
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.network import free_port
from tests.support.proxies import Interceptor, Proxy

pytestmark = pytest.mark.home_node("its pods must reach a proxy of the test")
POLICY = "keep-annotation"
DEEDS = {"kick", "discard"}


@pytest.fixture
def host(queue):
    """The address of this machine that pods reach."""
    return queue.server.partition(":")[0]


@pytest.fixture
def pool(namespace, eventually):
    """Make a pool without pods, and wait until its tubes are counted."""

    def make(name, server, *tubes):
        namespace.make_pool(name, list(tubes), replicas=0, server=server)
        eventually(lambda: "buried" in namespace.status(name), "the tubes are counted", 20)

    return make


@pytest.fixture
def kick(namespace, eventually):
    """Set the annotation of a pool, wait until it is gone, and return how long that took, in seconds."""

    def annotate(pool, value):
        since = time.monotonic()
        namespace.kubectl("annotate", "workerpool", pool, f"kick={value}")
        eventually(lambda: not annotation(namespace, pool), "the annotation is gone")
        return time.monotonic() - since

    return annotate


def annotation(namespace, pool, deed="kick"):
    return namespace.get("workerpool", pool)["metadata"].get("annotations", {}).get(deed)


@pytest.fixture
def freezing(queue, host) -> Iterator[Proxy]:
    proxy = Proxy(int(queue.server.rpartition(":")[2]), host)
    yield proxy
    proxy.close()


@pytest.fixture
def losing(queue, host) -> Iterator[Interceptor]:
    proxy = Interceptor(int(queue.server.rpartition(":")[2]), host)
    yield proxy
    proxy.close()


def test_frozen_beanstalkd_holds_up_no_kick_of_another(namespace, queue, pool, kick, freezing, eventually):
    frozen = [f"frozen-{number}" for number in range(6)]
    for name in frozen:
        pool(name, freezing.server, "other")
    pool("mail", queue.server, "ok")
    queue.bury("other", 30)
    queue.bury("ok", 6)
    before = [kick("mail", "1") for _ in range(3)]
    freezing.silent |= {*range(1, 1000)}
    for name in frozen:
        namespace.kubectl("annotate", "workerpool", name, "kick=4")
    while_frozen = [kick("mail", "1") for _ in range(3)]
    assert sorted(while_frozen)[1] < 5 * max(before), (before, while_frozen)
    assert queue.count("ok") == (6, 0, 0, 0)
    waits = "waits: "
    for name in frozen:
        eventually(lambda name=name: waits in namespace.condition(name, "KickAccepted")["message"], "it says so", 60)
        assert annotation(namespace, name) == "4"
    assert queue.count("other") == (0, 0, 0, 30)


def test_kick_whose_answer_is_lost_is_not_sent_again_and_says_so(namespace, queue, pool, kick, losing):
    pool("mail", losing.server, "ok")
    queue.bury("ok", 9)
    losing.loses_answer_to = "kick"
    kick("mail", "4")
    assert queue.count("ok") == (4, 0, 0, 5)
    last = namespace.status("mail")["lastKick"]
    assert (last["kicked"], last["unsure"]) == (4, 4)
    said = "at most 4 buried jobs put back (ok at most 4), the last answer was lost"
    assert said in namespace.condition("mail", "KickAccepted")["message"]
    (event,) = namespace.events("Kicked")
    assert said in event


@pytest.fixture(params=sorted(DEEDS))
def deed(request):
    """The annotation of a test that is about both."""
    return request.param


@pytest.fixture
def keeping_policy(kubectl, namespace, eventually, deed):
    """A policy by which nobody may remove the annotation in the namespace of the test."""

    def has(thing):
        return f"(has({thing}.metadata.annotations) && '{deed}' in {thing}.metadata.annotations)"

    rule = {"apiGroups": ["tubeherd.io"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["workerpools"]}
    name = f"{POLICY}-{namespace.name}"
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
        "validations": [{"expression": f"!{has('oldObject')} || {has('object')}", "message": "it is kept for audit"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    api = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    kubectl("create", "-f", "-", stdin={**api, "kind": "ValidatingAdmissionPolicy", "spec": policy})
    kubectl("create", "-f", "-", stdin={**api, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding})

    def remove():
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            kubectl("delete", kind, name, "--ignore-not-found")

    yield remove
    remove()


def test_annotation_whose_removal_is_refused_acts_once_over_a_restart_and_a_condition_says_so(
    namespace, queue, operator, pool, deed, keeping_policy, eventually
):
    done, ready = {"kick": ("put back", 4), "discard": ("deleted", 0)}[deed]
    namespace.make_pool("waits", ["ok"], replicas=0, server="127.0.0.1:1")
    namespace.kubectl("annotate", "workerpool", "waits", f"{deed}=1")
    eventually(lambda: not can_remove(namespace, "waits", deed, "--dry-run=server"), "the policy has effect")
    pool("mail", queue.server, "ok")
    queue.bury("ok", 9)
    namespace.kubectl("annotate", "workerpool", "mail", f"{deed}=4")
    eventually(lambda: stays(namespace, "mail", deed), "a condition says so", 60)
    assert queue.count("ok") == (ready, 0, 0, 5)
    operator.stop()
    operator.start()
    namespace.make_pool("mail", ["ok"], replicas=0, jobTimeout="7m")
    generation = namespace.get("workerpool", "mail")["metadata"]["generation"]
    eventually(lambda: namespace.status("mail")["observedGeneration"] == generation, "the operator has looked", 60)
    assert "it is kept for audit" in stays(namespace, "mail", deed)
    assert f"4 buried jobs {done}" in stays(namespace, "mail", deed)
    assert queue.count("ok") == (ready, 0, 0, 5)
    keeping_policy()
    eventually(lambda: can_remove(namespace, "mail", deed), "the annotation can be removed")
    eventually(lambda: "request" not in namespace.status("mail"), "the request is over")
    assert namespace.condition("mail", f"{deed.title()}Accepted")["reason"] == f"{deed.title()}ed"
    assert queue.count("ok") == (ready, 0, 0, 5)
    (event,) = namespace.events(f"{deed.title()}ed")
    assert f"{deed}=4: 4 buried jobs {done}" in event


def test_jobs_are_kicked_by_error_and_by_id(namespace, queue, kick, eventually):
    namespace.make_pool("mail", ["fail"], replicas=1, retry={"delays": []})
    namespace.wait_ready("mail")
    queue.put("fail", 2)
    eventually(lambda: queue.count("fail") == (0, 0, 0, 2), "the jobs are buried")
    namespace.make_pool("mail", ["fail"], replicas=0, retry={"delays": []})
    eventually(lambda: not namespace.find("pods", "tubeherd.io/pool=mail"), "nobody takes the jobs")
    kick("mail", "error/KeyError")
    assert "known errors: RuntimeError" in namespace.condition("mail", "KickAccepted")["message"]
    kick("mail", "job/1")
    assert queue.count("fail") == (1, 0, 0, 1)
    kick("mail", "fail:error/RuntimeError")
    assert namespace.status("mail")["lastKick"]["kicked"] == 1
    assert queue.count("fail") == (2, 0, 0, 0)


@pytest.fixture
def second_operator(namespace, image, eventually):
    """An operator beside the installed one that takes part in no election, so that both act on the test's pools."""
    health = f"127.0.0.1:{free_port()}"
    settings = {
        "DEFAULT_IMAGE": image("worker"),
        "DEFAULT_SERVER": "beanstalkd.nowhere:11300",
        "WATCH_NAMESPACES": namespace.name,
        "HEALTH": health,
    }
    environment = {f"TUBEHERD_OPERATOR_{name}": value for name, value in settings.items()}
    command = f"{sysconfig.get_path('scripts')}/tubeherd-operator"
    process = subprocess.Popen([command], env=os.environ | environment)
    eventually(lambda: is_ready(health), "it is ready")
    yield process
    assert process.poll() is None, "it has run all the time"
    process.terminate()
    process.wait()


def test_two_operators_that_both_act_put_back_and_delete_no_more_than_asked(
    namespace, queue, pool, second_operator, eventually
):
    for number in range(4):
        name, tube = f"mail-{number}", f"ok-{number}"
        pool(name, queue.server, tube)
        queue.bury(tube, 30)
        namespace.kubectl("annotate", "workerpool", name, "kick=10", "discard=5")
        eventually(lambda name=name: is_over(namespace, name), "both are done")
        ready, _, _, buried = queue.count(tube)
        status = namespace.status(name)
        deleted = 30 - ready - buried
        assert ready <= status["lastKick"]["kicked"] <= 10
        assert deleted <= status["lastDiscard"]["deleted"] <= 5


def is_ready(health):
    """Return whether an operator is ready that answers probes at this address."""
    try:
        return urllib.request.urlopen(f"http://{health}/readyz").status == 200
    except OSError:  # it does not listen yet, or says that it is not ready
        return False


def is_over(namespace, pool):
    """Return whether neither annotation is there, and nothing of them is under way."""
    found = namespace.get("workerpool", pool)
    return not found["metadata"].get("annotations", {}).keys() & DEEDS and "request" not in found["status"]


def stays(namespace, pool, deed="kick"):
    """Return what the condition says if the annotation of a request that is over stays."""
    condition = namespace.condition(pool, f"{deed.title()}Accepted")
    return condition["message"] if condition["reason"] == "AnnotationStays" else None


def can_remove(namespace, pool, deed, *options):
    return namespace.kubectl("annotate", "workerpool", pool, f"{deed}-", *options, check=False).returncode == 0
