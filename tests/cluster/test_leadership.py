"""Two operators of one release: one acts, and the other takes over when it is gone."""

import os
import signal
import subprocess
import time

import psutil
import pytest

from tests.support.kubernetes import OPERATOR_NAMESPACE

pytestmark = pytest.mark.home_node("a process is killed, and a pod is cut off, from the node")


@pytest.fixture
def operators(operator, kubectl):
    """Two operators; afterwards one that is new, as both may be cut off or restarted."""
    operator.start(replicas=2)
    yield operator
    kubectl("--namespace", OPERATOR_NAMESPACE, "delete", *operator.pods(), "--wait=false")
    operator.start()


def process_of(pod):
    """Return the operator's process in a pod, as the node sees it."""
    for process in psutil.process_iter(["cmdline"]):
        is_operator = any("tubeherd-operator" in word for word in process.info["cmdline"] or ())
        if is_operator and process.environ().get("HOSTNAME") == pod:
            return process
    raise LookupError(f"no process of pod {pod}")


def kill(pod):
    """End the operator's process by SIGKILL."""
    os.kill(process_of(pod).pid, signal.SIGKILL)


def cut_off(pod):
    """Let nothing out of the pod's own network any more."""
    enter = ["nsenter", "--net", "--target", str(process_of(pod).pid)]
    subprocess.run([*enter, "iptables", "-A", "OUTPUT", "-j", "DROP"], check=True)


def give_back(pod):
    """End the operator's process as Kubernetes does."""
    os.kill(process_of(pod).pid, signal.SIGTERM)


@pytest.mark.parametrize("lose", [kill, cut_off, give_back])
def test_another_operator_takes_over(lose, operators, namespace, queue, eventually, record_property):
    namespace.make_pool("mail", ["ok"], replicas=0)
    queue.bury("ok", 3)
    eventually(lambda: namespace.status("mail")["buried"] == 3, "the jobs are counted", 30)
    before = operators.lease()
    lost = before["holderIdentity"].partition("_")[0]
    assert lost in [pod.removeprefix("pod/") for pod in operators.pods()]
    lose(lost)
    began = time.monotonic()
    eventually(lambda: operators.lease()["holderIdentity"] not in ("", before["holderIdentity"]), "another leads", 60)
    seconds = time.monotonic() - began
    record_property("takeover_seconds", seconds)
    print(f"takeover after {lose.__name__}: {seconds:.1f} s")
    assert operators.lease()["leaseTransitions"] > before["leaseTransitions"]
    queue.bury("ok", 1)
    eventually(lambda: namespace.status("mail")["buried"] == 4, "the new leader counts", 30)
    namespace.kubectl("annotate", "workerpool", "mail", "kick=2")
    eventually(lambda: namespace.status("mail")["lastKick"]["kicked"] == 2, "the new leader kicks", 30)
    assert queue.count("ok")[3] == 2
