"""The operator on the home-built node, installed by the chart, with a namespace and a beanstalkd to measure with."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.support.chart import Release, image_values
from tests.support.cluster_queue import ProcessQueue
from tests.support.home_node import boot, build
from tests.support.kubernetes import OPERATOR_NAMESPACE, Kubectl, Namespace, Operator, eventually

_NAME = "tubeherd"
_NAMESPACE = "bench"


class Installation(NamedTuple):
    """What a measurement uses."""

    operator: Operator
    namespace: Namespace
    queue: ProcessQueue


@contextmanager
def installation(replicas: int) -> Iterator[Installation]:
    """Install that many operators from this work tree; all is taken away afterwards."""
    boot()
    kubectl = Kubectl()
    images = {**image_values("operator", build("operator")), **image_values("worker", build("worker"))}
    images["operator"]["replicas"] = replicas
    release = Release(_NAME, OPERATOR_NAMESPACE, {**images, "server": "beanstalkd.nowhere:11300"})
    release.install()
    queue = ProcessQueue(_address(kubectl))
    try:
        operator = Operator(kubectl, f"{_NAME}-operator")
        operator.start(replicas=replicas)
        kubectl("create", "namespace", _NAMESPACE)
        namespace = Namespace(kubectl, _NAMESPACE, queue.server)
        namespace.executors()
        namespace.make_pool("first", ["ok"], replicas=0)
        eventually(lambda: namespace.get("deployment", "first"), "the operator leads")
        yield Installation(operator, namespace, queue)
    finally:
        kubectl("delete", "namespace", _NAMESPACE, "--ignore-not-found")
        queue.close()
        release.helm("uninstall", "--wait")


def _address(kubectl: Kubectl) -> str:
    """Return the node's address, which pods reach too."""
    (node,) = json.loads(kubectl("get", "nodes", "-o", "json").stdout)["items"]
    found: str = next(each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP")
    return found
