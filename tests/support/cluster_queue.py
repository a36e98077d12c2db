"""A beanstalkd that the pods of a cluster and the test both reach: a process of this machine, or a pod."""

import subprocess
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

import greenstalk

from tests.support.beanstalkd import NOTHING, Client
from tests.support.kubernetes import Kubectl, Object, eventually
from tests.support.network import free_port

_PORT = 11300


class Queue(ABC):
    """A beanstalkd of one test. `server` is its address, `host:port`, as a pool has to name it."""

    server: str

    @abstractmethod
    def start(self) -> None:
        """Start the server, empty, at the address that it had before."""

    @abstractmethod
    def stop(self) -> None:
        """End the server; all its jobs are gone, as it has no binlog."""

    @abstractmethod
    def close(self) -> None:
        """End the server for good."""

    @abstractmethod
    def client(self) -> Client:
        """Return a connection of its own; raises ConnectionError if the server does not run."""

    def put(self, tube: str, count: int = 1, delay: int = 0) -> None:
        """Put jobs into a tube; `delay` in seconds."""
        with closing(self.client()) as client:
            for number in range(count):
                client.put_in(tube, b'{"number": %d}' % number, delay=delay)

    def bury(self, tube: str, count: int) -> None:
        """Put jobs into a tube of which none is ready, and bury them."""
        with closing(self.client()) as client:
            client.watch(tube)
            for _ in range(count):
                client.put_in(tube)
                client.bury(client.reserve(timeout=1))

    def count(self, tube: str) -> tuple[int, int, int, int]:
        """Return the ready, reserved, delayed and buried jobs of a tube."""
        with closing(self.client()) as client, suppress(greenstalk.NotFoundError):
            stats: Mapping[str, Any] = client.stats_tube(tube)
            ready, reserved, delayed, buried = (stats[f"current-jobs-{state}"] for state in NOTHING)
            return ready, reserved, delayed, buried
        return 0, 0, 0, 0


class ProcessQueue(Queue):
    """A process on an address of this machine that pods reach too, as those of the home-built node do."""

    def __init__(self, host: str, prefix: Sequence[str] = ()) -> None:
        """Start it; `prefix` is a command that runs beanstalkd's."""
        self._prefix = prefix
        self._address = (host, free_port(host))
        self.server = f"{host}:{self._address[1]}"
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        host, port = self._address
        self._process = subprocess.Popen([*self._prefix, "beanstalkd", "-l", host, "-p", str(port)])
        eventually(lambda: _answers(self._address), "beanstalkd answers", 10)

    def stop(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Kill the process."""
        self.stop()

    def client(self) -> Client:
        """Connect to the process."""
        return Client(self._address, encoding=None)


class PodQueue(Queue):
    """A pod and its Service, in a namespace of their own; the test reaches them through `kubectl port-forward`."""

    def __init__(self, kubectl: Kubectl, image: str) -> None:
        self._kubectl = kubectl
        self._image = image
        self._namespace = f"queue-{uuid.uuid4().hex[:8]}"
        self._forward: subprocess.Popen[bytes] | None = None
        self._address = ("127.0.0.1", free_port())
        self.server = f"beanstalkd.{self._namespace}.svc:{_PORT}"
        kubectl("create", "namespace", self._namespace)
        self._apply(_service())
        self.start()

    def start(self) -> None:
        """Create the pod. The first `client` waits until it is ready, so that a test which needs none does not wait."""
        self._apply(_pod(self._image))

    def stop(self) -> None:
        """Delete the pod and wait until it is gone."""
        self._stop_forward()
        self._kubectl("--namespace", self._namespace, "delete", "pod", "beanstalkd", "--now")

    def close(self) -> None:
        """Delete the namespace, without waiting until it is gone."""
        self._stop_forward()
        self._kubectl("delete", "namespace", self._namespace, "--wait=false")

    def client(self) -> Client:
        """Connect to the local port that is forwarded to the pod."""
        if not self._forward:
            self._start_forward()
        return Client(self._address, encoding=None)

    def _start_forward(self) -> None:
        wait = ("wait", "pod/beanstalkd", "--for=condition=Ready", "--timeout=110s")
        self._kubectl("--namespace", self._namespace, *wait)
        ports = f"{self._address[1]}:{_PORT}"
        command = ["kubectl", "--namespace", self._namespace, "port-forward", "pod/beanstalkd", ports]
        self._forward = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        eventually(lambda: _answers(self._address), "beanstalkd answers through kubectl port-forward", 20)

    def _stop_forward(self) -> None:
        if self._forward:
            self._forward.kill()
            self._forward.wait()
            self._forward = None

    def _apply(self, thing: Object) -> None:
        self._kubectl("--namespace", self._namespace, "apply", "-f", "-", stdin=thing)


def _answers(address: tuple[str, int]) -> bool:
    with closing(Client(address, encoding=None)) as client:
        return bool(client.stats())


def _service() -> Object:
    spec = {"selector": {"app": "beanstalkd"}, "ports": [{"port": _PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "beanstalkd"}, "spec": spec}


def _pod(image: str) -> Object:
    container = {
        "name": "beanstalkd",
        "image": image,
        "ports": [{"containerPort": _PORT}],
        "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    user = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": user, "automountServiceAccountToken": False}
    metadata = {"name": "beanstalkd", "labels": {"app": "beanstalkd"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
