"""What the cluster tests do with a Kubernetes: run kubectl, keep a namespace, stop and start the operator."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

from tests.support.waiting import wait_for

Object = dict[str, Any]
OPERATOR_NAMESPACE = "tubeherd-test"
"""Where the operator under test runs."""
POOLS = "workerpools.tubeherd.io"
"""The kind of pools, with its group: another group of the cluster may have a kind of the same name."""

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


def eventually(check: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Poll until `check` returns something true and return that.

    What is not there yet may also raise: AssertionError, LookupError, TypeError or ConnectionError. Raises TimeoutError
    with the last answer.
    """
    last: object = None

    def answer() -> Any:
        nonlocal last
        try:
            last = check()
        except (AssertionError, LookupError, TypeError, ConnectionError) as error:
            last = repr(error)
            return None
        return last

    return wait_for(answer, lambda: f"{what} (last: {last})", seconds, pause=0.1)


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
        """Return an object, or None if there is none."""
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
        found = self.get(POOLS, pool)
        assert found is not None, f"there is no pool {pool}"
        status: Object = found.get("status", {})
        return status

    def condition(self, pool: str, type_: str) -> Object:
        """Return a condition of a pool; KeyError if it is not there."""
        conditions = {condition["type"]: condition for condition in self.status(pool).get("conditions", [])}
        found: Object = conditions[type_]
        return found

    def wait_ready(self, pool: str, seconds: float = 60.0) -> None:
        """Wait until a pool's condition Ready holds for its present generation."""

        def ready() -> bool:
            found = self.get(POOLS, pool)
            assert found is not None
            condition = self.condition(pool, "Ready")
            assert condition["observedGeneration"] == found["metadata"]["generation"], condition
            return bool(condition["status"] == "True") or self._not(condition)

        eventually(ready, f"pool {pool} is ready", seconds)

    def events(self, reason: str) -> list[str]:
        """Return the notes of the events with this reason."""
        return [item["message"] for item in self.event_objects(reason)]

    def event_objects(self, reason: str, pool: str | None = None) -> list[Object]:
        """Return the events with this reason, of one pool or of all."""
        items = json.loads(self.kubectl("get", "events", "-o", "json").stdout)["items"]
        return [item for item in items if item["reason"] == reason and pool in (None, item["involvedObject"]["name"])]

    @staticmethod
    def _not(condition: Object) -> bool:
        raise AssertionError(condition)


class Operator:
    """The operator's Deployment, as the chart installed it."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self._kubectl = kubectl
        self._name = name

    def stop(self) -> None:
        """Stop the operator and wait until its pod is gone."""
        self._scale(0)
        eventually(lambda: not self.pods(), "the operator's pod is gone", 180)

    def start(self, wait: bool = True, replicas: int = 1) -> None:
        """Start the operator and, unless told otherwise, wait until it is ready."""
        self._scale(replicas)
        if wait:
            self._wait_ready()

    def replace(self, pod: str) -> None:
        """Delete a pod, whose process may be gone or cut off, and wait until as many pods as before are ready."""
        before = len(self.pods())
        self._kubectl("--namespace", OPERATOR_NAMESPACE, "delete", "pod", pod, "--force", "--grace-period=0")
        eventually(lambda: len(self.pods()) == before, "the pod has a successor")
        self._kubectl("--namespace", OPERATOR_NAMESPACE, "wait", "--for=condition=Ready", "--timeout=90s", *self.pods())

    def lease(self) -> Object:
        """Return the spec of the Lease, whose `holderIdentity` begins with the name of the pod that leads."""
        found = self._kubectl("--namespace", OPERATOR_NAMESPACE, "get", "lease", self._name, "-o=jsonpath={.spec}")
        spec: Object = json.loads(found.stdout)
        return spec

    def pods(self) -> list[str]:
        """Return the names of the operator's pods."""
        selector = "app.kubernetes.io/component=operator"
        found = self._kubectl("--namespace", OPERATOR_NAMESPACE, "get", "pods", "-l", selector, "-o", "name")
        return str(found.stdout).split()

    def is_ready(self) -> bool:
        """Return whether the operator's Deployment has a pod that is ready."""
        path = "-o=jsonpath={.status.readyReplicas}"
        found = self._kubectl("--namespace", OPERATOR_NAMESPACE, "get", "deployment", self._name, path)
        return bool(found.stdout == "1")

    def restarts(self) -> int:
        """Return how often the containers of the operator's pods were restarted."""
        path = "-o=jsonpath={.items[*].status.containerStatuses[*].restartCount}"
        selector = "app.kubernetes.io/component=operator"
        found = self._kubectl("--namespace", OPERATOR_NAMESPACE, "get", "pods", "-l", selector, path)
        return sum(int(count) for count in found.stdout.split())

    def log(self) -> str:
        """Return what the operator's pods have logged."""
        selector = "app.kubernetes.io/component=operator"
        found = self._kubectl("--namespace", OPERATOR_NAMESPACE, "logs", "-l", selector, "--tail=-1", check=False)
        return str(found.stdout)

    def _wait_ready(self) -> None:
        rollout = ("rollout", "status", f"deployment/{self._name}", "--timeout=60s")
        self._kubectl("--namespace", OPERATOR_NAMESPACE, *rollout)

    def _scale(self, replicas: int) -> None:
        self._kubectl("--namespace", OPERATOR_NAMESPACE, "scale", f"deployment/{self._name}", f"--replicas={replicas}")
