"""Two operators of one release: one acts, and the other takes over when it is gone."""

import time
from functools import partial

import pytest

from tests.support.kubernetes import OPERATOR_NAMESPACE
from tests.support.operator_processes import cut_off, give_back, kill

pytestmark = pytest.mark.home_node("a process is killed, and a pod is cut off, from the node")


@pytest.fixture
def operators(operator, kubectl):
    """Two operators; afterwards one that is new, as both may be cut off or restarted."""
    operator.start(replicas=2)
    yield operator
    kubectl("--namespace", OPERATOR_NAMESPACE, "delete", *operator.pods(), "--wait=false")
    operator.start()


@pytest.mark.parametrize("lose", [kill, cut_off, give_back])
def test_another_operator_takes_over(lose, operators, kubectl, namespace, queue, eventually, record_property):
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
    if lose is give_back:
        logs = partial(kubectl, "--namespace", OPERATOR_NAMESPACE, "logs", "--previous", lost, check=False)
        eventually(lambda: "leads from now on" in logs().stdout, "the process has ended", 60)
        assert "cannot be watched" not in logs().stdout, "the watches of ConfigMaps end before the connections do"
