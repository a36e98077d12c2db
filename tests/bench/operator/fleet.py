"""Many pools in one namespace, half of them with a ConfigMap of their own, none with pods."""

import time
from dataclasses import dataclass
from typing import Any, Final

from tests.bench.operator.api import APPLY, MERGE, ApiServer, parallel
from tests.bench.operator.installation import NAMESPACE, Installation
from tests.bench.operator.watching import Object
from tests.support.kubernetes import EXECUTORS
from tubeherd.pool import GROUP, PLURAL, VERSION

_SHARED: Final = 40
_TUBES: Final = 4
POOLS: Final = f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/{PLURAL}"
_DEPLOYMENTS: Final = "/apis/apps/v1/namespaces/{}/deployments"


@dataclass(frozen=True)
class Size:
    """How many pools there are, and whether each has tubes of its own."""

    pools: int
    own_tubes: bool = False
    samples: int = 20
    """How many burials and kicks are timed."""

    def __str__(self) -> str:
        return f"{self.pools:,}, tubes of their own" if self.own_tubes else f"{self.pools:,}"

    @property
    def words(self) -> str:
        """The same as the beginning of the name of a figure."""
        return f"{self.pools:,} pools{' with tubes of their own' if self.own_tubes else ''}"

    @property
    def names(self) -> list[str]:
        """The names of the pools."""
        return [f"pool-{number}" for number in range(self.pools)]

    def tubes(self, name: str) -> list[str]:
        """Return the four tubes of a pool."""
        first = int(name.removeprefix("pool-")) * _TUBES
        numbers = range(first, first + _TUBES)
        return [f"tube-{number if self.own_tubes else number % _SHARED}" for number in numbers]

    @property
    def all_tubes(self) -> list[str]:
        """Return the tubes of all pools."""
        return list(dict.fromkeys(tube for name in self.names for tube in self.tubes(name)))

    def serve(self, tube: str) -> set[str]:
        """Return the pools of a tube."""
        return {name for name in self.names if tube in self.tubes(name)}


class Fleet:
    """The pools of one size, once `create` was called."""

    def __init__(self, installed: Installation, size: Size) -> None:
        self.size = size
        self._server = installed.queue.server
        self._api = installed.api
        self._with_config_map = set(size.names[::2])

    def create_config_maps(self) -> None:
        """Create the ConfigMaps of every other pool."""
        maps = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"jobs.py": EXECUTORS}}
            for name in self._with_config_map
        ]
        parallel(lambda each: self._api("POST", f"/api/v1/namespaces/{NAMESPACE}/configmaps", each), maps)

    def create(self) -> None:
        """Create the pools."""
        parallel(lambda name: self._api("POST", POOLS, self._pool(name)), self.size.names)

    def edit(self) -> None:
        """Change something in each pool that changes its Deployment."""
        patch = {"spec": {"memoryLimit": "96Mi"}}
        parallel(lambda name: self._api("PATCH", f"{POOLS}/{name}", patch, MERGE), self.size.names)

    def versions(self) -> dict[str, str]:
        """Return the resourceVersion of each pool."""
        items = self._api("GET", POOLS)["items"]
        return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}

    def _pool(self, name: str) -> Object:
        spec: dict[str, Any] = {"server": self._server, "tubes": self.size.tubes(name), "replicas": 0}
        if name in self._with_config_map:
            spec["executors"] = {"configMap": name}
        return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "WorkerPool", "metadata": {"name": name}, "spec": spec}


def apply_without_operator(api: ApiServer, namespace: str, threads: int) -> float:
    """Apply the Deployments that the operator has made once more, in another namespace; return the seconds.

    They lose their label, so that no operator watches them.
    """
    found = api("GET", _DEPLOYMENTS.format(NAMESPACE))["items"]
    bare = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": item["metadata"]["name"], "annotations": item["metadata"]["annotations"]},
            "spec": item["spec"],
        }
        for item in found
    ]

    def apply(deployment: Object) -> None:
        path = f"{_DEPLOYMENTS.format(namespace)}/{deployment['metadata']['name']}?fieldManager=bench&force=true"
        api("PATCH", path, deployment, APPLY)

    began = time.monotonic()
    parallel(apply, bare, threads)
    return time.monotonic() - began
