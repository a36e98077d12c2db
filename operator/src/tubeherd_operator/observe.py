"""Gathers all that a pass needs to know of a pool."""

import hashlib
import json
from dataclasses import dataclass, field

from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.broker import Broker, Counts
from tubeherd_operator.cluster import Cluster, Object
from tubeherd_operator.deployment import POOL_LABEL
from tubeherd_operator.settings import OperatorSettings
from tubeherd_operator.workqueue import Key


@dataclass(frozen=True, slots=True)
class Observation:
    """A pool as it is, and the world around it."""

    pool: Object
    spec: WorkerPoolSpec
    image: str
    server: str | None
    """host:port of beanstalkd; None where neither the pool nor the installation names one."""
    deployment: Object | None = None
    pods: list[Object] = field(default_factory=list)
    executors_digest: str | None = None
    """Of the ConfigMap with the executors; None where the pool names none, or it does not exist."""
    counts: Counts | None = None

    @property
    def executors_missing(self) -> bool:
        """Whether the pool names a ConfigMap that does not exist."""
        return self.spec.executors is not None and self.executors_digest is None


def observe(key: Key, cluster: Cluster, broker: Broker, settings: OperatorSettings) -> Observation | None:
    """Look at a pool; None where it is gone or going. Has its tubes counted from now on."""
    pool = cluster.pool(*key)
    if pool is None or "deletionTimestamp" in pool["metadata"]:
        broker.forget(key)
        return None
    spec = WorkerPoolSpec.model_validate(pool["spec"])
    server = spec.server or settings.default_server
    if server:
        broker.watch(key, server, spec.tubes)
    else:
        broker.forget(key)
    return Observation(
        pool=pool,
        spec=spec,
        image=spec.image or settings.default_image,
        server=server,
        deployment=cluster.deployment(*key),
        pods=cluster.pods(key.namespace, f"{POOL_LABEL}={key.name}"),
        executors_digest=_executors_digest(cluster, key.namespace, spec),
        counts=broker.counts(server, spec.tubes) if server else None,
    )


def _executors_digest(cluster: Cluster, namespace: str, spec: WorkerPoolSpec) -> str | None:
    if spec.executors is None:
        return None
    config_map = cluster.config_map(namespace, spec.executors.config_map)
    if config_map is None:
        return None
    content = [config_map.get("data"), config_map.get("binaryData")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
