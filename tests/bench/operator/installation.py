"""The operator on the home-built node, installed by the chart, with a namespace and a beanstalkd to measure with."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psutil

from tests.bench.operator.api import ApiServer
from tests.bench.operator.progress import step
from tests.support.chart import Release, image_values
from tests.support.cluster_queue import ProcessQueue
from tests.support.home_node import boot, build
from tests.support.kubernetes import OPERATOR_NAMESPACE, Kubectl, Namespace, Operator, eventually
from tests.support.operator_processes import process_of

NAMESPACE: Final = "bench"
BARE_NAMESPACE: Final = "bench-without-operator"
"""Where a bare client does what the operator does."""
ENDS_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: it is killed if the bench is, even by SIGKILL."""
REPLICAS: Final = 2
"""How many operators run, as by the chart's default."""
_NAME: Final = "tubeherd"
_GONE_SECONDS: Final = 600.0


class Installation(NamedTuple):
    """What a measurement uses."""

    operator: Operator
    namespace: Namespace
    queue: ProcessQueue
    api: ApiServer

    def leader(self) -> str:
        """Return the pod that leads."""
        return str(eventually(self._leader, "an operator leads"))

    def processes(self) -> tuple[psutil.Process, psutil.Process]:
        """Return the process of the operator that leads, and that of the other."""
        leader = self.leader()
        (other,) = {pod.removeprefix("pod/") for pod in self.operator.pods()} - {leader}
        return process_of(leader), process_of(other)

    def holder(self) -> str:
        """Return who holds the Lease."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases/{_NAME}-operator"
        return str(self.api("GET", path)["spec"].get("holderIdentity") or "")

    def _leader(self) -> str | None:
        pod = self.holder().partition("_")[0]
        return pod if f"pod/{pod}" in self.operator.pods() else None


@contextmanager
def installation() -> Iterator[Installation]:
    """Install the operator from this work tree; all is taken away afterwards, as is what an earlier run has left."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    boot()
    kubectl = Kubectl()
    images: dict[str, Any] = {}
    for part in ("operator", "worker"):
        images |= image_values(part, build(part))
    images["operator"]["replicas"] = REPLICAS
    release = Release(_NAME, OPERATOR_NAMESPACE, {**images, "server": "beanstalkd.nowhere:11300"})
    _remove(kubectl, release)
    queue = ProcessQueue(_address(kubectl), ENDS_WITH_US)
    try:
        with step("installing the operator"):
            release.install()
        operator = Operator(kubectl, f"{_NAME}-operator")
        yield Installation(operator, Namespace(kubectl, NAMESPACE, queue.server), queue, ApiServer())
    finally:
        queue.close()
        _remove(kubectl, release)


@contextmanager
def fresh(installed: Installation) -> Iterator[Installation]:
    """Start the operators and beanstalkd anew, with an empty namespace; afterwards all that was made is removed."""
    kubectl = installed.namespace.kubectl
    with step("starting the operators"):
        installed.operator.stop()
        installed.queue.stop()
        installed.queue.start()
        for name in (NAMESPACE, BARE_NAMESPACE):
            kubectl("create", "namespace", name)
        installed.operator.start(replicas=REPLICAS)
        installed.namespace.executors()
        installed.namespace.make_pool("first", ["first"], replicas=0)
        eventually(lambda: installed.namespace.get("deployment", "first"), "the operator leads")
    try:
        yield installed
    finally:
        with step("removing the pools"):
            installed.operator.stop()
            _remove_namespaces(installed.namespace.kubectl)


def _remove(kubectl: Kubectl, release: Release) -> None:
    with step("removing what there is of the operator and of the bench"):
        release.helm("uninstall", "--ignore-not-found", "--wait")
        _remove_namespaces(kubectl)


def _remove_namespaces(kubectl: Any) -> None:
    names = (NAMESPACE, BARE_NAMESPACE)
    kubectl("delete", "namespace", *names, "--ignore-not-found", "--wait=false")
    gone = ("get", "namespace", *names, "--ignore-not-found", "-o", "name")
    eventually(lambda: not kubectl(*gone).stdout, "the namespaces are gone", _GONE_SECONDS)


def _address(kubectl: Kubectl) -> str:
    """Return the node's address, which pods reach too."""
    (node,) = json.loads(kubectl("get", "nodes", "-o", "json").stdout)["items"]
    found: str = next(each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP")
    return found
