"""A real API server and kubelet, the real images and chart; a namespace and a beanstalkd for each test.

The cluster is the node that `node/node.py` builds, or with KUBE=current the one of kubectl's current context, which
must be able to pull the images tagged `dev`: IMAGE_PREFIX=registry.example.com/team/ names where they were pushed.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.chart import Release, image_values
from tests.support.cluster_queue import PodQueue, ProcessQueue, Queue
from tests.support.home_node import boot, build
from tests.support.kubernetes import OPERATOR_NAMESPACE, Kubectl, Namespace, Object, Operator, eventually

RELEASE = "tubeherd"
KUBE = os.environ.get("KUBE", "")
HOME_NODE = KUBE != "current"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark of tests that only the home-built node can run."""
    if KUBE not in ("", "current"):
        raise pytest.UsageError(f"KUBE={KUBE}: leave it out for the home-built node, or set it to `current`")
    config.addinivalue_line("markers", "home_node(why): needs the home-built node; skipped with KUBE=current")


def pytest_report_header() -> str:
    """Say against which cluster the tests run."""
    if HOME_NODE:
        return "cluster: the home-built node"
    if shutil.which("kubectl") is None:
        return "cluster: none, kubectl must be installed"
    named = subprocess.run(["kubectl", "config", "current-context"], capture_output=True, text=True)
    return f"cluster: kubectl's current context, {named.stdout.strip() or named.stderr.strip()}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what a cluster of one's own cannot run."""
    if HOME_NODE:
        return
    for item in items:
        for mark in item.iter_markers("home_node"):
            item.add_marker(pytest.mark.skip(reason=f"needs the home-built node (no KUBE=current): {mark.args[0]}"))


@pytest.fixture(name="eventually", scope="session")
def poll() -> Callable[..., Any]:
    """Poll until a check returns something true: `eventually(check, what, seconds)`."""
    return eventually


@pytest.fixture(scope="session")
def cluster() -> None:
    """The cluster: the home-built node, with KUBECONFIG and PATH set for it, unless KUBE=current."""
    if HOME_NODE:
        boot()
    missing = [program for program in ("kubectl", "helm") if shutil.which(program) is None]
    assert not missing, f"{' and '.join(missing)} must be installed"


@pytest.fixture(scope="session")
def kubectl(cluster: None) -> Kubectl:
    """Kubectl on the cluster."""
    return Kubectl()


@pytest.fixture(scope="session")
def image(cluster: None) -> Callable[[str], str]:
    """Return the name of an image that the cluster has, here first built from this work tree for the home-built node.

    `image("worker")` is that of Dockerfile.worker.
    """

    def name(part: str) -> str:
        return build(part) if HOME_NODE else f"{os.environ.get('IMAGE_PREFIX', '')}tubeherd-{part}:dev"

    return name


@pytest.fixture(scope="session")
def release(kubectl: Kubectl, image: Callable[[str], str]) -> Iterator[Release]:
    """The chart, installed in a namespace of its own."""
    _refuse_a_second_operator(kubectl)
    images = {**image_values("operator", image("operator")), **image_values("worker", image("worker"))}
    images["operator"]["replicas"] = 1  # most tests stop and start the one that acts
    installed = Release(RELEASE, OPERATOR_NAMESPACE, {**images, "server": "beanstalkd.nowhere:11300"})
    installed.install()
    # A rebuilt image has the same tag: the pod must be a new one.
    kubectl("--namespace", OPERATOR_NAMESPACE, "rollout", "restart", f"deployment/{RELEASE}-operator")
    yield installed
    installed.helm("uninstall", "--wait")


@pytest.fixture(scope="session")
def operator(kubectl: Kubectl, release: Release) -> Operator:
    """The operator that the chart has installed."""
    running = Operator(kubectl, f"{RELEASE}-operator")
    running.start()
    return running


@pytest.fixture
def queue(kubectl: Kubectl, image: Callable[[str], str]) -> Iterator[Queue]:
    """A beanstalkd of the test's own: on the home-built node's address, or in a pod of one's own cluster."""
    server: Queue
    if HOME_NODE:
        path = '{.items[0].status.addresses[?(@.type=="InternalIP")].address}'
        server = ProcessQueue(kubectl("get", "nodes", "-o", f"jsonpath={path}").stdout)
    else:
        server = PodQueue(kubectl, image("beanstalkd"))
    yield server
    server.close()


@pytest.fixture
def namespace(kubectl: Kubectl, operator: Operator, queue: Queue) -> Iterator[Namespace]:
    """A fresh namespace with the test's executors, under the `restricted` Pod Security level."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl("create", "-f", "-", stdin=_namespace(name, labels))
    made = Namespace(kubectl, name, queue.server)
    made.executors()
    yield made
    kubectl("delete", "namespace", name, "--wait=false")


def _refuse_a_second_operator(kubectl: Kubectl) -> None:
    """Fail if an operator of another release runs: two of them would both act on every pool."""
    label = "app.kubernetes.io/name=tubeherd,app.kubernetes.io/component=operator"
    found = json.loads(kubectl("get", "deployments", "-A", "-l", label, "-o", "json").stdout)
    names = {item["metadata"]["namespace"] for item in found["items"]} - {OPERATOR_NAMESPACE}
    assert not names, f"an operator runs already in {', '.join(names)}: remove it first, the demo's by `make demo-down`"


def _namespace(name: str, labels: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
