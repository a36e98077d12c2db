"""A real API server and kubelet, the real images and chart; a namespace and a beanstalkd for each test."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tubeherd.queue.answers import QueueUnavailable
from tubeherd.queue.connection import Connection, connect

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "tests" / "cluster" / "node" / "node.py"
OPERATOR_NAMESPACE = "tubeherd-test"
RELEASE = "tubeherd"
WORKER_IMAGE = "localhost/tubeherd-worker:dev"
OPERATOR_IMAGE = "localhost/tubeherd-operator:dev"

Object = dict[str, Any]

EXECUTORS = """
import time
from pathlib import Path
from tubeherd import executor

@executor("ok")
def ok(payload):
    return payload

@executor("other")
def other(payload):
    return payload

@executor("fail")
def fail(payload):
    raise RuntimeError("no such customer")

@executor("hog")
def hog(payload):
    hold = []
    while True:
        hold.append(bytearray(b"x" * 4_000_000))
        time.sleep(0.01)
"""


def _eventually(check: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Poll until `check` returns something true and return it; fail with its last failure after the limit."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if result := check():
                return result
            last = result
        except (AssertionError, LookupError, TypeError, QueueUnavailable) as error:
            last = repr(error)
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what} (last: {last})")


class Kubectl:
    """Runs kubectl against the test's cluster."""

    def __call__(self, *arguments: str, stdin: Object | None = None, check: bool = True) -> Any:
        """Run a command; an object given goes to its standard input as JSON."""
        done = subprocess.run(
            ["kubectl", *arguments],
            input=json.dumps(stdin) if stdin else None,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done


class Namespace:
    """A namespace of one test, under the `restricted` Pod Security level."""

    def __init__(self, kubectl: Kubectl, name: str, server: str) -> None:
        self.name = name
        self.server = server
        self._kubectl = kubectl

    def kubectl(self, *arguments: str, **options: Any) -> Any:
        """Run kubectl in this namespace."""
        return self._kubectl("--namespace", self.name, *arguments, **options)

    def apply(self, thing: Object) -> None:
        """Create or change an object."""
        self.kubectl("apply", "-f", "-", stdin=thing)

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object, or None where there is none."""
        found = self.kubectl("get", kind, name, "--ignore-not-found", "-o", "json").stdout
        return json.loads(found) if found else None

    def find(self, kind: str, selector: str = "") -> list[Object]:
        """Return the objects of a kind."""
        items: list[Object] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json").stdout)["items"]
        return items

    def pool_object(self, name: str, spec: Object) -> Object:
        """Return a WorkerPool with exactly this spec."""
        metadata = {"name": name, "namespace": self.name}
        return {"apiVersion": "tubeherd.io/v1alpha1", "kind": "WorkerPool", "metadata": metadata, "spec": spec}

    def refusal(self, thing: Object) -> str:
        """Return what the API server says about an object that it must refuse."""
        done = self.kubectl("apply", "--dry-run=server", "-f", "-", stdin=thing, check=False)
        assert done.returncode != 0, "the API server took it"
        return str(done.stderr)

    def dry_run(self, thing: Object) -> Object:
        """Return an object as the API server would store it."""
        stored: Object = json.loads(
            self.kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=thing).stdout
        )
        return stored

    def executors(self, code: str = EXECUTORS) -> None:
        """Create or change the ConfigMap that the pools of the tests take their executors from."""
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "executors", "namespace": self.name},
                "data": {"jobs.py": code},
            }
        )

    def make_pool(self, name: str, tubes: list[str], **spec: Any) -> None:
        """Create or change a pool of the test executors on the test's beanstalkd."""
        rest = {"server": self.server, "executors": {"configMap": "executors"}, **spec}
        self.apply(self.pool_object(name, {"tubes": tubes, **rest}))

    def status(self, pool: str) -> Object:
        """Return a pool's status."""
        found = self.get("workerpool", pool)
        assert found is not None, f"there is no pool {pool}"
        status: Object = found.get("status", {})
        return status

    def condition(self, pool: str, type_: str) -> Object:
        """Return a condition of a pool; KeyError where it is not there."""
        conditions = {condition["type"]: condition for condition in self.status(pool).get("conditions", [])}
        found: Object = conditions[type_]
        return found

    def wait_ready(self, pool: str, seconds: float = 60.0) -> None:
        """Wait until a pool's condition Ready holds for its present generation."""

        def ready() -> bool:
            found = self.get("workerpool", pool)
            assert found is not None
            condition = self.condition(pool, "Ready")
            assert condition["observedGeneration"] == found["metadata"]["generation"], condition
            return bool(condition["status"] == "True") or self._not(condition)

        _eventually(ready, f"pool {pool} is ready", seconds)

    def events(self, reason: str) -> list[str]:
        """Return the notes of the events with this reason."""
        items = json.loads(self.kubectl("get", "events", "-o", "json").stdout)["items"]
        return [item["message"] for item in items if item["reason"] == reason]

    @staticmethod
    def _not(condition: Object) -> bool:
        raise AssertionError(condition)


class Queue:
    """A beanstalkd on the node's own address, which pods reach too."""

    def __init__(self, address: str) -> None:
        with socket.create_server((address, 0)) as free:
            self._port: int = free.getsockname()[1]
        self._address = address
        self.server = f"{address}:{self._port}"
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._process = subprocess.Popen(["beanstalkd", "-l", self._address, "-p", str(self._port)])
        _eventually(self._answers, "beanstalkd answers", 10)

    def stop(self) -> None:
        """End the server; all its jobs are gone, as it has no binlog."""
        self._process.kill()
        self._process.wait()

    def put(self, tube: str, count: int = 1, delay: int = 0) -> None:
        """Put jobs into a tube."""
        with closing(self.client()) as client:
            for number in range(count):
                client.put_in(tube, b'{"number": %d}' % number, priority=1024, delay=delay, ttr=60)

    def bury(self, tube: str, count: int) -> None:
        """Put jobs into a tube that nobody watches and bury them, as failed jobs would be."""
        with closing(self.client()) as client:
            client.watch_only([tube])
            for _ in range(count):
                client.put_in(tube, b"{}", priority=1024, delay=0, ttr=60)
                client.bury(client.reserve(timeout=1))

    def count(self, tube: str) -> tuple[int, int, int, int]:
        """Return the ready, reserved, delayed and buried jobs of a tube."""
        with closing(self.client()) as client:
            stats = client.stats_tubes([tube])[tube]
        return stats.ready, stats.reserved, stats.delayed, stats.buried

    def client(self) -> Connection:
        """Return a connection of its own."""
        return connect(self.server)

    def _answers(self) -> bool:
        self.client().close()
        return True


class Operator:
    """The operator's Deployment, as the chart installed it."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self._kubectl = kubectl
        self._name = name

    def stop(self) -> None:
        """Stop the operator and wait until its pod is gone."""
        self._scale(0)
        _eventually(lambda: not self.pods(), "the operator's pod is gone")

    def start(self) -> None:
        """Start the operator and wait until it is ready."""
        self._scale(1)
        self._kubectl(
            "--namespace", OPERATOR_NAMESPACE, "rollout", "status", f"deployment/{self._name}", "--timeout=60s"
        )

    def pods(self) -> list[str]:
        """Return the names of the operator's pods."""
        selector = "app.kubernetes.io/component=operator"
        found = self._kubectl("--namespace", OPERATOR_NAMESPACE, "get", "pods", "-l", selector, "-o", "name")
        return str(found.stdout).split()

    def _scale(self, replicas: int) -> None:
        self._kubectl("--namespace", OPERATOR_NAMESPACE, "scale", f"deployment/{self._name}", f"--replicas={replicas}")


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Poll until a check returns something true: `eventually(check, what, seconds)`."""
    return _eventually


@pytest.fixture(scope="session")
def node() -> None:
    """The single-node cluster, with KUBECONFIG and PATH set for it."""
    subprocess.run([sys.executable, NODE, "up"], check=True)
    lines = subprocess.run([sys.executable, NODE, "env"], check=True, capture_output=True, text=True).stdout
    for line in lines.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        os.environ[name] = os.path.expandvars(value.strip('"'))


@pytest.fixture(scope="session")
def kubectl(node: None) -> Kubectl:
    """Kubectl on the node's cluster."""
    assert shutil.which("kubectl")
    return Kubectl()


@pytest.fixture(scope="session")
def operator(kubectl: Kubectl) -> Iterator[Operator]:
    """The operator of the chart, installed in a namespace of its own from the images of this work tree."""
    for tag, dockerfile in ((WORKER_IMAGE, "Dockerfile.worker"), (OPERATOR_IMAGE, "Dockerfile.operator")):
        subprocess.run([sys.executable, NODE, "image", tag, ROOT / dockerfile, ROOT], check=True)
    _refuse_a_second_operator(kubectl)
    values = {
        "operator.image": OPERATOR_IMAGE,
        "worker.image": WORKER_IMAGE,
        "beanstalkd.enabled": "false",
        "server": "beanstalkd.nowhere:11300",
    }
    settings = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    chart = ROOT / "charts" / "tubeherd"
    command = ["helm", "upgrade", "--install", RELEASE, chart, "--namespace", OPERATOR_NAMESPACE, *settings]
    # The CRD outlives the release that brought it, such as the demo's.
    subprocess.run([*command, "--create-namespace", "--take-ownership", "--wait", "--timeout", "120s"], check=True)
    # A rebuilt image has the same tag: the pod must be a new one.
    kubectl("--namespace", OPERATOR_NAMESPACE, "rollout", "restart", f"deployment/{RELEASE}-operator")
    running = Operator(kubectl, f"{RELEASE}-operator")
    running.start()
    yield running
    subprocess.run(["helm", "uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait"], check=True)


@pytest.fixture
def queue(kubectl: Kubectl) -> Iterator[Queue]:
    """A beanstalkd of the test's own."""
    path = '{.items[0].status.addresses[?(@.type=="InternalIP")].address}'
    server = Queue(kubectl("get", "nodes", "-o", f"jsonpath={path}").stdout)
    yield server
    server.stop()


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
    """Fail where an operator of another release runs: two of them would both act on every pool."""
    found = json.loads(
        kubectl("get", "deployments", "-A", "-l", "app.kubernetes.io/component=operator", "-o", "json").stdout
    )
    names = {item["metadata"]["namespace"] for item in found["items"]} - {OPERATOR_NAMESPACE}
    assert not names, f"an operator runs already in {', '.join(names)}: remove it first, the demo's by `make demo-down`"


def _namespace(name: str, labels: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
